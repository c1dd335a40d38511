//! The cluster's metadata: the real state machine, in one place that cannot fail. What is simulated is the way to it:
//! answers come late, or never, and then nobody knows whether the command was applied.

use std::collections::BTreeMap;
use std::rc::Rc;

use tidelog_meta::{Applied, Command, Illegal, NodeState, SpanState as MetaSpanState, State};
use tidelog_replica::follower::View;
use tidelog_replica::sealer::Substitute;
use tidelog_replica::span::{Place, Process, Replica, Span, SpanState};

/// The state that all agree on.
pub struct Truth {
    state: Rc<State>,
}

impl Default for Truth {
    fn default() -> Truth {
        Truth { state: Rc::new(State::default()) }
    }
}

impl Truth {
    /// The state now.
    pub fn state(&self) -> &Rc<State> {
        &self.state
    }

    /// Applies a command.
    pub fn apply(&mut self, command: &Command) -> Result<Applied, Illegal> {
        let mut state = State::clone(&self.state);
        let applied = state.apply(command)?;
        self.state = Rc::new(state);
        Ok(applied)
    }
}

/// A span of the metadata as the rules know it.
pub fn span(shard: u64, span: &tidelog_meta::Span) -> Span {
    Span {
        shard,
        epoch: span.epoch,
        base: Place { lsn: span.base, chain: span.base_chain },
        replicas: span.replicas.iter().map(replica_of).collect(),
        quorum: usize::from(span.quorum),
        leader: Process { node: span.leader.node, incarnation: span.leader.incarnation },
        state: match span.state {
            MetaSpanState::Open => SpanState::Open,
            MetaSpanState::Sealing { attempt, .. } => SpanState::Sealing { attempt },
            MetaSpanState::Sealed { end, chain } => SpanState::Sealed { end: Place { lsn: end, chain } },
        },
    }
}

/// A holder of the metadata as the rules know it.
pub fn replica_of(replica: &tidelog_meta::Replica) -> Replica {
    Replica { node: replica.node, store: replica.store.0 }
}

/// A holder of the rules as the metadata knows it.
pub fn meta_replica(replica: &Replica) -> tidelog_meta::Replica {
    tidelog_meta::Replica { node: replica.node, store: tidelog_meta::StoreId(replica.store) }
}

/// A substitute of the rules as the metadata knows it.
pub fn substitute(substitute: &Substitute) -> tidelog_meta::Substitute {
    let (old, new) = (meta_replica(&substitute.old), meta_replica(&substitute.new));
    tidelog_meta::Substitute { old, new }
}

/// Holders of a span that count no more.
pub fn lost(state: &State, shard: u64, epoch: u32) -> Vec<Replica> {
    let replicas = state.span(shard, epoch).map_or(&[][..], |span| &span.replicas);
    replicas.iter().filter(|replica| is_lost(state, replica.node)).map(replica_of).collect()
}

/// Who takes new copies, `turn` of them later first.
pub fn takers(state: &State, turn: usize) -> Vec<Replica> {
    let takes = state.nodes.iter().filter(|(_, known)| known.state == NodeState::ReadWrite);
    let mut takers: Vec<Replica> = takes.map(|(node, known)| replica_of(&known.replica(*node))).collect();
    if !takers.is_empty() {
        let turn = turn % takers.len();
        takers.rotate_left(turn);
    }
    takers
}

/// What a state says about a shard.
pub fn view(state: &State, shard: u64, current: bool) -> View {
    let chain = state.chains.get(&shard);
    let spans: BTreeMap<u32, Span> =
        chain.iter().flat_map(|chain| &chain.spans).map(|found| (found.epoch, span(shard, found))).collect();
    View { version: state.version, current, first: spans.keys().next().copied().unwrap_or(0), spans }
}

/// Whether what a node holds counts no more.
pub fn is_lost(state: &State, node: u64) -> bool {
    state.nodes.get(&node).is_none_or(|known| !known.state.counts())
}
