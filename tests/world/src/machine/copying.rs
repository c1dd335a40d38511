//! A node copies a sealed span from another holder, file by file, and is then a holder itself.

use std::collections::BTreeMap;
use std::rc::Rc;

use tidelog_format::block::BLOCK;
use tidelog_format::trailer::Trailer;
use tidelog_meta::{Command, Manifest, NodeState};
use tidelog_replica::follower::Event;
use tidelog_replica::span::Place;

use crate::disk::{Name, Step};
use crate::fabric::{Fabric, MS, Message, Time};
use crate::files::{SpanFiles, segments_of};
use crate::machine::{Call, Flight, Machine, Status};
use crate::truth;

/// Bytes of one piece.
const PIECE: usize = 16 * 1024;

/// A copy that is being made.
pub(super) struct Copying {
    end: Place,
    asked: Time,
    source: Option<usize>,
    wanted: Vec<(u64, usize, [u8; 16])>,
    got: BTreeMap<u64, Vec<u8>>,
    storing: bool,
    /// Durable here, and not yet said to the metadata, or not yet seen there.
    stored: bool,
}

impl Copying {
    fn new(end: Place) -> Copying {
        Copying {
            end,
            asked: 0,
            source: None,
            wanted: Vec::new(),
            got: BTreeMap::new(),
            storing: false,
            stored: false,
        }
    }
}

impl Machine {
    /// Begins to copy a span whose end the metadata knows.
    pub(super) fn copy(&mut self, fabric: &mut Fabric, shard: u64, epoch: u32, end: Place) {
        let Status::Running(running) = &mut self.process else { return };
        running.copies.entry((shard, epoch)).or_insert_with(|| Copying::new(end));
        self.tick_copies(fabric);
    }

    /// Asks again for what did not come; begins the copies that replace lost holders.
    pub(super) fn tick_copies(&mut self, fabric: &mut Fabric) {
        self.replace_lost(fabric);
        self.tell_copies(fabric);
        let Status::Running(running) = &mut self.process else { return };
        if running.poisoned {
            return;
        }
        let (at, me, state) = (self.at, running.me, Rc::clone(&running.state));
        running.copies.retain(|(shard, epoch), _| state.span(*shard, *epoch).is_some());
        for ((shard, epoch), copying) in &mut running.copies {
            if copying.storing || copying.stored || fabric.now < copying.asked + 150 * MS {
                continue;
            }
            copying.asked = fabric.now;
            let Some(span) = state.span(*shard, *epoch) else { continue };
            let others: Vec<u64> =
                span.replicas.iter().map(|replica| replica.node).filter(|node| *node != me.node).collect();
            if others.is_empty() {
                continue;
            }
            // Resumes where it stopped, from any holder: files are the same bytes everywhere.
            let source = others[fabric.chance.index(others.len())];
            fabric.send_node(at, source, Message::List { shard: *shard, epoch: *epoch });
        }
    }

    /// Of the nodes that could take the place of a lost one, the first does.
    fn replace_lost(&mut self, fabric: &mut Fabric) {
        let Status::Running(running) = &mut self.process else { return };
        let state = Rc::clone(&running.state);
        let mut begin = Vec::new();
        for (shard, span) in state.spans() {
            let Some((end, chain)) = span.sealed() else { continue };
            let lost = span.replicas.iter().any(|replica| truth::is_lost(&state, replica.node));
            let fit = |node: &&u64| state.nodes[*node].state == NodeState::ReadWrite && !span.is_on(**node);
            let fit: Vec<u64> = state.nodes.keys().filter(fit).copied().collect();
            // One after the other gets its turn, should the one before be dead.
            let turn = usize::try_from(fabric.now / (1000 * MS)).unwrap_or(0);
            let first = fit.get(turn.checked_rem(fit.len()).unwrap_or(0));
            if lost && first == Some(&running.me.node) && !running.copies.contains_key(&(shard, span.epoch)) {
                begin.push((shard, span.epoch, Place { lsn: end, chain }));
            }
        }
        for (shard, epoch, end) in begin {
            running.copies.insert((shard, epoch), Copying::new(end));
        }
    }

    /// Tells which files of a sealed span are here.
    pub(super) fn list(&self, fabric: &mut Fabric, from: usize, shard: u64, epoch: u32) {
        let Status::Running(running) = &self.process else { return };
        let whole = running.followers.get(&shard).is_some_and(|follower| follower.is_whole(epoch));
        if !whole {
            return;
        }
        let files = segments_of(&self.disk, shard, epoch)
            .filter_map(|number| {
                let bytes = self.disk.read(Name::Segment { shard, epoch, number })?;
                Some((number, bytes.len(), trailer_digest(bytes)?))
            })
            .collect();
        fabric.send(self.at, from, Message::Listed { shard, epoch, files });
    }

    /// Gives bytes of a file.
    pub(super) fn give(
        &self,
        fabric: &mut Fabric,
        from: usize,
        (shard, epoch): (u64, u32),
        number: u64,
        at: usize,
    ) {
        let Status::Running(running) = &self.process else { return };
        let whole = running.followers.get(&shard).is_some_and(|follower| follower.is_whole(epoch));
        let Some(bytes) = self.disk.read(Name::Segment { shard, epoch, number }).filter(|_| whole) else {
            return;
        };
        let piece = bytes.get(at..bytes.len().min(at + PIECE)).unwrap_or(&[]).to_vec();
        fabric.send(self.at, from, Message::Piece { shard, epoch, number, at, bytes: piece });
    }

    pub(super) fn listed(
        &mut self,
        fabric: &mut Fabric,
        from: usize,
        shard: u64,
        epoch: u32,
        files: Vec<(u64, usize, [u8; 16])>,
    ) {
        let Status::Running(running) = &mut self.process else { return };
        let Some(copying) = running.copies.get_mut(&(shard, epoch)).filter(|copying| !copying.storing) else {
            return;
        };
        copying.wanted = files;
        copying.source = Some(from);
        let wanted = &copying.wanted;
        copying.got.retain(|number, _| wanted.iter().any(|(wanted, ..)| wanted == number));
        self.fetch_next(fabric, shard, epoch);
    }

    pub(super) fn piece(
        &mut self,
        fabric: &mut Fabric,
        (shard, epoch): (u64, u32),
        number: u64,
        at: usize,
        bytes: &[u8],
    ) {
        let Status::Running(running) = &mut self.process else { return };
        let Some(copying) = running.copies.get_mut(&(shard, epoch)).filter(|copying| !copying.storing) else {
            return;
        };
        let got = copying.got.entry(number).or_default();
        if got.len() != at || bytes.is_empty() {
            return;
        }
        got.extend_from_slice(bytes);
        copying.asked = fabric.now;
        self.fetch_next(fabric, shard, epoch);
    }

    fn fetch_next(&mut self, fabric: &mut Fabric, shard: u64, epoch: u32) {
        let Status::Running(running) = &mut self.process else { return };
        let Some(copying) = running.copies.get_mut(&(shard, epoch)) else { return };
        let Some(source) = copying.source else { return };
        let short =
            copying.wanted.iter().find(|(number, len, _)| copying.got.get(number).map_or(0, Vec::len) < *len);
        if let Some((number, ..)) = short {
            let at = copying.got.get(number).map_or(0, Vec::len);
            let number = *number;
            return fabric.send(self.at, source, Message::Fetch { shard, epoch, number, at });
        }
        self.verify_and_store(fabric, shard, epoch);
    }

    /// All bytes are here. They are believed only when they are a sealed span that ends where the metadata says.
    fn verify_and_store(&mut self, fabric: &mut Fabric, shard: u64, epoch: u32) {
        let Status::Running(running) = &mut self.process else { return };
        let state = Rc::clone(&running.state);
        let Some(copying) = running.copies.get_mut(&(shard, epoch)) else { return };
        let Some(known) = state.span(shard, epoch) else { return };
        let mut aside = crate::disk::Disk::default();
        let mut steps: Vec<Step> = self
            .disk
            .names()
            .filter(|name| name.is_of(shard, epoch))
            .map(|name| Step::Remove { name })
            .collect();
        let mut puts = Vec::new();
        for (number, bytes) in std::mem::take(&mut copying.got) {
            let name = Name::Segment { shard, epoch, number };
            puts.push(Step::Put { name, bytes: Rc::new(bytes) });
        }
        let operation = aside.begin(puts.clone());
        aside.finish(operation);
        let span = truth::span(shard, known);
        let judged = SpanFiles::judge(&aside, shard, epoch, Some(&span), Some(known.salt));
        let empty = puts.is_empty() && copying.end == span.base;
        if judged.sealed != Some(copying.end) && !empty {
            copying.wanted.clear();
            return;
        }
        copying.storing = true;
        running.files.insert((shard, epoch), judged.files);
        steps.extend(puts);
        let operation = self.begin(fabric, steps);
        self.fly(operation, Flight::Copy(shard, epoch));
    }

    /// The copy is durable: now it may be said.
    pub(super) fn copied(&mut self, fabric: &mut Fabric, shard: u64, epoch: u32) {
        let Status::Running(running) = &mut self.process else { return };
        let Some(copying) = running.copies.get_mut(&(shard, epoch)) else { return };
        (copying.stored, copying.asked) = (true, 0);
        fabric
            .trace
            .say(fabric.now, || format!("machine {}: has copied shard {shard}, span {epoch}", self.at));
        self.tell_copies(fabric);
    }

    /// A copy counts once the metadata names this store as a holder.
    fn tell_copies(&mut self, fabric: &mut Fabric) {
        let Status::Running(running) = &mut self.process else { return };
        let (me, state) = (running.me, Rc::clone(&running.state));
        let (mut held, mut ask, mut useless) = (Vec::new(), Vec::new(), Vec::new());
        for ((shard, epoch), copying) in &mut running.copies {
            let Some(span) = state.span(*shard, *epoch) else { continue };
            let old = span.replicas.iter().find(|replica| truth::is_lost(&state, replica.node)).copied();
            if !copying.stored {
                continue;
            } else if span.is_on(me.node) {
                held.push((*shard, *epoch, copying.end));
            } else if old.is_none() {
                useless.push((*shard, *epoch));
            } else if fabric.now >= copying.asked + 500 * MS {
                copying.asked = fabric.now;
                let new = truth::meta_replica(&me);
                let (shard, epoch, manifest) = (*shard, *epoch, Manifest([1; 16]));
                ask.push(Command::SwapReplica { shard, epoch, old, new, manifest });
            }
        }
        for key in useless.iter().copied().chain(held.iter().map(|(shard, epoch, _)| (*shard, *epoch))) {
            running.copies.remove(&key);
        }
        for command in ask {
            self.call(fabric, Call::Other, Some(command));
        }
        for (shard, epoch, end) in held {
            fabric.judge.copied(me, shard, epoch, end.lsn);
            self.follow(fabric, shard, Event::Copied { epoch, end });
        }
        for (shard, epoch) in useless {
            // Somebody else was faster; nobody was ever told of these files.
            self.delete_files(fabric, shard, epoch);
        }
    }
}

fn trailer_digest(bytes: &[u8]) -> Option<[u8; 16]> {
    let last = bytes.len().checked_sub(BLOCK)?;
    let block = bytes.get(last..)?.first_chunk::<BLOCK>()?;
    Trailer::of_last_block(block, (last / BLOCK) as u32).map(|trailer| trailer.digest)
}
