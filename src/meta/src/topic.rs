//! Topics and where the records of their partitions are.

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::hex;

/// Most bytes that are carried with a partition that moves: what some thousand producers wrote last.
pub const MAX_CARRIED: usize = 256 * 1024;

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

/// Whether only the nodes themselves write a topic.
pub(crate) fn is_internal(topic: &str) -> bool {
    topic.starts_with("__")
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
    /// First offset that is wanted. Of a partition in one place its shard may know a higher one.
    #[serde(default, skip_serializing_if = "is_zero")]
    start: u64,
    /// It has moved to the last place, and is not there yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    handed: Option<Handed>,
}

/// A partition on its way to another shard.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Handed {
    /// The offset of its next record.
    pub at: u64,
    /// What its producers wrote last.
    #[serde(default, skip_serializing_if = "Carried::is_empty")]
    pub producers: Carried,
}

/// Bytes that the metadata carries and does not look into; hex digits in the journal.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct Carried(Vec<u8>);

impl From<Vec<u8>> for Carried {
    fn from(bytes: Vec<u8>) -> Carried {
        Carried(bytes)
    }
}

impl Carried {
    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// Whether nothing is carried.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl std::fmt::Debug for Carried {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

impl Serialize for Carried {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&hex::text_of(&self.0))
    }
}

impl<'de> Deserialize<'de> for Carried {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Carried, D::Error> {
        let text = String::deserialize(from)?;
        hex::bytes_of(&text)
            .map(Carried)
            .ok_or_else(|| D::Error::custom("not of pairs of lower-case hex digits"))
    }
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
        Partition { id, placed: vec![Placed { from: 0, shard }], start: 0, handed: None }
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

    /// What goes along with it to its last place, until it is there.
    pub fn handed(&self) -> Option<&Handed> {
        self.handed.as_ref()
    }

    /// Whether records of it may be in a shard.
    pub fn is_in(&self, shard: u64) -> bool {
        self.placed.iter().any(|placed| placed.shard == shard)
    }

    /// Whether it may go on elsewhere at this offset.
    pub(crate) fn may_move_at(&self, offset: u64) -> bool {
        offset >= self.start && self.placed.last().is_some_and(|last| offset >= last.from)
    }

    /// From `handed.at` on its records go to `shard`. A place that never held a record is forgotten.
    pub(crate) fn go_on(&mut self, shard: u64, start: u64, handed: Handed) {
        let from = handed.at;
        self.placed.retain(|placed| placed.from < from);
        if self.shard() != shard || self.placed.is_empty() {
            self.placed.push(Placed { from, shard });
        }
        self.handed = Some(handed);
        self.trim(self.start.max(start));
    }

    /// It is where it was to go.
    pub(crate) fn arrive(&mut self) {
        self.handed = None;
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

    fn handed(at: u64) -> Handed {
        Handed { at, producers: Carried::default() }
    }

    fn places(partition: &Partition) -> Vec<(u64, u64)> {
        partition.placed().iter().map(|placed| (placed.from, placed.shard)).collect()
    }

    #[test]
    fn a_partition_moves_at_an_offset_and_leaves_places_behind_when_it_is_trimmed() {
        let mut partition = Partition::new(7, 1);
        partition.go_on(2, 0, handed(100));
        partition.go_on(1, 0, handed(200));
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
        partition.go_on(2, 0, handed(0));
        assert_eq!(places(&partition), [(0, 2)]);
    }

    #[test]
    fn a_partition_that_comes_back_without_a_record_was_never_away() {
        let mut partition = Partition::new(7, 1);
        partition.go_on(2, 0, handed(100));
        partition.go_on(1, 40, handed(100));
        assert_eq!((places(&partition), partition.start()), (vec![(0, 1)], 40));
        assert_eq!(partition.handed().map(|handed| handed.at), Some(100));
        partition.arrive();
        assert_eq!(partition.handed(), None);
    }

    #[test]
    fn what_is_carried_reads_back_and_nothing_else_does() {
        let carried = Carried::from(vec![0, 1, 0xfe]);
        let text = serde_json::to_string(&carried).unwrap();
        assert_eq!(text, r#""0001fe""#);
        assert_eq!(serde_json::from_str::<Carried>(&text).unwrap(), carried);
        for bad in [r#""0""#, r#""0G""#, r#""FE""#, "5"] {
            assert!(serde_json::from_str::<Carried>(bad).is_err(), "{bad}");
        }
    }
}
