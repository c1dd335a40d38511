//! What a frame carries: batches of partitions and control entries, each with a row in the frame's table.
//!
//! # Format
//! A table row is 32 bytes: partition u64, base_offset u64, length u32, count u32, kind u8, flags u8 (0),
//! reserved (6 bytes of 0). Kinds 1 to 127 must be understood, 128 to 255 may be skipped.

use crate::le;

/// Bytes of a table row.
pub const ROW_LEN: usize = 32;
/// First entry kind that a reader may skip when it does not know it.
pub const FIRST_SKIPPABLE: u8 = 128;
/// Longest body of one control entry, in bytes.
pub const MAX_CONTROL_LEN: usize = 4 * 1024 * 1024;

/// What an entry is. Numbers are fixed for ever; 0 is invalid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum EntryKind {
    /// A record batch of one partition, verbatim.
    Batch = 1,
    /// Identity of the segment; only in the first frame: [`crate::opening`].
    Opening = 2,
    /// A partition begins here; the body names it for people (UTF-8).
    PartitionCreated = 3,
    /// A partition ends here; nothing of it is wanted any more.
    PartitionDeleted = 4,
    /// Records of the partition below `base_offset` are not wanted any more.
    Trim = 5,
    /// A span starts: who leads it and who holds it; in the first frame behind its first opening frame:
    /// [`crate::span_start`].
    SpanStart = 6,
    /// A promise in the promise journal: [`crate::promise`].
    Promise = 7,
    /// A command to the metadata state machine (metadata shard only). In a Raft group `base_offset` is its index and
    /// `count` is 1; on a lone node both are 0.
    Command = 8,
    /// A part of a snapshot of the metadata state (metadata shard only); `base_offset` is the part's
    /// number, `count` the number of parts.
    Snapshot = 9,
    /// A vote of the metadata's Raft group; the newest one counts.
    Vote = 10,
    /// Entries of the metadata's Raft group from index `base_offset` on, written before this one, are taken back.
    Truncate = 11,
    /// Entries of the metadata's Raft group up to index `base_offset` are covered by a snapshot.
    Purge = 12,
    /// What a shard's partitions and producers are where a span starts; in the first frame behind its first opening
    /// frame: [`crate::shard_state`].
    ShardState = 13,
    /// A partition goes on here at `base_offset`, after it was in another shard: [`crate::partition_taken`].
    PartitionTaken = 14,
}

impl EntryKind {
    /// The kind with this number.
    pub fn from_number(number: u8) -> Option<EntryKind> {
        Some(match number {
            1 => EntryKind::Batch,
            2 => EntryKind::Opening,
            3 => EntryKind::PartitionCreated,
            4 => EntryKind::PartitionDeleted,
            5 => EntryKind::Trim,
            6 => EntryKind::SpanStart,
            7 => EntryKind::Promise,
            8 => EntryKind::Command,
            9 => EntryKind::Snapshot,
            10 => EntryKind::Vote,
            11 => EntryKind::Truncate,
            12 => EntryKind::Purge,
            13 => EntryKind::ShardState,
            14 => EntryKind::PartitionTaken,
            _ => return None,
        })
    }
}

/// One row of a frame's table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// The partition, or 0 where the kind has none.
    pub partition: u64,
    /// Offset of the batch's first record; other kinds give it their own meaning.
    pub base_offset: u64,
    /// Bytes of the entry's body.
    pub length: u32,
    /// Records in the batch; other kinds give it their own meaning.
    pub count: u32,
    /// Number of the [`EntryKind`].
    pub kind: u8,
}

impl Row {
    /// The row's bytes.
    pub fn encode(&self) -> [u8; ROW_LEN] {
        let mut out = [0; ROW_LEN];
        le::put(&mut out, 0, &self.partition.to_le_bytes());
        le::put(&mut out, 8, &self.base_offset.to_le_bytes());
        le::put(&mut out, 16, &self.length.to_le_bytes());
        le::put(&mut out, 20, &self.count.to_le_bytes());
        out[24] = self.kind;
        out
    }

    pub(crate) fn decode(bytes: &[u8]) -> Row {
        Row {
            partition: le::u64_at(bytes, 0),
            base_offset: le::u64_at(bytes, 8),
            length: le::u32_at(bytes, 16),
            count: le::u32_at(bytes, 20),
            kind: bytes[24],
        }
    }
}

/// An entry of a verified frame.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    /// Its row in the table.
    pub row: Row,
    /// Its body: a whole record batch, or a control entry's bytes.
    pub body: &'a [u8],
    /// Place of the body within the frame, in bytes from the frame's first.
    pub at: usize,
}

impl Entry<'_> {
    /// The entry's kind; `None` for a kind that may be skipped.
    pub fn kind(&self) -> Option<EntryKind> {
        EntryKind::from_number(self.row.kind)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_reads_back_and_leaves_flags_and_reserve_zero() {
        let row = Row { partition: u64::MAX, base_offset: 1 << 40, length: 77, count: 5, kind: 200 };
        let bytes = row.encode();
        assert_eq!(Row::decode(&bytes), row);
        assert_eq!(bytes[25..], [0; 7]);
    }

    #[test]
    fn every_kind_is_found_by_its_number_and_no_number_is_used_twice() {
        let kinds: Vec<_> = (0..=u8::MAX).filter_map(EntryKind::from_number).collect();
        assert_eq!(kinds.len(), 14);
        for kind in kinds {
            assert_eq!(EntryKind::from_number(kind as u8), Some(kind));
            assert!((1..FIRST_SKIPPABLE).contains(&(kind as u8)));
        }
    }
}
