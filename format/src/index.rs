//! The index of an open segment, built frame by frame: by the writer as it writes, by recovery as it
//! replays, by the inspector as it verifies. Sealing turns it into the [`crate::footer::Footer`].
//!
//! # Invariants
//! It is a pure function of the frames, so that every replica writes the same footer.

use rustc_hash::FxHashMap;

use crate::batch::BatchHeader;
use crate::block::{BLOCK, Salt};
use crate::entry::{EntryKind, Row};
use crate::footer::{Footer, PartitionIndex};
use crate::frame::Frame;
use crate::producers::{Numbered, Producers};
use crate::{partition_taken, shard_state};

#[derive(Debug, Clone)]
struct Tracked {
    row: PartitionIndex,
    /// Bytes since the last position.
    since: u64,
}

/// All live partitions of a shard and what the open segment holds of them, and what idempotent producers wrote last.
#[derive(Debug, Clone, Default)]
pub struct SegmentIndex {
    /// Partitions' numbers are given out by us, so that nobody can choose them to collide.
    partitions: FxHashMap<u64, Tracked>,
    producers: Producers,
    /// What producers wrote before is not known.
    producers_lost: bool,
    times: Option<(i64, i64)>,
}

/// Identity that a footer carries besides the index.
#[derive(Debug, Clone, Copy)]
pub struct SealedAs {
    /// Salt of the segment.
    pub salt: Salt,
    /// LSN of the opening frame.
    pub base_lsn: u64,
    /// LSN behind the last frame.
    pub next_lsn: u64,
    /// Chain value after the last frame.
    pub chain: u64,
    /// Epoch of the span.
    pub epoch: u32,
    /// Place of the footer, in blocks.
    pub block_index: u32,
}

impl SegmentIndex {
    /// The index of an empty segment behind the one with this footer.
    pub fn behind(footer: &Footer) -> SegmentIndex {
        let mut index = SegmentIndex::default();
        index.begin_with(footer);
        index
    }

    fn begin_with(&mut self, footer: &Footer) {
        self.learn_producers(footer);
        self.partitions.clear();
        for row in &footer.partitions {
            let row = PartitionIndex::empty(row.partition, row.log_start, row.next_offset);
            self.partitions.insert(row.partition, Tracked { row, since: 0 });
        }
    }

    /// The row of a live partition.
    pub fn partition(&self, partition: u64) -> Option<&PartitionIndex> {
        self.partitions.get(&partition).map(|tracked| &tracked.row)
    }

    /// The live partitions, in no order.
    pub fn partitions(&self) -> impl Iterator<Item = &PartitionIndex> {
        self.partitions.values().map(|tracked| &tracked.row)
    }

    /// Number of live partitions.
    pub fn len(&self) -> usize {
        self.partitions.len()
    }

    /// Whether no partition lives.
    pub fn is_empty(&self) -> bool {
        self.partitions.is_empty()
    }

    /// What idempotent producers wrote last.
    pub fn producers(&self) -> &Producers {
        &self.producers
    }

    /// Whether the producers are those that a footer would hold: nothing before is missing.
    pub fn knows_producers(&self) -> bool {
        !self.producers_lost
    }

    /// Says that what producers wrote before is not known.
    pub fn lose_producers(&mut self) {
        self.producers = Producers::default();
        self.producers_lost = true;
    }

    /// Takes the producers of the footer behind all that was noted.
    pub fn learn_producers(&mut self, footer: &Footer) {
        self.producers = Producers::restore(&footer.producers);
        self.producers_lost = false;
    }

    /// Append times of the first and the last frame, ms; `None` before the first.
    pub fn append_times(&self) -> Option<(i64, i64)> {
        self.times
    }

    /// Notes a verified frame with all its entries.
    pub fn note_frame(&mut self, frame: &Frame<'_>) {
        self.note_time(frame.header.append_time);
        let mut opening = false;
        for entry in frame.entries() {
            match entry.kind() {
                Some(EntryKind::Batch) => {
                    let batch = BatchHeader::parse(entry.body).ok();
                    let times = batch
                        .map_or((i64::MAX, i64::MIN), |batch| (batch.base_timestamp, batch.max_timestamp));
                    self.note_batch(frame.header.block_index, &entry.row, times);
                    if let Some(numbered) = batch.as_ref().and_then(Numbered::of) {
                        self.note_numbered(&numbered, &entry.row, frame.header.lsn);
                    }
                }
                // What stands here is what every index behind the same frames says, and all that one knows which begins
                // with this span. Damage there is none: the frame is verified.
                Some(EntryKind::ShardState) => {
                    if let Ok(footer) = shard_state::decode(&entry.row, entry.body) {
                        self.begin_with(&footer);
                    }
                }
                Some(EntryKind::PartitionTaken) => {
                    self.take_partition(&entry.row, entry.body, frame.header.lsn);
                }
                Some(kind) => {
                    opening |= kind == EntryKind::Opening;
                    self.note_control(kind, &entry.row);
                }
                None => {}
            }
        }
        if !opening {
            self.end_frame(u32::try_from(frame.bytes().len() / BLOCK).unwrap_or(u32::MAX));
        }
    }

    /// Notes the append time of the frame that comes next.
    pub fn note_time(&mut self, append_time: i64) {
        self.times = Some((self.times.map_or(append_time, |times| times.0), append_time));
    }

    /// Notes a batch in the frame at `block`; `times` are its base and largest timestamp, ms. A batch of a
    /// partition that does not live is ignored: nothing of it is wanted.
    pub fn note_batch(&mut self, block: u32, row: &Row, times: (i64, i64)) {
        if let Some(tracked) = self.partitions.get_mut(&row.partition) {
            let next = row.base_offset.saturating_add(u64::from(row.count));
            let bytes = u64::from(row.length);
            tracked.row.note(block, row.base_offset, next, times, bytes, &mut tracked.since);
        }
    }

    /// Notes how a batch that was just noted is numbered by its producer; `lsn` is that of its frame.
    pub fn note_numbered(&mut self, numbered: &Numbered, row: &Row, lsn: u64) {
        if self.partitions.contains_key(&row.partition) {
            self.producers.note(row.partition, numbered, row.base_offset, lsn);
        }
    }

    /// Ends a frame of so many blocks, all of whose entries were noted. Not told of opening frames.
    pub fn end_frame(&mut self, blocks: u32) {
        self.producers.end_frame(blocks);
    }

    /// Notes that a partition goes on here, in the frame `lsn`, after it was in another shard. What is there of it from before
    /// stays; where it is known to have come further already, its offsets stay too.
    pub fn take_partition(&mut self, row: &Row, body: &[u8], lsn: u64) {
        let (partition, at) = (row.partition, row.base_offset);
        let empty = Tracked { row: PartitionIndex::empty(partition, at, at), since: 0 };
        let here = &mut self.partitions.entry(partition).or_insert(empty).row;
        if !here.has_batches() {
            here.first_offset = here.first_offset.max(at);
        }
        here.next_offset = here.next_offset.max(at);
        // Damage there is none: the frame is verified.
        self.producers.take(partition, &partition_taken::decode(partition, body).unwrap_or_default(), lsn);
    }

    /// Notes a control entry that has no body to be looked into.
    pub fn note_control(&mut self, kind: EntryKind, row: &Row) {
        match kind {
            EntryKind::PartitionCreated => {
                let empty = PartitionIndex::empty(row.partition, 0, 0);
                self.partitions.entry(row.partition).or_insert(Tracked { row: empty, since: 0 });
            }
            EntryKind::PartitionDeleted => {
                self.partitions.remove(&row.partition);
                self.producers.forget_partition(row.partition);
            }
            EntryKind::Trim => {
                if let Some(tracked) = self.partitions.get_mut(&row.partition) {
                    let start = row.base_offset.min(tracked.row.next_offset);
                    tracked.row.log_start = tracked.row.log_start.max(start);
                }
            }
            _ => {}
        }
    }

    /// Ends the segment: gives its footer and goes on as the index of the empty segment behind it.
    pub fn seal(&mut self, id: &SealedAs) -> Footer {
        let (first_append_time, last_append_time) = self.times.take().unwrap_or_default();
        let mut partitions = Vec::with_capacity(self.partitions.len());
        for tracked in self.partitions.values_mut() {
            let row = &tracked.row;
            let empty = PartitionIndex::empty(row.partition, row.log_start, row.next_offset);
            partitions.push(std::mem::replace(&mut tracked.row, empty));
            tracked.since = 0;
        }
        partitions.sort_unstable_by_key(|row| row.partition);
        Footer {
            salt: id.salt,
            base_lsn: id.base_lsn,
            next_lsn: id.next_lsn,
            chain: id.chain,
            epoch: id.epoch,
            block_index: id.block_index,
            first_append_time,
            last_append_time,
            partitions,
            producers: self.producers.snapshot(),
        }
    }
}

#[cfg(test)]
mod tests;
