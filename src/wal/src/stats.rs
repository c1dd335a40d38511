//! What a shard counts.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Number of power-of-two buckets of commit latency, from under 1 us to over 4 s.
pub const COMMIT_BUCKETS: usize = 24;

/// Counters of one shard since it was opened. Read with [`Stats::get`].
#[derive(Debug, Default)]
pub struct Stats {
    /// Writes that returned (group commits).
    pub commits: AtomicU64,
    /// Batches made durable.
    pub batches: AtomicU64,
    /// Records made durable.
    pub records: AtomicU64,
    /// Bytes of batches made durable.
    pub batch_bytes: AtomicU64,
    /// Bytes of frames written, headers, tables and padding included, end blocks not.
    pub frame_bytes: AtomicU64,
    /// Bytes of padding in those frames.
    pub padding_bytes: AtomicU64,
    /// Batches that idempotent producers sent again, answered with what was stored before.
    pub duplicates: AtomicU64,
    /// Batches refused because they do not follow what their producer sent before.
    pub out_of_order: AtomicU64,
    /// Batches refused because their producer's epoch is over.
    pub old_epochs: AtomicU64,
    /// Batches refused because they were stored before, nobody knows any more where.
    pub forgotten: AtomicU64,
    /// Producers, each once for each of its partitions, of which the last batches are remembered.
    pub producers: AtomicU64,
    /// Nanoseconds spent waiting for writes.
    pub write_nanos: AtomicU64,
    /// Writes by duration: bucket `b` counts those under `2^b` microseconds and not under half of it.
    pub commit_micros: [AtomicU64; COMMIT_BUCKETS],
    /// Segments begun.
    pub rolls: AtomicU64,
    /// Of those, how many had no file ready.
    pub rolls_waited: AtomicU64,
    /// End blocks rewritten as synced.
    pub sync_marks: AtomicU64,
    /// Segments sealed.
    pub seals: AtomicU64,
    /// Files of unwanted segments put aside for reuse.
    pub recycled: AtomicU64,
    /// Bytes filled with zeroes ahead of use.
    pub filled_bytes: AtomicU64,
    /// Bytes waiting or in flight now.
    pub queue_bytes: AtomicU64,
    /// Reads answered from memory.
    pub tail_hits: AtomicU64,
    /// Reads that went to the disk.
    pub tail_misses: AtomicU64,
    /// Read operations on the disk.
    pub disk_reads: AtomicU64,
    /// Segments on disk now.
    pub segments: AtomicU64,
    /// Next LSN: all below are durable on this disk.
    pub next_lsn: AtomicU64,
    /// All LSNs below are committed.
    pub committed_lsn: AtomicU64,
}

impl Stats {
    /// Reads a counter.
    pub fn get(counter: &AtomicU64) -> u64 {
        counter.load(Ordering::Relaxed)
    }

    pub(crate) fn add(counter: &AtomicU64, by: u64) {
        counter.fetch_add(by, Ordering::Relaxed);
    }

    pub(crate) fn wrote(&self, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let bucket = (u64::BITS - micros.leading_zeros()) as usize;
        Stats::add(&self.commit_micros[bucket.min(COMMIT_BUCKETS - 1)], 1);
        Stats::add(&self.write_nanos, u64::try_from(took.as_nanos()).unwrap_or(u64::MAX));
        Stats::add(&self.commits, 1);
    }
}
