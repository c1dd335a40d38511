//! Closed-loop producers.
//!
//! # What is measured
//! A producer takes a copy of a prebuilt batch (what a server has in its receive buffer), checks it as a server
//! does ([`Batch::validate`], unless turned off), appends it and waits. Throughput contains all of that;
//! latency is the time from the append to its acknowledgement.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use tidelog_format::batch::Batch;
use tidelog_wal::{Control, Retention, Stats, Wal};
use tokio::task::JoinSet;

use crate::args::{RECYCLED, Shape};
use crate::workload::Pool;
use crate::{BenchError, cpu};

/// Longest latency that is told apart, ns.
const LONGEST: u64 = 60_000_000_000;
/// Between two rounds of retention while segments are recycled, and between two looks at how far that is.
pub const RETAIN_EVERY: Duration = Duration::from_millis(10);
/// Largest record that segments are filled with before a run on recycled ones.
const PRIMING: u32 = 256 * 1024;
/// Commits are counted for each stretch of this length, so that their rate can be drawn over time.
pub const TICK: Duration = Duration::from_millis(100);
/// Segments written at most before such a run.
const PRIMING_SEGMENTS: u64 = 32;

/// A load and how long it runs.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// The load.
    pub shape: Shape,
    /// Time before measuring begins.
    pub before: Duration,
    /// Time measured.
    pub measured: Duration,
    /// Whether batches are checked before they are appended.
    pub validate: bool,
    /// Whether segments are recycled.
    pub recycle: bool,
    /// Time between two rounds of retention while they are.
    pub retain_every: Duration,
    /// Seed of the records' bytes.
    pub seed: u64,
    /// Longest batch that the shard takes, bytes.
    pub max_batch: usize,
}

/// Counters at one moment.
#[derive(Debug, Clone, Copy)]
struct Moment {
    at: Instant,
    cpu: f64,
    groups: u64,
    write_nanos: u64,
    rolls: u64,
    rolls_waited: u64,
    filled_bytes: u64,
    recycled: u64,
}

/// What a run gave.
#[derive(Debug, Clone)]
pub struct Measured {
    /// Seconds measured.
    pub seconds: f64,
    /// Commits acknowledged: one batch of one producer each.
    pub commits: u64,
    /// Bytes of one commit's batch.
    pub stored: usize,
    /// Records of one commit.
    pub records: u32,
    /// From append to acknowledgement, ns.
    pub latency: Histogram<u64>,
    /// Commits acknowledged in each [`TICK`] since measuring began.
    pub timeline: Vec<u64>,
    /// Writes of the shard.
    pub groups: u64,
    /// Seconds spent in those writes.
    pub write_seconds: f64,
    /// Processor seconds of the process: producers, shard and kernel.
    pub cpu_seconds: f64,
    /// Segments begun.
    pub rolls: u64,
    /// Of those, without a file ready.
    pub rolls_waited: u64,
    /// Bytes zero-filled ahead.
    pub filled_bytes: u64,
    /// Files recycled.
    pub recycled: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Before,
    Measuring,
    Over,
}

/// What the producers of a run share. They are tasks of one thread.
struct Run {
    wal: Wal,
    pool: Pool,
    validate: bool,
    phase: Cell<Phase>,
    begun: Cell<Instant>,
    commits: Cell<u64>,
    timeline: RefCell<Vec<u64>>,
    latency: RefCell<Histogram<u64>>,
}

/// Runs the load on a fresh shard. Must run where `spawn_local` works.
///
/// # Errors
/// The first append that failed; a shape that does not fit.
pub async fn drive(wal: Wal, plan: Plan) -> Result<Measured, BenchError> {
    for partition in 0..u64::from(plan.shape.partitions) {
        wal.control(Control::CreatePartition { partition, name: format!("bench/{partition}") }).await?;
    }
    let retaining = plan.recycle.then(|| tokio::task::spawn_local(retain(wal.clone(), plan.retain_every)));
    if plan.recycle {
        prime(&wal, &plan).await?;
    }
    let run = Run::new(&wal, plan.shape, &plan)?;
    let mut producers = run.start(plan.shape);
    let measuring = async {
        tokio::time::sleep(plan.before).await;
        let begun = Moment::now(&wal)?;
        run.begun.set(begun.at);
        run.phase.set(Phase::Measuring);
        tokio::time::sleep(plan.measured).await;
        run.phase.set(Phase::Over);
        Ok::<_, BenchError>((begun, Moment::now(&wal)?))
    };
    let (begun, ended) = tokio::select! {
        moments = measuring => moments?,
        early = first_end(&mut producers) => return Err(early),
    };
    while let Some(done) = producers.join_next().await {
        done.map_err(|_| BenchError::RingGone)??;
    }
    if let Some(retaining) = retaining {
        retaining.abort();
    }
    Ok(run.measured(begun, ended))
}

/// How a producer ended while it was to go on.
async fn first_end(producers: &mut JoinSet<Result<(), BenchError>>) -> BenchError {
    match producers.join_next().await {
        Some(Ok(Err(error))) => error,
        _ => BenchError::RingGone,
    }
}

/// Releases whatever is sealed, again and again.
async fn retain(wal: Wal, every: Duration) {
    let nothing = |_| Some(Retention { max_bytes: Some(0), max_age: None });
    loop {
        tokio::time::sleep(every).await;
        // A closing shard needs no retention; a failing one fails the producers too.
        if wal.retain(&nothing).await.is_err() {
            return;
        }
    }
}

/// Writes until enough files have been recycled for the run to need no new ones.
async fn prime(wal: &Wal, plan: &Plan) -> Result<(), BenchError> {
    let most = u32::try_from(plan.max_batch / 2).unwrap_or(u32::MAX);
    let shape = Shape { producers: 2, batch: 1, record: PRIMING.min(most), partitions: 1 };
    let run = Run::new(wal, shape, plan)?;
    let mut producers = run.start(shape);
    let stats = wal.stats();
    let enough = async {
        while Stats::get(&stats.recycled) < 2 * RECYCLED as u64 && Stats::get(&stats.rolls) < PRIMING_SEGMENTS
        {
            tokio::time::sleep(RETAIN_EVERY).await;
        }
    };
    tokio::select! {
        () = enough => run.phase.set(Phase::Over),
        early = first_end(&mut producers) => return Err(early),
    }
    while let Some(done) = producers.join_next().await {
        done.map_err(|_| BenchError::RingGone)??;
    }
    // What is sealed now becomes spare.
    tokio::time::sleep(2 * plan.retain_every.max(5 * RETAIN_EVERY)).await;
    Ok(())
}

impl Run {
    fn new(wal: &Wal, shape: Shape, plan: &Plan) -> Result<Rc<Run>, BenchError> {
        let latency = Histogram::new_with_bounds(1, LONGEST, 3)
            .map_err(|error| BenchError::Histogram(error.to_string()))?;
        Ok(Rc::new(Run {
            wal: wal.clone(),
            pool: Pool::build(shape, plan.seed, plan.max_batch)?,
            validate: plan.validate,
            phase: Cell::new(Phase::Before),
            begun: Cell::new(Instant::now()),
            commits: Cell::new(0),
            timeline: RefCell::default(),
            latency: RefCell::new(latency),
        }))
    }

    fn start(self: &Rc<Self>, shape: Shape) -> JoinSet<Result<(), BenchError>> {
        let mut producers = JoinSet::new();
        for number in 0..shape.producers {
            producers.spawn_local(Rc::clone(self).produce(number, shape));
        }
        producers
    }

    async fn produce(self: Rc<Self>, number: u32, shape: Shape) -> Result<(), BenchError> {
        let partitions = u64::from(shape.partitions);
        let step = u64::from(shape.producers) % partitions;
        let mut partition = u64::from(number) % partitions;
        // Producers walk the pool with the same step from different places.
        let mut turn = number as usize;
        while self.phase.get() != Phase::Over {
            let batch = if self.validate {
                Batch::validate(self.pool.received(turn))?
            } else {
                self.pool.checked(turn)
            };
            let begun = Instant::now();
            self.wal.append(partition, batch).await?;
            if self.phase.get() == Phase::Measuring {
                self.note(begun);
            }
            turn = turn.wrapping_add(shape.producers as usize);
            partition = (partition + step) % partitions;
        }
        Ok(())
    }

    fn note(&self, appended: Instant) {
        let now = Instant::now();
        self.commits.set(self.commits.get() + 1);
        let mut timeline = self.timeline.borrow_mut();
        let tick = (now.saturating_duration_since(self.begun.get()).as_nanos() / TICK.as_nanos()) as usize;
        if timeline.len() <= tick {
            timeline.resize(tick + 1, 0);
        }
        timeline[tick] += 1;
        let took = now.saturating_duration_since(appended);
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.latency.borrow_mut().saturating_record(nanos);
    }

    fn measured(&self, begun: Moment, ended: Moment) -> Measured {
        Measured {
            seconds: (ended.at - begun.at).as_secs_f64(),
            commits: self.commits.get(),
            stored: self.pool.stored(),
            records: self.pool.records(),
            latency: self.latency.borrow().clone(),
            timeline: self.timeline.borrow().clone(),
            groups: ended.groups - begun.groups,
            write_seconds: Duration::from_nanos(ended.write_nanos - begun.write_nanos).as_secs_f64(),
            cpu_seconds: ended.cpu - begun.cpu,
            rolls: ended.rolls - begun.rolls,
            rolls_waited: ended.rolls_waited - begun.rolls_waited,
            filled_bytes: ended.filled_bytes - begun.filled_bytes,
            recycled: ended.recycled - begun.recycled,
        }
    }
}

impl Moment {
    fn now(wal: &Wal) -> Result<Moment, BenchError> {
        let stats = wal.stats();
        Ok(Moment {
            cpu: cpu::process_seconds()?,
            groups: Stats::get(&stats.commits),
            write_nanos: Stats::get(&stats.write_nanos),
            rolls: Stats::get(&stats.rolls),
            rolls_waited: Stats::get(&stats.rolls_waited),
            filled_bytes: Stats::get(&stats.filled_bytes),
            recycled: Stats::get(&stats.recycled),
            at: Instant::now(),
        })
    }
}
