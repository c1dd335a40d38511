//! Latency at half of the largest rate, while all that a shard does beside its producers goes on.
//!
//! # What is measured
//! One producer is given a record at fixed times, whether the one before is durable or not. Meanwhile small segments
//! roll several times, each new file is zero-filled, retention releases the old ones, and a reader goes through old data
//! from the disk, again and again. The latency from the append is compared with fio's at the same rate, once alone and
//! once with the same reading and filling beside it; the latency from the time at which a record was due, which
//! leaves nothing out when one commit delays the next, stands beside it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use tidelog_wal::{Options, Retention, Stats, Wal};
use tokio::sync::{mpsc, oneshot};

use crate::BenchError;
use crate::all::args::All;
use crate::all::outcome::{Goal, Outcome, Row};
use crate::all::reading::{SHAPE, create, fill, read_all, setting};
use crate::args::{Placement, Shape};
use crate::fio::{Background, Fio, Load};
use crate::place::Place;
use crate::served::closed_loop::histogram;
use crate::shard::with_shard;
use crate::workload::Pool;

const WRITTEN: u64 = 1;
const OLD: u64 = 2;
const ONE: Shape = Shape { producers: 1, batch: 1, record: 256, partitions: 1 };
/// Small, so that a run of seconds has several rolls.
const SEGMENT: u64 = 16 * 1024 * 1024;
/// Bytes of old data that are read meanwhile.
const OLD_BYTES: u64 = 512 * 1024 * 1024;
/// How long producers go at their own pace, to see how fast they can.
const TRIAL: Duration = Duration::from_secs(1);
const RETAIN_EVERY: Duration = Duration::from_millis(100);

/// What a run gave.
struct Calm {
    rate: u32,
    from_append: Histogram<u64>,
    from_due: Histogram<u64>,
    background: Background,
    rolls: u64,
    waited: u64,
}

/// Runs it, with fio at the same rate after each run.
///
/// # Errors
/// The first failure.
pub(super) fn run(args: &All, place: &Place, fio: Option<&Fio>) -> Result<Outcome, BenchError> {
    let mut outcome = Outcome::of("calm");
    let (mut runs, mut alone, mut beside) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..args.repeats {
        let calm = once(args, place)?;
        if let Some(fio) = fio {
            let load = Load { block: 4096, depth: 1 };
            let nothing = Background { read_mb_per_s: 0.0, fill_mb_per_s: 0.0 };
            alone.push(fio.paced(load, calm.rate, args.seconds, nothing)?);
            beside.push(fio.paced(load, calm.rate, args.seconds, calm.background)?);
        }
        runs.push(calm);
    }
    let load = "W1 at half rate, with roll, zero-fill, retention and a full read";
    let at = |latency: fn(&Calm) -> &Histogram<u64>, quantile| -> Vec<f64> {
        runs.iter().map(|run| latency(run).value_at_quantile(quantile) as f64 / 1000.0).collect()
    };
    let theirs = |figures: &[crate::fio::Figures]| figures.iter().map(|one| one.p999_us).collect::<Vec<_>>();
    let from_append = Row::new(load, "p99.9 us from the append", at(|run| &run.from_append, 0.999));
    let with = "fio at the same rate, with the same reads and fills";
    outcome.rows.push(from_append.clone().beside(with, theirs(&beside)).goal(Goal::RatioAtMost(1.5)));
    outcome.rows.push(from_append.beside("fio at the same rate, alone", theirs(&alone)));
    // Judged too: a shard that falls behind the rate answers each append soon, and all of them late.
    let from_due = Row::new(load, "p99.9 us from the time due", at(|run| &run.from_due, 0.999));
    outcome.rows.push(from_due.beside(with, theirs(&beside)).goal(Goal::RatioAtMost(1.5)));
    outcome.rows.push(Row::new(load, "p50 us from the append", at(|run| &run.from_append, 0.5)).beside(
        "fio at the same rate, with the same reads and fills",
        beside.iter().map(|one| one.p50_us).collect(),
    ));
    let over = |figure: fn(&Calm) -> f64| runs.iter().map(figure).collect::<Vec<_>>();
    outcome.rows.push(Row::new(load, "commits/s asked for", over(|run| run.rate.into())));
    outcome.rows.push(Row::new(load, "MB/s read meanwhile", over(|run| run.background.read_mb_per_s)));
    outcome.rows.push(Row::new(load, "MB/s filled meanwhile", over(|run| run.background.fill_mb_per_s)));
    outcome.rows.push(Row::new(load, "segments begun", over(|run| run.rolls as f64)));
    outcome.rows.push(Row::new(load, "segments begun without a file ready", over(|run| run.waited as f64)));
    if let Some(run) = runs.last() {
        outcome.curve(load, "tidelog, from the append", &run.from_append);
        outcome.curve(load, "tidelog, from the time due", &run.from_due);
    }
    for (name, figures) in [("fio, alone", alone.last()), ("fio, with the same beside it", beside.last())] {
        if let Some(figures) = figures {
            outcome.fio_curve(load, name, figures);
        }
    }
    Ok(outcome)
}

fn once(args: &All, place: &Place) -> Result<Calm, BenchError> {
    // Without spares each new file is zero-filled, and each released one is removed.
    let options = Options { segment_bytes: SEGMENT, spares: 0, ..Options::default() };
    let setting = setting(options, Placement::Ring);
    let max = setting.options.max_batch();
    let (old, one) = (Pool::build(SHAPE, args.seed, max)?, Pool::build(ONE, args.seed, max)?);
    with_shard(&place.fresh_shard()?, &setting, async |wal| {
        for partition in [WRITTEN, OLD] {
            create(&wal, partition).await?;
        }
        fill(&wal, OLD, &old, OLD_BYTES).await?;
        let rate = half_rate(&wal, &one).await?;
        paced(&wal, &one, rate, Duration::from_secs(args.seconds.into())).await
    })
}

/// Half of what one producer reaches at its own pace.
async fn half_rate(wal: &Wal, pool: &Pool) -> Result<u32, BenchError> {
    let (begun, mut commits) = (Instant::now(), 0u32);
    while begun.elapsed() < TRIAL {
        wal.append(WRITTEN, pool.checked(commits as usize)).await?;
        commits += 1;
    }
    Ok((f64::from(commits) / begun.elapsed().as_secs_f64() / 2.0) as u32)
}

async fn paced(wal: &Wal, pool: &Pool, rate: u32, time: Duration) -> Result<Calm, BenchError> {
    let stats = wal.stats();
    let before = (Stats::get(&stats.rolls), Stats::get(&stats.rolls_waited), Stats::get(&stats.filled_bytes));
    let (mut from_append, mut from_due) = (histogram()?, histogram()?);
    let (due, mut dues) = mpsc::unbounded_channel();
    let reader = Reader::start(wal.clone());
    let retaining = tokio::task::spawn_local(retain(wal.clone()));
    let begun = Instant::now();
    // It ends by itself, when its time is over or nobody listens.
    std::thread::spawn(move || pace(rate, time, &due));
    let mut turn = 0;
    while let Some(due) = dues.recv().await {
        let appended = Instant::now();
        wal.append(WRITTEN, pool.checked(turn)).await?;
        let now = Instant::now();
        from_append.saturating_record(nanos(now - appended));
        from_due.saturating_record(nanos(now - due));
        turn += 1;
    }
    let seconds = begun.elapsed().as_secs_f64();
    let read_bytes = reader.stop().await?;
    retaining.abort();
    Ok(Calm {
        rate,
        from_append,
        from_due,
        background: Background {
            read_mb_per_s: read_bytes as f64 / seconds / 1e6,
            fill_mb_per_s: (Stats::get(&stats.filled_bytes) - before.2) as f64 / seconds / 1e6,
        },
        rolls: Stats::get(&stats.rolls) - before.0,
        waited: Stats::get(&stats.rolls_waited) - before.1,
    })
}

/// Says when each record is due, from a thread of its own: the runtime's timers know milliseconds only.
fn pace(rate: u32, time: Duration, due: &mpsc::UnboundedSender<Instant>) {
    let begun = Instant::now();
    let every = Duration::from_secs(1) / rate.max(1);
    for number in 0.. {
        let at = every * number;
        if at >= time {
            return;
        }
        std::thread::sleep(at.saturating_sub(begun.elapsed()));
        if due.send(begun + at).is_err() {
            return;
        }
    }
}

/// Keeps little of what is written and all that is old.
async fn retain(wal: Wal) {
    let policy =
        |partition| Some(Retention { max_bytes: (partition == WRITTEN).then_some(SEGMENT), max_age: None });
    // A closing shard needs no retention; a failing one fails the producer too.
    while wal.retain(&policy).await.is_ok() {
        tokio::time::sleep(RETAIN_EVERY).await;
    }
}

fn nanos(took: Duration) -> u64 {
    u64::try_from(took.as_nanos()).unwrap_or(u64::MAX)
}

/// Reads the old data again and again, on a thread of its own.
struct Reader {
    over: Arc<AtomicBool>,
    done: oneshot::Receiver<Result<u64, BenchError>>,
}

impl Reader {
    fn start(wal: Wal) -> Reader {
        let over = Arc::new(AtomicBool::new(false));
        let (reply, done) = oneshot::channel();
        let stop = Arc::clone(&over);
        std::thread::spawn(move || {
            // Whoever asked may be gone.
            let _ = reply.send(read_until(&wal, &stop));
        });
        Reader { over, done }
    }

    /// Stops it; gives the bytes that it read.
    async fn stop(self) -> Result<u64, BenchError> {
        self.over.store(true, Ordering::Relaxed);
        self.done.await.map_err(|_| BenchError::ClientGone)?
    }
}

fn read_until(wal: &Wal, over: &AtomicBool) -> Result<u64, BenchError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .map_err(BenchError::file("starting a runtime for", "a reader"))?;
    runtime.block_on(async {
        let mut bytes = 0;
        while !over.load(Ordering::Relaxed) {
            bytes += read_all(wal, OLD, &|| over.load(Ordering::Relaxed)).await?;
        }
        Ok(bytes)
    })
}
