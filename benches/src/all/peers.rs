//! Other people's embedded logs under the same loads: crates that only the bench package knows, behind the feature
//! `peers`.
//!
//! # What is measured
//! Each producer is a thread with one commit in flight (ours are tasks); a commit returns when it is durable.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use okaywal::{Configuration, Entry, LogManager, SegmentReader, WriteAheadLog};
use protobuf::well_known_types::BytesValue;
use raft_engine::{Config, Engine, LogBatch, MessageExt, ReadableSize};

use crate::BenchError;
use crate::args::Shape;
use crate::workload::Pool;

/// Commits a second of somebody else's log in an empty folder.
pub(super) type Peer = fn(&Path, Shape, &Pool, Duration) -> Result<f64, BenchError>;

/// By their names in the table.
pub(super) const PEERS: [(&str, Peer); 2] =
    [("okaywal 0.3, threads", okaywal), ("raft-engine 0.4, threads", raft_engine)];

/// Keeps nothing of what is checkpointed: the log alone is measured.
#[derive(Debug)]
struct Forget;

impl LogManager for Forget {
    fn recover(&mut self, _entry: &mut Entry<'_>) -> std::io::Result<()> {
        Ok(())
    }

    fn checkpoint_to(
        &mut self,
        _last: okaywal::EntryId,
        _entries: &mut SegmentReader,
        _wal: &WriteAheadLog,
    ) -> std::io::Result<()> {
        Ok(())
    }
}

fn okaywal(dir: &Path, shape: Shape, pool: &Pool, time: Duration) -> Result<f64, BenchError> {
    let failed = |source| BenchError::File { what: "okaywal in", path: dir.to_owned(), source };
    let log = Configuration::default_for(dir).open(Forget).map_err(failed)?;
    let commit = |_, _, batch: &[u8]| {
        let mut entry = log.begin_entry()?;
        entry.write_chunk(batch)?;
        entry.commit().map(|_| ())
    };
    let rate = commits_per_s(shape, pool, time, commit).map_err(failed)?;
    log.shutdown().map_err(failed)?;
    Ok(rate)
}

/// An entry of the Raft log: bytes that begin with their index.
struct Indexed;

impl MessageExt for Indexed {
    type Entry = BytesValue;

    fn index(entry: &BytesValue) -> u64 {
        entry.value.first_chunk().map_or(0, |index| u64::from_le_bytes(*index))
    }
}

/// Each producer writes the log of a Raft group of its own, as in a store with many of them.
fn raft_engine(dir: &Path, shape: Shape, pool: &Pool, time: Duration) -> Result<f64, BenchError> {
    let failed = |source| BenchError::File { what: "raft-engine in", path: dir.to_owned(), source };
    let config = Config {
        dir: dir.to_string_lossy().into_owned(),
        // The records are random bytes.
        batch_compression_threshold: ReadableSize(0),
        ..Config::default()
    };
    let engine = Engine::open(config).map_err(|error| failed(std::io::Error::other(error)))?;
    let commit = |producer: u32, turn: u64, batch: &[u8]| {
        let mut entry = BytesValue::new();
        entry.value.extend_from_slice(&turn.to_le_bytes());
        entry.value.extend_from_slice(batch);
        let mut entries = LogBatch::default();
        let group = u64::from(producer) + 1;
        let added = entries.add_entries::<Indexed>(group, &[entry]);
        added.and_then(|()| engine.write(&mut entries, true)).map(|_| ()).map_err(std::io::Error::other)
    };
    commits_per_s(shape, pool, time, commit).map_err(failed)
}

/// Runs the producers for `time`; each commits batch after batch: who, the number of the commit from 1, the bytes.
fn commits_per_s(
    shape: Shape,
    pool: &Pool,
    time: Duration,
    commit: impl Fn(u32, u64, &[u8]) -> std::io::Result<()> + Sync,
) -> std::io::Result<f64> {
    let (commit, commits, begun) = (&commit, &AtomicU64::new(0), Instant::now());
    let produce = |producer: u32| {
        move || {
            let step = shape.producers as usize;
            for (turn, number) in (producer as usize..).step_by(step).zip(1..) {
                if begun.elapsed() >= time {
                    break;
                }
                commit(producer, number, &pool.received(turn))?;
                commits.fetch_add(1, Ordering::Relaxed);
            }
            Ok(())
        }
    };
    std::thread::scope(|scope| {
        let running: Vec<_> = (0..shape.producers).map(|producer| scope.spawn(produce(producer))).collect();
        let gone = || Err(std::io::Error::other("a producer ended early"));
        running.into_iter().try_for_each(|one| one.join().unwrap_or_else(|_| gone()))
    })?;
    Ok(commits.load(Ordering::Relaxed) as f64 / begun.elapsed().as_secs_f64())
}
