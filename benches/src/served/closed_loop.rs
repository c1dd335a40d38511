//! Connections that each wait for the answer to one commit before they send the next.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use tokio::task::{JoinSet, LocalSet};

use crate::BenchError;
use crate::served::process::Process;

/// Longest latency that is told apart, ns.
const LONGEST: u64 = 60_000_000_000;

/// How long a load runs.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// Time before measuring begins.
    pub before: Duration,
    /// Time measured.
    pub measured: Duration,
}

/// What a run gave.
#[derive(Debug, Clone)]
pub struct Served {
    /// Seconds measured.
    pub seconds: f64,
    /// Records acknowledged.
    pub records: u64,
    /// Bytes of their values.
    pub bytes: u64,
    /// From sending to the answer, ns.
    pub latency: Histogram<u64>,
    /// Processor seconds of all servers.
    pub cpu_seconds: f64,
}

/// A connection that can make one commit.
pub trait Committer {
    /// Sends commit number `turn` and waits until the server says that it is durable.
    fn commit(&mut self, turn: usize) -> impl Future<Output = Result<(), BenchError>>;
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Before,
    Measuring,
    Over,
}

struct Shared {
    phase: Cell<Phase>,
    commits: Cell<u64>,
    latency: RefCell<Histogram<u64>>,
}

/// Runs all connections for the time of the plan; a commit has `records` records with `bytes` bytes of values.
///
/// # Errors
/// The first failure of a connection; those of /proc.
pub fn drive<C: Committer + 'static>(
    servers: &[Process],
    plan: Plan,
    (records, bytes): (u64, u64),
    connect: impl AsyncFn(usize) -> Result<C, BenchError>,
    connections: usize,
) -> Result<Served, BenchError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(BenchError::file("starting a runtime for", "the clients"))?;
    let latency = histogram()?;
    let shared = Rc::new(Shared {
        phase: Cell::new(Phase::Before),
        commits: Cell::new(0),
        latency: RefCell::new(latency),
    });
    let measured = LocalSet::new().block_on(&runtime, async {
        let mut running = JoinSet::new();
        for number in 0..connections {
            let committer = connect(number).await?;
            running.spawn_local(commit_until_over(Rc::clone(&shared), committer, number, connections));
        }
        let measuring = async {
            tokio::time::sleep(plan.before).await;
            let begun = (Instant::now(), cpu_seconds(servers)?);
            shared.phase.set(Phase::Measuring);
            tokio::time::sleep(plan.measured).await;
            shared.phase.set(Phase::Over);
            Ok::<_, BenchError>((begun.0.elapsed().as_secs_f64(), cpu_seconds(servers)? - begun.1))
        };
        let measured = tokio::select! {
            measured = measuring => measured?,
            Some(early) = running.join_next() => {
                early.map_err(|_| BenchError::ClientGone)??;
                return Err(BenchError::ClientGone);
            }
        };
        while let Some(done) = running.join_next().await {
            done.map_err(|_| BenchError::ClientGone)??;
        }
        Ok(measured)
    });
    let (seconds, cpu_seconds) = measured?;
    let commits = shared.commits.get();
    let latency = shared.latency.borrow().clone();
    Ok(Served { seconds, records: commits * records, bytes: commits * bytes, latency, cpu_seconds })
}

fn cpu_seconds(servers: &[Process]) -> Result<f64, BenchError> {
    servers.iter().map(Process::cpu_seconds).sum()
}

/// A histogram for the latencies of a run.
///
/// # Errors
/// Never in practice: its bounds are constants.
pub fn histogram() -> Result<Histogram<u64>, BenchError> {
    Histogram::new_with_bounds(1, LONGEST, 3).map_err(|error| BenchError::Histogram(error.to_string()))
}

async fn commit_until_over<C: Committer>(
    shared: Rc<Shared>,
    mut committer: C,
    number: usize,
    step: usize,
) -> Result<(), BenchError> {
    let mut turn = number;
    while shared.phase.get() != Phase::Over {
        let begun = Instant::now();
        committer.commit(turn).await?;
        if shared.phase.get() == Phase::Measuring {
            shared.commits.set(shared.commits.get() + 1);
            let nanos = u64::try_from(begun.elapsed().as_nanos()).unwrap_or(u64::MAX);
            shared.latency.borrow_mut().saturating_record(nanos);
        }
        turn = turn.wrapping_add(step);
    }
    Ok(())
}
