//! A node coordinates a seal, and suspects leaders.

use std::collections::BTreeSet;

use tidelog_meta::{Applied, Command, Illegal, Leader, NewSpan, NodeState, State};
use tidelog_replica::message::{Envelope, Request};
use tidelog_replica::sealer::{Effect, Event, Sealer};
use tidelog_replica::span::{Replica, SpanState};

use crate::fabric::{Fabric, MS, Message};
use crate::machine::{Call, Machine, Status};
use crate::truth;

/// A seal that this node coordinates.
pub(crate) struct Seal {
    pub(crate) sealer: Sealer,
    committing: bool,
}

/// Nodes that hold what the next leader must know: only they can go on with offsets and producers at once. `ends` is
/// where the last span is about to end, held by `survivors`.
fn holders_of_newest(state: &State, shard: u64, survivors: &[Replica], ends: Option<u64>) -> Vec<u64> {
    let mut holders: Option<BTreeSet<u64>> = None;
    let mut keep = |nodes: BTreeSet<u64>| {
        let both = match &holders {
            Some(holders) => holders.intersection(&nodes).copied().collect(),
            None => nodes,
        };
        holders = Some(both);
    };
    let last = state.last_span(shard).filter(|last| last.is_unsealed());
    let frames = last.zip(ends).map_or(0, |(last, end)| end.saturating_sub(last.base));
    if frames > 0 {
        keep(survivors.iter().map(|replica| replica.node).collect());
    }
    if frames < 2 {
        for span in truth::needed(state, shard, u32::MAX) {
            keep(span.replicas.iter().map(|replica| replica.node).collect());
        }
    }
    let anybody = || survivors.iter().map(|replica| replica.node).collect();
    holders.map_or_else(anybody, |holders| holders.into_iter().collect())
}

/// The span that is to follow: one that holds the newest frames leads, those that were there take part first.
pub(super) fn next_span(
    state: &State,
    shard: u64,
    survivors: &[Replica],
    ends: Option<u64>,
    spread: usize,
    fabric: &mut Fabric,
) -> Option<NewSpan> {
    let fit = |node: &u64| state.nodes.get(node).is_some_and(|known| known.state == NodeState::ReadWrite);
    let mut nodes: Vec<u64> = survivors.iter().map(|replica| replica.node).filter(fit).collect();
    if nodes.len() > 1 {
        let turn = fabric.chance.index(nodes.len());
        nodes.rotate_left(turn);
    }
    let mut others: Vec<u64> = state.nodes.keys().copied().filter(fit).collect();
    if !others.is_empty() {
        let turn = fabric.chance.index(others.len());
        others.rotate_left(turn);
    }
    let newest = holders_of_newest(state, shard, survivors, ends);
    let lead = nodes.iter().chain(&others).copied().find(|node| newest.contains(node))?;
    nodes.retain(|node| *node != lead);
    nodes.insert(0, lead);
    let mut seen: BTreeSet<u64> = nodes.iter().copied().collect();
    nodes.extend(others.into_iter().filter(|node| seen.insert(*node)));
    nodes.truncate(spread);
    let widest = state.chains.get(&shard).map_or(0, |chain| chain.widest);
    if nodes.len() < 2 && widest >= 3 {
        return None;
    }
    let replicas: Vec<tidelog_meta::Replica> =
        nodes.iter().filter_map(|node| state.nodes.get(node).map(|known| known.replica(*node))).collect();
    let leader = Leader { node: lead, incarnation: state.nodes.get(&lead)?.incarnation };
    let quorum = (replicas.len() / 2 + 1) as u8;
    Some(NewSpan { replicas, quorum, leader, salt: fabric.chance.salt() })
}

impl Machine {
    /// Begins to seal the shard's last span, rightly or not.
    pub fn begin_seal(&mut self, fabric: &mut Fabric, shard: u64) {
        let Status::Running(running) = &mut self.process else { return };
        let Some(last) = running.state.last_span(shard).filter(|last| last.is_unsealed()) else { return };
        let (epoch, token) = (last.epoch, fabric.chance.bits());
        let busy = running.calls.values().any(|call| matches!(call, Call::BeginSeal(of, ..) if *of == shard));
        if !busy {
            self.call(
                fabric,
                Call::BeginSeal(shard, epoch, token),
                Some(Command::BeginSeal { shard, epoch, token }),
            );
        }
    }

    pub(super) fn seal_begun(
        &mut self,
        fabric: &mut Fabric,
        shard: u64,
        epoch: u32,
        token: u64,
        result: Option<Result<Applied, Illegal>>,
    ) {
        let Status::Running(running) = &mut self.process else { return };
        // A clear answer or none: the attempt is this node's if the metadata carries its token.
        if matches!(result, Some(Err(_))) {
            return;
        }
        let Some(span) = running.state.span(shard, epoch) else { return };
        let tidelog_meta::SpanState::Sealing { attempt, token: found } = span.state else { return };
        if found != token {
            return;
        }
        let (sealer, effects) = Sealer::new(truth::span(shard, span), attempt, fabric.clock());
        fabric.trace.say(fabric.now, || {
            format!("machine {}: seals shard {shard}, span {epoch}, attempt {attempt}", self.at)
        });
        running.seals.insert(shard, Seal { sealer, committing: false });
        for effect in effects {
            self.seal_effect(fabric, shard, effect);
        }
    }

    /// Gives an event to the coordinator here and does what it says.
    pub(crate) fn seal(&mut self, fabric: &mut Fabric, shard: u64, event: Event) {
        let Status::Running(running) = &mut self.process else { return };
        let Some(seal) = running.seals.get_mut(&shard) else { return };
        let effects = seal.sealer.step(fabric.clock(), event);
        for effect in effects {
            self.seal_effect(fabric, shard, effect);
        }
    }

    fn seal_effect(&mut self, fabric: &mut Fabric, shard: u64, effect: Effect) {
        let Status::Running(running) = &mut self.process else { return };
        let Some(seal) = running.seals.get_mut(&shard) else { return };
        let epoch = seal.sealer.span().epoch;
        match effect {
            Effect::Send { to, request } => {
                let (from, version) = (running.process, running.state.version);
                let envelope = Envelope { shard, epoch, from, version };
                fabric.send_node(self.at, to.node, Message::Ask { node: to.node, envelope, request });
            }
            Effect::Commit { attempt, end, survivors } => {
                if seal.committing {
                    return;
                }
                seal.committing = true;
                let next = next_span(&running.state, shard, &survivors, Some(end.lsn), self.spread, fabric);
                let (end, chain) = (end.lsn, end.chain);
                let command = Command::CommitSeal { shard, epoch, attempt, end, chain, next };
                self.call(fabric, Call::CommitSeal(shard), Some(command));
            }
            Effect::Over { sealed } => {
                let span = seal.sealer.span().clone();
                running.seals.remove(&shard);
                if sealed {
                    let (from, version) = (running.process, running.state.version);
                    let envelope = Envelope { shard, epoch, from, version };
                    for replica in &span.replicas {
                        let (node, request) = (replica.node, Request::SpanSealed);
                        fabric.send_node(self.at, node, Message::Ask { node, envelope, request });
                    }
                }
            }
        }
    }

    pub(super) fn seal_committed(
        &mut self,
        fabric: &mut Fabric,
        shard: u64,
        result: Option<Result<Applied, Illegal>>,
    ) {
        let Status::Running(running) = &mut self.process else { return };
        let Some(seal) = running.seals.get_mut(&shard) else { return };
        seal.committing = false;
        let epoch = seal.sealer.span().epoch;
        match result {
            Some(Ok(_)) => self.seal(fabric, shard, Event::Committed { done: true }),
            // What the metadata says now decides: the attempt may be over, or only the next span was not possible.
            Some(Err(_)) => {
                let state = running.state.span(shard, epoch).map(|span| truth::span(shard, span).state);
                if let Some(state) = state {
                    self.seal(fabric, shard, Event::Viewed(state));
                }
            }
            None => self.read_metadata(fabric),
        }
    }

    /// Seals what nobody leads: a leader that is silent, a seal that nobody finishes, a span that none follows.
    pub(super) fn suspect(&mut self, fabric: &mut Fabric) {
        let Status::Running(running) = &mut self.process else { return };
        let shards: Vec<u64> = running.state.chains.keys().copied().collect();
        for shard in shards {
            let Status::Running(running) = &mut self.process else { return };
            if running.poisoned {
                return;
            }
            let heard = running.heard.get(&shard).copied().unwrap_or(0);
            let patience = (900 + 150 * (running.me.node % 7)) * MS;
            let Some(last) = running.state.last_span(shard) else { continue };
            if running.seals.contains_key(&shard) && fabric.now < heard + 4 * patience {
                continue;
            }
            if !last.is_on(running.me.node)
                || running.leads.get(&shard).is_some_and(|lead| lead.leader.leads())
            {
                continue;
            }
            if fabric.now < heard + patience {
                continue;
            }
            let span = truth::span(shard, last);
            running.heard.insert(shard, fabric.now);
            match span.state {
                SpanState::Open | SpanState::Sealing { .. } => self.begin_seal(fabric, shard),
                SpanState::Sealed { .. } => self.open_next(fabric, shard),
            }
        }
    }

    /// A span that was sealed with none to follow it gets one.
    fn open_next(&mut self, fabric: &mut Fabric, shard: u64) {
        let Status::Running(running) = &mut self.process else { return };
        let Some(last) = running.state.last_span(shard).cloned() else { return };
        let whole = running.followers.get(&shard).is_some_and(|follower| follower.is_whole(last.epoch));
        let me = [running.me];
        if whole && let Some(span) = next_span(&running.state, shard, &me, None, self.spread, fabric) {
            let command = Command::OpenNextSpan { shard, after: last.epoch, span };
            self.call(fabric, Call::Other, Some(command));
        }
    }
}
