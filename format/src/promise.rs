//! A promise in the promise journal: this store takes nothing older than an epoch for a shard.
//!
//! # Format
//! The journal is the file `promises`, a segment of shard [`JOURNAL`] whose frames hold entries of kind
//! [`EntryKind::Promise`]: the row's partition is the shard, its base offset the promised epoch; there is no body. The
//! highest promise of a shard counts. When the file is full, it begins anew with the highest promise of every shard in
//! its first frame, under another name that is then renamed over it.
//!
//! # Durability
//! A promise is answered after the write that holds it has returned. So a journal whose end is not proved may lack one
//! that was answered: the store then takes the promises of its shards from a linearizable read of the metadata, in which
//! every attempt that could have fenced it is counted, before it answers anybody.

use crate::entry::{EntryKind, Row};

/// Shard number in the opening frame of a promise journal.
pub const JOURNAL: u64 = u64::MAX;

/// A promise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Promise {
    /// The shard.
    pub shard: u64,
    /// Lower epochs write nothing here any more.
    pub epoch: u32,
}

impl Promise {
    /// The entry's row. It has no body.
    pub fn row(&self) -> Row {
        Row {
            partition: self.shard,
            base_offset: u64::from(self.epoch),
            length: 0,
            count: 0,
            kind: EntryKind::Promise as u8,
        }
    }

    /// The promise in a row; `None` for other kinds and for an epoch that cannot be.
    pub fn of_row(row: &Row) -> Option<Promise> {
        let epoch = u32::try_from(row.base_offset).ok()?;
        (row.kind == EntryKind::Promise as u8).then_some(Promise { shard: row.partition, epoch })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_promise_reads_back_from_its_row_and_from_no_other() {
        let promise = Promise { shard: 7, epoch: u32::MAX };
        assert_eq!(Promise::of_row(&promise.row()), Some(promise));
        assert_eq!(Promise::of_row(&Row { kind: EntryKind::Trim as u8, ..promise.row() }), None);
        assert_eq!(Promise::of_row(&Row { base_offset: 1 << 32, ..promise.row() }), None);
    }
}
