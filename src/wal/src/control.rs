//! Entries other than batches that may be appended.

use bytes::Bytes;
use tidelog_format::entry::{EntryKind, MAX_CONTROL_LEN, Row};

use crate::error::AppendError;

/// Count in the row of an entry of the Raft group; a command of a node that is alone has 0.
const RAFT: u32 = 1;

/// A control entry.
#[derive(Debug, Clone)]
pub enum Control {
    /// The partition begins, at offset 0. The name is for people who read the files.
    CreatePartition {
        /// The partition.
        partition: u64,
        /// `topic/index`.
        name: String,
    },
    /// The partition ends; its records become unwanted.
    DeletePartition {
        /// The partition.
        partition: u64,
    },
    /// The partition goes on here, after it was in another shard. It takes batches again if it was closed.
    TakePartition {
        /// The partition.
        partition: u64,
        /// Offset of its next record.
        offset: u64,
        /// What its producers wrote last there, as [`crate::Wal::producers_of`] gives it.
        producers: Bytes,
    },
    /// Records below `offset` are not wanted any more. An offset behind the last record trims all.
    Trim {
        /// The partition.
        partition: u64,
        /// First wanted offset.
        offset: u64,
    },
    /// A command to the metadata state machine.
    Command {
        /// Its encoding.
        body: Bytes,
    },
    /// A part of a snapshot of the metadata state.
    Snapshot {
        /// Number of this part, from 0.
        part: u32,
        /// Number of parts.
        parts: u32,
        /// The part's bytes.
        body: Bytes,
    },
    /// An entry of the metadata's Raft group: at its index it is the newest.
    RaftEntry {
        /// Its index.
        index: u64,
        /// Its encoding.
        body: Bytes,
    },
    /// A vote of the metadata's Raft group; the newest one counts.
    RaftVote {
        /// Its encoding.
        body: Bytes,
    },
    /// Entries of the metadata's Raft group from an index on, written before this, are taken back.
    RaftTruncate {
        /// The first index that is taken back.
        from: u64,
    },
    /// Entries of the metadata's Raft group up to an index are covered by a snapshot and not wanted any more.
    RaftPurge {
        /// The last index that is not wanted.
        through: u64,
        /// The encoding of that entry's identity.
        body: Bytes,
    },
}

impl Control {
    /// Kind, row and body as they are framed.
    pub(crate) fn encode(self) -> Result<(EntryKind, Row, Bytes), AppendError> {
        let (kind, partition, base_offset, count, body) = match self {
            Control::CreatePartition { partition, name } => {
                (EntryKind::PartitionCreated, partition, 0, 0, Bytes::from(name))
            }
            Control::DeletePartition { partition } => {
                (EntryKind::PartitionDeleted, partition, 0, 0, Bytes::new())
            }
            Control::TakePartition { partition, offset, producers } => {
                (EntryKind::PartitionTaken, partition, offset, 0, producers)
            }
            Control::Trim { partition, offset } => (EntryKind::Trim, partition, offset, 0, Bytes::new()),
            Control::Command { body } => (EntryKind::Command, 0, 0, 0, body),
            Control::Snapshot { part, parts, body } => (EntryKind::Snapshot, 0, u64::from(part), parts, body),
            Control::RaftEntry { index, body } => (EntryKind::Command, 0, index, RAFT, body),
            Control::RaftVote { body } => (EntryKind::Vote, 0, 0, RAFT, body),
            Control::RaftTruncate { from } => (EntryKind::Truncate, 0, from, RAFT, Bytes::new()),
            Control::RaftPurge { through, body } => (EntryKind::Purge, 0, through, RAFT, body),
        };
        let too_large = || AppendError::TooLarge { len: body.len(), max: MAX_CONTROL_LEN };
        let length = u32::try_from(body.len()).map_err(|_| too_large())?;
        if body.len() > MAX_CONTROL_LEN {
            return Err(too_large());
        }
        Ok((kind, Row { partition, base_offset, length, count, kind: kind as u8 }, body))
    }
}
