//! Topics and where the records of their partitions are.

use serde::{Deserialize, Serialize};

/// How long the records of a topic are kept; also the class of shards that carry it, so that records of about the
/// same life share segments. Absent means without limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Retention {
    /// Milliseconds after which a record may go.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_age_ms: Option<u64>,
    /// Bytes of a partition that are kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_bytes: Option<u64>,
}

/// A live topic.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Topic {
    /// 32 hex digits, never used for another topic.
    pub id: String,
    /// How long its records are kept.
    pub retention: Retention,
    /// By number.
    pub partitions: Vec<Partition>,
}

/// A partition of a topic.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Partition {
    /// Never used for another partition.
    pub id: u64,
    /// Where its records are, by first offset; the last one takes new records. Offsets grow.
    placed: Vec<Placed>,
    /// First offset that is wanted.
    #[serde(default, skip_serializing_if = "is_zero")]
    start: u64,
}

/// From an offset on, in a shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Placed {
    /// Offset of the first record there.
    pub from: u64,
    /// The shard.
    pub shard: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn is_zero(offset: &u64) -> bool {
    *offset == 0
}

impl Partition {
    /// A partition without records, in a shard.
    pub(crate) fn new(id: u64, shard: u64) -> Partition {
        Partition { id, placed: vec![Placed { from: 0, shard }], start: 0 }
    }

    /// The shard that takes its records.
    pub fn shard(&self) -> u64 {
        self.placed.last().map_or(0, |placed| placed.shard)
    }

    /// Where its wanted records are, by first offset. Never empty.
    pub fn placed(&self) -> &[Placed] {
        &self.placed
    }

    /// First offset that is wanted.
    pub fn start(&self) -> u64 {
        self.start
    }

    /// Whether records of it may be in a shard.
    pub fn is_in(&self, shard: u64) -> bool {
        self.placed.iter().any(|placed| placed.shard == shard)
    }

    /// Whether it may go on elsewhere at this offset.
    pub(crate) fn may_move_at(&self, offset: u64) -> bool {
        offset >= self.start && self.placed.last().is_some_and(|last| offset >= last.from)
    }

    /// From `from` on its records go to `shard`. A place that never held a record is forgotten.
    pub(crate) fn go_on(&mut self, from: u64, shard: u64) {
        self.placed.retain(|placed| placed.from < from);
        self.placed.push(Placed { from, shard });
        self.forget_places();
    }

    /// Records below `start` are not wanted any more.
    pub(crate) fn trim(&mut self, start: u64) {
        self.start = start;
        self.forget_places();
    }

    /// Forgets places whose records are all below the start.
    fn forget_places(&mut self) {
        let first = self.placed.partition_point(|placed| placed.from <= self.start).saturating_sub(1);
        self.placed.drain(..first);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(partition: &Partition) -> Vec<(u64, u64)> {
        partition.placed().iter().map(|placed| (placed.from, placed.shard)).collect()
    }

    #[test]
    fn a_partition_moves_at_an_offset_and_leaves_places_behind_when_it_is_trimmed() {
        let mut partition = Partition::new(7, 1);
        partition.go_on(100, 2);
        partition.go_on(200, 1);
        assert_eq!(places(&partition), [(0, 1), (100, 2), (200, 1)]);
        assert!(!partition.may_move_at(199), "those offsets are in use");
        partition.trim(99);
        assert_eq!(places(&partition), [(0, 1), (100, 2), (200, 1)]);
        partition.trim(100);
        assert_eq!(places(&partition), [(100, 2), (200, 1)]);
        partition.trim(5000);
        assert_eq!(places(&partition), [(200, 1)], "new records still have a place");
    }

    #[test]
    fn an_empty_partition_moves_without_a_trace() {
        let mut partition = Partition::new(7, 1);
        partition.go_on(0, 2);
        assert_eq!(places(&partition), [(0, 2)]);
    }
}
