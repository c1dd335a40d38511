//! A machine: a disk, and sometimes a process on it that carries out what the rules say. It decides nothing itself.

mod asking;
mod boot;
pub(crate) mod copying;
mod following;
mod framing;
mod leading;
mod sealing;
mod serving;

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use tidelog_meta::{Command, State};
use tidelog_replica::follower::{Event, Follower};
use tidelog_replica::frame::Frame;
use tidelog_replica::message::{From, Request};
use tidelog_replica::span::{Place, Process, Replica};
use tidelog_replica::suspicion::Suspicion;

use crate::disk::{Disk, Step};
use crate::fabric::{Fabric, Happening, MS, Message, Time};
use crate::files::SpanFiles;
use crate::journal::Journal;

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
    suspicions: BTreeMap<u64, Suspicion>,
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
    Aside,
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

    /// The span of a shard that this machine is sealing, and how many of its holders are not sure of its end.
    pub fn seals(&self, shard: u64) -> Option<(u32, usize)> {
        let sealer = &self.running()?.seals.get(&shard)?.sealer;
        Some((sealer.span().epoch, sealer.missing().len()))
    }

    /// The next offset of each partition at the end of a sealed span, by this machine's copy.
    pub fn ends_of(&self, shard: u64, epoch: u32) -> Option<BTreeMap<u64, u64>> {
        let running = self.running()?;
        if !running.followers.get(&shard)?.is_whole(epoch) {
            return None;
        }
        let Some(files) = running.files.get(&(shard, epoch)).filter(|files| !files.slots().is_empty()) else {
            return Some(BTreeMap::new());
        };
        // A footer that rotted proves nothing.
        let footer = files.last_footer(&self.disk)?;
        let rows = footer.partitions.iter();
        Some(rows.map(|row| (row.partition, row.next_offset)).collect())
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
            Flight::Delete | Flight::Aside => {}
            Flight::Copy(shard, epoch) => self.copied(fabric, shard, epoch),
            Flight::Superblock(generation) => {
                running.raising = false;
                let (node, store) = (running.me.node, tidelog_meta::StoreId(running.me.store));
                let command = Command::RaiseGeneration { node, store, generation };
                self.call(fabric, Call::Other, Some(command));
            }
        }
    }

    fn fly(&mut self, operation: u64, flight: Flight) {
        if let Status::Running(running) = &mut self.process {
            running.flights.insert(operation, flight);
        }
    }

    /// A message has arrived.
    pub fn arrives(&mut self, fabric: &mut Fabric, from: usize, message: Message) {
        let Status::Running(running) = &mut self.process else { return };
        match message {
            Message::Ask { node, envelope, request } if node == running.me.node => {
                if let Request::Append { .. } = request {
                    running.suspicion(envelope.shard, fabric.clock()).heard(fabric.clock());
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
            Message::Gather { shard, epoch, from: first, to } => {
                let node = running.me.node;
                let frames = self.read_frames(fabric, shard, epoch, first, to);
                fabric.send(self.at, from, Message::Gathered { shard, epoch, node, from: first, frames });
            }
            Message::Gathered { shard, epoch, node, from, frames } => {
                self.copy_step(
                    fabric,
                    shard,
                    epoch,
                    tidelog_replica::copier::Event::Gathered { node, from, frames },
                );
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
            self.tell_sealer(fabric, shard);
            self.seal(fabric, shard, tidelog_replica::sealer::Event::Tick);
        }
        self.suspect(fabric);
        self.tick_copies(fabric);
    }
}

impl Running {
    fn suspicion(&mut self, shard: u64, now: Duration) -> &mut Suspicion {
        let number = self.me.node;
        self.suspicions.entry(shard).or_insert_with(|| Suspicion::new(number, now))
    }

    pub(crate) fn span_files(&mut self, shard: u64, epoch: u32) -> &mut SpanFiles {
        self.files.entry((shard, epoch)).or_insert_with(|| SpanFiles::new(shard, epoch))
    }

    fn base_of(&self, shard: u64, epoch: u32) -> Option<Place> {
        let span = self.state.span(shard, epoch)?;
        Some(Place { lsn: span.base, chain: span.base_chain })
    }
}
