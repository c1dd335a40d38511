//! How a shard is run.

use std::time::Duration;

use tidelog_format::batch::MAX_BATCH_LEN;
use tidelog_format::frame::largest_batch;
use tidelog_format::opening::{MAX_SEGMENT, MIN_SEGMENT};

use crate::error::OptionsError;

/// Settings of a shard. [`Options::default`] suits a data shard on a server.
#[derive(Debug, Clone)]
pub struct Options {
    /// Size of a segment, bytes: 64 KiB to 1 GiB, a multiple of 4 KiB. Default 128 MiB.
    pub segment_bytes: u64,
    /// A frame stops gathering at this size, bytes: 16 KiB to 8 MiB. Default 1 MiB. A larger batch makes a frame
    /// of its own.
    pub gather_bytes: usize,
    /// Bytes of batches that may wait or be in flight; producers wait beyond it. Default 32 MiB.
    pub queue_bytes: usize,
    /// Bytes of recent batches kept in memory for readers at the tail. Default 32 MiB.
    pub tail_bytes: usize,
    /// Bytes that readers of old data hold for what they are going to ask for next, all together. Default 20 MiB: eight
    /// readers.
    pub read_ahead_bytes: usize,
    /// After this long without work, the last write is marked as synced on disk. Default 5 ms.
    pub sync_mark_after: Duration,
    /// Go on after damage to acknowledged data: what can't be read is moved to lost+found. Default false.
    pub accept_loss: bool,
    /// Files kept ready for coming segments. Default 1.
    pub spares: usize,
    /// Pause between two 1 MiB pieces of zero-filling, so that the writer does not feel it. Default 2 ms.
    pub fill_pause: Duration,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            segment_bytes: 128 * 1024 * 1024,
            gather_bytes: 1024 * 1024,
            queue_bytes: 32 * 1024 * 1024,
            tail_bytes: 32 * 1024 * 1024,
            read_ahead_bytes: 20 * 1024 * 1024,
            sync_mark_after: Duration::from_millis(5),
            accept_loss: false,
            spares: 1,
            fill_pause: Duration::from_millis(2),
        }
    }
}

impl Options {
    /// Checks the ranges.
    ///
    /// # Errors
    /// The first field out of its range, with the range.
    pub fn validate(&self) -> Result<(), OptionsError> {
        let within = |name, value: u64, min: u64, max: u64| {
            if (min..=max).contains(&value) { Ok(()) } else { Err(OptionsError { name, value, min, max }) }
        };
        within("segment_bytes", self.segment_bytes, MIN_SEGMENT, MAX_SEGMENT)?;
        within("segment_bytes modulo 4096", self.segment_bytes % 4096, 0, 0)?;
        within("gather_bytes", self.gather_bytes as u64, 16 * 1024, 8 * 1024 * 1024)?;
        within("queue_bytes", self.queue_bytes as u64, 64 * 1024, 1 << 30)?;
        within("spares", self.spares as u64, 0, 64)
    }

    /// Longest batch that may be appended, bytes.
    pub fn max_batch(&self) -> usize {
        largest_batch(self.segment_bytes).min(MAX_BATCH_LEN)
    }
}
