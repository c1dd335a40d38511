//! Other people's embedded logs under the same loads: crates that only the bench package knows, behind the feature
//! `peers`.
//!
//! # What is measured
//! Each producer is a thread with one commit in flight (ours are tasks); a commit returns when it is durable.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use okaywal::{Configuration, Entry, LogManager, SegmentReader, WriteAheadLog};

use crate::BenchError;
use crate::args::Shape;
use crate::workload::Pool;

/// For the table.
pub(super) const OKAYWAL: &str = "okaywal 0.3, threads";

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

/// Commits a second of okaywal in the empty folder `dir`.
///
/// # Errors
/// Its own.
pub(super) fn okaywal(dir: &Path, shape: Shape, pool: &Pool, time: Duration) -> Result<f64, BenchError> {
    let failed = |source| BenchError::File { what: "okaywal in", path: dir.to_owned(), source };
    let log = Configuration::default_for(dir).open(Forget).map_err(failed)?;
    let commits = AtomicU64::new(0);
    let begun = Instant::now();
    let done: std::io::Result<()> = std::thread::scope(|scope| {
        let commit = |number: u32| {
            let (log, commits) = (&log, &commits);
            scope.spawn(move || -> std::io::Result<()> {
                let mut turn = number as usize;
                while begun.elapsed() < time {
                    let mut entry = log.begin_entry()?;
                    entry.write_chunk(pool.received(turn).as_ref())?;
                    entry.commit()?;
                    commits.fetch_add(1, Ordering::Relaxed);
                    turn += shape.producers as usize;
                }
                Ok(())
            })
        };
        let running: Vec<_> = (0..shape.producers).map(commit).collect();
        let gone = || Err(std::io::Error::other("a producer ended early"));
        running.into_iter().try_for_each(|one| one.join().unwrap_or_else(|_| gone()))
    });
    done.map_err(failed)?;
    let seconds = begun.elapsed().as_secs_f64();
    log.shutdown().map_err(failed)?;
    Ok(commits.load(Ordering::Relaxed) as f64 / seconds)
}
