//! A process starts: who am I, is what I find still what I left, what do I hold.

use std::collections::BTreeMap;
use std::rc::Rc;

use tidelog_format::superblock::{SUPERBLOCK_LEN, Superblock};
use tidelog_meta::{Applied, Command, Illegal, NodeInfo, NodeState, State, StoreId};
use tidelog_replica::follower::{Event, Follower, Recovered};
use tidelog_replica::planted::{self, Bug};
use tidelog_replica::span::{Process, Replica};
use tidelog_replica::start::{Identity, is_begun, judge};

use crate::disk::{Name, Step};
use crate::fabric::{Fabric, Happening};
use crate::files::SpanFiles;
use crate::journal::{self, Journal};
use crate::machine::{Call, Machine, Running, Status};
use crate::truth;

/// Where a start is.
pub struct Booting {
    at: Phase,
    asked: bool,
    state: Rc<State>,
    identity: Superblock,
    /// The node's number is known: its directory was in the cluster before.
    known: bool,
    promises: BTreeMap<u64, u32>,
    token: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// The metadata is read.
    Reading,
    /// The superblock and the journal are written.
    Writing,
    /// The metadata is told.
    Telling,
}

impl Machine {
    /// Switches the machine on.
    pub fn boot(&mut self, fabric: &mut Fabric) {
        if !matches!(self.process, Status::Off) {
            return;
        }
        self.life += 1;
        self.images.push(self.disk.image());
        fabric.trace.say(fabric.now, || format!("machine {}: starts", self.at));
        self.process = Status::Booting(Box::new(Booting {
            at: Phase::Reading,
            asked: false,
            state: Rc::new(State::default()),
            identity: Superblock {
                cluster: [1; 16],
                store: [0; 16],
                node: 0,
                incarnation: 0,
                generation: 0,
                created: 0,
            },
            known: false,
            promises: BTreeMap::new(),
            token: 0,
        }));
        fabric.after(0, Happening::Tick { at: self.at, life: self.life });
    }

    pub(super) fn boot_tick(&mut self, fabric: &mut Fabric) {
        let Status::Booting(booting) = &mut self.process else { return };
        if booting.asked {
            return;
        }
        let command = match booting.at {
            Phase::Reading => None,
            Phase::Writing => return,
            Phase::Telling => Some(booting.command(self.at)),
        };
        booting.asked = true;
        booting.token += 1;
        fabric.propose(self.at, self.life, booting.token, command);
    }

    pub(super) fn boot_decided(
        &mut self,
        fabric: &mut Fabric,
        outcome: Option<(Result<Applied, Illegal>, Rc<State>)>,
    ) {
        let Status::Booting(booting) = &mut self.process else { return };
        booting.asked = false;
        let Some((result, state)) = outcome else { return };
        booting.state = state;
        match (booting.at, result) {
            (Phase::Reading, _) => self.find_identity(fabric),
            // What the metadata shows decides: the answer may be that to an earlier question, and a try that seemed lost
            // may have been heard.
            (Phase::Telling, _) if booting.is_shown() => self.run(fabric),
            // Somebody took the number: look again.
            (Phase::Telling, Err(_)) => booting.at = Phase::Reading,
            (Phase::Telling, Ok(_)) | (Phase::Writing, _) => {}
        }
    }

    /// Reads superblock and journal, and asks the rules what they are worth.
    fn find_identity(&mut self, fabric: &mut Fabric) {
        let superblock = self.disk.read(Name::Superblock).and_then(|bytes| Superblock::decode(bytes).ok());
        let read = journal::read(&self.disk);
        let Status::Booting(booting) = &mut self.process else { return };
        let store = superblock.map(|found| StoreId(found.store));
        let node = store.and_then(|store| booting.state.node_of(store));
        let known = node.and_then(|node| booting.state.nodes.get(&node)).cloned();
        let found = superblock.map(|found| Identity { store: found.store, generation: found.generation });
        let lost = known.as_ref().is_some_and(|known| !known.state.counts());
        let promises_readable = read.is_some() || known.is_none() && superblock.is_some();
        let verdict = judge(found, promises_readable, known.as_ref().map(|known| known.generation));
        match (verdict, superblock) {
            (Ok(_), Some(superblock)) if !lost => {
                booting.identity = superblock;
                booting.known = node.is_some();
                booting.identity.node = node.unwrap_or(booting.state.next_node());
                booting.promises = read.as_ref().map_or(BTreeMap::new(), |read| read.promises.clone());
                if !read.is_some_and(|read| read.proved) {
                    booting.take_promises_from_metadata();
                }
                if planted::has(Bug::RolledBackRejoins) {
                    let known = known.map_or(0, |known| known.generation);
                    booting.identity.generation = booting.identity.generation.max(known);
                    let lives =
                        node.and_then(|node| booting.state.nodes.get(&node)).map_or(0, |n| n.incarnation);
                    booting.identity.incarnation = booting.identity.incarnation.max(lives);
                }
            }
            (verdict, _) => {
                fabric.trace.say(fabric.now, || format!("machine {}: a new name: {verdict:?}", self.at));
                self.take_new_name(fabric);
            }
        }
        self.write_identity(fabric);
    }

    fn take_new_name(&mut self, fabric: &mut Fabric) {
        let at = self.at;
        let Status::Booting(booting) = &mut self.process else { return };
        // What the directory held is put aside and counts for nothing.
        self.disk.lose();
        booting.identity.store = fabric.chance.salt();
        booting.identity.incarnation = 0;
        booting.identity.generation = 0;
        booting.identity.node = booting.state.next_node();
        booting.known = false;
        booting.promises = BTreeMap::new();
        if planted::has(Bug::EmptyDiskVotes) {
            let old = booting.state.nodes.iter().rfind(|(_, node)| node.info.address == address(at));
            if let Some((node, old)) = old.filter(|(_, old)| old.state.counts()) {
                booting.identity.store = old.store.0;
                booting.identity.generation = old.generation;
                booting.identity.incarnation = old.incarnation;
                booting.identity.node = *node;
                booting.known = true;
            }
        }
    }

    /// The superblock first, then the metadata.
    fn write_identity(&mut self, fabric: &mut Fabric) {
        let old = self.disk.read(Name::Superblock).map_or(vec![0; SUPERBLOCK_LEN], |bytes| bytes.to_vec());
        let Status::Booting(booting) = &mut self.process else { return };
        booting.at = Phase::Writing;
        booting.identity.generation += 1;
        booting.identity.incarnation += 1;
        let mut bytes = old;
        let mut block = [0; tidelog_format::BLOCK];
        booting.identity.encode(&mut block);
        let place = booting.identity.copy() as usize * tidelog_format::BLOCK;
        bytes[place..place + block.len()].copy_from_slice(&block);
        let (_, journal) = Journal::begin(booting.promises.clone(), fabric.chance.salt());
        let write =
            Step::Write { name: Name::Superblock, at: place, bytes: block.to_vec(), planned: SUPERBLOCK_LEN };
        self.begin(fabric, vec![write, journal]);
    }

    pub(super) fn boot_done(&mut self, fabric: &mut Fabric, done: bool) {
        let Status::Booting(booting) = &mut self.process else { return };
        if done {
            booting.at = Phase::Telling;
            booting.asked = false;
        } else {
            booting.at = Phase::Reading;
        }
        self.boot_tick(fabric);
    }

    /// The process has its place: it reads what the disk holds and begins to serve.
    fn run(&mut self, fabric: &mut Fabric) {
        let Status::Booting(booting) = &self.process else { return };
        let identity = booting.identity;
        let state = Rc::clone(&booting.state);
        let promises = booting.promises.clone();
        let me = Replica { node: identity.node, store: identity.store };
        fabric.homes.insert(me.node, self.at);
        for (shard, promised) in &promises {
            fabric.judge.kept(me, *shard, *promised);
        }
        let (journal, step) = Journal::begin(promises.clone(), fabric.chance.salt());
        // The same content was made durable before.
        let operation = self.disk.begin(vec![step]);
        self.disk.finish(operation);
        let old = if fabric.past.is_empty() || fabric.chance.percent(50) {
            Rc::clone(&state)
        } else {
            let back = fabric.chance.index(fabric.past.len().min(6));
            Rc::clone(&fabric.past[fabric.past.len() - 1 - back])
        };
        let mut running = Running {
            me,
            process: Process { node: me.node, incarnation: identity.incarnation },
            state: Rc::new(State::default()),
            followers: BTreeMap::new(),
            files: BTreeMap::new(),
            flights: BTreeMap::new(),
            journal,
            promised: BTreeMap::new(),
            keeping: Vec::new(),
            keeps: false,
            leads: BTreeMap::new(),
            seals: BTreeMap::new(),
            copies: BTreeMap::new(),
            calls: BTreeMap::new(),
            next_token: 1_000_000,
            suspicions: BTreeMap::new(),
            poisoned: false,
            reading: false,
            raising: false,
            read_at: fabric.now,
        };
        let shards: Vec<u64> = state.shards.keys().copied().collect();
        for shard in shards {
            let promised = promises.get(&shard).copied().unwrap_or(0);
            running.recover(fabric, &self.disk, &state, shard, promised);
            running.suspicion(shard, fabric.clock());
        }
        fabric
            .trace
            .say(fabric.now, || format!("machine {}: is node {}.{}", self.at, me.node, identity.incarnation));
        self.process = Status::Running(Box::new(running));
        // What the node remembers of the metadata may be old; then it is read.
        self.look(fabric, &old, false);
        self.look(fabric, &state, true);
        self.report_lost(fabric);
    }

    /// Other directories that this machine had are lost.
    pub(super) fn report_lost(&mut self, fabric: &mut Fabric) {
        let Status::Running(running) = &self.process else { return };
        let (me, state) = (running.me.node, Rc::clone(&running.state));
        let mut commands = Vec::new();
        for (node, known) in &state.nodes {
            if *node != me && known.info.address == address(self.at) && known.state.counts() {
                let (node, was) = (*node, known.state);
                commands.push(Command::SetNodeState { node, was, state: NodeState::DataLoss });
            }
        }
        for command in commands {
            self.call(fabric, Call::Other, Some(command));
        }
    }
}

impl Booting {
    fn command(&self, at: usize) -> Command {
        let info = NodeInfo { address: address(at), ..NodeInfo::default() };
        let (node, store) = (self.identity.node, StoreId(self.identity.store));
        let (incarnation, generation) = (self.identity.incarnation, self.identity.generation);
        if self.known {
            Command::StartNode { node, store, incarnation, generation, info }
        } else {
            Command::RegisterNode { node, store, incarnation, generation, info }
        }
    }

    /// Whether the metadata shows this process.
    fn is_shown(&self) -> bool {
        let (node, store) = (self.identity.node, self.identity.store);
        let life = Process { node, incarnation: self.identity.incarnation };
        let shown = self.state.nodes.get(&node).map(|known| {
            (truth::replica_of(&known.replica(node)), Process { node, incarnation: known.incarnation })
        });
        is_begun(Replica { node, store }, life, shown)
    }

    /// Every attempt that can have fenced this store was begun before this read.
    fn take_promises_from_metadata(&mut self) {
        for (shard, chain) in &self.state.chains {
            let Some(last) = chain.last() else { continue };
            let newest = match last.state {
                tidelog_meta::SpanState::Sealing { attempt, .. } => attempt,
                _ => last.epoch,
            };
            let promise = self.promises.entry(*shard).or_insert(newest);
            *promise = newest.max(*promise);
        }
    }
}

impl Running {
    /// Reads what the disk holds of a shard.
    fn recover(
        &mut self,
        fabric: &mut Fabric,
        disk: &crate::disk::Disk,
        state: &State,
        shard: u64,
        promised: u32,
    ) {
        let mut recovered = Recovered { promised, ..Recovered::default() };
        let mut epochs: Vec<u32> = disk
            .names()
            .filter_map(|name| match name {
                Name::Segment { shard: of, epoch, .. } if of == shard => Some(epoch),
                _ => None,
            })
            .collect();
        epochs.dedup();
        for epoch in epochs {
            let known = state.span(shard, epoch);
            let span = known.map(|span| truth::span(shard, span));
            let judged = SpanFiles::judge(disk, shard, epoch, span.as_ref(), known.map(|span| span.salt));
            if let Some((_, end)) = judged.found.held {
                fabric.judge.found(self.me, shard, epoch, end.lsn);
            }
            self.files.insert((shard, epoch), judged.files);
            match judged.sealed {
                Some(end) => {
                    recovered.sealed.insert(epoch, end);
                }
                None => recovered.open.push(judged.found),
            }
        }
        self.followers.insert(shard, Follower::new(self.me, recovered));
    }

    /// Looks for rot in a sealed span, and tells the rules.
    pub(crate) fn scrub(&self, disk: &crate::disk::Disk, shard: u64, epoch: u32) -> Option<Event> {
        let known = self.state.span(shard, epoch);
        let span = known.map(|span| truth::span(shard, span));
        let judged = SpanFiles::judge(disk, shard, epoch, span.as_ref(), known.map(|span| span.salt));
        let whole = self.followers.get(&shard).is_some_and(|follower| follower.is_whole(epoch));
        let holds_frames = span.as_ref().is_some_and(|span| span.end() != Some(span.base));
        let intact = judged.found.held.map(|(_, end)| end).or(span.map(|span| span.base));
        let damaged = whole && holds_frames && judged.sealed.is_none();
        intact.filter(|_| damaged).map(|intact| Event::Damaged { epoch, intact })
    }
}

/// Where a machine is reached.
pub(super) fn address(at: usize) -> String {
    format!("m{at}:1")
}
