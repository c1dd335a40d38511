//! The command line.

use std::ops::Range;
use std::path::{Path, PathBuf};

use clap::{Args, Parser, Subcommand, ValueEnum};
use regex::bytes::{Regex, RegexBuilder};
use tidelog_format::record_format::RecordFormat;
use tidelog_format::time_text::parse_time;

use crate::error::InspectError;

const EXIT_CODES: &str = "Exit codes: 0 fine, 1 error (also: written by a newer version), 2 usage, 3 not found, \
                          5 corruption found, 6 refused as unsafe. For diff: 0 the same, 1 different. For grep: 3 nothing found. Files are only ever read, also those of a running node; repair and export write to a new place.";

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
    Stat(StatArgs),
    /// Say who owns each byte of a file, and what it is worth.
    Explain(ExplainArgs),
    /// Print the records in which a pattern is found.
    Grep(GrepArgs),
    /// Print the completion script for a shell.
    Completions(CompletionsArgs),
    /// Write the man pages into a directory.
    Man(ManArgs),
    /// Write records or batches for other tools to a new place.
    Export(ExportArgs),
    /// Copy what is intact to a new place, and name what is not.
    Repair(RepairArgs),
    /// Compare two copies of the same shards, frame by frame.
    Diff(DiffArgs),
    /// Rebuild the footers from the frames and compare them with those stored.
    Index(IndexArgs),
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
pub(crate) struct StatArgs {
    /// A data directory, a shard's folder or one segment file.
    pub(crate) path: PathBuf,
    /// How to print.
    #[arg(long, value_enum, default_value_t = StatOutput::Table)]
    pub(crate) output: StatOutput,
}

/// How counts are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum StatOutput {
    /// For people.
    Table,
    /// For programs: one document.
    Json,
    /// One page with plots that needs nothing else.
    Html,
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
    #[command(flatten)]
    pub(crate) filter: FilterArgs,
    /// Only records with this regular expression in key, value or headers.
    #[arg(long, value_name = "REGEX")]
    pub(crate) pattern: Option<Regex>,
    /// Stop after so many records, or frames.
    #[arg(long, value_name = "N")]
    pub(crate) max: Option<u64>,
    /// Go on with what a running node writes, until interrupted.
    #[arg(long)]
    pub(crate) follow: bool,
}

/// What of a directory is asked for.
#[derive(Debug, Args)]
pub(crate) struct FilterArgs {
    /// Only this topic.
    #[arg(long, value_name = "NAME")]
    pub(crate) topic: Option<String>,
    /// Only this partition: with --topic the number within the topic, else the number that files know it by.
    #[arg(long, value_name = "N")]
    pub(crate) partition: Option<u64>,
    /// Only these offsets: A..B (B excluded), A.., ..B, or one offset.
    #[arg(long, value_name = "A..B", value_parser = offsets)]
    pub(crate) offset: Option<Range<u64>>,
    /// Only records of this time: A..B (B excluded), A.., ..B; each milliseconds since 1970 or 2026-11-25T10:00 in UTC.
    #[arg(long, value_name = "A..B", value_parser = times)]
    pub(crate) time: Option<Range<i64>>,
    /// Only records with exactly this key.
    #[arg(long, value_name = "KEY")]
    pub(crate) key: Option<String>,
}

/// A part of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Part {
    Key,
    Value,
    Headers,
}

impl Part {
    /// All of them.
    pub(crate) const ALL: [Part; 3] = [Part::Key, Part::Value, Part::Headers];
}

#[derive(Debug, Args)]
pub(crate) struct GrepArgs {
    /// A regular expression.
    pub(crate) pattern: String,
    #[command(flatten)]
    pub(crate) common: Common,
    #[command(flatten)]
    pub(crate) filter: FilterArgs,
    /// Upper and lower case are the same.
    #[arg(short, long)]
    pub(crate) ignore_case: bool,
    /// Where to look; all of a record if not given.
    #[arg(long = "in", value_name = "PART", value_enum, value_delimiter = ',')]
    pub(crate) within: Vec<Part>,
    /// Print only how many records there are.
    #[arg(short, long, conflicts_with = "format")]
    pub(crate) count: bool,
    /// Stop after so many records.
    #[arg(short, long, value_name = "N")]
    pub(crate) max: Option<u64>,
    /// Print records in this format, as dump does.
    #[arg(short, long, value_name = "FORMAT", value_parser = format, conflicts_with = "output")]
    pub(crate) format: Option<RecordFormat>,
}

impl GrepArgs {
    /// The pattern, compiled; its size is bounded by the library.
    pub(crate) fn regex(&self) -> Result<Regex, InspectError> {
        let built = RegexBuilder::new(&self.pattern).case_insensitive(self.ignore_case).build();
        built.map_err(|error| InspectError::Pattern(Box::new(error)))
    }
}

#[derive(Debug, Args)]
pub(crate) struct CompletionsArgs {
    /// The shell.
    pub(crate) shell: clap_complete::Shell,
}

#[derive(Debug, Args)]
pub(crate) struct ManArgs {
    /// Directory for the pages; it is created when missing.
    pub(crate) dir: PathBuf,
}

/// What is written for other tools.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ExportFormat {
    /// A JSON document a line.
    Jsonl,
    /// Comma-separated values with a head line.
    Csv,
    /// A folder with Kafka segments, the batches as stored.
    Batches,
    /// Parquet, a column for each field.
    #[cfg(feature = "parquet")]
    Parquet,
}

#[derive(Debug, Args)]
pub(crate) struct ExportArgs {
    /// A data directory, a shard's folder or one segment file.
    pub(crate) path: PathBuf,
    /// Where to; it must not exist yet.
    #[arg(long, value_name = "PATH")]
    pub(crate) to: PathBuf,
    /// What to write.
    #[arg(long, value_enum, default_value_t = ExportFormat::Jsonl)]
    pub(crate) format: ExportFormat,
    #[command(flatten)]
    pub(crate) filter: FilterArgs,
    /// Only records with this regular expression in key, value or headers.
    #[arg(long, value_name = "REGEX")]
    pub(crate) pattern: Option<Regex>,
}

#[derive(Debug, Args)]
pub(crate) struct RepairArgs {
    /// A data directory, a shard's folder or one segment file; it is only read. Stop its node first.
    pub(crate) source: PathBuf,
    /// A directory that does not exist yet.
    pub(crate) target: PathBuf,
    /// Say what would be written and what is missing, and write nothing.
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// How to print.
    #[arg(long, value_enum, default_value_t = Output::Table)]
    pub(crate) output: Output,
}

impl RepairArgs {
    /// A repair as it is without options.
    pub(crate) fn new(source: &Path, target: &Path) -> RepairArgs {
        let (source, target) = (source.to_owned(), target.to_owned());
        RepairArgs { source, target, dry_run: false, output: Output::Table }
    }
}

#[derive(Debug, Args)]
pub(crate) struct DiffArgs {
    /// A data directory, a shard's folder or one segment file.
    pub(crate) a: PathBuf,
    /// The other one, of the same kind.
    pub(crate) b: PathBuf,
    /// How to print.
    #[arg(long, value_enum, default_value_t = Output::Table)]
    pub(crate) output: Output,
}

#[derive(Debug, Args)]
pub(crate) struct IndexArgs {
    #[command(flatten)]
    pub(crate) common: Common,
    /// Print the partitions of each index, too.
    #[arg(long)]
    pub(crate) rows: bool,
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

fn times(text: &str) -> Result<Range<i64>, String> {
    let time = |text: &str, default: i64| match text {
        "" => Ok(default),
        text => {
            parse_time(text).ok_or_else(|| format!("`{text}` is not a time; write 2026-11-25T10:00:00 or ms"))
        }
    };
    let (from, to) = text.split_once("..").ok_or_else(|| "write A..B, A.. or ..B".to_owned())?;
    let range = time(from, i64::MIN)?..time(to, i64::MAX)?;
    if range.is_empty() { Err("the range is empty".to_owned()) } else { Ok(range) }
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
