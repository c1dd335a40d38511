//! What idempotent producers wrote last, so that a batch sent twice is stored once.
//!
//! # Purpose
//! A producer that hears nothing sends its batch again. Each of its batches carries the producer's id, its epoch and
//! the sequence of its first record; the table holds, per partition and producer, the last [`WINDOW`] batches, and
//! says of a batch whether it comes next, was stored already (and where), or must be refused. The leader asks it
//! ([`Producers::check`]) before it puts a batch into a frame, and whoever has the frame tells it
//! ([`Producers::note`], then [`Producers::end_frame`]).
//!
//! # Invariants
//! - It is a pure function of the frames and of the snapshot in the footer before them: the same on every replica, and
//!   after a restart or a failover the same as before. Nothing in it is a clock's.
//! - The batches of a row follow one upon the other, in sequence, offset and LSN.
//! - `run` counts the sequences that are known to be stored without a gap. A batch below the window is called a
//!   duplicate only when it lies within them: clients take that answer for success.
//!
//! # Limits
//! A row goes when its last batch is over [`MAX_AGE`] blocks of frames behind, or when there are more than [`MAX_ROWS`]
//! rows: then those of the frame that is longest ago go together. It goes with its partition, too. A producer without
//! a row may begin with any sequence.

mod recency;
mod row;
pub(crate) mod snapshot;

use std::collections::BTreeMap;

use crate::batch::{BatchHeader, MAX_DECOMPRESSED_LEN, MIN_RECORD_LEN};
use recency::Recency;
use row::Row;

pub use row::{Stored, WINDOW, Window};
pub use snapshot::{ProducerRow, ROW_LEN, STORED_LEN};

/// Most rows of a shard.
pub const MAX_ROWS: usize = 131_072;
/// How far back the last batch of a row may be, in blocks of frames: 4 GiB. Opening frames don't count.
pub const MAX_AGE: u32 = 1 << 20;
/// Most that `run` counts. Half of the sequences: what is further behind could as well be ahead.
pub const MAX_RUN: u32 = 1 << 30;
/// Most records of a batch that is looked at. No batch within the limits of the format has so many.
pub const MAX_COUNT: u32 = 1 << 24;
const _: () = assert!(MAX_DECOMPRESSED_LEN / MIN_RECORD_LEN < MAX_COUNT as usize);

/// How a batch of an idempotent producer is numbered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Numbered {
    /// The producer's id, not negative.
    pub producer_id: i64,
    /// Its epoch, not negative: a newer one fences all before it.
    pub epoch: i16,
    /// Sequence of the first record, below 2^31; behind the last one comes 0.
    pub first_sequence: u32,
    /// Number of records, 1 or more.
    pub count: u32,
}

impl Numbered {
    /// The numbers of a batch; `None` when it is not of an idempotent producer.
    pub fn of(batch: &BatchHeader) -> Option<Numbered> {
        if !batch.has_producer() || batch.producer_epoch < 0 {
            return None;
        }
        let first_sequence = u32::try_from(batch.base_sequence).ok()?;
        let numbered = Numbered {
            producer_id: batch.producer_id,
            epoch: batch.producer_epoch,
            first_sequence,
            count: batch.count,
        };
        (1..=MAX_COUNT).contains(&batch.count).then_some(numbered)
    }
}

/// Why a batch of an idempotent producer is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SequenceError {
    /// It is neither the next one nor one that was stored: something before it is missing, or it is cut otherwise
    /// than when it was sent first.
    #[error(
        "producer {producer_id} sent sequence {got} where {expected} comes next; send what is missing first, \
         or begin a new epoch with sequence 0"
    )]
    OutOfOrder {
        /// The producer.
        producer_id: i64,
        /// The sequence that comes next.
        expected: u32,
        /// The batch's first sequence.
        got: u32,
    },
    /// The producer, or another instance of it, has begun a newer epoch.
    #[error("producer {producer_id} is in epoch {current}, the batch is of epoch {got}, which is over")]
    OldEpoch {
        /// The producer.
        producer_id: i64,
        /// Its epoch.
        current: i16,
        /// The batch's.
        got: i16,
    },
    /// It was stored, and so many batches came behind it that its offset is not known any more.
    #[error(
        "the batch of producer {producer_id} with sequence {got} was stored before, its offset is forgotten"
    )]
    Forgotten {
        /// The producer.
        producer_id: i64,
        /// The batch's first sequence.
        got: u32,
    },
}

/// What is to be done with a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judged {
    /// Store it.
    New,
    /// It is stored already, there.
    Duplicate(Stored),
    /// Refuse it.
    Refused(SequenceError),
}

/// The table of a shard.
#[derive(Clone, Debug, Default)]
pub struct Producers {
    /// Row of a partition and a producer id.
    keys: BTreeMap<(u64, i64), u32>,
    rows: Recency,
    /// Blocks of frames so far, counted from anywhere: only differences matter.
    position: u64,
}

impl Producers {
    /// The table as the footer's snapshot has it.
    pub fn restore(snapshot: &[ProducerRow]) -> Producers {
        let mut oldest_first: Vec<&ProducerRow> = snapshot.iter().collect();
        oldest_first.sort_by_key(|row| row.window.last().lsn);
        let mut table = Producers { position: u64::from(MAX_AGE), ..Producers::default() };
        for row in oldest_first {
            let position = table.position.saturating_sub(u64::from(row.age));
            let slot = table.rows.push(Row::restore(row, position));
            table.keys.insert((row.partition, row.producer_id), slot);
        }
        table
    }

    /// The table as a footer holds it: by partition, then producer.
    pub fn snapshot(&self) -> Vec<ProducerRow> {
        self.keys.values().filter_map(|slot| Some(self.rows.get(*slot)?.to_snapshot(self.position))).collect()
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Says what is to be done with a batch for `partition`.
    pub fn check(&self, partition: u64, batch: &Numbered) -> Judged {
        let slot = self.keys.get(&(partition, batch.producer_id));
        slot.and_then(|slot| self.rows.get(*slot)).map_or(Judged::New, |row| row.judge(batch))
    }

    /// Notes a batch that is stored in the frame `lsn`, which is not below that of any noted before. One that does not
    /// follow its row begins it anew.
    pub fn note(&mut self, partition: u64, batch: &Numbered, base_offset: u64, lsn: u64) {
        let key = (partition, batch.producer_id);
        let stored = Stored { first_sequence: batch.first_sequence, count: batch.count, base_offset, lsn };
        if !stored.is_well_formed() {
            return;
        }
        match self.keys.get(&key) {
            Some(&slot) => {
                if let Some(row) = self.rows.get_mut(slot) {
                    row.note(batch.epoch, stored, self.position);
                }
                self.rows.touch(slot);
            }
            None => {
                let slot = self.rows.push(Row::begin(key, batch.epoch, stored, self.position));
                self.keys.insert(key, slot);
            }
        }
    }

    /// Ends a frame of so many blocks: what is too old by it goes.
    pub fn end_frame(&mut self, blocks: u32) {
        self.position += u64::from(blocks);
        let wanted = self.position.saturating_sub(u64::from(MAX_AGE));
        while self.rows.oldest().is_some_and(|row| row.position < wanted) {
            self.drop_oldest();
        }
        while self.keys.len() > MAX_ROWS
            && let Some(lsn) = self.rows.oldest().map(Row::lsn)
        {
            while self.rows.oldest().is_some_and(|row| row.lsn() == lsn) {
                self.drop_oldest();
            }
        }
    }

    fn drop_oldest(&mut self) {
        if let Some(row) = self.rows.pop_oldest() {
            self.keys.remove(&row.key);
        }
    }

    /// The frame that was noted as `lsn` got another number, before any frame behind it was noted.
    pub fn renumber(&mut self, lsn: u64, to: u64) {
        self.rows.newest_while(|row| row.renumber(lsn, to));
    }

    /// What the producers of a partition wrote last, for the shard in which it goes on: by producer, with LSN and age 0.
    pub fn of_partition(&self, partition: u64) -> Vec<ProducerRow> {
        let of_it = self.keys.range((partition, i64::MIN)..=(partition, i64::MAX));
        let rows = of_it.filter_map(|(_, slot)| self.rows.get(*slot));
        rows.map(|row| ProducerRow {
            age: 0,
            window: row.window.in_frame(0),
            ..row.to_snapshot(self.position)
        })
        .collect()
    }

    /// A partition goes on here, in the frame `lsn`, which is not below that of any noted before: what its producers wrote in
    /// another shard counts as if it stood in that frame.
    pub fn take(&mut self, partition: u64, rows: &[ProducerRow], lsn: u64) {
        self.forget_partition(partition);
        for row in rows.iter().filter(|row| row.partition == partition) {
            let row = ProducerRow { window: row.window.in_frame(lsn), ..row.clone() };
            let slot = self.rows.push(Row::restore(&row, self.position));
            self.keys.insert((partition, row.producer_id), slot);
        }
    }

    /// The partition ends.
    pub fn forget_partition(&mut self, partition: u64) {
        let of_it = (partition, i64::MIN)..=(partition, i64::MAX);
        let gone: Vec<_> = self.keys.range(of_it).map(|(key, slot)| (*key, *slot)).collect();
        for (key, slot) in gone {
            self.keys.remove(&key);
            self.rows.remove(slot);
        }
    }
}

#[cfg(test)]
mod tests;
