//! The state of the whole world between two steps.

use crate::config::{Config, MOST_ATTEMPTS, MOST_NODES, MOST_SPANS};
use crate::disk::Faults;
use crate::follower::Follower;
use crate::frames::{Frames, Lsn};
use crate::leader::Leader;
use crate::message::{Network, Node, Replica, SpanNumber};
use crate::metadata::Metadata;
use crate::sealer::Sealer;

/// What the world was told, which nobody in the model may look at: only the invariants do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Told {
    /// What producers were answered for: these frames are durable for ever.
    pub acked: Frames,
    /// The longest that a reader was given.
    pub read: Frames,
    /// What metadata said first about the content of the span, once it was sealed.
    pub sealed: Option<Frames>,
    /// How many copies of each frame the world itself destroyed.
    pub hurt: [u8; crate::frames::MOST_FRAMES],
}

/// Everything.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct State {
    /// The Raft group's state machine.
    pub metadata: Metadata,
    /// The data nodes' disks and what they remember.
    pub followers: [Follower; MOST_NODES],
    /// One process for each span.
    pub leaders: [Leader; MOST_SPANS],
    /// One for each attempt.
    pub sealers: [Sealer; MOST_ATTEMPTS],
    /// All messages ever sent.
    pub network: Network,
    /// What must be kept, for each span.
    pub told: [Told; MOST_SPANS],
    /// What broke so far.
    pub faults: Faults,
}

impl State {
    /// A first span, open on empty disks.
    pub fn first(config: &Config) -> Self {
        let mut leaders = [Leader::default(); MOST_SPANS];
        leaders[0] = Leader::of(0, 0);
        Self {
            metadata: Metadata::first(config),
            followers: [Follower::default(); MOST_NODES],
            leaders,
            sealers: [Sealer::default(); MOST_ATTEMPTS],
            network: Network::default(),
            told: [Told::default(); MOST_SPANS],
            faults: Faults::default(),
        }
    }

    /// What a node has on its disk.
    pub fn follower(&self, node: Node) -> &Follower {
        &self.followers[usize::from(node)]
    }

    /// Spans that were opened so far.
    pub fn spans(&self) -> impl Iterator<Item = SpanNumber> + use<> {
        0..self.metadata.opened
    }

    /// Whether `node` still has the store with which it holds the span.
    pub fn is_held_by(&self, span: SpanNumber, node: Node) -> bool {
        self.metadata.span(span).replicas[usize::from(node)] == self.follower(node).store
    }

    /// Whether a node's store may hold the span from its seal on: it takes the place of one that is known to be lost.
    pub fn may_substitute(&self, config: &Config, span: SpanNumber, replica: Replica) -> bool {
        let lost = self.metadata.store_of(span, replica.node) < replica.store;
        config.substitutes && lost && self.follower(replica.node).store == replica.store
    }

    /// Whether an intact, durable frame of this span and LSN is on a holder's disk.
    pub fn holds(&self, span: SpanNumber, node: Node, lsn: Lsn) -> bool {
        let tail = self.follower(node).tail(span);
        self.is_held_by(span, node) && lsn < tail.end && tail.frames.at(lsn).is_some()
    }
}
