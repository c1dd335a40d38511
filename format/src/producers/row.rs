//! What one producer wrote to one partition.

use super::snapshot::ProducerRow;
use super::{Judged, MAX_COUNT, MAX_RUN, Numbered, SequenceError};

/// Batches that are remembered of a producer in a partition. Kafka's clients have no more in flight.
pub const WINDOW: usize = 5;

/// Sequences count to this and go on with 0.
const SEQUENCES: u32 = 1 << 31;

/// How many sequences `to` is ahead of `from`.
fn ahead(from: u32, to: u32) -> u32 {
    to.wrapping_sub(from) & (SEQUENCES - 1)
}

/// A batch that was stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stored {
    /// Sequence of its first record.
    pub first_sequence: u32,
    /// Number of records.
    pub count: u32,
    /// Offset of its first record.
    pub base_offset: u64,
    /// LSN of its frame.
    pub lsn: u64,
}

impl Stored {
    /// The sequence that comes next.
    pub fn next_sequence(&self) -> u32 {
        self.first_sequence.wrapping_add(self.count) & (SEQUENCES - 1)
    }

    /// Whether the numbers are such as a batch can have.
    pub(super) fn is_well_formed(&self) -> bool {
        self.first_sequence < SEQUENCES
            && (1..=MAX_COUNT).contains(&self.count)
            && self.base_offset.checked_add(u64::from(self.count)).is_some()
            && self.lsn < u64::MAX
    }

    /// Whether `next` may stand behind this one in a row.
    pub(super) fn is_followed_by(&self, next: &Stored) -> bool {
        next.first_sequence == self.next_sequence()
            && next.lsn >= self.lsn
            && self.base_offset.checked_add(u64::from(self.count)).is_some_and(|end| next.base_offset >= end)
    }
}

/// The last batches of a row, oldest first; never empty.
#[derive(Clone, Copy, Debug)]
pub struct Window {
    batches: [Stored; WINDOW],
    len: usize,
}

impl Window {
    /// A window of one batch.
    pub fn new(first: Stored) -> Window {
        let mut batches = [Stored::default(); WINDOW];
        batches[0] = first;
        Window { batches, len: 1 }
    }

    /// Puts a batch behind the last; the oldest goes when there are more than [`WINDOW`].
    pub fn push(&mut self, next: Stored) {
        if self.len == WINDOW {
            self.batches.rotate_left(1);
            self.len -= 1;
        }
        self.batches[self.len] = next;
        self.len += 1;
    }

    /// The batches, oldest first.
    pub fn batches(&self) -> &[Stored] {
        &self.batches[..self.len]
    }

    /// The newest batch.
    pub fn last(&self) -> &Stored {
        &self.batches[self.len - 1]
    }

    /// The same batches, as if all stood in one frame.
    pub(super) fn in_frame(mut self, lsn: u64) -> Window {
        self.batches.iter_mut().take(self.len).for_each(|stored| stored.lsn = lsn);
        self
    }

    /// Sequences from the oldest batch's first to the newest's last.
    pub(super) fn sequences(&self) -> u32 {
        ahead(self.batches[0].first_sequence, self.last().next_sequence())
    }
}

impl PartialEq for Window {
    fn eq(&self, other: &Window) -> bool {
        self.batches() == other.batches()
    }
}

impl Eq for Window {}

#[derive(Clone, Debug)]
pub(super) struct Row {
    pub(super) key: (u64, i64),
    /// Where the frame of the last batch began, in blocks.
    pub(super) position: u64,
    epoch: i16,
    /// Sequences stored without a gap up to the newest, [`MAX_RUN`] at most.
    run: u32,
    pub(super) window: Window,
}

impl Row {
    pub(super) fn begin(key: (u64, i64), epoch: i16, first: Stored, position: u64) -> Row {
        Row { key, position, epoch, run: first.count, window: Window::new(first) }
    }

    pub(super) fn restore(row: &ProducerRow, position: u64) -> Row {
        let key = (row.partition, row.producer_id);
        Row { key, position, epoch: row.epoch, run: row.run, window: row.window }
    }

    pub(super) fn to_snapshot(&self, position: u64) -> ProducerRow {
        ProducerRow {
            partition: self.key.0,
            producer_id: self.key.1,
            epoch: self.epoch,
            run: self.run,
            age: u32::try_from(position.saturating_sub(self.position)).unwrap_or(u32::MAX),
            window: self.window,
        }
    }

    pub(super) fn lsn(&self) -> u64 {
        self.window.last().lsn
    }

    pub(super) fn judge(&self, batch: &Numbered) -> Judged {
        let (producer_id, got) = (batch.producer_id, batch.first_sequence);
        let expected = if batch.epoch > self.epoch { 0 } else { self.window.last().next_sequence() };
        if batch.epoch < self.epoch {
            return Judged::Refused(SequenceError::OldEpoch {
                producer_id,
                current: self.epoch,
                got: batch.epoch,
            });
        }
        if got == expected {
            return Judged::New;
        }
        if batch.epoch == self.epoch {
            let same = |stored: &&Stored| stored.first_sequence == got && stored.count == batch.count;
            if let Some(stored) = self.window.batches().iter().find(same) {
                return Judged::Duplicate(*stored);
            }
            let behind = ahead(got, expected);
            let below_window = behind.checked_sub(self.window.sequences());
            if behind <= self.run && below_window.is_some_and(|below| below >= batch.count) {
                return Judged::Refused(SequenceError::Forgotten { producer_id, got });
            }
        }
        Judged::Refused(SequenceError::OutOfOrder { producer_id, expected, got })
    }

    pub(super) fn note(&mut self, epoch: i16, stored: Stored, position: u64) {
        if epoch != self.epoch || !self.window.last().is_followed_by(&stored) {
            *self = Row::begin(self.key, epoch, stored, position);
            return;
        }
        self.window.push(stored);
        self.run = self.run.saturating_add(stored.count).min(MAX_RUN);
        self.position = position;
    }

    /// Gives what was stored in the frame `lsn` the LSN `to`; false when the newest batch is not of that frame.
    pub(super) fn renumber(&mut self, lsn: u64, to: u64) -> bool {
        if self.lsn() != lsn {
            return false;
        }
        let len = self.window.len;
        for stored in self.window.batches[..len].iter_mut().filter(|stored| stored.lsn == lsn) {
            stored.lsn = to;
        }
        true
    }
}
