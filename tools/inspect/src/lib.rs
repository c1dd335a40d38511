//! `tidelog-inspect`: looks into Tidelog's files offline and never changes them.
//!
//! # Purpose
//! `verify` checks every byte and names everything wrong by file, byte range and LSN; `dump` prints frames,
//! batches and records; `stat` counts. It reads through the same parser and judges by the same table as
//! recovery does (`tidelog_format::walk`, `tidelog_format::verdict`), and works beside a running node.
//!
//! # Invariants
//! - Files are opened for reading only, never locked, never written. `repair` and `export` write to a new place that
//!   the user names, and nowhere else.
//! - Every file is hostile: memory is bounded, and nothing from a file reaches a terminal unescaped.
//!
//! # Where is what
//! [`tree`] finds files, [`window`] reads them, [`pass`] walks one segment and [`resync`] goes on behind damage,
//! [`chain`] knows how segments follow each other, [`tail`] and [`seal`] judge; the commands come on top. The program is
//! `main.rs`; what other programs may call stands at the end of this file.
#![forbid(unsafe_code)]

mod ahead;
mod args;
mod chain;
mod checker;
mod control;
mod coverage;
mod diff;
mod dump;
mod dump_records;
mod dump_rows;
mod error;
mod explain;
mod export;
mod filter;
mod finding;
mod follow;
mod identity;
mod index;
mod lost;
mod manual;
mod misplaced;
mod names;
mod offsets;
mod output;
mod pass;
mod print;
mod progress;
mod promises;
mod read;
mod record_json;
mod remembered;
mod repair;
mod resync;
mod seal;
mod sealed;
mod shard;
mod stat;
mod stat_counts;
mod stat_histogram;
mod stat_html;
mod stat_plot;
mod tail;
mod target;
mod tree;
mod verify;
mod window;

use std::error::Error;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::process::ExitCode;

use clap::Parser;
use tidelog_format::record_format::escaped;

use crate::args::{Cli, Command};
use crate::error::InspectError;
use crate::finding::Status;
pub use crate::finding::{Finding, Severity};
use crate::output::Screen;
use crate::tree::{Tree, shown};

/// The program: arguments, output and exit code are the process's.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(&cli.command) {
        Ok(status) => ExitCode::from(status.exit_code()),
        Err(error) if error.is_closed_pipe() => ExitCode::SUCCESS,
        Err(error) => {
            let text = escaped(error.to_string().as_bytes());
            // Nobody may be listening; the exit code says it too.
            let _ = writeln!(io::stderr(), "tidelog-inspect: {text}");
            ExitCode::from(error.exit_code())
        }
    }
}

fn run(command: &Command) -> Result<Status, InspectError> {
    let mut out = BufWriter::with_capacity(64 * 1024, io::stdout().lock());
    let mut screen = Screen::new(&mut out);
    let status = match command {
        Command::Verify(common) => {
            let report =
                verify::verify(shown(&common.path), &Tree::find(&common.path)?, verify::all_cores())?;
            print::verify(&mut screen, common.output, &report)?;
            report.status
        }
        Command::Dump(args) => dump::dump(&mut screen, args)?,
        Command::Stat(args) => {
            let report = stat::stat(shown(&args.path), &Tree::find(&args.path)?)?;
            print::stat(&mut screen, args.output, &report)?;
            report.status
        }
        Command::Explain(args) => explain::explain(&mut screen, args)?,
        Command::Completions(args) => manual::completions(&mut screen, args)?,
        Command::Man(args) => manual::man(args)?,
        Command::Export(args) => export::export(&mut screen, args)?,
        Command::Repair(args) => repair::repair(&mut screen, args)?,
        Command::Grep(args) => dump::grep(&mut screen, args)?,
        Command::Diff(args) => diff::diff(&mut screen, args.output, &args.a, &args.b)?,
        Command::Index(args) => index::index(&mut screen, args, &Tree::find(&args.common.path)?)?,
    };
    screen.out.flush()?;
    Ok(status)
}

/// What `verify` finds under `path`, read by the calling thread alone: for programs that look at many small directories.
///
/// # Errors
/// What keeps `verify` from going on.
pub fn findings(path: &Path) -> Result<Vec<Finding>, Box<dyn Error + Send + Sync>> {
    Ok(verify::verify(shown(path), &Tree::find(path)?, 0)?.findings)
}

/// `repair` without output: copies everything that is intact in `source` to the new directory `target`. Gives the exit
/// code.
///
/// # Errors
/// What keeps `repair` from going on.
pub fn repair(source: &Path, target: &Path) -> Result<u8, Box<dyn Error + Send + Sync>> {
    let args = args::RepairArgs::new(source, target);
    Ok(repair::repair(&mut Screen::new(&mut io::sink()), &args)?.exit_code())
}
