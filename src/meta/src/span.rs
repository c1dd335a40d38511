//! Spans: stretches of a shard with one leader, one epoch and one fixed set of replicas.
//!
//! # Invariants
//! - A chain's spans follow each other without a hole: a span's base and chain value are the end and chain value of the
//!   one before it, and epochs grow. Only the last one may be open.
//! - A committed end and its chain value never change.

use serde::{Deserialize, Serialize};
use tidelog_format::Salt;

use crate::hex;

/// The most replicas of a span.
pub const MAX_REPLICAS: usize = 7;
/// The highest epoch: what Kafka's leader epochs hold.
pub const MAX_EPOCH: u32 = i32::MAX as u32;

/// The random identity of a data directory.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct StoreId(#[serde(with = "hex")] pub [u8; 16]);

impl std::fmt::Debug for StoreId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&hex::text(&self.0))
    }
}

impl std::fmt::Display for StoreId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&hex::text(&self.0))
    }
}

/// Who holds a copy of a span: a node, and the data directory it had when it became one. The same node with another
/// directory holds nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Replica {
    /// The node's number.
    pub node: u64,
    /// Its data directory.
    pub store: StoreId,
}

/// A node that holds a sealed span in the place of another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Substitute {
    /// Who was a replica of the span, and has no copy any more.
    pub old: Replica,
    /// Who has all of it.
    pub new: Replica,
}

/// Who writes a span: one life of one node. After a restart it is somebody else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Leader {
    /// The node's number.
    pub node: u64,
    /// Which of its process starts.
    pub incarnation: u64,
}

/// What a proposer says about a span to be opened; the state gives it its epoch and its base.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewSpan {
    /// Distinct nodes, 1 to [`MAX_REPLICAS`].
    pub replicas: Vec<Replica>,
    /// How many of them make a record durable before it is acknowledged.
    pub quorum: u8,
    /// One of the replicas, in its present life.
    pub leader: Leader,
    /// Salt of its first segment: random, never used before. Also tells a proposer that got no clear answer whether
    /// the span it finds is its own.
    #[serde(with = "hex")]
    pub salt: Salt,
}

/// A span as the metadata holds it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Span {
    /// Its number within the cluster; higher than those of all spans and seal attempts before it.
    pub epoch: u32,
    /// LSN of its first frame.
    pub base: u64,
    /// The chain value that its first frame carries on from.
    pub base_chain: u64,
    /// Who holds it, by node.
    pub replicas: Vec<Replica>,
    /// How many of them make a record durable before it is acknowledged.
    pub quorum: u8,
    /// Who writes it.
    pub leader: Leader,
    /// Salt of its first segment.
    #[serde(with = "hex")]
    pub salt: Salt,
    /// How far it has come.
    pub state: SpanState,
    /// Digest of the list of files that the last new replica was verified against.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manifest: Option<Manifest>,
}

/// Digest of a list of sealed files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Manifest(#[serde(with = "hex")] pub [u8; 16]);

/// How far a span has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum SpanState {
    /// Its leader may write.
    Open,
    /// Somebody is finding out where it ends. A later attempt takes over from an earlier one.
    Sealing {
        /// The epoch at which the replicas are fenced.
        attempt: u32,
        /// The number the proposer chose: tells it whether the attempt is its own.
        token: u64,
    },
    /// It ends for ever.
    Sealed {
        /// LSN behind its last frame.
        end: u64,
        /// The chain value there.
        chain: u64,
    },
}

impl Span {
    /// How many replicas must be fenced before its end is known: each set of that many meets each quorum.
    pub fn fence_quorum(&self) -> usize {
        (self.replicas.len() + 1).saturating_sub(usize::from(self.quorum))
    }

    /// Its end and the chain value there, once it is sealed.
    pub fn sealed(&self) -> Option<(u64, u64)> {
        match self.state {
            SpanState::Sealed { end, chain } => Some((end, chain)),
            SpanState::Open | SpanState::Sealing { .. } => None,
        }
    }

    /// Whether it is sealed and tells its shard's next leader what he must know: offsets and producers stand in the frame
    /// behind its opening frame.
    pub fn tells(&self) -> bool {
        self.sealed().is_some_and(|(end, _)| end > self.base.saturating_add(1))
    }

    /// Whether its end is not decided yet.
    pub fn is_unsealed(&self) -> bool {
        self.sealed().is_none()
    }

    /// Whether it has ended without a frame.
    pub fn is_empty(&self) -> bool {
        self.sealed().is_some_and(|(end, _)| end == self.base)
    }

    /// Whether a node holds a copy.
    pub fn is_on(&self, node: u64) -> bool {
        self.replicas.iter().any(|replica| replica.node == node)
    }
}

/// The spans of a shard, oldest first.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Chain {
    /// Those whose records are wanted, and the last one in any case. Never empty.
    pub spans: Vec<Span>,
    /// The most replicas that one of its spans ever had. Once it was three, no span acknowledges on one disk alone.
    pub widest: u8,
}

impl Chain {
    /// The span that is written to, or was written to last.
    pub fn last(&self) -> Option<&Span> {
        self.spans.last()
    }

    /// A span by its epoch.
    pub fn span(&self, epoch: u32) -> Option<&Span> {
        let at = self.spans.binary_search_by_key(&epoch, |span| span.epoch).ok()?;
        self.spans.get(at)
    }

    pub(crate) fn span_mut(&mut self, epoch: u32) -> Option<&mut Span> {
        let at = self.spans.binary_search_by_key(&epoch, |span| span.epoch).ok()?;
        self.spans.get_mut(at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fence_quorum_meets_every_ack_quorum() {
        for (n, quorum, fence) in [(1, 1, 1), (2, 2, 1), (3, 2, 2), (3, 3, 1), (5, 3, 3)] {
            let replicas = (0..n).map(|node| Replica { node, store: StoreId([1; 16]) }).collect();
            let span = Span {
                epoch: 1,
                base: 0,
                base_chain: 0,
                replicas,
                quorum,
                leader: Leader { node: 0, incarnation: 1 },
                salt: [0; 16],
                state: SpanState::Open,
                manifest: None,
            };
            assert_eq!(span.fence_quorum(), fence);
            assert!(span.fence_quorum() + usize::from(quorum) > span.replicas.len());
        }
    }
}
