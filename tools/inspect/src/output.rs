//! Printing: tables for people, JSON for programs, both without escape sequences from files.

use std::io::{self, IsTerminal, Write};

use comfy_table::{CellAlignment, Table, presets};
use serde::Serialize;
use serde_json::ser::{Formatter, Serializer};
use tidelog_format::record_format::is_unsafe;

use crate::finding::{Finding, Severity};

/// Standard output, and what may be written to it.
pub(crate) struct Screen<'a> {
    pub(crate) out: &'a mut dyn Write,
    /// Somebody looks at it.
    pub(crate) terminal: bool,
    colour: bool,
}

impl<'a> Screen<'a> {
    /// Standard output as it is.
    pub(crate) fn new(out: &'a mut dyn Write) -> Screen<'a> {
        let terminal = io::stdout().is_terminal();
        let asked = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        let able = std::env::var_os("TERM").is_none_or(|term| term != "dumb");
        Screen { out, terminal, colour: terminal && asked && able }
    }

    /// Something that nobody looks at.
    pub(crate) fn plain(out: &'a mut dyn Write) -> Screen<'a> {
        Screen { out, terminal: false, colour: false }
    }

    /// One document and a line feed.
    pub(crate) fn json(&mut self, document: &impl Serialize) -> io::Result<()> {
        let mut serializer = Serializer::with_formatter(&mut *self.out, Tame);
        document.serialize(&mut serializer)?;
        self.out.write_all(b"\n")
    }

    /// A table without lines; numbers (the columns in `right`) to the right.
    pub(crate) fn table(&mut self, head: &[&str], right: &[usize], rows: &[Vec<String>]) -> io::Result<()> {
        let mut table = Table::new();
        table.load_style(presets::NOTHING);
        table.set_header(head.iter().copied());
        for row in rows {
            table.add_row(row.iter().map(String::as_str));
        }
        for column in right {
            if let Some(column) = table.column_mut(*column) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        writeln!(self.out, "{}", table.trim_fmt())
    }

    /// A finding on a line of its own.
    pub(crate) fn finding(&mut self, finding: &Finding) -> io::Result<()> {
        let text = finding.to_string();
        match (self.colour, finding.severity) {
            (true, Severity::Corrupt | Severity::Error) => writeln!(self.out, "\x1b[31m{text}\x1b[0m"),
            (true, Severity::Unsupported | Severity::Warning) => writeln!(self.out, "\x1b[33m{text}\x1b[0m"),
            _ => writeln!(self.out, "{text}"),
        }
    }
}

/// Tells people about findings of commands whose data is something else.
pub(crate) fn tell(findings: &[Finding]) {
    let mut stderr = io::stderr().lock();
    for finding in findings {
        // Nobody may be listening; the exit code says it too.
        let _ = writeln!(stderr, "{finding}");
    }
}

/// Compact JSON in which no character does anything to a terminal.
struct Tame;

impl Formatter for Tame {
    fn write_string_fragment<W: ?Sized + Write>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()> {
        let mut rest = fragment;
        while let Some((at, char)) = rest.char_indices().find(|(_, char)| is_unsafe(*char)) {
            writer.write_all(&rest.as_bytes()[..at])?;
            for unit in char.encode_utf16(&mut [0; 2]) {
                write!(writer, "\\u{unit:04x}")?;
            }
            rest = &rest[at + char.len_utf8()..];
        }
        writer.write_all(rest.as_bytes())
    }
}

/// Bytes as hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A number, or a dash.
pub(crate) fn dash(number: Option<impl ToString>) -> String {
    number.map_or_else(|| "-".to_owned(), |number| number.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_keeps_its_meaning_and_leaves_the_terminal_alone() {
        let text = "a\x1b[31m\u{9b}31m\u{7f}\u{202e}\"\u{e4}";
        let mut out = Vec::new();
        Screen { out: &mut out, terminal: false, colour: false }.json(&text).unwrap();
        let shown = String::from_utf8(out).unwrap();
        assert_eq!(shown, "\"a\\u001b[31m\\u009b31m\\u007f\\u202e\\\"\u{e4}\"\n");
        assert_eq!(serde_json::from_str::<String>(&shown).unwrap(), text);
    }
}
