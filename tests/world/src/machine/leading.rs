//! A node leads a span: frames what producers bring, answers them when it is committed.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use tidelog_format::block::BLOCK;
use tidelog_format::entry::{EntryKind, Row};
use tidelog_format::frame::{FrameBuilder, Stamp};
use tidelog_format::opening::{MIN_SEGMENT, Opening, Predecessor};
use tidelog_meta::{Applied, Command, Illegal};
use tidelog_replica::frame::Frame;
use tidelog_replica::leader::{Effect, Event, Leader, Limits};
use tidelog_replica::planted::{self, Bug};
use tidelog_replica::span::{Place, Process, Span, SpanState};

use crate::fabric::{Fabric, Message};
use crate::files::SEGMENT;
use crate::machine::{Call, Machine, Running, Status};
use crate::record::{self, Batch, Known};
use crate::truth;

/// A span that this node leads.
pub(crate) struct Lead {
    pub(crate) leader: Leader,
    framer: Framer,
    waiting: VecDeque<Asked>,
    /// Framed and not committed: by LSN.
    framed: Vec<(u64, Asked)>,
    closing: bool,
}

#[derive(Clone, Debug)]
struct Asked {
    from: usize,
    client: usize,
    batch: Batch,
}

/// Knows offsets, producers, and where the next frame goes.
struct Framer {
    partitions: BTreeMap<u64, Known>,
    salt: [u8; 16],
    next_salt: [u8; 16],
    number: u64,
    /// Place of the next frame in the segment; none is open yet.
    block: Option<usize>,
    predecessor: Option<Predecessor>,
    started: bool,
}

impl Lead {
    pub(super) fn is(&self, process: Process) -> bool {
        self.leader.span().leader == process
    }

    /// Takes a batch; one that was taken before is answered when the first one is.
    pub(super) fn take(&mut self, fabric: &mut Fabric, at: usize, from: usize, client: usize, batch: Batch) {
        let asked = Asked { from, client, batch };
        if !self.leader.leads() {
            return asked.answer(fabric, at, false);
        }
        let known = self.framer.partitions.get(&batch.partition);
        let last = known.and_then(|known| known.last.iter().find(|last| last.producer == batch.producer));
        if let Some(last) = last.filter(|last| last.sequence == batch.sequence) {
            let found = Asked { batch: *last, ..asked };
            let pending = self.framed.iter().find(|(_, pending)| pending.batch == *last).map(|(lsn, _)| *lsn);
            match pending {
                Some(lsn) => self.framed.push((lsn, found)),
                None => found.answer(fabric, at, true),
            }
            return;
        }
        let waits = self.waiting.iter().any(|waiting| waiting.batch == batch);
        let gap = last.is_some_and(|last| last.sequence + last.count != batch.sequence);
        if waits || gap || self.waiting.len() > 64 {
            return asked.answer(fabric, at, false);
        }
        self.waiting.push_back(asked);
    }

    /// Frames of what waits: one, or an opening frame and one more.
    fn frame(&mut self, committed: u64, fabric: &mut Fabric) -> Vec<Frame> {
        let epoch = self.leader.span().epoch;
        let mut entries: Vec<(Row, Vec<u8>)> = Vec::new();
        if !self.framer.started {
            entries.extend(self.framer.partitions.values().map(record::encode_known));
        }
        let mut taken = Vec::new();
        while taken.len() < 3
            && let Some(mut asked) = self.waiting.pop_front()
        {
            let known = self.framer.partitions.entry(asked.batch.partition).or_default();
            known.partition = asked.batch.partition;
            let again = known
                .last
                .iter()
                .any(|last| last.producer == asked.batch.producer && last.sequence >= asked.batch.sequence);
            if again {
                continue;
            }
            asked.batch.offset = known.next_offset;
            known.next_offset += u64::from(asked.batch.count);
            known.last.retain(|last| last.producer != asked.batch.producer);
            known.last.push(asked.batch);
            entries.push(record::encode(&asked.batch, epoch));
            taken.push(asked);
        }
        if entries.is_empty() {
            return Vec::new();
        }
        self.framer.started = true;
        let frames = self.framer.close(&entries, self.leader.next(), epoch, committed, fabric);
        let lsn = frames.last().map_or(0, Frame::lsn);
        self.framed.extend(taken.into_iter().map(|asked| (lsn, asked)));
        frames
    }

    fn commit(&mut self, fabric: &mut Fabric, at: usize, end: u64) {
        let (done, rest): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.framed).into_iter().partition(|(lsn, _)| *lsn < end);
        self.framed = rest;
        for (_, asked) in done {
            asked.answer(fabric, at, true);
        }
    }

    fn give_up(&mut self, fabric: &mut Fabric, at: usize) {
        let framed = std::mem::take(&mut self.framed).into_iter().map(|(_, asked)| asked);
        for asked in framed.chain(std::mem::take(&mut self.waiting)) {
            asked.answer(fabric, at, false);
        }
    }
}

impl Asked {
    fn answer(self, fabric: &mut Fabric, at: usize, acknowledged: bool) {
        let message = Message::Produced { client: self.client, batch: self.batch, acknowledged };
        fabric.send(at, self.from, message);
    }
}

impl Framer {
    /// Closes a frame at the leader's end; begins a segment where the one at hand is full.
    fn close(
        &mut self,
        entries: &[(Row, Vec<u8>)],
        mut at: Place,
        epoch: u32,
        committed: u64,
        fabric: &mut Fabric,
    ) -> Vec<Frame> {
        let body: usize = entries.iter().map(|(_, body)| body.len() + 32).sum();
        let len = tidelog_format::block::round_up(128 + body);
        let full = self.block.is_none_or(|block| block * BLOCK + len + BLOCK > SEGMENT);
        let mut frames = Vec::new();
        if full {
            let opening = self.open(at, epoch, fabric);
            let entry = (opening_row(), opening);
            let frame = self.make(std::slice::from_ref(&entry), at, epoch, committed);
            at = frame.next();
            frames.push(frame);
        }
        frames.push(self.make(entries, at, epoch, committed));
        frames
    }

    fn open(&mut self, at: Place, epoch: u32, fabric: &mut Fabric) -> Vec<u8> {
        if self.block.is_some() {
            self.salt = self.next_salt;
            let (number, last_lsn) = (self.number, at.lsn - 1);
            self.predecessor = Some(Predecessor { epoch, number, last_lsn, chain: at.chain });
        }
        self.next_salt = fabric.chance.salt();
        self.number += 1;
        self.block = Some(0);
        Opening {
            predecessor: self.predecessor,
            next_salt: self.next_salt,
            ..Opening::new([1; 16], 1, self.number, MIN_SEGMENT)
        }
        .encode()
        .to_vec()
    }

    fn make(&mut self, entries: &[(Row, Vec<u8>)], at: Place, epoch: u32, committed: u64) -> Frame {
        let body: usize = entries.iter().map(|(_, body)| body.len() + 32).sum();
        let mut buffer = vec![0; tidelog_format::block::round_up(128 + body)];
        let mut builder = FrameBuilder::default();
        for (row, body) in entries {
            builder.push(&mut buffer, *row, body);
        }
        let block = self.block.unwrap_or(0);
        let stamp = Stamp {
            salt: self.salt,
            lsn: at.lsn,
            committed_lsn: committed,
            chain: at.chain,
            append_time: 0,
            epoch,
            block_index: block as u32,
        };
        let closed = builder.close(&mut buffer, &stamp);
        self.block = Some(block + closed.len / BLOCK);
        match Frame::verify(Bytes::from(buffer)) {
            Ok(frame) => frame,
            Err(error) => unreachable!("just made: {error}"),
        }
    }
}

fn opening_row() -> Row {
    Row { partition: 0, base_offset: 0, length: 120, count: 0, kind: EntryKind::Opening as u8 }
}

impl Running {
    /// What a new leader must know; `None` when it does not hold what came before.
    fn framer(&self, shard: u64, span: &Span, salt: [u8; 16]) -> Option<Framer> {
        let needed = truth::needed(&self.state, shard, span.epoch);
        let mut framer = Framer {
            partitions: BTreeMap::new(),
            salt,
            next_salt: [0; 16],
            number: 0,
            block: None,
            predecessor: None,
            started: false,
        };
        let Some(newest) = needed.first() else { return (span.base.lsn == 0).then_some(framer) };
        let follower = self.followers.get(&shard)?;
        if !needed.iter().all(|before| follower.is_whole(before.epoch)) {
            return None;
        }
        framer.number = self.files.get(&(shard, newest.epoch))?.last_segment()?;
        framer.predecessor = Some(Predecessor {
            epoch: newest.epoch,
            number: framer.number,
            last_lsn: span.base.lsn.saturating_sub(1),
            chain: span.base.chain,
        });
        for before in needed.iter().rev() {
            for slot in self.files.get(&(shard, before.epoch))?.slots() {
                framer.replay(&slot.content);
            }
        }
        if planted::has(Bug::ForgottenProducers) {
            for known in framer.partitions.values_mut() {
                known.last.clear();
            }
        }
        Some(framer)
    }

    /// Whether everything that comes before is here; then producers can be served.
    fn lead_of(&self, shard: u64, span: &Span, now: std::time::Duration, limits: Limits) -> Option<Lead> {
        let salt = self.state.span(shard, span.epoch)?.salt;
        let framer = self.framer(shard, span, salt)?;
        let leader = Leader::new(span.clone(), limits, now);
        Some(Lead { leader, framer, waiting: VecDeque::new(), framed: Vec::new(), closing: false })
    }
}

impl Framer {
    fn replay(&mut self, content: &record::Content) {
        for known in &content.known {
            self.partitions.insert(known.partition, known.clone());
        }
        for batch in &content.batches {
            let known = self.partitions.entry(batch.partition).or_default();
            known.partition = batch.partition;
            known.next_offset = batch.offset + u64::from(batch.count);
            known.last.retain(|last| last.producer != batch.producer);
            known.last.push(*batch);
        }
    }
}

impl Machine {
    /// Gives an event to the shard's leader here and does what it says.
    pub(crate) fn lead(&mut self, fabric: &mut Fabric, shard: u64, event: Event) {
        let Status::Running(running) = &mut self.process else { return };
        let Some(lead) = running.leads.get_mut(&shard) else { return };
        let effects = lead.leader.step(fabric.clock(), event);
        for effect in effects {
            fabric
                .trace
                .say(fabric.now, || format!("machine {}: shard {shard}: leader: {effect:?}", self.at));
            self.lead_effect(fabric, shard, effect);
        }
        self.frame_more(fabric, shard);
    }

    fn lead_effect(&mut self, fabric: &mut Fabric, shard: u64, effect: Effect) {
        let Status::Running(running) = &mut self.process else { return };
        let Some(lead) = running.leads.get_mut(&shard) else { return };
        match effect {
            Effect::Send { to, request } => {
                let envelope = lead.leader.envelope(running.state.version);
                fabric.send_node(self.at, to.node, Message::Ask { node: to.node, envelope, request });
            }
            Effect::Committed(committed) => {
                let state = std::rc::Rc::clone(fabric.truth.state());
                fabric.judge.acked(&state, shard, committed.epoch(), committed.end());
                lead.commit(fabric, self.at, committed.end());
            }
            Effect::ReadBack { to, from, below } => {
                let epoch = lead.leader.span().epoch;
                let frames = self.read_frames(fabric, shard, epoch, from, below);
                self.lead(fabric, shard, Event::ReadBack { to, frames });
            }
            Effect::Close { end } => self.ask_to_close(fabric, shard, end),
            Effect::Over { closed } => {
                fabric.trace.say(fabric.now, || {
                    format!("machine {}: leads shard {shard} no more, closed: {closed}", self.at)
                });
                // It stays: a process that has led a span and stopped never leads that span again.
                lead.give_up(fabric, self.at);
                if !closed {
                    running.heard.insert(shard, fabric.now.saturating_sub(600 * crate::fabric::MS));
                }
            }
        }
    }

    /// Frames what waits, as far as the leader lets it.
    pub(super) fn frame_more(&mut self, fabric: &mut Fabric, shard: u64) {
        loop {
            let Status::Running(running) = &mut self.process else { return };
            let process = running.process;
            let Some(lead) = running.leads.get_mut(&shard) else { return };
            if lead.waiting.is_empty() || !lead.leader.may_frame() {
                return;
            }
            let frames = lead.frame(lead.leader.committed(), fabric);
            if frames.is_empty() {
                return;
            }
            for frame in &frames {
                fabric.judge.framed(shard, frame, process);
            }
            let effects = lead.leader.step(fabric.clock(), Event::Framed(frames));
            for effect in effects {
                self.lead_effect(fabric, shard, effect);
            }
        }
    }

    /// Looks whether the shard's last span is this process's to lead, or is so no more.
    pub(super) fn look_at_last(&mut self, fabric: &mut Fabric, shard: u64, last: &Span) {
        let Status::Running(running) = &mut self.process else { return };
        let leads = running.leads.get(&shard).map(|lead| lead.leader.span().epoch);
        if let Some(epoch) = leads {
            let state = running.state.span(shard, epoch).map(|span| truth::span(shard, span).state);
            if let Some(state) = state {
                self.lead(fabric, shard, Event::Viewed(state));
            }
        }
        let seals = running_seal(&self.process, shard);
        if let Some(epoch) = seals {
            let Status::Running(running) = &self.process else { return };
            let state = running.state.span(shard, epoch).map(|span| truth::span(shard, span).state);
            if let Some(state) = state {
                self.seal(fabric, shard, tidelog_replica::sealer::Event::Viewed(state));
            }
        }
        let Status::Running(running) = &mut self.process else { return };
        let led = running.leads.get(&shard).is_some_and(|lead| lead.leader.span().epoch >= last.epoch);
        if led || last.state != SpanState::Open {
            return;
        }
        let resumes = planted::has(Bug::ResumedLeader) && last.leader.node == running.process.node;
        if last.leader != running.process && !resumes {
            return;
        }
        let limits = Limits { memory_bytes: 8 * BLOCK, ..Limits::default() };
        if let Some(lead) = running.lead_of(shard, last, fabric.clock(), limits) {
            fabric.trace.say(fabric.now, || {
                format!(
                    "machine {}: leads shard {shard}, span {} from {}",
                    self.at, last.epoch, last.base.lsn
                )
            });
            running.leads.insert(shard, lead);
            if resumes {
                self.resume(fabric, shard, last.epoch);
            }
        }
    }

    /// A span with a holder that cannot be written is ended: the next one has all its copies.
    pub(super) fn close_if_short(&mut self, fabric: &mut Fabric, shard: u64) {
        let Status::Running(running) = &self.process else { return };
        let long = std::time::Duration::from_secs(1);
        let Some(lead) = running.leads.get(&shard) else { return };
        let mut replicas = lead.leader.span().replicas.iter();
        let lost = replicas.any(|replica| truth::is_lost(&running.state, replica.node));
        if lost || lead.leader.lacks_a_copy(fabric.clock(), long) {
            self.lead(fabric, shard, Event::Close);
        }
    }

    /// The planted bug: goes on where the local disk ends.
    fn resume(&mut self, fabric: &mut Fabric, shard: u64, epoch: u32) {
        let Status::Running(running) = &mut self.process else { return };
        let Some(lead) = running.leads.get_mut(&shard) else { return };
        let Some(files) = running.files.get(&(shard, epoch)) else { return };
        let base = lead.leader.span().base.lsn;
        let frames = files.frames(&self.disk, base, u64::MAX);
        for slot in files.slots() {
            lead.framer.replay(&slot.content);
        }
        if let Some(last) = frames.last() {
            lead.framer.started = true;
            lead.framer.salt = last.header().salt;
            lead.framer.number = files.last_segment().unwrap_or(0);
            lead.framer.block = Some(last.header().block_index as usize + last.len() / BLOCK);
        }
        self.lead(fabric, shard, Event::Framed(frames));
    }

    fn ask_to_close(&mut self, fabric: &mut Fabric, shard: u64, end: Place) {
        let Status::Running(running) = &mut self.process else { return };
        let Some(lead) = running.leads.get_mut(&shard) else { return };
        if lead.closing {
            return;
        }
        lead.closing = true;
        let span = lead.leader.span().clone();
        let prefer = span.replicas.clone();
        let Some(next) =
            super::sealing::next_span(&running.state, shard, &prefer, Some(end.lsn), self.spread, fabric)
        else {
            return;
        };
        let leader = tidelog_meta::Leader { node: span.leader.node, incarnation: span.leader.incarnation };
        let (end, chain) = (end.lsn, end.chain);
        let command = Command::LeaderClose { shard, epoch: span.epoch, leader, end, chain, next };
        self.call(fabric, Call::Close(shard), Some(command));
    }

    pub(super) fn closed(
        &mut self,
        fabric: &mut Fabric,
        shard: u64,
        result: Option<Result<Applied, Illegal>>,
    ) {
        let Status::Running(running) = &mut self.process else { return };
        let Some(lead) = running.leads.get_mut(&shard) else { return };
        lead.closing = false;
        match result {
            Some(Ok(_)) => self.lead(fabric, shard, Event::Closed { done: true }),
            // Whether it was refused because of the span, or because of the next one, the metadata shows.
            Some(Err(Illegal::BeingSealed { .. } | Illegal::Sealed { .. })) => {
                self.lead(fabric, shard, Event::Closed { done: false });
            }
            Some(Err(_)) | None => {}
        }
    }
}

fn running_seal(process: &Status, shard: u64) -> Option<u32> {
    match process {
        Status::Running(running) => running.seals.get(&shard).map(|seal| seal.sealer.span().epoch),
        _ => None,
    }
}
