//! kcat-like format strings for records, and text that is safe to show to a person.
//!
//! # Format
//! `%t` topic, `%p` partition, `%o` offset, `%T` timestamp (ms), `%k` key, `%K` its length (-1: none), `%s` value,
//! `%S` its length (-1: none), `%h` headers as `name=value,...`, `%%` a percent sign; `\n \t \r \\ \0 \xHH`.
//! Everything else stands for itself.

use crate::batch::Header;

/// A compiled format string.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordFormat {
    parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(Vec<u8>),
    Field(Field),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    Topic,
    Partition,
    Offset,
    Timestamp,
    Key,
    KeyLen,
    Value,
    ValueLen,
    Headers,
}

/// What a format string can show of a record. Borrowed.
#[derive(Debug, Clone, Copy)]
pub struct RecordFields<'a> {
    /// Topic name.
    pub topic: &'a str,
    /// Partition number within the topic.
    pub partition: u64,
    /// Offset in the partition.
    pub offset: u64,
    /// Milliseconds since 1970.
    pub timestamp: i64,
    /// The key, if there is one.
    pub key: Option<&'a [u8]>,
    /// The value, if there is one.
    pub value: Option<&'a [u8]>,
    /// The headers in their order.
    pub headers: &'a [Header<'a>],
}

/// A format string that can't be used. Positions count characters from 1.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    /// A directive that does not exist.
    #[error(
        "unknown directive `%{directive}` at position {position}; known are %t %p %o %k %s %T %K %S %h %%"
    )]
    Directive {
        /// The character behind the percent sign, escaped if it is a control character.
        directive: String,
        /// Where the percent sign stands.
        position: usize,
    },
    /// An escape that does not exist.
    #[error("unknown escape `\\{escape}` at position {position}; known are \\n \\t \\r \\\\ \\0 \\xHH")]
    Escape {
        /// What stands behind the backslash, escaped if it is a control character.
        escape: String,
        /// Where the backslash stands.
        position: usize,
    },
    /// A `%` or `\` with nothing behind it.
    #[error(
        "the format ends inside `{start}` at position {position}; write `{start}{start}` for the character itself"
    )]
    Unfinished {
        /// `%` or `\`.
        start: char,
        /// Where it stands.
        position: usize,
    },
}

impl RecordFormat {
    /// Compiles a format string.
    ///
    /// # Errors
    /// The first directive or escape that does not exist, by name and position.
    pub fn parse(format: &str) -> Result<RecordFormat, FormatError> {
        let mut parts = Vec::new();
        let mut text = Vec::new();
        let mut rest = format.chars().zip(1..);
        while let Some((start, position)) = rest.next() {
            match start {
                '%' => match directive(rest.next(), position)? {
                    Some(field) => {
                        flush(&mut parts, &mut text);
                        parts.push(Part::Field(field));
                    }
                    None => text.push(b'%'),
                },
                '\\' => text.push(escape(&mut rest, position)?),
                other => text.extend_from_slice(other.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
        flush(&mut parts, &mut text);
        Ok(RecordFormat { parts })
    }

    /// Appends a record as the format says; topic, key, value and headers byte by byte as they are.
    pub fn write(&self, out: &mut Vec<u8>, record: &RecordFields<'_>) {
        self.write_with(out, record, |out, bytes| out.extend_from_slice(bytes));
    }

    /// As [`RecordFormat::write`], for a terminal: what comes from the record goes through [`escape_into`], what
    /// the format itself says does not. Lengths are those of the bytes as stored.
    pub fn write_escaped(&self, out: &mut Vec<u8>, record: &RecordFields<'_>) {
        self.write_with(out, record, escape_into);
    }

    fn write_with(&self, out: &mut Vec<u8>, record: &RecordFields<'_>, put: impl Fn(&mut Vec<u8>, &[u8])) {
        for part in &self.parts {
            match part {
                Part::Text(text) => out.extend_from_slice(text),
                Part::Field(Field::Topic) => put(out, record.topic.as_bytes()),
                Part::Field(Field::Partition) => put(out, record.partition.to_string().as_bytes()),
                Part::Field(Field::Offset) => put(out, record.offset.to_string().as_bytes()),
                Part::Field(Field::Timestamp) => put(out, record.timestamp.to_string().as_bytes()),
                Part::Field(Field::Key) => put(out, record.key.unwrap_or_default()),
                Part::Field(Field::KeyLen) => put(out, len(record.key).as_bytes()),
                Part::Field(Field::Value) => put(out, record.value.unwrap_or_default()),
                Part::Field(Field::ValueLen) => put(out, len(record.value).as_bytes()),
                Part::Field(Field::Headers) => write_headers(out, record.headers, &put),
            }
        }
    }
}

fn write_headers(out: &mut Vec<u8>, headers: &[Header<'_>], put: impl Fn(&mut Vec<u8>, &[u8])) {
    for (index, header) in headers.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        put(out, header.name);
        out.push(b'=');
        put(out, header.value.unwrap_or_default());
    }
}

fn len(bytes: Option<&[u8]>) -> String {
    bytes.map_or_else(|| "-1".to_owned(), |bytes| bytes.len().to_string())
}

fn flush(parts: &mut Vec<Part>, text: &mut Vec<u8>) {
    if !text.is_empty() {
        parts.push(Part::Text(std::mem::take(text)));
    }
}

/// The field behind a percent sign; `None` for the percent sign itself.
fn directive(found: Option<(char, usize)>, position: usize) -> Result<Option<Field>, FormatError> {
    let (letter, _) = found.ok_or(FormatError::Unfinished { start: '%', position })?;
    Ok(Some(match letter {
        '%' => return Ok(None),
        't' => Field::Topic,
        'p' => Field::Partition,
        'o' => Field::Offset,
        'T' => Field::Timestamp,
        'k' => Field::Key,
        'K' => Field::KeyLen,
        's' => Field::Value,
        'S' => Field::ValueLen,
        'h' => Field::Headers,
        other => return Err(FormatError::Directive { directive: shown(&[other]), position }),
    }))
}

/// The byte that an escape stands for.
fn escape(rest: &mut impl Iterator<Item = (char, usize)>, position: usize) -> Result<u8, FormatError> {
    let (letter, _) = rest.next().ok_or(FormatError::Unfinished { start: '\\', position })?;
    match letter {
        'n' => Ok(b'\n'),
        't' => Ok(b'\t'),
        'r' => Ok(b'\r'),
        '0' => Ok(0),
        '\\' => Ok(b'\\'),
        'x' => {
            let digits: Vec<char> = rest.take(2).map(|(digit, _)| digit).collect();
            let value = match digits[..] {
                [high, low] => high.to_digit(16).zip(low.to_digit(16)).map(|(high, low)| high * 16 + low),
                _ => None,
            };
            let byte = value.and_then(|value| u8::try_from(value).ok());
            byte.ok_or_else(|| FormatError::Escape { escape: format!("x{}", shown(&digits)), position })
        }
        other => Err(FormatError::Escape { escape: shown(&[other]), position }),
    }
}

fn shown(chars: &[char]) -> String {
    escaped(chars.iter().collect::<String>().as_bytes())
}

/// Appends `bytes` as UTF-8 text that does nothing to a terminal and stands on one line: control characters,
/// characters that change the direction of text, and backslashes are escaped (`\n \t \r \\ \u{1b}`), bytes that
/// are not UTF-8 shown as `\xHH`.
pub fn escape_into(out: &mut Vec<u8>, bytes: &[u8]) {
    for chunk in bytes.utf8_chunks() {
        for char in chunk.valid().chars() {
            match char {
                '\n' => out.extend_from_slice(b"\\n"),
                '\t' => out.extend_from_slice(b"\\t"),
                '\r' => out.extend_from_slice(b"\\r"),
                '\\' => out.extend_from_slice(b"\\\\"),
                char if is_unsafe(char) => {
                    out.extend_from_slice(char.escape_unicode().to_string().as_bytes())
                }
                char => out.extend_from_slice(char.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
        for byte in chunk.invalid() {
            out.extend_from_slice(format!("\\x{byte:02x}").as_bytes());
        }
    }
}

/// [`escape_into`] as a string.
pub fn escaped(bytes: &[u8]) -> String {
    let mut out = Vec::with_capacity(bytes.len());
    escape_into(&mut out, bytes);
    String::from_utf8_lossy(&out).into_owned()
}

/// Whether a character may move the cursor, change the direction of text, break a line or hide.
pub fn is_unsafe(char: char) -> bool {
    char.is_control()
        || matches!(
            char,
            '\u{061c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}'
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADERS: [Header<'static>; 2] =
        [Header { name: b"a", value: Some(b"1") }, Header { name: b"b", value: None }];

    fn record() -> RecordFields<'static> {
        RecordFields {
            topic: "metrics",
            partition: 3,
            offset: 42,
            timestamp: 1_700_000_000_123,
            key: None,
            value: Some(b"v\x1b[31m\xff"),
            headers: &HEADERS,
        }
    }

    fn written(format: &str) -> Vec<u8> {
        let mut out = Vec::new();
        RecordFormat::parse(format).unwrap().write(&mut out, &record());
        out
    }

    #[test]
    fn every_directive_and_escape_is_written_as_kcat_does() {
        assert_eq!(written("%t/%p@%o %T %%\\n"), b"metrics/3@42 1700000000123 %\n");
        assert_eq!(written("[%k %K %S %h]\\t\\r\\\\\\0\\x41\\xfF"), b"[ -1 7 a=1,b=]\t\r\\\0A\xff");
        assert_eq!(written("%s"), b"v\x1b[31m\xff");
        assert_eq!(written("gr\u{fc}n"), "gr\u{fc}n".as_bytes());
        assert_eq!(written(""), b"");
    }

    #[test]
    fn what_comes_from_a_record_is_escaped_for_a_terminal_and_its_length_is_not() {
        let mut out = Vec::new();
        RecordFormat::parse("%S\\t%s\\n").unwrap().write_escaped(&mut out, &record());
        assert_eq!(out, b"7\tv\\u{1b}[31m\\xff\n");
    }

    #[test]
    fn an_unknown_directive_or_escape_is_named_with_its_position() {
        let error = |format: &str| RecordFormat::parse(format).unwrap_err().to_string();
        assert!(error("%o %q").starts_with("unknown directive `%q` at position 4;"));
        assert!(error("\u{fc}%\u{1b}").starts_with("unknown directive `%\\u{1b}` at position 2;"));
        assert!(error("a\\y").starts_with("unknown escape `\\y` at position 2;"));
        assert!(error("a\\x4").starts_with("unknown escape `\\x4` at position 2;"));
        assert!(error("\\x+1").starts_with("unknown escape `\\x+1` at position 1;"));
        assert!(error("abc%").starts_with("the format ends inside `%` at position 4;"));
        assert!(error("\\").starts_with("the format ends inside `\\` at position 1;"));
    }

    #[test]
    fn escaped_text_keeps_to_one_line_and_leaves_the_terminal_alone() {
        assert_eq!(escaped(b"a\nb\tc\\\x07\x7f"), "a\\nb\\tc\\\\\\u{7}\\u{7f}");
        assert_eq!(escaped("x\u{202e}y\u{9b}z \u{e4}".as_bytes()), "x\\u{202e}y\\u{9b}z \u{e4}");
        assert_eq!(escaped(b"\xf0\x9f"), "\\xf0\\x9f");
    }
}
