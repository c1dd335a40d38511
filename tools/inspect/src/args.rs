//! The command line.

use std::ops::Range;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use tidelog_format::record_format::RecordFormat;

const EXIT_CODES: &str = "Exit codes: 0 fine, 1 error (also: written by a newer version), 2 usage, 3 not found, \
                          5 corruption found. Files are only ever read, also those of a running node.";

/// Looks into Tidelog's files without changing them.
#[derive(Debug, Parser)]
#[command(name = "tidelog-inspect", version, about, after_help = EXIT_CODES, max_term_width = 100)]
pub(crate) struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Check every byte and name everything that is wrong.
    Verify(Common),
    /// Print frames and batches, or records.
    Dump(DumpArgs),
    /// Count what is there.
    Stat(Common),
    /// Say who owns each byte of a file, and what it is worth.
    Explain(ExplainArgs),
}

/// What all commands take.
#[derive(Debug, Args)]
pub(crate) struct Common {
    /// A data directory, a shard's folder or one segment file.
    pub(crate) path: PathBuf,
    /// How to print.
    #[arg(long, value_enum, default_value_t = Output::Table)]
    pub(crate) output: Output,
}

/// How results are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// For people.
    Table,
    /// For programs: one document (verify, stat) or one document a line (dump).
    Json,
}

#[derive(Debug, Args)]
pub(crate) struct ExplainArgs {
    #[command(flatten)]
    pub(crate) common: Common,
    /// Show the structures around this byte, field by field; decimal, or hexadecimal with 0x.
    #[arg(long, value_name = "BYTE", value_parser = position)]
    pub(crate) at: Option<u64>,
    /// Show every field of the file.
    #[arg(long, conflicts_with = "at")]
    pub(crate) fields: bool,
}

#[derive(Debug, Args)]
pub(crate) struct DumpArgs {
    #[command(flatten)]
    pub(crate) common: Common,
    /// Print records instead of frames and batches.
    #[arg(long)]
    pub(crate) records: bool,
    /// Print records in this format, as kcat does: %t topic, %p partition, %o offset, %T timestamp (ms), %k key,
    /// %s value, %K and %S their lengths (-1: none), %h headers, %% percent; \n \t \r \\ \0 \xHH.
    #[arg(short, long, value_name = "FORMAT", value_parser = format, conflicts_with = "output")]
    pub(crate) format: Option<RecordFormat>,
    /// Only this partition, by the number that files know it by.
    #[arg(long, value_name = "ID")]
    pub(crate) partition: Option<u64>,
    /// Only these offsets: A..B (B excluded), A.., ..B, or one offset.
    #[arg(long, value_name = "A..B", value_parser = offsets)]
    pub(crate) offset: Option<Range<u64>>,
}

fn position(text: &str) -> Result<u64, String> {
    let digits = text.strip_prefix("0x").map(|digits| u64::from_str_radix(digits, 16));
    digits
        .unwrap_or_else(|| text.parse())
        .map_err(|_| "write a number, or 0x and hexadecimal digits".to_owned())
}

fn format(text: &str) -> Result<RecordFormat, String> {
    RecordFormat::parse(text).map_err(|error| error.to_string())
}

fn offsets(text: &str) -> Result<Range<u64>, String> {
    let number = |digits: &str, default: u64| match digits {
        "" => Ok(default),
        digits => digits.parse::<u64>().map_err(|_| format!("`{digits}` is not an offset")),
    };
    match text.split_once("..") {
        Some((from, to)) => {
            let range = number(from, 0)?..number(to, u64::MAX)?;
            if range.is_empty() { Err("the range is empty".to_owned()) } else { Ok(range) }
        }
        None if text.is_empty() => Err("write A..B, A.., ..B or one offset".to_owned()),
        None => number(text, 0).map(|only| only..only.saturating_add(1)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn offset_ranges_are_read_in_all_forms_and_nonsense_is_refused() {
        assert_eq!(offsets("5..9"), Ok(5..9));
        assert_eq!(offsets("5.."), Ok(5..u64::MAX));
        assert_eq!(offsets("..9"), Ok(0..9));
        assert_eq!(offsets("7"), Ok(7..8));
        for wrong in ["", "9..5", "5..5", "a..b", "-1"] {
            assert!(offsets(wrong).is_err(), "{wrong}");
        }
    }
}
