//! The cluster's metadata: the real state machine, in one place that cannot fail. What is simulated is the way to it:
//! answers come late, or never, and then nobody knows whether the command was applied.

use std::collections::BTreeMap;
use std::rc::Rc;

use tidelog_meta::{Applied, Command, Illegal, SpanState as MetaSpanState, State};
use tidelog_replica::follower::View;
use tidelog_replica::planted::{self, Bug};
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
        if planted::has(Bug::UnconditionalSeal)
            && let Command::CommitSeal { shard, epoch, end, chain, .. } = command
        {
            return self.overwrite(state, command, (*shard, *epoch), (*end, *chain));
        }
        let applied = state.apply(command)?;
        self.state = Rc::new(state);
        Ok(applied)
    }

    /// The seal without its condition: whoever comes last is right.
    fn overwrite(
        &mut self,
        mut state: State,
        command: &Command,
        (shard, epoch): (u64, u32),
        (end, chain): (u64, u64),
    ) -> Result<Applied, Illegal> {
        let span = state.chains.get_mut(&shard).and_then(|c| c.spans.iter_mut().find(|s| s.epoch == epoch));
        let Some(span) = span else { return state.apply(command) };
        if span.is_unsealed() {
            let mut command = command.clone();
            if let (Command::CommitSeal { attempt, .. }, MetaSpanState::Sealing { attempt: newest, .. }) =
                (&mut command, span.state)
            {
                *attempt = newest;
            }
            let applied = state.apply(&command)?;
            self.state = Rc::new(state);
            return Ok(applied);
        }
        span.state = MetaSpanState::Sealed { end, chain };
        state.version += 1;
        self.state = Rc::new(state);
        Ok(Applied::Changed)
    }
}

/// A span of the metadata as the rules know it.
pub fn span(shard: u64, span: &tidelog_meta::Span) -> Span {
    Span {
        shard,
        epoch: span.epoch,
        base: Place { lsn: span.base, chain: span.base_chain },
        replicas: span.replicas.iter().map(replica).collect(),
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
pub fn replica(replica: &tidelog_meta::Replica) -> Replica {
    Replica { node: replica.node, store: replica.store.0 }
}

/// A holder of the rules as the metadata knows it.
pub fn meta_replica(replica: &Replica) -> tidelog_meta::Replica {
    tidelog_meta::Replica { node: replica.node, store: tidelog_meta::StoreId(replica.store) }
}

/// What a state says about a shard.
pub fn view(state: &State, shard: u64, current: bool) -> View {
    let chain = state.chains.get(&shard);
    let spans: BTreeMap<u32, Span> =
        chain.iter().flat_map(|chain| &chain.spans).map(|found| (found.epoch, span(shard, found))).collect();
    View { version: state.version, current, first: spans.keys().next().copied().unwrap_or(0), spans }
}

/// Whether a sealed span tells what a new leader must know: offsets and producers stand in the frame behind its first
/// opening frame.
pub fn tells(span: &tidelog_meta::Span) -> bool {
    span.sealed().is_some_and(|(end, _)| end > span.base + 1)
}

/// The spans before `epoch` that its leader must hold: from the newest one with frames back to one that tells.
pub fn needed(state: &State, shard: u64, epoch: u32) -> Vec<&tidelog_meta::Span> {
    let mut needed = Vec::new();
    let spans = state.chains.get(&shard).map_or(&[][..], |chain| &chain.spans);
    for span in spans.iter().rev().filter(|span| span.epoch < epoch) {
        if span.sealed().is_some_and(|(end, _)| end > span.base) {
            needed.push(span);
        }
        if tells(span) {
            break;
        }
    }
    needed
}

/// Whether what a node holds counts no more.
pub fn is_lost(state: &State, node: u64) -> bool {
    state.nodes.get(&node).is_none_or(|known| !known.state.counts())
}
