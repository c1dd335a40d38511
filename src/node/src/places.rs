//! # Purpose
//! Where the records of a partition are that has moved from shard to shard. The last place takes new records; what is older
//! is read from whoever holds the shard it stands in.
//!
//! # Invariants
//! - A partition takes records in its last place only, and not below the offset at which it came there.
//! - Where there are several places, the metadata says from where on records are wanted; the shards follow it.

use std::ops::Range;
use std::sync::Arc;

use tidelog_meta::{Partition, Placed};
use tidelog_wal::PartitionState;

/// The places of a partition, as the metadata has them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Places {
    /// By first offset; never empty.
    placed: Arc<[Placed]>,
    /// First offset that is wanted, at least.
    start: u64,
    /// The offset at which it comes to its last place, while it is on its way there.
    arrives_at: Option<u64>,
}

/// A place before the last one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Older {
    pub(crate) shard: u64,
    /// Offsets whose records are there.
    pub(crate) offsets: Range<u64>,
}

impl From<&Partition> for Places {
    fn from(partition: &Partition) -> Places {
        Places {
            placed: partition.placed().into(),
            start: partition.start(),
            arrives_at: partition.handed().map(|handed| handed.at),
        }
    }
}

impl Places {
    /// The shard that takes its records.
    pub(crate) fn shard(&self) -> u64 {
        self.placed.last().map_or(0, |placed| placed.shard)
    }

    /// All shards with records of it.
    pub(crate) fn shards(&self) -> impl Iterator<Item = u64> {
        self.placed.iter().map(|placed| placed.shard)
    }

    /// Whether it is on its way to its last place, and may not be there yet.
    pub(crate) fn arrives(&self) -> bool {
        self.arrives_at.is_some()
    }

    /// Whether records of it may be in other shards than the last one.
    pub(crate) fn are_several(&self) -> bool {
        self.placed.len() > 1
    }

    /// First offset of the last place.
    fn last_from(&self) -> u64 {
        self.placed.last().map_or(0, |placed| placed.from)
    }

    /// Places before the last one with records behind `offset`, by first offset.
    pub(crate) fn older(&self, offset: u64) -> impl Iterator<Item = Older> {
        let wanted = offset.max(self.start);
        let older = self.placed.windows(2).filter_map(move |two| match two {
            [one, next] if wanted < next.from => {
                Some(Older { shard: one.shard, offsets: one.from.max(wanted)..next.from })
            }
            _ => None,
        });
        older.filter(|older| !older.offsets.is_empty())
    }

    /// The place of an offset, if it is not the last one.
    pub(crate) fn before_last(&self, offset: u64) -> Option<Older> {
        self.older(offset).next().filter(|older| older.offsets.contains(&offset))
    }

    /// From where on records are wanted, if a shard lets go of its own up to `start`: no more than it has of the partition.
    /// `None` when that is nothing new.
    pub(crate) fn wanted_from(&self, shard: u64, start: u64) -> Option<u64> {
        let ends = self.placed.iter().skip(1).map(|next| next.from).chain([u64::MAX]);
        let of_it =
            self.placed.iter().zip(ends).filter(|(placed, _)| placed.shard == shard && placed.from < start);
        let offset = of_it.map(|(_, end)| start.min(end)).last()?;
        (offset > self.start).then_some(offset)
    }

    /// How the partition stands, of how its last place has it; `None` when it is not there yet.
    pub(crate) fn state(&self, here: PartitionState) -> Option<PartitionState> {
        // On its way it is there once an entry says so, and then a record or that entry has brought it to its offset: one
        // that comes back has been here before, with a lower one.
        if here.next_offset < self.arrives_at.unwrap_or(0).max(self.last_from()) {
            return None;
        }
        let from_here = !self.are_several() || here.log_start > self.last_from();
        let log_start = if from_here { here.log_start.max(self.start) } else { self.start };
        Some(PartitionState { log_start: log_start.min(here.next_offset), ..here })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(placed: &[(u64, u64)], start: u64, arrives_at: Option<u64>) -> Places {
        let placed = placed.iter().map(|(from, shard)| Placed { from: *from, shard: *shard }).collect();
        Places { placed, start, arrives_at }
    }

    fn here(log_start: u64, next_offset: u64) -> PartitionState {
        PartitionState { log_start, next_offset, active_bytes: 0 }
    }

    fn marks(state: Option<PartitionState>) -> Option<(u64, u64)> {
        state.map(|state| (state.log_start, state.next_offset))
    }

    #[test]
    fn an_offset_is_in_one_place() {
        let moved = places(&[(0, 1), (100, 2), (200, 1)], 40, None);
        let older = |offset| moved.before_last(offset).map(|older| (older.shard, older.offsets));
        assert_eq!(older(40), Some((1, 40..100)));
        assert_eq!(older(99), Some((1, 99..100)));
        assert_eq!(older(100), Some((2, 100..200)));
        assert_eq!((older(200), older(5000)), (None, None));
        assert_eq!(moved.older(0).count(), 2);
        assert_eq!(moved.older(150).count(), 1);
        let stays = places(&[(0, 1)], 0, None);
        assert_eq!((stays.before_last(0), stays.older(0).count()), (None, 0));
    }

    #[test]
    fn the_first_wanted_offset_is_the_metadata_s_where_there_are_several_places() {
        let moved = places(&[(0, 1), (100, 2)], 40, None);
        assert_eq!(marks(moved.state(here(100, 150))), Some((40, 150)));
        assert_eq!(marks(moved.state(here(120, 150))), Some((120, 150)), "trimmed in its last place");
        let stays = places(&[(100, 2)], 60, None);
        assert_eq!(marks(stays.state(here(100, 150))), Some((100, 150)));
        assert_eq!(marks(stays.state(here(130, 150))), Some((130, 150)));
    }

    #[test]
    fn a_shard_lets_go_of_no_record_of_another_one() {
        let moved = places(&[(0, 1), (100, 2), (200, 1)], 40, None);
        assert_eq!(moved.wanted_from(1, 60), Some(60));
        assert_eq!(moved.wanted_from(1, 30), None, "nothing new");
        assert_eq!(moved.wanted_from(1, 200), Some(100), "what is between is in shard 2");
        assert_eq!(moved.wanted_from(1, 250), Some(250), "what is older is not wanted either");
        assert_eq!(moved.wanted_from(2, 150), Some(150));
        assert_eq!(moved.wanted_from(2, 100), None);
    }

    #[test]
    fn a_partition_is_not_there_before_it_has_come_to_its_offset() {
        let moved = places(&[(0, 1), (100, 2)], 0, Some(100));
        assert_eq!(moved.state(here(0, 40)), None, "of an earlier stay");
        assert_eq!(marks(moved.state(here(0, 100))), Some((0, 100)));
    }
}
