//! Recent batches in memory, for readers at the tail: bounded in bytes over all partitions, oldest out first.
//!
//! # Invariants
//! Behind [`Tail::trim`] there are no more bytes than the bound. Between two of them, a frame's may come on top.

use std::collections::VecDeque;

use bytes::Bytes;
use rustc_hash::FxHashMap;

struct Kept {
    base_offset: u64,
    next_offset: u64,
    batch: Bytes,
}

pub(crate) struct Tail {
    /// Most bytes of batches.
    limit: usize,
    partitions: FxHashMap<u64, VecDeque<Kept>>,
    order: VecDeque<u64>,
    bytes: usize,
}

impl Tail {
    /// Keeps at most `limit` bytes of batches.
    pub(crate) fn within(limit: usize) -> Tail {
        Tail { limit, partitions: FxHashMap::default(), order: VecDeque::new(), bytes: 0 }
    }

    /// Adds a partition's next batch.
    pub(crate) fn push(&mut self, partition: u64, base_offset: u64, next_offset: u64, batch: Bytes) {
        if batch.len() > self.limit {
            self.forget(partition);
            return;
        }
        self.bytes += batch.len();
        self.partitions.entry(partition).or_default().push_back(Kept { base_offset, next_offset, batch });
        self.order.push_back(partition);
    }

    /// Drops the oldest batches beyond the bound.
    pub(crate) fn trim(&mut self) {
        while self.bytes > self.limit {
            let Some(oldest) = self.order.pop_front() else { break };
            self.drop_first(oldest);
        }
    }

    /// Offset behind the newest batch that is here of a partition.
    pub(crate) fn next_offset(&self, partition: u64) -> Option<u64> {
        Some(self.partitions.get(&partition)?.back()?.next_offset)
    }

    fn drop_first(&mut self, partition: u64) {
        if let Some(kept) = self.partitions.get_mut(&partition) {
            if let Some(first) = kept.pop_front() {
                self.bytes -= first.batch.len();
            }
            if kept.is_empty() {
                self.partitions.remove(&partition);
            }
        }
    }

    /// Drops all of a partition. Its entries in the order run empty later.
    pub(crate) fn forget(&mut self, partition: u64) {
        for kept in self.partitions.remove(&partition).into_iter().flatten() {
            self.bytes -= kept.batch.len();
        }
        self.order.retain(|other| *other != partition);
    }

    /// Batches from the one that holds `offset` on: at least one, then as many as fit into `max_bytes`. `None` when
    /// that batch is not here.
    pub(crate) fn read(&self, partition: u64, offset: u64, max_bytes: usize) -> Option<Vec<Bytes>> {
        let kept = self.partitions.get(&partition)?;
        if kept.front()?.base_offset > offset {
            return None;
        }
        let first = kept.partition_point(|kept| kept.next_offset <= offset);
        let mut bytes = 0;
        let mut out = Vec::new();
        for kept in kept.range(first..) {
            bytes += kept.batch.len();
            if bytes > max_bytes && !out.is_empty() {
                break;
            }
            out.push(kept.batch.clone());
        }
        (!out.is_empty()).then_some(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(len: usize) -> Bytes {
        Bytes::from(vec![7; len])
    }

    #[test]
    fn the_oldest_batches_go_first_over_all_partitions() {
        let mut tail = Tail::within(100);
        tail.push(1, 0, 10, batch(40));
        tail.push(2, 0, 5, batch(40));
        tail.push(1, 10, 20, batch(40));
        tail.trim();
        assert!(tail.read(1, 0, 1000).is_none(), "dropped");
        assert_eq!(tail.read(1, 12, 1000).map(|found| found.len()), Some(1));
        assert_eq!(tail.read(2, 0, 1000).map(|found| found.len()), Some(1));
        assert_eq!(tail.bytes, 80);
    }

    #[test]
    fn at_least_one_batch_is_given_however_little_is_asked_for() {
        let mut tail = Tail::within(100);
        tail.push(1, 0, 10, batch(40));
        tail.push(1, 10, 20, batch(40));
        assert_eq!(tail.read(1, 3, 1).map(|found| found.len()), Some(1));
        assert_eq!(tail.read(1, 3, 80).map(|found| found.len()), Some(2));
        assert!(tail.read(1, 20, 80).is_none(), "nothing there yet");
    }

    #[test]
    fn a_forgotten_partition_leaves_no_bytes_behind() {
        let mut tail = Tail::within(100);
        tail.push(1, 0, 10, batch(40));
        tail.push(2, 0, 10, batch(40));
        tail.forget(1);
        assert_eq!((tail.bytes, tail.order.len()), (40, 1));
        tail.push(2, 10, 20, batch(101));
        assert_eq!(tail.bytes, 0, "a batch over the limit leaves a gap, so nothing older may stay");
    }
}
