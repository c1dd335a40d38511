//! Loads through a server's port: Tidelog's Kafka port, and Redis streams beside it.
//!
//! # What is measured
//! Connections in a closed loop: each sends one commit and waits for its answer, which every server here gives only
//! when the records are durable. Clients and server share the machine's processors; the server's own time is read
//! from /proc. Servers take turns, run by run, so that all meet the same moods of the disk.

pub mod closed_loop;
pub mod kafka;
#[cfg(feature = "librdkafka")]
pub mod librdkafka;
pub mod process;
pub mod redis;
pub mod report;

use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use crate::BenchError;
use crate::args::{Kafka, Shape};
use crate::place::Place;
use crate::workload::{Case, Pool};
use closed_loop::{Plan, Served};
use process::Process;

/// Longest batch that the server takes by default, bytes.
const MAX_BATCH: usize = 8 * 1024 * 1024;

/// Who serves, and through which client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Contender {
    /// Tidelog, driven by requests written here.
    Raw,
    /// Tidelog, driven by librdkafka.
    Librdkafka,
    /// Redis streams, each command durable before its answer.
    Redis,
}

impl Contender {
    /// For tables.
    pub fn name(self) -> &'static str {
        match self {
            Contender::Raw => "tidelog",
            Contender::Librdkafka => "tidelog by librdkafka",
            Contender::Redis => "redis streams, always",
        }
    }
}

/// A load with the runs of all contenders.
#[derive(Debug)]
pub struct Contest {
    /// The load.
    pub case: Case,
    /// Runs of each, in the order in which they took turns.
    pub runs: Vec<(Contender, Vec<Served>)>,
}

/// Runs all loads for all who are here.
///
/// # Errors
/// The first failure.
pub fn run(args: &Kafka, place: &Place) -> Result<Vec<Contest>, BenchError> {
    let tidelog = args.server.clone().map_or_else(beside_us, Ok)?;
    let mut here = vec![Contender::Raw];
    if cfg!(feature = "librdkafka") {
        here.push(Contender::Librdkafka);
    }
    if !args.no_redis {
        match redis::version() {
            Some(_) => here.push(Contender::Redis),
            // With standard error gone there is nobody left to tell.
            None => {
                let _ = writeln!(std::io::stderr(), "redis-server is not installed: it is left out");
            }
        }
    }
    let cases = args.cases();
    cases.into_iter().map(|case| contest(case, &here, args, place, &tidelog)).collect()
}

fn contest(
    case: Case,
    here: &[Contender],
    args: &Kafka,
    place: &Place,
    tidelog: &std::path::Path,
) -> Result<Contest, BenchError> {
    let plan = Plan {
        before: Duration::from_secs(args.warmup.into()),
        measured: Duration::from_secs(args.seconds.into()),
    };
    let mut contest = Contest { case, runs: here.iter().map(|one| (*one, Vec::new())).collect() };
    for _ in 0..args.repeats {
        for (contender, runs) in &mut contest.runs {
            let dir = place.fresh_shard()?;
            let served = match contender {
                Contender::Raw => {
                    let server = Process::tidelog(tidelog, &dir)?;
                    kafka::drive(&server, case.shape, &pool(case.shape, args.seed)?, plan)?
                }
                #[cfg(feature = "librdkafka")]
                Contender::Librdkafka => {
                    let server = Process::tidelog(tidelog, &dir)?;
                    librdkafka::drive(&server, case.shape, args.seed, plan)?
                }
                #[cfg(not(feature = "librdkafka"))]
                Contender::Librdkafka => continue,
                Contender::Redis => {
                    let server = Process::redis(&dir)?;
                    redis::drive(&server, case.shape, args.seed, plan)?
                }
            };
            runs.push(served);
        }
    }
    Ok(contest)
}

fn pool(shape: Shape, seed: u64) -> Result<Pool, BenchError> {
    Pool::build(shape, seed, MAX_BATCH)
}

/// The server that was built together with this program.
fn beside_us() -> Result<PathBuf, BenchError> {
    let us = std::env::current_exe().map_err(BenchError::file("finding", "this program"))?;
    let path = us.with_file_name("tidelog");
    if path.is_file() { Ok(path) } else { Err(BenchError::NoServer { path }) }
}
