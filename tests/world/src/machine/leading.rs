//! A node leads a span: frames what producers bring, answers them when it is committed.

use std::collections::VecDeque;
use std::time::Duration;

use tidelog_format::block::BLOCK;
use tidelog_format::entry::Row;
use tidelog_format::producers::Judged;
use tidelog_meta::{Applied, Command, Illegal};
use tidelog_replica::frame::Frame;
use tidelog_replica::leader::{Effect, Event, Leader, Limits};
use tidelog_replica::planted::{self, Bug};
use tidelog_replica::span::{Place, Process, Span, SpanState};

use crate::disk::Disk;
use crate::fabric::{Fabric, Message};
use crate::machine::framing::Framer;
use crate::machine::{Call, Machine, Running, Status};
use crate::record::{self, Batch};
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

impl Lead {
    pub(super) fn is(&self, process: Process) -> bool {
        self.leader.span().leader == process
    }

    /// Takes a batch. Whether it was taken before is asked when it is framed.
    pub(super) fn take(&mut self, fabric: &mut Fabric, at: usize, from: usize, client: usize, batch: Batch) {
        let asked = Asked { from, client, batch };
        let waits = self.waiting.iter().any(|waiting| waiting.batch == batch);
        if !self.leader.leads() || waits || self.waiting.len() > 64 {
            return asked.answer(fabric, at, false);
        }
        self.waiting.push_back(asked);
    }

    /// Asks the table of producers: what is new is given its offset; what is stored already gets the answer of the first
    /// time when that is committed; what does not follow is refused.
    fn judge(&mut self, fabric: &mut Fabric, at: usize, mut asked: Asked) -> Option<Asked> {
        let index = &self.framer.index;
        match index.producers().check(asked.batch.partition, &record::numbered(&asked.batch)) {
            Judged::New => {
                asked.batch.offset =
                    index.partition(asked.batch.partition).map_or(0, |partition| partition.next_offset);
                return Some(asked);
            }
            Judged::Duplicate(stored) => {
                asked.batch.offset = stored.base_offset;
                if stored.lsn < self.leader.committed() {
                    asked.answer(fabric, at, true);
                } else {
                    self.framed.push((stored.lsn, asked));
                }
            }
            Judged::Refused(_) => asked.answer(fabric, at, false),
        }
        None
    }

    /// Takes from what waits what goes into one frame: one batch of each partition, so that the table is asked about the
    /// next one when this one is noted.
    fn gather(&mut self, fabric: &mut Fabric, at: usize) -> Vec<Asked> {
        let mut taken: Vec<Asked> = Vec::new();
        let mut later = VecDeque::new();
        while let Some(asked) = self.waiting.pop_front() {
            let full = taken.len() >= 3;
            if full || taken.iter().any(|other| other.batch.partition == asked.batch.partition) {
                later.push_back(asked);
            } else {
                taken.extend(self.judge(fabric, at, asked));
            }
        }
        self.waiting = later;
        taken
    }

    /// Frames of what waits: one, or an opening frame and one more.
    fn frame(&mut self, committed: u64, fabric: &mut Fabric, at: usize) -> Vec<Frame> {
        let epoch = self.leader.span().epoch;
        let taken = self.gather(fabric, at);
        if taken.is_empty() {
            return Vec::new();
        }
        let mut entries: Vec<(Row, Vec<u8>)> = Vec::new();
        if !self.framer.started {
            entries.push(record::encode_head(&self.framer.index, self.leader.next().lsn));
        }
        for asked in &taken {
            let partition = asked.batch.partition;
            if self.framer.index.partition(partition).is_none() {
                entries.push(record::created(partition));
            }
            entries.push(record::encode(&asked.batch, epoch));
        }
        self.framer.started = true;
        let frames = self.framer.close(&entries, self.leader.next(), epoch, committed, fabric);
        for frame in &frames {
            record::note_verified(&mut self.framer.index, frame);
        }
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

impl Running {
    /// Whether everything that comes before is here; then producers can be served.
    fn lead_of(&self, disk: &Disk, shard: u64, span: &Span, now: Duration) -> Option<Lead> {
        let salt = self.state.span(shard, span.epoch)?.salt;
        let framer = self.framer(disk, shard, span, salt)?;
        let limits = Limits { memory_bytes: 8 * BLOCK, ..Limits::default() };
        let leader = Leader::new(span.clone(), limits, now);
        Some(Lead { leader, framer, waiting: VecDeque::new(), framed: Vec::new(), closing: false })
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
                    running.suspicion(shard, fabric.clock()).stopped(fabric.clock());
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
            // None waits for others to come: more is under way at once.
            if lead.waiting.is_empty() || !lead.leader.may_frame(usize::MAX) {
                return;
            }
            let frames = lead.frame(lead.leader.committed(), fabric, self.at);
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
        if let Some(lead) = running.lead_of(&self.disk, shard, last, fabric.clock()) {
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
        for frame in &frames {
            record::note_verified(&mut lead.framer.index, frame);
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
