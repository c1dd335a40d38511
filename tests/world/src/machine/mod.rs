//! A machine: a disk, and sometimes a process on it that carries out what the rules say. It decides nothing itself,
//! apart from when to suspect somebody, which may be wrong.

mod boot;
mod copying;
mod leading;
mod sealing;
mod serving;

use std::collections::BTreeMap;
use std::rc::Rc;

use tidelog_meta::{Applied, Command, Illegal, State};
use tidelog_replica::follower::{Effect, Event, Follower, Recovered};
use tidelog_replica::frame::Frame;
use tidelog_replica::message::{From, Request};
use tidelog_replica::span::{Place, Process, Replica};

use crate::disk::{Disk, Step};
use crate::fabric::{Fabric, Happening, MS, Message, Time};
use crate::files::SpanFiles;
use crate::journal::Journal;
use crate::truth;

use copying::Copying;
use leading::Lead;
use sealing::Seal;

pub use boot::Booting;

/// Between two looks at the clock.
pub const TICK: Time = 20 * MS;

/// A machine.
pub struct Machine {
    /// Its number.
    pub at: usize,
    /// Its disk.
    pub disk: Disk,
    /// The disk as it was at starts before this one.
    pub images: Vec<Disk>,
    /// Counts what ends a process: answers to an earlier life are not heard.
    pub life: u64,
    /// Its process.
    pub process: Status,
    /// How many replicas a span gets.
    pub spread: usize,
}

/// Whether a process runs.
pub enum Status {
    /// Off.
    Off,
    /// Finding out who it is.
    Booting(Box<Booting>),
    /// Running.
    Running(Box<Running>),
}

/// A process that has its place in the cluster.
pub struct Running {
    pub(crate) me: Replica,
    pub(crate) process: Process,
    pub(crate) state: Rc<State>,
    pub(crate) followers: BTreeMap<u64, Follower>,
    pub(crate) files: BTreeMap<(u64, u32), SpanFiles>,
    flights: BTreeMap<u64, Flight>,
    journal: Journal,
    promised: BTreeMap<u64, u32>,
    keeping: Vec<(u64, u32)>,
    keeps: bool,
    pub(crate) leads: BTreeMap<u64, Lead>,
    pub(crate) seals: BTreeMap<u64, Seal>,
    copies: BTreeMap<(u64, u32), Copying>,
    calls: BTreeMap<u64, Call>,
    next_token: u64,
    heard: BTreeMap<u64, Time>,
    pub(crate) poisoned: bool,
    reading: bool,
    raising: bool,
    read_at: Time,
}

/// What a disk operation was for.
enum Flight {
    Write(u64, u32, Vec<Frame>),
    Keep(Vec<(u64, u32)>),
    Seal(u64, u32, Place),
    Delete,
    Copy(u64, u32),
    Superblock(u64),
}

/// What the metadata was asked for.
enum Call {
    Read,
    BeginSeal(u64, u32, u64),
    CommitSeal(u64),
    Close(u64),
    Other,
}

impl Machine {
    /// A machine that is off, with an empty disk.
    pub fn new(at: usize, spread: usize) -> Machine {
        Machine { at, disk: Disk::default(), images: Vec::new(), life: 0, process: Status::Off, spread }
    }

    /// Its process, if it has its place in the cluster.
    pub fn running(&self) -> Option<&Running> {
        match &self.process {
            Status::Running(running) => Some(running),
            Status::Off | Status::Booting(_) => None,
        }
    }

    /// The span of a shard that this machine is sealing.
    pub fn seals_epoch(&self, shard: u64) -> Option<u32> {
        self.running()?.seals.get(&shard).map(|seal| seal.sealer.span().epoch)
    }

    /// The next offset of each partition at the end of a sealed span, by this machine's copy.
    pub fn ends_of(&self, shard: u64, epoch: u32) -> Option<BTreeMap<u64, u64>> {
        let running = self.running()?;
        if !running.followers.get(&shard)?.is_whole(epoch) {
            return None;
        }
        let mut ends = BTreeMap::new();
        for slot in running.files.get(&(shard, epoch)).map_or(&[][..], SpanFiles::slots) {
            for known in &slot.content.known {
                ends.insert(known.partition, known.next_offset);
            }
            for batch in &slot.content.batches {
                ends.insert(batch.partition, batch.offset + u64::from(batch.count));
            }
        }
        Some(ends)
    }

    /// The superblock is written anew, then the metadata is told.
    pub fn raise_generation(&mut self, fabric: &mut Fabric) {
        let Status::Running(running) = &mut self.process else { return };
        let Some(bytes) = self.disk.read(crate::disk::Name::Superblock) else { return };
        let Ok(mut found) = tidelog_format::superblock::Superblock::decode(bytes) else { return };
        if running.poisoned || running.raising {
            return;
        }
        running.raising = true;
        found.generation += 1;
        let mut block = [0; tidelog_format::BLOCK];
        found.encode(&mut block);
        let step = Step::Write {
            name: crate::disk::Name::Superblock,
            at: found.copy() as usize * tidelog_format::BLOCK,
            bytes: block.to_vec(),
            planned: tidelog_format::superblock::SUPERBLOCK_LEN,
        };
        let operation = self.begin(fabric, vec![step]);
        self.fly(operation, Flight::Superblock(found.generation));
    }

    /// The power goes.
    pub fn crash(&mut self, fabric: &mut Fabric) {
        self.life += 1;
        self.process = Status::Off;
        self.disk.crash(&mut fabric.chance);
    }

    /// Starts an operation of the disk.
    fn begin(&mut self, fabric: &mut Fabric, steps: Vec<Step>) -> u64 {
        let operation = self.disk.begin(steps);
        let failed = fabric.chance.percent(fabric.failing[self.at]);
        let time = fabric.disk_time(self.at);
        fabric.after(time, Happening::Disk { at: self.at, life: self.life, operation, failed });
        operation
    }

    /// A disk operation has ended.
    pub fn disk_done(&mut self, fabric: &mut Fabric, operation: u64, failed: bool) {
        let done = if failed {
            self.disk.fail(operation, &mut fabric.chance);
            false
        } else {
            self.disk.finish(operation)
        };
        match &mut self.process {
            Status::Off => {}
            Status::Booting(_) => self.boot_done(fabric, done),
            Status::Running(running) => {
                let Some(flight) = running.flights.remove(&operation) else { return };
                if done { self.landed(fabric, flight) } else { self.poison(fabric) }
            }
        }
    }

    fn poison(&mut self, fabric: &mut Fabric) {
        let Status::Running(running) = &mut self.process else { return };
        running.poisoned = true;
        fabric.trace.say(fabric.now, || format!("machine {}: its disk failed", self.at));
        let shards: Vec<u64> = running.followers.keys().copied().collect();
        for shard in shards {
            self.follow(fabric, shard, Event::Failed);
        }
    }

    fn landed(&mut self, fabric: &mut Fabric, flight: Flight) {
        let Status::Running(running) = &mut self.process else { return };
        match flight {
            Flight::Write(shard, epoch, frames) => {
                fabric.judge.durable(running.me, shard, epoch, &frames);
                running.span_files(shard, epoch).wrote(&frames);
                self.follow(fabric, shard, Event::Written { epoch });
            }
            Flight::Keep(kept) => {
                running.keeps = false;
                for (shard, promised) in kept {
                    fabric.judge.kept(running.me, shard, promised);
                }
                let kept = std::mem::take(&mut running.promised);
                for (shard, promised) in kept {
                    self.follow(fabric, shard, Event::Kept { promised });
                }
                self.keep_more(fabric);
            }
            Flight::Seal(shard, epoch, end) => {
                running.span_files(shard, epoch).sealed_at(end);
                self.follow(fabric, shard, Event::Sealed { epoch });
            }
            Flight::Delete => {}
            Flight::Copy(shard, epoch) => self.copied(fabric, shard, epoch),
            Flight::Superblock(generation) => {
                running.raising = false;
                let (node, store) = (running.me.node, tidelog_meta::StoreId(running.me.store));
                let command = Command::RaiseGeneration { node, store, generation };
                self.call(fabric, Call::Other, Some(command));
            }
        }
    }

    /// Gives an event to a shard's follower and does what it says.
    pub(crate) fn follow(&mut self, fabric: &mut Fabric, shard: u64, event: Event) {
        let Status::Running(running) = &mut self.process else { return };
        let me = running.me;
        let follower =
            running.followers.entry(shard).or_insert_with(|| Follower::new(me, Recovered::default()));
        let before = follower.promised();
        let effects = follower.step(event);
        let after = follower.promised();
        if after < before && !tidelog_replica::planted::has(tidelog_replica::planted::Bug::SelfAuthorised) {
            fabric.judge.accuse(|| format!("I4: node {}: promise {before} became {after}", me.node));
        }
        for effect in effects {
            fabric.trace.say(fabric.now, || {
                format!("machine {}: shard {shard}: {effect:?}", self.at).chars().take(200).collect()
            });
            self.follow_effect(fabric, shard, effect);
        }
    }

    fn follow_effect(&mut self, fabric: &mut Fabric, shard: u64, effect: Effect) {
        let Status::Running(running) = &mut self.process else { return };
        match effect {
            Effect::Answer { to, epoch, answer } => {
                if let tidelog_replica::message::Answer::Fenced(standing) = &answer {
                    let truth = Rc::clone(fabric.truth.state());
                    fabric.judge.fenced(&truth, running.me, shard, epoch, standing);
                }
                if let tidelog_replica::message::Answer::Appended { .. } = &answer {
                    fabric.judge.appended(running.me, shard, epoch);
                }
                let from = From { shard, epoch, replica: running.me, answer };
                fabric.send_node(self.at, to.node, Message::Tell { to, from });
            }
            Effect::Write { epoch, frames } => {
                if running.poisoned {
                    return;
                }
                let steps = running.span_files(shard, epoch).write(&frames);
                let operation = self.begin(fabric, steps);
                self.fly(operation, Flight::Write(shard, epoch, frames));
            }
            Effect::Keep { promised } => {
                running.keeping.push((shard, promised));
                self.keep_more(fabric);
            }
            Effect::Read { epoch, from, to, reader, attempt } => {
                let frames = self.read_frames(fabric, shard, epoch, from, to);
                self.follow(fabric, shard, Event::Read { epoch, reader, attempt, frames });
            }
            Effect::Seal { epoch, end } => self.seal_files(fabric, shard, epoch, end),
            Effect::Copy { epoch, .. } => self.copy(fabric, shard, epoch),
            Effect::Delete { epoch } => self.delete_files(fabric, shard, epoch),
            Effect::Quarantine { epoch } => {
                let node = running.me.node;
                fabric.judge.accuse(|| format!("I2: node {node} was sent other frames for span {epoch}"));
            }
            Effect::Refresh { .. } => self.read_metadata(fabric),
        }
    }

    /// Reads frames of a span. What cannot be read is damaged, and the rules are told.
    pub(super) fn read_frames(
        &mut self,
        fabric: &mut Fabric,
        shard: u64,
        epoch: u32,
        from: u64,
        to: u64,
    ) -> Vec<Frame> {
        let Status::Running(running) = &self.process else { return Vec::new() };
        let Some(files) = running.files.get(&(shard, epoch)) else { return Vec::new() };
        let frames = files.frames(&self.disk, from, to);
        if let Some(intact) = files.first_damaged(&self.disk, from, to) {
            self.follow(fabric, shard, Event::Damaged { epoch, intact });
        }
        frames
    }

    fn fly(&mut self, operation: u64, flight: Flight) {
        if let Status::Running(running) = &mut self.process {
            running.flights.insert(operation, flight);
        }
    }

    /// One write of the journal at a time; promises that came meanwhile share the next one.
    fn keep_more(&mut self, fabric: &mut Fabric) {
        let Status::Running(running) = &mut self.process else { return };
        if running.keeps || running.poisoned || running.keeping.is_empty() {
            return;
        }
        running.keeps = true;
        let kept = std::mem::take(&mut running.keeping);
        let mut steps = Vec::new();
        for (shard, promised) in &kept {
            steps.push(running.journal.keep(*shard, *promised, fabric.chance.salt()));
            let highest = running.promised.entry(*shard).or_insert(0);
            *highest = (*highest).max(*promised);
        }
        let operation = self.begin(fabric, steps);
        self.fly(operation, Flight::Keep(kept));
    }

    fn seal_files(&mut self, fabric: &mut Fabric, shard: u64, epoch: u32, end: Place) {
        let Status::Running(running) = &mut self.process else { return };
        let base = running.base_of(shard, epoch);
        let files = running.span_files(shard, epoch);
        match base.and_then(|base| files.seal(&self.disk, base, end)) {
            Some(steps) => {
                let operation = self.begin(fabric, steps);
                self.fly(operation, Flight::Seal(shard, epoch, end));
            }
            None => self.copy(fabric, shard, epoch),
        }
    }

    fn delete_files(&mut self, fabric: &mut Fabric, shard: u64, epoch: u32) {
        let Status::Running(running) = &mut self.process else { return };
        let truth = Rc::clone(fabric.truth.state());
        fabric.judge.deleted(&truth, running.me, shard, epoch);
        running.files.remove(&(shard, epoch));
        running.copies.remove(&(shard, epoch));
        let names: Vec<_> = self.disk.names().filter(|name| name.is_of(shard, epoch)).collect();
        let steps = names.into_iter().map(|name| Step::Remove { name }).collect();
        let operation = self.begin(fabric, steps);
        self.fly(operation, Flight::Delete);
    }

    /// A message has arrived.
    pub fn arrives(&mut self, fabric: &mut Fabric, from: usize, message: Message) {
        let Status::Running(running) = &mut self.process else { return };
        match message {
            Message::Ask { node, envelope, request } if node == running.me.node => {
                if let Request::Append { .. } = request {
                    running.heard.insert(envelope.shard, fabric.now);
                }
                self.follow(fabric, envelope.shard, Event::Asked(envelope, request));
            }
            Message::Tell { to, from } if to.node == running.process.node => {
                self.told(fabric, to, from);
            }
            Message::Ask { .. } | Message::Tell { .. } | Message::Produced { .. } => {}
            Message::Produce { client, shard, batch } => self.produce(fabric, from, client, shard, batch),
            Message::List { shard, epoch } => self.list(fabric, from, shard, epoch),
            Message::Fetch { shard, epoch, number, at, len } => {
                self.give(fabric, from, (shard, epoch), number, (at, len));
            }
            Message::Listed { shard, epoch, node, files } => self.listed(fabric, shard, epoch, node, files),
            Message::Piece { shard, epoch, number, at, bytes } => {
                self.piece(fabric, (shard, epoch), number, at, bytes);
            }
        }
    }

    /// Answers go to the leader and to the coordinator; each takes those that are its own.
    fn told(&mut self, fabric: &mut Fabric, to: Process, from: From) {
        let Status::Running(running) = &mut self.process else { return };
        let shard = from.shard;
        if to != running.process && !running.leads.get(&shard).is_some_and(|lead| lead.is(to)) {
            return;
        }
        self.lead(fabric, shard, tidelog_replica::leader::Event::Answered(from.clone()));
        self.seal(fabric, shard, tidelog_replica::sealer::Event::Answered(from));
    }

    /// Time has passed.
    pub fn tick(&mut self, fabric: &mut Fabric) {
        fabric.after(TICK, Happening::Tick { at: self.at, life: self.life });
        let Status::Running(running) = &mut self.process else {
            return self.boot_tick(fabric);
        };
        if fabric.now >= running.read_at + 700 * MS {
            self.read_metadata(fabric);
            self.report_lost(fabric);
        }
        let Status::Running(running) = &mut self.process else { return };
        let leads: Vec<u64> = running.leads.keys().copied().collect();
        for shard in leads {
            self.lead(fabric, shard, tidelog_replica::leader::Event::Tick);
            self.close_if_short(fabric, shard);
        }
        let Status::Running(running) = &mut self.process else { return };
        let seals: Vec<u64> = running.seals.keys().copied().collect();
        for shard in seals {
            self.seal(fabric, shard, tidelog_replica::sealer::Event::Tick);
        }
        self.suspect(fabric);
        self.tick_copies(fabric);
    }

    /// Reads the metadata, if it is not being read.
    pub(crate) fn read_metadata(&mut self, fabric: &mut Fabric) {
        let Status::Running(running) = &mut self.process else { return };
        if !running.reading {
            running.reading = true;
            self.call(fabric, Call::Read, None);
        }
    }

    fn call(&mut self, fabric: &mut Fabric, call: Call, command: Option<Command>) {
        let Status::Running(running) = &mut self.process else { return };
        running.next_token += 1;
        running.calls.insert(running.next_token, call);
        fabric.propose(self.at, self.life, running.next_token, command);
    }

    /// The metadata has answered, or has not.
    pub fn decided(
        &mut self,
        fabric: &mut Fabric,
        token: u64,
        outcome: Option<(Result<Applied, Illegal>, Rc<State>)>,
    ) {
        let Status::Running(running) = &mut self.process else {
            return self.boot_decided(fabric, outcome);
        };
        let Some(call) = running.calls.remove(&token) else { return };
        if matches!(call, Call::Read) {
            running.reading = false;
            running.read_at = fabric.now;
        }
        let result = outcome.map(|(result, state)| {
            self.look(fabric, &state, true);
            result
        });
        match call {
            Call::Read | Call::Other => {}
            Call::BeginSeal(shard, epoch, token) => self.seal_begun(fabric, shard, epoch, token, result),
            Call::CommitSeal(shard) => self.seal_committed(fabric, shard, result),
            Call::Close(shard) => self.closed(fabric, shard, result),
        }
    }

    /// Takes a state of the metadata, if it is newer than the one at hand.
    pub fn look(&mut self, fabric: &mut Fabric, state: &Rc<State>, current: bool) {
        let Status::Running(running) = &mut self.process else { return };
        if state.version < running.state.version {
            return;
        }
        running.state = Rc::clone(state);
        let shards: Vec<u64> = state.chains.keys().copied().collect();
        for shard in shards {
            let view = truth::view(state, shard, current);
            let last = view.spans.values().next_back().cloned();
            self.follow(fabric, shard, Event::Viewed(view));
            if let Some(last) = last {
                self.look_at_last(fabric, shard, &last);
            }
        }
    }
}

impl Running {
    pub(crate) fn span_files(&mut self, shard: u64, epoch: u32) -> &mut SpanFiles {
        self.files.entry((shard, epoch)).or_insert_with(|| SpanFiles::new(shard, epoch))
    }

    fn base_of(&self, shard: u64, epoch: u32) -> Option<Place> {
        let span = self.state.span(shard, epoch)?;
        Some(Place { lsn: span.base, chain: span.base_chain })
    }
}
