//! The metadata as the rules see it, and what the rules choose as the metadata takes it.

use std::collections::BTreeMap;

use tidelog_format::Salt;
use tidelog_meta::{Leader, NewSpan, State, StoreId};
use tidelog_replica::follower::View;
use tidelog_replica::sealer;
use tidelog_replica::span::{Replica, Span};
use tidelog_replica::succession::{Succession, Taker};

use crate::spans::{OpenedSpan, replica_of, span_of};

/// A shard whose spans had so many holders never acknowledges on one disk.
const WIDE: u8 = 3;

/// What a state says about a shard. `current`: it came from a read that nothing newer was known before.
pub(super) fn view(state: &State, shard: u64, current: bool) -> View {
    let chain = state.chains.get(&shard);
    let listed = chain.iter().flat_map(|chain| &chain.spans);
    let spans: BTreeMap<u32, Span> = listed.map(|listed| (listed.epoch, span_of(shard, listed))).collect();
    View { version: state.version, current, first: spans.keys().next().copied().unwrap_or(0), spans }
}

/// A span of a shard as the rules have it.
pub(super) fn span(state: &State, shard: u64, epoch: u32) -> Option<Span> {
    state.span(shard, epoch).map(|listed| span_of(shard, listed))
}

pub(super) fn listed_replica(replica: &Replica) -> tidelog_meta::Replica {
    tidelog_meta::Replica { node: replica.node, store: StoreId(replica.store) }
}

pub(super) fn listed_substitute(substitute: &sealer::Substitute) -> tidelog_meta::Substitute {
    let (old, new) = (listed_replica(&substitute.old), listed_replica(&substitute.new));
    tidelog_meta::Substitute { old, new }
}

/// Whether what a node holds counts no more.
pub(super) fn is_lost(state: &State, node: u64) -> bool {
    state.nodes.get(&node).is_none_or(|known| !known.state.counts())
}

/// Holders of a span that count no more.
pub(super) fn lost(state: &State, shard: u64, epoch: u32) -> Vec<Replica> {
    let replicas = state.span(shard, epoch).map_or(&[][..], |span| &span.replicas);
    replicas.iter().filter(|replica| is_lost(state, replica.node)).map(replica_of).collect()
}

/// Nodes that take new copies, alive or not; `turn` says who comes first.
pub(super) fn takers(state: &State, turn: usize) -> Vec<Replica> {
    let mut takers: Vec<Replica> =
        state.takers().map(|(node, known)| replica_of(&known.replica(node))).collect();
    if let Some(turn) = turn.checked_rem(takers.len()) {
        takers.rotate_left(turn);
    }
    takers
}

/// A shard's span, as it is opened here.
pub(super) fn opened(state: &State, shard: u64, epoch: u32) -> Option<OpenedSpan> {
    let chain = state.chains.get(&shard)?;
    let listed = chain.span(epoch)?;
    let previous = chain.spans.iter().rev().map(|span| span.epoch).find(|before| *before < epoch);
    let spans = chain.spans.len();
    Some(OpenedSpan { span: span_of(shard, listed), salt: listed.salt, previous, spans, sealed: None })
}

/// The span that is to follow, by the rules. `end` is where the last one is about to end, all of it held by `survivors`;
/// `takers` may hold it, the best first, and `wanted` is how many of them.
pub(super) fn next_span(
    state: &State,
    shard: u64,
    survivors: &[Replica],
    end: Option<u64>,
    (takers, wanted): (Vec<Replica>, usize),
    salt: Salt,
) -> Option<NewSpan> {
    let view = view(state, shard, false);
    let taker =
        |replica: Replica| Some(Taker { replica, incarnation: state.nodes.get(&replica.node)?.incarnation });
    let takers: Vec<Taker> = takers.into_iter().filter_map(taker).collect();
    let least = if state.chains.get(&shard).is_some_and(|chain| chain.widest >= WIDE) { 2 } else { 1 };
    let succession = Succession { spans: &view.spans, end, survivors, takers: &takers, wanted, least };
    let next = succession.next()?;
    Some(NewSpan {
        replicas: next.replicas.iter().map(listed_replica).collect(),
        quorum: u8::try_from(next.quorum).ok()?,
        leader: Leader { node: next.leader.node, incarnation: next.leader.incarnation },
        salt,
    })
}
