//! What was acknowledged, and so must be served or be said to be gone.

use std::collections::{BTreeMap, BTreeSet};

/// A batch as it must be served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stored {
    /// All bytes, stamped.
    pub(crate) bytes: Vec<u8>,
    /// Offset behind its last record.
    pub(crate) next: u64,
    pub(crate) lsn: u64,
}

/// A partition that lives.
#[derive(Debug, Clone, Default)]
pub(crate) struct Partition {
    pub(crate) log_start: u64,
    pub(crate) next_offset: u64,
    /// By base offset.
    pub(crate) batches: BTreeMap<u64, Stored>,
    /// LSN of what changed it last other than by a batch.
    pub(crate) changed: u64,
}

/// A shard.
#[derive(Debug, Clone, Default)]
pub(crate) struct Shard {
    pub(crate) partitions: BTreeMap<u64, Partition>,
    /// Partitions that were deleted, and the LSN at which.
    pub(crate) deleted: BTreeMap<u64, u64>,
    /// Commands by LSN.
    pub(crate) commands: BTreeMap<u64, Vec<u8>>,
    /// The highest LSN that was acknowledged.
    pub(crate) last_lsn: u64,
}

impl Shard {
    /// LSNs of what must be served.
    pub(crate) fn wanted(&self) -> impl Iterator<Item = u64> {
        let batches = |partition: &Partition| {
            let wanted = partition.batches.values().filter(|stored| stored.next > partition.log_start);
            wanted.map(|stored| stored.lsn).collect::<Vec<_>>()
        };
        self.partitions.values().flat_map(batches)
    }

    /// Partitions that ever were.
    pub(crate) fn known(&self) -> BTreeSet<u64> {
        self.partitions.keys().chain(self.deleted.keys()).copied().collect()
    }
}

/// All of it, by shard.
pub(crate) type Truth = BTreeMap<u64, Shard>;
