//! How far a quorum has come: the only place where [`Committed`] is made.

use crate::planted::{self, Bug};
use crate::span::{Replica, Span};

/// Proof that the frames of a span below an LSN are durable on a quorum of its holders. What may be acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Committed {
    shard: u64,
    epoch: u32,
    end: u64,
}

impl Committed {
    /// The shard.
    pub fn shard(&self) -> u64 {
        self.shard
    }

    /// The span.
    pub fn epoch(&self) -> u32 {
        self.epoch
    }

    /// LSNs of the span below are committed.
    pub fn end(&self) -> u64 {
        self.end
    }
}

/// What the holders of a span have said to be durable.
///
/// # Invariants
/// `committed` never goes back. A holder that comes back with less than it had said is noted with less; what was
/// committed by its word then stays committed: the quorum's other holders have it.
#[derive(Clone, Debug)]
pub struct Quorum {
    shard: u64,
    epoch: u32,
    needed: usize,
    durable: Vec<(Replica, u64)>,
    committed: u64,
}

impl Quorum {
    /// Nothing of the span is durable anywhere yet.
    pub fn of(span: &Span) -> Quorum {
        assert!(
            (1..=span.replicas.len()).contains(&span.quorum),
            "a quorum of {} among {} holders",
            span.quorum,
            span.replicas.len()
        );
        let needed =
            if planted::has(Bug::WeakQuorum) { span.quorum.saturating_sub(1).max(1) } else { span.quorum };
        Quorum {
            shard: span.shard,
            epoch: span.epoch,
            needed,
            durable: span.replicas.iter().map(|replica| (*replica, span.base.lsn)).collect(),
            committed: span.base.lsn,
        }
    }

    /// LSNs below are committed.
    pub fn committed(&self) -> u64 {
        self.committed
    }

    /// What a holder has said last.
    pub fn durable(&self, replica: &Replica) -> Option<u64> {
        self.durable.iter().find(|(known, _)| known == replica).map(|(_, durable)| *durable)
    }

    /// Notes a holder's word. Gives the new committed end when it has moved. Whoever is no holder counts for nothing.
    pub fn note(&mut self, replica: &Replica, durable: u64) -> Option<Committed> {
        let (_, noted) = self.durable.iter_mut().find(|(known, _)| known == replica)?;
        *noted = durable;
        let mut ends: Vec<u64> = self.durable.iter().map(|(_, durable)| *durable).collect();
        ends.sort_unstable_by(|a, b| b.cmp(a));
        let end = ends.get(self.needed - 1).copied()?;
        if end <= self.committed {
            return None;
        }
        self.committed = end;
        Some(Committed { shard: self.shard, epoch: self.epoch, end })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::span::{Place, Process, SpanState};

    fn quorum(replicas: u64, needed: usize) -> Quorum {
        Quorum::of(&Span {
            shard: 1,
            epoch: 2,
            base: Place { lsn: 10, chain: 0 },
            replicas: (1..=replicas).map(replica).collect(),
            quorum: needed,
            leader: Process { node: 1, incarnation: 1 },
            state: SpanState::Open,
        })
    }

    fn replica(node: u64) -> Replica {
        Replica { node, store: [1; 16] }
    }

    #[test]
    fn the_qth_largest_end_is_committed() {
        let mut three = quorum(3, 2);
        assert_eq!(three.note(&replica(1), 15), None, "one disk is no quorum");
        assert_eq!(three.note(&replica(3), 12).map(|committed| committed.end()), Some(12));
        assert_eq!(three.note(&replica(2), 14).map(|committed| committed.end()), Some(14));
        assert_eq!(three.note(&replica(3), 14), None, "nothing moved");
        let mut one = quorum(1, 1);
        assert_eq!(one.note(&replica(1), 11).map(|committed| committed.end()), Some(11));
    }

    #[test]
    fn committed_never_goes_back_and_a_shrunken_holder_counts_for_what_it_has() {
        let mut three = quorum(3, 2);
        assert_eq!(three.note(&replica(2), 20), None);
        assert_eq!(three.note(&replica(2), 12), None, "it came back with less");
        let moved = three.note(&replica(1), 20).map(|committed| committed.end());
        assert_eq!(moved, Some(12), "and does not count for 20 any more");
        assert_eq!(three.note(&replica(1), 5), None);
        assert_eq!(three.committed(), 12);
    }

    #[test]
    fn whoever_is_no_holder_counts_for_nothing() {
        let mut three = quorum(3, 2);
        assert_eq!(three.note(&replica(1), 20), None);
        assert_eq!(three.note(&replica(4), 20), None, "another node");
        let empty_disk = Replica { node: 2, store: [9; 16] };
        assert_eq!(three.note(&empty_disk, 20), None, "another directory");
    }
}
