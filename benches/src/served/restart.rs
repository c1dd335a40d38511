//! How long a killed server takes until it stores again, and whether that depends on how much it holds.
//!
//! # What is measured
//! A server is filled, then killed (`kill -9`) in the middle of a load and started again, several times. The clock runs
//! from the start of the process to the answer to one produce request: the first durable append. The files are the
//! server's own, written past the page cache, so a restart reads them from the disk.

use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use comfy_table::{Table, presets};
use serde::Serialize;

use crate::BenchError;
use crate::args::{Output, Restart, Shape};
use crate::place::Place;
use crate::report::median;
use crate::served::closed_loop::Plan;
use crate::served::process::Process;
use crate::served::{beside_us, kafka, pool, report};
use crate::workload::Pool;

/// Fills fast: a commit is a batch of 1,000 records.
pub const FILL: Shape = Shape { producers: 4, batch: 1000, record: 256, partitions: 1 };
/// A stretch of filling, after which it is looked how much is stored.
const STRETCH: Duration = Duration::from_secs(2);
/// How long the load runs before the server is killed under it.
const BEFORE_KILL: Duration = Duration::from_millis(500);

/// The restarts of a server with so much stored.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// Bytes of values stored before the first kill, GiB.
    pub stored_gib: f64,
    /// Restarts.
    pub runs: usize,
    /// From the start of the process until it listens, ms: median.
    pub listening_ms: f64,
    /// Until the first record is durable, ms: median.
    pub first_append_ms: f64,
    /// The fastest.
    pub first_append_least_ms: f64,
    /// The slowest.
    pub first_append_most_ms: f64,
    /// Each, s.
    pub first_append_s: Vec<f64>,
    /// From the start of the process until it listens, each, s.
    pub listening_s: Vec<f64>,
}

/// Runs all sizes asked for.
///
/// # Errors
/// The first failure.
pub fn run(args: &Restart, place: &Place) -> Result<Vec<Report>, BenchError> {
    let program = args.filled.server.clone().map_or_else(|| beside_us("tidelog"), Ok)?;
    let sizes = args.gib.iter();
    sizes.map(|gib| restart(&program, f64::from(*gib), args, place)).collect()
}

fn restart(program: &Path, gib: f64, args: &Restart, place: &Place) -> Result<Report, BenchError> {
    let dir = place.fresh_shard()?;
    let load = pool(FILL, args.filled.seed)?;
    let mut server = Process::tidelog(program, &dir)?;
    let stored = fill(&server, &load, gib * f64::from(1 << 30))?;
    let (mut listening, mut first) = (Vec::new(), Vec::new());
    for _ in 0..args.repeats {
        kill_under_load(server, &load)?;
        let begun = Instant::now();
        server = Process::tidelog(program, &dir)?;
        listening.push(begun.elapsed().as_secs_f64() * 1e3);
        kafka::commit_once(server.address(), &load)?;
        first.push(begun.elapsed().as_secs_f64() * 1e3);
    }
    Ok(Report {
        stored_gib: stored / f64::from(1 << 30),
        runs: first.len(),
        first_append_s: first.iter().map(|ms| ms / 1e3).collect(),
        listening_s: listening.iter().map(|ms| ms / 1e3).collect(),
        listening_ms: median(listening),
        first_append_least_ms: first.iter().copied().fold(f64::INFINITY, f64::min),
        first_append_most_ms: first.iter().copied().fold(0.0, f64::max),
        first_append_ms: median(first),
    })
}

/// Stores at least so many bytes of values; gives how many.
///
/// # Errors
/// A refused commit; a lost connection.
pub fn fill(server: &Process, load: &Pool, wanted: f64) -> Result<f64, BenchError> {
    let plan = Plan { before: Duration::ZERO, measured: STRETCH };
    let mut stored = 0.0;
    while stored < wanted {
        stored += kafka::drive(server, FILL, load, plan)?.bytes as f64;
    }
    Ok(stored)
}

fn kill_under_load(server: Process, load: &Pool) -> Result<(), BenchError> {
    let plan = Plan { before: Duration::ZERO, measured: BEFORE_KILL * 20 };
    std::thread::scope(|scope| {
        // It fails when the server is gone, as it should.
        scope.spawn(|| kafka::drive(&server, FILL, load, plan));
        std::thread::sleep(BEFORE_KILL);
        server.kill()
    })?;
    // Its end is waited for, so that its lock on the directory is gone.
    drop(server);
    Ok(())
}

/// Writes the figures: a table, or a JSON array.
///
/// # Errors
/// When `out` does not take it.
pub fn write(reports: &[Report], output: Output, out: &mut dyn Write) -> Result<(), BenchError> {
    report::print(reports, table, output, out)
}

fn table(reports: &[Report]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::UTF8_BORDERS_ONLY);
    table.set_header(["stored GiB", "restarts", "listening ms", "first durable append ms", "least", "most"]);
    for r in reports {
        table.add_row([
            format!("{:.1}", r.stored_gib),
            r.runs.to_string(),
            format!("{:.0}", r.listening_ms),
            format!("{:.0}", r.first_append_ms),
            format!("{:.0}", r.first_append_least_ms),
            format!("{:.0}", r.first_append_most_ms),
        ]);
    }
    table
}
