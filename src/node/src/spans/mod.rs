//! # Purpose
//! The spans of this node's shards: who it is to the metadata ([`enrol`]), the seal of every old span at the start
//! ([`seal`]), and the leader of every open one ([`lead`]). What is decided is decided by `tidelog_replica`; here its
//! effects are carried out.
//!
//! # Invariants
//! - One code path from one node to many: a node alone is a replica set of itself, a quorum of one.
//! - The superblock is written before the metadata hears of it, a promise before anything that depends on it, the
//!   metadata's decision before a span's first frame.
//!
//! # Recovery
//! A start that ends anywhere is begun again by the next one, with a higher attempt: see [`seal`].

pub(crate) mod enrol;
pub(crate) mod generation;
pub(crate) mod lead;
#[cfg(test)]
mod past_tests;
pub(crate) mod seal;
#[cfg(test)]
mod start_tests;

use tidelog_format::Salt;
use tidelog_format::span_start::{Holder, SpanStart};
use tidelog_io::random;
use tidelog_meta::{Leader, NewSpan, Span as Listed, SpanState as ListedState, State, StoreId};
use tidelog_replica::span::{Place, Process, Replica, Span, SpanState};
use tidelog_wal::SpanBase;

/// This node with its data directory, in this life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Me {
    pub(crate) node: u64,
    pub(crate) store: [u8; 16],
    pub(crate) incarnation: u64,
}

impl Me {
    pub(crate) fn replica(&self) -> Replica {
        Replica { node: self.node, store: self.store }
    }

    pub(crate) fn process(&self) -> Process {
        Process { node: self.node, incarnation: self.incarnation }
    }

    /// A span that this node alone holds and leads.
    pub(crate) fn new_span(&self) -> NewSpan {
        NewSpan {
            replicas: vec![tidelog_meta::Replica { node: self.node, store: StoreId(self.store) }],
            quorum: 1,
            leader: Leader { node: self.node, incarnation: self.incarnation },
            salt: random::salt(),
        }
    }
}

/// Whether the newest span of a shard is held by this data directory. One without spans is of the time before there were
/// spans, when every node was alone.
pub(crate) fn is_here(state: &State, shard: u64, store: StoreId) -> bool {
    match state.last_span(shard) {
        Some(span) => span.replicas.iter().any(|replica| replica.store == store),
        None => state.nodes.values().all(|node| node.store == store),
    }
}

/// What is told of a shard's span.
#[derive(Debug, Clone)]
pub(crate) struct OpenedSpan {
    pub(crate) span: Span,
    pub(crate) salt: Salt,
    /// Epoch of the span before.
    pub(crate) previous: Option<u32>,
    /// How many spans the shard has, this one included.
    pub(crate) spans: usize,
    /// What the seal of the one before has found; none when there was none before.
    pub(crate) sealed: Option<Sealed>,
}

/// The end of the span before, as this start has found it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sealed {
    pub(crate) epoch: u32,
    pub(crate) end: u64,
    pub(crate) grade: tidelog_replica::message::Grade,
}

impl OpenedSpan {
    /// What its first frame says.
    pub(crate) fn start(&self) -> SpanStart {
        let Span { base, leader, replicas, quorum, .. } = &self.span;
        let mut holders: Vec<Holder> =
            replicas.iter().map(|one| Holder { node: one.node, store: one.store }).collect();
        holders.sort_unstable_by_key(|holder| holder.node);
        SpanStart {
            base_lsn: base.lsn,
            base_chain: base.chain,
            leader: leader.node,
            incarnation: leader.incarnation,
            previous: self.previous,
            quorum: u8::try_from(*quorum).unwrap_or(u8::MAX),
            holders,
        }
    }
}

/// A holder of the metadata's as the rules have it.
pub(crate) fn replica_of(listed: &tidelog_meta::Replica) -> Replica {
    Replica { node: listed.node, store: listed.store.0 }
}

/// A span of the metadata as the rules have it.
pub(crate) fn span_of(shard: u64, listed: &Listed) -> Span {
    Span {
        shard,
        epoch: listed.epoch,
        base: Place { lsn: listed.base, chain: listed.base_chain },
        replicas: listed.replicas.iter().map(replica_of).collect(),
        quorum: usize::from(listed.quorum),
        leader: Process { node: listed.leader.node, incarnation: listed.leader.incarnation },
        state: match listed.state {
            ListedState::Open => SpanState::Open,
            ListedState::Sealing { attempt, .. } => SpanState::Sealing { attempt },
            ListedState::Sealed { end, chain } => SpanState::Sealed { end: Place { lsn: end, chain } },
        },
    }
}

/// What the disk is held against.
pub(crate) fn base_of(listed: &Listed) -> SpanBase {
    SpanBase { epoch: listed.epoch, lsn: listed.base, chain: listed.base_chain, salt: listed.salt }
}
