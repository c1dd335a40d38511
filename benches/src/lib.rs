//! Tidelog's load harness: closed-loop producers on the embedded write-ahead log, with fio beside them.
//!
//! # Purpose
//! A figure without a yardstick says more about the machine than about Tidelog. Every run is framed by two
//! runs of fio that make the same bytes durable at the same depth on the same disk, and what counts is the
//! ratio.
//!
//! # Limits
//! Producers are closed loops: each waits for its own commit before it sends the next batch. So latency is
//! that of a system at its own pace, and coordinated omission is not corrected: there is no schedule that a
//! slow commit could have delayed.
#![forbid(unsafe_code)]

pub mod all;
pub mod args;
pub mod compare;
pub mod cpu;
mod error;
pub mod fio;
pub mod place;
pub mod producers;
pub mod report;
pub mod served;
pub mod shard;
pub mod workload;

pub use error::BenchError;

use std::io::Write;

use args::{Cli, Command, Common};
use compare::Compared;
use fio::Fio;
use place::Place;
use workload::Case;

/// Does what the command line asks for and writes the result to `out`, remarks to standard error.
///
/// # Errors
/// See [`BenchError`].
pub fn run(cli: Cli, out: &mut dyn Write) -> Result<(), BenchError> {
    let (common, cases, repeats) = match cli.command {
        Command::Append(append) => (append.common, vec![Case::given(append.shape)], 1),
        Command::Workloads(workloads) => (workloads.common, workload::standard(), workloads.repeats),
        Command::Kafka(kafka) => {
            let place = Place::claim(&kafka.port.dir)?;
            let contests = served::run(&kafka, &place);
            let tidied = place.tidy();
            served::report::write(&contests?, kafka.port.output, out)?;
            return tidied;
        }
        Command::Cluster(cluster) => {
            let place = Place::claim(&cluster.port.dir)?;
            let reports = served::cluster::run(&cluster, &place);
            let tidied = place.tidy();
            served::cluster::write(&reports?, cluster.port.output, out)?;
            return tidied;
        }
        Command::Restart(restart) => {
            let place = Place::claim(&restart.filled.dir)?;
            let reports = served::restart::run(&restart, &place);
            let tidied = place.tidy();
            served::restart::write(&reports?, restart.filled.output, out)?;
            return tidied;
        }
        Command::Ship(ship) => {
            let place = Place::claim(&ship.filled.dir)?;
            let reports = served::ship::run(&ship, &place);
            let tidied = place.tidy();
            served::ship::write(&reports?, ship.filled.output, out)?;
            return tidied;
        }
        Command::All(all) => return all::run(&all, out),
        Command::Discard => return served::discard::run(out),
    };
    common.options()?;
    let place = Place::claim(&common.dir)?;
    let compared = compare_all(&place, cases, &common, repeats);
    let tidied = if common.keep { Ok(()) } else { place.tidy() };
    let compared = compared?;
    report::write(&compared, common.output, out)?;
    tidied
}

fn compare_all(
    place: &Place,
    cases: Vec<Case>,
    common: &Common,
    repeats: u32,
) -> Result<Vec<Compared>, BenchError> {
    let fio = if common.no_fio { None } else { Fio::find(place.fio_file())? };
    if fio.is_none() && !common.no_fio {
        // With standard error gone there is nobody left to tell.
        let _ = writeln!(std::io::stderr(), "fio is not installed: there is nothing to compare with");
    }
    cases.into_iter().map(|case| compare::alternate(place, fio.as_ref(), case, common, repeats)).collect()
}
