//! A span as the rules see it: who holds it, how many of them must have a record, who leads.

use crate::planted::{self, Bug};

/// Random identity of a data directory.
pub type StoreId = [u8; 16];

/// Who holds a copy: a node with the data directory that it had when it became one. The same node with another
/// directory holds nothing, whatever it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Replica {
    /// The node.
    pub node: u64,
    /// Its data directory.
    pub store: StoreId,
}

/// One life of one node. After a restart it is somebody else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Process {
    /// The node.
    pub node: u64,
    /// Which of its starts.
    pub incarnation: u64,
}

/// A place between two frames of a shard: the LSN that comes next, and the chain value that its frame carries. Equal
/// places have equal frames before them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// LSN of the frame to come.
    pub lsn: u64,
    /// Its chain value.
    pub chain: u64,
}

/// How far a span has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SpanState {
    /// Its leader may append.
    Open,
    /// A coordinator is finding out where it ends.
    Sealing {
        /// The epoch at which it fences.
        attempt: u32,
    },
    /// It ends here for ever.
    Sealed {
        /// Behind its last frame.
        end: Place,
    },
}

/// A span as the metadata has it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Span {
    /// The shard.
    pub shard: u64,
    /// Its number, from the cluster's one counter.
    pub epoch: u32,
    /// Where it begins.
    pub base: Place,
    /// Who holds it.
    pub replicas: Vec<Replica>,
    /// How many of them make a frame durable before it is acknowledged (Q).
    pub quorum: usize,
    /// Who frames.
    pub leader: Process,
    /// How far it has come.
    pub state: SpanState,
}

impl Span {
    /// How many must be fenced before the end is known (F): any so many meet any Q of them.
    pub fn fence_quorum(&self) -> usize {
        let enough = (self.replicas.len() + 1).saturating_sub(self.quorum);
        if planted::has(Bug::SmallFence) { enough.saturating_sub(1).max(1) } else { enough }
    }

    /// Whether this store is a holder.
    pub fn is_held_by(&self, replica: &Replica) -> bool {
        self.replicas.contains(replica)
    }

    /// Whether this process leads. A node that restarted leads nothing: what it had sent before is not known to it.
    pub fn is_led_by(&self, process: &Process) -> bool {
        self.leader == *process || (planted::has(Bug::ResumedLeader) && self.leader.node == process.node)
    }

    /// Its end, once it is sealed.
    pub fn end(&self) -> Option<Place> {
        match self.state {
            SpanState::Sealed { end } => Some(end),
            SpanState::Open | SpanState::Sealing { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fence_quorum_meets_every_ack_quorum() {
        for n in 1..=7u64 {
            for quorum in n as usize / 2 + 1..=n as usize {
                let replicas: Vec<Replica> = (0..n).map(|node| Replica { node, store: [1; 16] }).collect();
                let span = Span {
                    shard: 1,
                    epoch: 1,
                    base: Place { lsn: 1, chain: 0 },
                    leader: Process { node: 0, incarnation: 1 },
                    state: SpanState::Open,
                    replicas,
                    quorum,
                };
                assert!(span.fence_quorum() + quorum > n as usize, "{quorum} of {n}");
                assert!(span.fence_quorum() >= 1);
            }
        }
    }

    #[test]
    fn a_holder_is_known_by_its_directory_and_a_leader_by_its_life() {
        let holder = Replica { node: 1, store: [1; 16] };
        let span = Span {
            shard: 1,
            epoch: 1,
            base: Place { lsn: 1, chain: 0 },
            replicas: vec![holder],
            quorum: 1,
            leader: Process { node: 1, incarnation: 4 },
            state: SpanState::Open,
        };
        assert!(span.is_held_by(&holder));
        assert!(!span.is_held_by(&Replica { store: [2; 16], ..holder }));
        assert!(span.is_led_by(&Process { node: 1, incarnation: 4 }));
        assert!(!span.is_led_by(&Process { node: 1, incarnation: 5 }));
    }
}
