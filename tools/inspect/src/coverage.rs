//! Whether all offsets that are wanted are there, over all segments of a shard.
//!
//! Retention gives back any segment in which nobody wants a record, so a missing number alone is no loss. It is
//! one when an offset at or behind its partition's start is in no segment.

use std::collections::HashMap;
use std::ops::Range;

use tidelog_format::index::SegmentIndex;

/// Most partitions that are followed, and most ranges that are kept; a hostile file may name any number.
const MAX: usize = 1_000_000;

#[derive(Debug, Clone, Copy)]
struct Follow {
    next: u64,
    /// How many gaps there had been before its last batch.
    gaps: u64,
}

/// The offsets seen so far, in the order of the segments.
#[derive(Debug, Clone, Default)]
pub(crate) struct Coverage {
    partitions: HashMap<u64, Follow>,
    missing: Vec<(u64, Range<u64>)>,
    gaps: u64,
    /// Something was not read, so that nothing can be said about offsets that were not seen.
    unknown: bool,
}

impl Coverage {
    /// Segments are missing here.
    pub(crate) fn gap(&mut self) {
        self.gaps += 1;
    }

    /// Something here could not be read, and it is told elsewhere.
    pub(crate) fn lose(&mut self) {
        self.unknown = true;
        self.partitions.clear();
    }

    /// A partition begins.
    pub(crate) fn created(&mut self, partition: u64) {
        let gaps = self.gaps;
        if self.partitions.len() < MAX {
            self.partitions.entry(partition).or_insert(Follow { next: 0, gaps });
        }
    }

    /// A partition ends.
    pub(crate) fn deleted(&mut self, partition: u64) {
        self.partitions.remove(&partition);
    }

    /// A partition goes on here at an offset, after it was in another shard: what is before it is there.
    pub(crate) fn taken(&mut self, partition: u64, at: u64) {
        let gaps = self.gaps;
        if self.partitions.len() < MAX {
            let follow = self.partitions.entry(partition).or_insert(Follow { next: at, gaps });
            follow.next = follow.next.max(at);
        }
    }

    /// Offsets of which the file itself says that they are gone.
    pub(crate) fn gone(&mut self, partition: u64, range: &Range<u64>) {
        if let Some(follow) = self.partitions.get_mut(&partition)
            && follow.next == range.start
        {
            follow.next = range.end;
        }
    }

    /// A batch; gives the offset that it must have instead, when it follows in no way.
    pub(crate) fn batch(&mut self, partition: u64, offset: u64, next: u64) -> Option<u64> {
        let gaps = self.gaps;
        let known = self.partitions.get(&partition).copied();
        if known.is_none() && (self.unknown || self.partitions.len() >= MAX) {
            self.unknown = true;
            if self.partitions.len() < MAX {
                self.partitions.insert(partition, Follow { next, gaps });
            }
            return None;
        }
        // Created in a segment that is not here: it began with 0.
        let before = known.unwrap_or(Follow { next: 0, gaps: gaps.wrapping_sub(1) });
        self.partitions.insert(partition, Follow { next, gaps });
        if offset > before.next && before.gaps != gaps {
            self.miss(partition, before.next..offset);
            return None;
        }
        (offset != before.next).then_some(before.next)
    }

    fn miss(&mut self, partition: u64, range: Range<u64>) {
        if self.missing.len() < MAX {
            self.missing.push((partition, range));
        } else {
            self.unknown = true;
        }
    }

    /// The offsets that are wanted by `end`, the state behind the last segment, and in no segment; `None` when
    /// that can't be said. Ordered.
    pub(crate) fn wanted(&self, end: &SegmentIndex) -> Option<Vec<(u64, Range<u64>)>> {
        if self.unknown {
            return None;
        }
        let clip = |partition: u64, range: &Range<u64>| {
            let row = end.partition(partition)?;
            let wanted = range.start.max(row.log_start)..range.end;
            (!wanted.is_empty()).then_some((partition, wanted))
        };
        let within = self.missing.iter().filter_map(|(partition, range)| clip(*partition, range));
        let behind = end.partitions().filter_map(|row| {
            let seen = self.partitions.get(&row.partition).map_or(0, |follow| follow.next);
            clip(row.partition, &(seen..row.next_offset))
        });
        let mut wanted: Vec<_> = within.chain(behind).collect();
        wanted.sort_by_key(|(partition, range)| (*partition, range.start));
        Some(wanted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidelog_format::entry::{EntryKind, Row};

    fn end(log_start: u64, next: u64) -> SegmentIndex {
        let mut index = SegmentIndex::default();
        let row = |base_offset, count| Row { partition: 7, base_offset, length: 0, count, kind: 0 };
        index.note_control(EntryKind::PartitionCreated, &row(0, 0));
        index.note_batch(0, &row(next - 1, 1), (0, 0));
        index.note_control(EntryKind::Trim, &row(log_start, 0));
        index
    }

    #[test]
    fn offsets_behind_a_gap_are_wanted_from_the_start_of_their_partition_on() {
        let mut coverage = Coverage::default();
        coverage.created(7);
        assert_eq!(coverage.batch(7, 0, 3), None);
        coverage.gap();
        assert_eq!(coverage.batch(7, 9, 12), None);
        assert_eq!(coverage.wanted(&end(9, 12)), Some(vec![]));
        assert_eq!(coverage.wanted(&end(5, 12)), Some(vec![(7, 5..9)]));
        assert_eq!(coverage.wanted(&end(0, 15)), Some(vec![(7, 3..9), (7, 12..15)]));
    }

    #[test]
    fn a_partition_that_began_in_a_segment_that_is_gone_began_with_0() {
        let mut coverage = Coverage::default();
        assert_eq!(coverage.batch(7, 4, 6), None);
        assert_eq!(coverage.wanted(&end(0, 6)), Some(vec![(7, 0..4)]));
        assert_eq!(coverage.wanted(&end(4, 6)), Some(vec![]));
    }

    #[test]
    fn without_a_gap_every_jump_is_wrong() {
        let mut coverage = Coverage::default();
        coverage.created(7);
        assert_eq!(coverage.batch(7, 1, 2), Some(0));
        assert_eq!(coverage.batch(7, 1, 2), Some(2));
        coverage.gap();
        assert_eq!(coverage.batch(7, 1, 2), Some(2), "an offset twice is wrong behind a gap, too");
    }

    #[test]
    fn behind_damage_nothing_is_said() {
        let mut coverage = Coverage::default();
        coverage.lose();
        assert_eq!(coverage.batch(7, 4, 6), None);
        assert_eq!(coverage.batch(7, 6, 7), None);
        assert_eq!(coverage.wanted(&end(0, 7)), None);
    }
}
