//! Where readers of old data stand, with what was read ahead for them: a partition that is read from end to end in many
//! calls is read from the disk once, and while the reader is busy with what it has.
//!
//! # Limits
//! [`crate::Options::read_ahead_bytes`] for all readers of a shard. A reader that has lost its place begins anew at its
//! position in the index, as every first read does.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::frames::Frames;
use crate::read_buffers::CHUNK;
use crate::segments::SegmentId;

/// A reader that has not come back after this time has lost its place.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(30);

/// A reader's place.
pub(crate) struct Cursor {
    pub(crate) partition: u64,
    /// The offset that it is going to ask for.
    pub(crate) next: u64,
    pub(crate) id: SegmentId,
    /// Offset behind the partition's last batch in the segment, as far as `frames` go.
    pub(crate) next_offset: u64,
    pub(crate) frames: Frames,
}

#[derive(Default)]
pub(crate) struct Cursors {
    /// The one that was used last stands at the end.
    kept: Mutex<VecDeque<(Instant, Cursor)>>,
    most: usize,
}

impl Cursors {
    /// For so many bytes: each reader holds what it is at and what comes next.
    pub(crate) fn within(bytes: usize) -> Cursors {
        Cursors { kept: Mutex::default(), most: bytes / (2 * CHUNK) }
    }

    /// The place of a reader that now asks for `offset`.
    pub(crate) fn take(&self, partition: u64, offset: u64) -> Option<Cursor> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let found =
            kept.iter().position(|(_, cursor)| (cursor.partition, cursor.next) == (partition, offset))?;
        kept.remove(found).map(|(_, cursor)| cursor)
    }

    /// Keeps a place; the one that was not used for longest goes when there are too many.
    pub(crate) fn keep(&self, cursor: Cursor) {
        if self.most == 0 {
            return;
        }
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= self.most {
            kept.pop_front();
        }
        kept.push_back((Instant::now(), cursor));
    }

    /// All readers have lost their places.
    pub(crate) fn forget_all(&self) {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Drops what belongs to readers that have gone.
    pub(crate) fn forget_old(&self) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        while kept.front().is_some_and(|(used, _)| used.elapsed() > FORGOTTEN_AFTER) {
            kept.pop_front();
        }
    }
}
