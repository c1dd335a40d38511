//! Everything in one run: each part with fio or a peer beside it, one table, JSON, and a page with plots.

pub mod args;
mod calm;
mod embedded;
mod outcome;
mod page;
#[cfg(feature = "peers")]
mod peers;
mod plot;
mod ports;
mod reading;

use std::io::Write;

use crate::fio::Fio;
use crate::place::Place;
use crate::{BenchError, cpu};
use args::{All, Part};
use outcome::Outcome;
use page::Whole;

/// Runs the parts asked for, writes the table to `out` and the rest to the report's directory.
///
/// # Errors
/// The first part that failed; the others are run and reported all the same.
pub fn run(args: &All, out: &mut dyn Write) -> Result<(), BenchError> {
    let place = Place::claim(&args.dir)?;
    let fio = if args.no_fio { None } else { Fio::find(place.fio_file())? };
    let mut whole = Whole {
        program: format!("tidelog-bench {}", env!("CARGO_PKG_VERSION")),
        machine: cpu::machine(),
        repeats: args.repeats,
        seconds: args.seconds,
        load_before: cpu::load(),
        parts: Vec::new(),
    };
    let mut failed = None;
    for part in args.parts() {
        // With standard error gone there is nobody left to tell.
        let _ = writeln!(std::io::stderr(), "{} ...", part.name());
        let outcome = match run_part(part, args, &place, fio.as_ref()) {
            Ok(outcome) => outcome,
            Err(error) => {
                let mut outcome = Outcome::of(part.name());
                outcome.notes.push(format!("failed: {error}"));
                failed.get_or_insert(error);
                outcome
            }
        };
        whole.parts.push(outcome);
        // What was measured is kept, however the run ends.
        page::save(&whole, &args.report)?;
    }
    if fio.is_none() && !args.no_fio {
        let note = "fio is not installed: there is nothing to compare with".to_owned();
        whole.parts.extend([Outcome { notes: vec![note], ..Outcome::of("fio") }]);
        page::save(&whole, &args.report)?;
    }
    let tidied = place.tidy();
    out.write_all(page::table(&whole).as_bytes()).map_err(BenchError::Output)?;
    writeln!(out, "plots and JSON: {}", args.report.display()).map_err(BenchError::Output)?;
    failed.map_or(tidied, Err)
}

fn run_part(part: Part, args: &All, place: &Place, fio: Option<&Fio>) -> Result<Outcome, BenchError> {
    match part {
        Part::Steady => embedded::workloads(args, place, fio, false),
        Part::FirstFill => embedded::workloads(args, place, fio, true),
        Part::Partitions => embedded::partitions(args, place),
        Part::Calm => calm::run(args, place, fio),
        Part::Read => reading::sequential(args, place, fio),
        Part::Tail => reading::tail(args, place),
        Part::Kafka => ports::produce(args, place),
        Part::Fetch => ports::fetch(args, place),
        Part::Put => ports::opentsdb(args, place),
        Part::Memory => ports::memory(args, place),
        Part::Restart => ports::again(args, place),
        Part::Verify => ports::verify(args, place, fio),
    }
}
