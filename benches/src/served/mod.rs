//! Loads through a server's port: Tidelog's Kafka port, and Redis streams beside it.
//!
//! # What is measured
//! Connections in a closed loop: each sends one commit and waits for its answer, which every server here gives only
//! when the records are durable. Clients and server share the machine's processors; the server's own time is read
//! from /proc. Servers take turns, run by run, so that all meet the same moods of the disk.

pub mod closed_loop;
pub mod cluster;
pub mod discard;
pub mod kafka;
#[cfg(feature = "librdkafka")]
pub mod librdkafka;
pub mod process;
pub mod put;
pub mod redis;
pub mod report;
pub mod restart;
pub mod ship;
pub mod tail;

use std::io::Write;
use std::path::PathBuf;

use crate::BenchError;
use crate::args::{Kafka, Shape};
use crate::place::Place;
use crate::workload::{Case, Pool};
use closed_loop::Served;
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
    /// A server that throws everything away, driven by requests written here: the limit of this client.
    RawLimit,
    /// The same, driven by librdkafka.
    LibrdkafkaLimit,
}

impl Contender {
    /// For tables.
    pub fn name(self) -> &'static str {
        match self {
            Contender::Raw => "tidelog",
            Contender::Librdkafka => "tidelog by librdkafka",
            Contender::Redis => "redis streams, always",
            Contender::RawLimit => "discarding server",
            Contender::LibrdkafkaLimit => "discarding server by librdkafka",
        }
    }

    /// Through which client.
    pub fn client(self) -> &'static str {
        match self {
            Contender::Librdkafka | Contender::LibrdkafkaLimit => "librdkafka",
            Contender::Redis => "pipelines of XADD",
            Contender::Raw | Contender::RawLimit => "raw requests",
        }
    }

    /// Who shows what this one's client could reach at most.
    pub fn limit(self) -> Option<Contender> {
        match self {
            Contender::Raw => Some(Contender::RawLimit),
            Contender::Librdkafka => Some(Contender::LibrdkafkaLimit),
            Contender::Redis | Contender::RawLimit | Contender::LibrdkafkaLimit => None,
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
    let tidelog = args.port.server.clone().map_or_else(|| beside_us("tidelog"), Ok)?;
    let mut here = vec![Contender::Raw, Contender::RawLimit];
    if cfg!(feature = "librdkafka") {
        here.extend([Contender::Librdkafka, Contender::LibrdkafkaLimit]);
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
    let plan = args.port.plan();
    let mut contest = Contest { case, runs: here.iter().map(|one| (*one, Vec::new())).collect() };
    for _ in 0..args.port.repeats {
        for (contender, runs) in &mut contest.runs {
            let server = match contender {
                Contender::Raw | Contender::Librdkafka => Process::tidelog(tidelog, &place.fresh_shard()?)?,
                Contender::Redis => Process::redis(&place.fresh_shard()?)?,
                Contender::RawLimit | Contender::LibrdkafkaLimit => Process::discarding()?,
            };
            let served = match contender {
                Contender::Raw | Contender::RawLimit => {
                    kafka::drive(&server, case.shape, &pool(case.shape, args.port.seed)?, plan)?
                }
                #[cfg(feature = "librdkafka")]
                Contender::Librdkafka | Contender::LibrdkafkaLimit => {
                    librdkafka::drive(&server, case.shape, args.port.seed, plan)?
                }
                #[cfg(not(feature = "librdkafka"))]
                Contender::Librdkafka | Contender::LibrdkafkaLimit => continue,
                Contender::Redis => redis::drive(&server, case.shape, args.port.seed, plan)?,
            };
            runs.push(served);
        }
    }
    Ok(contest)
}

pub(crate) fn pool(shape: Shape, seed: u64) -> Result<Pool, BenchError> {
    Pool::build(shape, seed, MAX_BATCH)
}

/// A program that was built together with this one.
pub(crate) fn beside_us(name: &str) -> Result<PathBuf, BenchError> {
    let us = std::env::current_exe().map_err(BenchError::file("finding", "this program"))?;
    let path = us.with_file_name(name);
    if path.is_file() { Ok(path) } else { Err(BenchError::NoServer { path }) }
}
