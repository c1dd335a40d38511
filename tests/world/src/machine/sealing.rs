//! A node coordinates a seal, and suspects leaders.

use tidelog_meta::{Applied, Command, Illegal, Leader, NewSpan, State};
use tidelog_replica::message::Envelope;
use tidelog_replica::sealer::{Effect, Event, Sealer};
use tidelog_replica::span::Replica;
use tidelog_replica::succession::{Succession, Taker};
use tidelog_replica::suspicion::Suspect;

use crate::fabric::{Fabric, Message};
use crate::machine::{Call, Machine, Status};
use crate::truth;

/// A seal that this node coordinates.
pub(crate) struct Seal {
    pub(crate) sealer: Sealer,
    committing: bool,
}

/// The span that is to follow, as the rules choose it among the nodes that take copies. `end` is where the last span is
/// about to end, held by `survivors`.
pub(super) fn next_span(
    state: &State,
    shard: u64,
    survivors: &[Replica],
    end: Option<u64>,
    spread: usize,
    fabric: &mut Fabric,
) -> Option<NewSpan> {
    let view = truth::view(state, shard, false);
    let taker =
        |replica: Replica| Some(Taker { replica, incarnation: state.nodes.get(&replica.node)?.incarnation });
    let takers = truth::takers(state, fabric.chance.index(state.nodes.len().max(1)));
    let takers: Vec<Taker> = takers.into_iter().filter_map(taker).collect();
    let least = if state.chains.get(&shard).is_some_and(|chain| chain.widest >= 3) { 2 } else { 1 };
    let succession =
        Succession { spans: &view.spans, end, survivors, takers: &takers, wanted: spread, least };
    let next = succession.next()?;
    let replicas = next.replicas.iter().map(truth::meta_replica).collect();
    let leader = Leader { node: next.leader.node, incarnation: next.leader.incarnation };
    Some(NewSpan { replicas, quorum: next.quorum as u8, leader, salt: fabric.chance.salt() })
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

    /// Tells the coordinator what the metadata says about lost holders and about nodes that take copies.
    pub(super) fn tell_sealer(&mut self, fabric: &mut Fabric, shard: u64) {
        let Status::Running(running) = &mut self.process else { return };
        let Some(seal) = running.seals.get(&shard) else { return };
        let epoch = seal.sealer.span().epoch;
        let lost = truth::lost(&running.state, shard, epoch);
        let takers = truth::takers(&running.state, seal.sealer.attempt() as usize);
        self.seal(fabric, shard, Event::Known { lost, takers });
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
            Effect::Commit { attempt, end, survivors, substitutes } => {
                if seal.committing {
                    return;
                }
                seal.committing = true;
                let next = next_span(&running.state, shard, &survivors, Some(end.lsn), self.spread, fabric);
                let (end, chain) = (end.lsn, end.chain);
                let substitutes = substitutes.iter().map(truth::substitute).collect();
                let command = Command::CommitSeal { shard, epoch, attempt, end, chain, substitutes, next };
                self.call(fabric, Call::CommitSeal(shard), Some(command));
            }
            Effect::Over { .. } => {
                running.seals.remove(&shard);
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
            let Some(last) = running.state.last_span(shard) else { continue };
            if running.poisoned {
                return;
            }
            let last = truth::span(shard, last);
            let leads = running.leads.get(&shard).is_some_and(|lead| lead.leader.leads());
            let (seals, me) = (running.seals.contains_key(&shard), running.me);
            match running.suspicion(shard, fabric.clock()).suspects(fabric.clock(), &me, &last, leads, seals)
            {
                Some(Suspect::Seal) => self.begin_seal(fabric, shard),
                Some(Suspect::Follow) => self.open_next(fabric, shard),
                None => {}
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
