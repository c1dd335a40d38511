//! Reading back: a whole partition from the disk, and its tail while it grows.

use std::cell::Cell;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tidelog_wal::{Control, Options, Stats, Wal};

use crate::BenchError;
use crate::all::args::All;
use crate::all::outcome::{Goal, Outcome, Row};
use crate::args::{Io, Placement, Shape};
use crate::fio::{Fio, Load};
use crate::place::Place;
use crate::shard::{Setting, with_shard};
use crate::workload::Pool;

/// Batches of this shape fill what is read.
pub(super) const SHAPE: Shape = Shape { producers: 4, batch: 1000, record: 256, partitions: 1 };
/// Bytes that are stored before they are read back.
const STORED: u64 = 1 << 30;
/// Bytes that a reader asks for at a time, and fio with it.
pub(super) const ASKED: usize = 1 << 20;

/// Reads a partition from its beginning to its end, and fio its file at the same depth (one read at a time).
///
/// # Errors
/// The first failure.
pub(super) fn sequential(args: &All, place: &Place, fio: Option<&Fio>) -> Result<Outcome, BenchError> {
    let mut outcome = Outcome::of("read");
    let setting = setting(Options::default(), Placement::Own);
    let pool = Pool::build(SHAPE, args.seed, setting.options.max_batch())?;
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    with_shard(&place.fresh_shard()?, &setting, async |wal| {
        create(&wal, 1).await?;
        fill(&wal, 1, &pool, STORED).await?;
        for _ in 0..args.repeats {
            if let Some(fio) = fio {
                theirs.push(fio.read(Load { block: ASKED, depth: 1 }, args.seconds)?.mb_per_s);
            }
            let begun = Instant::now();
            let bytes = read_all(&wal, 1, &|| false).await?;
            ours.push(bytes as f64 / begun.elapsed().as_secs_f64() / 1e6);
        }
        Ok(())
    })?;
    let row = Row::new("sequential read of 1 GiB, cold, 1 MiB at a time", "MB/s", ours);
    outcome
        .rows
        .push(row.beside("fio, direct reads of 1 MiB, depth 1", theirs).goal(Goal::RatioAtLeast(0.9)));
    Ok(outcome)
}

/// Reads at the end of a partition while producers write to it as fast as they can.
///
/// # Errors
/// The first failure.
pub(super) fn tail(args: &All, place: &Place) -> Result<Outcome, BenchError> {
    let mut outcome = Outcome::of("tail");
    let setting = setting(Options::default(), Placement::Own);
    let pool = Pool::build(SHAPE, args.seed, setting.options.max_batch())?;
    let (mut read, mut written, mut misses) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..args.repeats {
        let time = Duration::from_secs(args.seconds.into());
        let run = async |wal: Wal| {
            create(&wal, 1).await?;
            let over = Cell::new(false);
            let begun = Instant::now();
            let writing = async {
                let done = write_for(&wal, 1, &pool, time).await;
                over.set(true);
                done
            };
            let (bytes, found) = tokio::join!(writing, follow(&wal, 1, &over));
            let seconds = begun.elapsed().as_secs_f64();
            Ok((bytes? as f64 / seconds / 1e6, found? as f64 / seconds / 1e6, misses_of(&wal)))
        };
        let (bytes, found, missed) = with_shard(&place.fresh_shard()?, &setting, run)?;
        written.push(bytes);
        read.push(found);
        misses.push(missed);
    }
    let load = "tail read while 4 producers write (W3)";
    outcome.rows.push(Row::new(load, "MB/s", read).beside("what the producers wrote meanwhile", written));
    outcome.rows.push(Row::new(load, "share of reads that went to the disk", misses));
    Ok(outcome)
}

fn misses_of(wal: &Wal) -> f64 {
    let stats = wal.stats();
    let (hits, misses) = (Stats::get(&stats.tail_hits), Stats::get(&stats.tail_misses));
    misses as f64 / (hits + misses).max(1) as f64
}

/// A shard with its defaults but for `options`.
pub(super) fn setting(options: Options, placement: Placement) -> Setting {
    Setting { options, io: Io::Uring, placement }
}

/// Makes a partition.
pub(super) async fn create(wal: &Wal, partition: u64) -> Result<(), BenchError> {
    wal.control(Control::CreatePartition { partition, name: format!("bench/{partition}") }).await?;
    Ok(())
}

/// Stores at least `bytes` of batches, four at a time.
pub(super) async fn fill(wal: &Wal, partition: u64, pool: &Pool, bytes: u64) -> Result<(), BenchError> {
    let mut turn = 0;
    while (turn * pool.stored()) as u64 <= bytes {
        append_four(wal, partition, pool, turn).await?;
        turn += 4;
    }
    Ok(())
}

async fn append_four(wal: &Wal, partition: u64, pool: &Pool, turn: usize) -> Result<(), BenchError> {
    let append = |turn| wal.append(partition, pool.checked(turn));
    let four = tokio::join!(append(turn), append(turn + 1), append(turn + 2), append(turn + 3));
    for one in [four.0, four.1, four.2, four.3] {
        one?;
    }
    Ok(())
}

/// Stores batches for a time; gives their bytes.
async fn write_for(wal: &Wal, partition: u64, pool: &Pool, time: Duration) -> Result<u64, BenchError> {
    let (begun, mut turn) = (Instant::now(), 0);
    while begun.elapsed() < time {
        append_four(wal, partition, pool, turn).await?;
        turn += 4;
    }
    Ok((turn * pool.stored()) as u64)
}

/// Reads from the first offset to the end, or until it is told to stop; gives the bytes of the batches.
pub(super) async fn read_all(wal: &Wal, partition: u64, stop: &dyn Fn() -> bool) -> Result<u64, BenchError> {
    let (mut offset, mut bytes) = (0, 0);
    while !stop() {
        let found = wal.read(partition, offset, ASKED).await?;
        let Some(last) = found.batches.last() else { break };
        bytes += found.batches.iter().map(|batch| batch.len() as u64).sum::<u64>();
        offset = base_offset(last) + u64::from(SHAPE.batch);
    }
    Ok(bytes)
}

/// Reads whatever is new until no more comes.
async fn follow(wal: &Wal, partition: u64, over: &Cell<bool>) -> Result<u64, BenchError> {
    let (mut offset, mut bytes) = (0, 0);
    loop {
        let found = wal.read(partition, offset, ASKED).await?;
        let Some(last) = found.batches.last() else {
            if over.get() {
                return Ok(bytes);
            }
            // The producers end with whole groups of four; after the last of them nobody would wake this reader.
            let _ = tokio::time::timeout(Duration::from_millis(5), wal.wait_beyond(partition, offset)).await;
            continue;
        };
        bytes += found.batches.iter().map(|batch| batch.len() as u64).sum::<u64>();
        offset = base_offset(last) + u64::from(SHAPE.batch);
    }
}

/// The offset of a stored batch's first record: its first field.
fn base_offset(batch: &Bytes) -> u64 {
    batch.first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes))
}
