//! A node copies sealed spans from other holders: it carries bytes and verifies them, the rules say what to do when.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use bytes::Bytes;
use tidelog_format::block::BLOCK;
use tidelog_format::trailer::Trailer;
use tidelog_meta::{Command, Manifest, NodeState};
use tidelog_replica::copier::{Copier, Effect, Event, SealedFile};
use tidelog_replica::follower;
use tidelog_replica::frame::Frame;
use tidelog_replica::span::{Place, Span};

use crate::disk::{Disk, Name, Step};
use crate::fabric::{Fabric, MS, Message};
use crate::files::{SpanFiles, segments_of};
use crate::machine::{Call, Flight, Machine, Status};
use crate::truth;

/// A copy that is being made: the rules' part, and the bytes aside.
pub(super) struct Copying {
    copier: Copier,
    aside: BTreeMap<u64, Vec<u8>>,
    /// The files, as they were listed.
    listed: BTreeMap<u64, SealedFile>,
    /// Frames that are aside, of a span that is put together.
    mended: SpanFiles,
    /// What was verified of it, until it is in place.
    files: Option<SpanFiles>,
    in_place: bool,
}

impl Machine {
    /// Begins to copy a span whose end the metadata knows.
    pub(super) fn copy(&mut self, fabric: &mut Fabric, shard: u64, epoch: u32) {
        let Status::Running(running) = &mut self.process else { return };
        if running.copies.contains_key(&(shard, epoch)) {
            return;
        }
        let Some(span) = running.state.span(shard, epoch).map(|span| truth::span(shard, span)) else {
            return;
        };
        let (lost, turn) = (truth::lost(&running.state, shard, epoch), fabric.chance.index(7));
        let Some(copier) = Copier::new(running.me, span, lost, 0, turn) else { return };
        let (aside, listed) = (BTreeMap::new(), BTreeMap::new());
        let mended = SpanFiles::new(shard, epoch);
        let mut copying = Copying { copier, aside, listed, mended, files: None, in_place: false };
        let files = found_aside(&self.disk, shard, epoch, &mut copying);
        running.copies.insert((shard, epoch), copying);
        self.copy_step(fabric, shard, epoch, Event::Found { files });
        self.copy_step(fabric, shard, epoch, Event::Tick);
    }

    /// Gives an event to a copy and does what it says.
    pub(super) fn copy_step(&mut self, fabric: &mut Fabric, shard: u64, epoch: u32, event: Event) {
        let Status::Running(running) = &mut self.process else { return };
        let Some(copying) = running.copies.get_mut(&(shard, epoch)) else { return };
        let effects = copying.copier.step(fabric.clock(), event);
        for effect in effects {
            fabric.trace.say(fabric.now, || {
                let text = format!("machine {}: shard {shard}, span {epoch}: copy: {effect:?}", self.at);
                text.chars().take(160).collect()
            });
            self.copy_effect(fabric, shard, epoch, effect);
        }
    }

    fn copy_effect(&mut self, fabric: &mut Fabric, shard: u64, epoch: u32, effect: Effect) {
        let Status::Running(running) = &mut self.process else { return };
        let Some(copying) = running.copies.get_mut(&(shard, epoch)) else { return };
        match effect {
            Effect::List { node } => fabric.send_node(self.at, node, Message::List { shard, epoch }),
            Effect::Fetch { node, number, at, len } => {
                let message = Message::Fetch { shard, epoch, number, at, len: len.min(16 * 1024) };
                fabric.send_node(self.at, node, message);
            }
            Effect::Store { number, at, bytes } => {
                let aside = copying.aside.entry(number).or_default();
                aside.truncate(at as usize);
                aside.extend_from_slice(&bytes);
                if let Some(file) = copying.listed.get(&number).copied() {
                    self.put_aside(fabric, shard, epoch, file, at, &bytes);
                }
            }
            Effect::Verify => self.verify_copy(fabric, shard, epoch),
            Effect::Gather { node, from, to } => {
                fabric.send_node(self.at, node, Message::Gather { shard, epoch, from, to });
            }
            Effect::Mend { frames } => copying.mend(shard, epoch, &frames),
            Effect::Finish => {
                let span = running.state.span(shard, epoch).map(|span| truth::span(shard, span));
                if let Some(span) = span {
                    copying.finish(&span);
                }
                self.verify_copy(fabric, shard, epoch);
            }
            Effect::Lacks { lsn } => fabric.trace.say(fabric.now, || {
                format!("machine {}: shard {shard}, span {epoch}: nobody has frame {lsn}", self.at)
            }),
            Effect::Adopt => self.adopt(fabric, shard, epoch),
            Effect::Swap { old, manifest } => {
                let (old, new) = (old.as_ref().map(truth::meta_replica), truth::meta_replica(&running.me));
                let manifest = Manifest(manifest);
                let command = Command::SwapReplica { shard, epoch, old, new, manifest };
                self.call(fabric, Call::Other, Some(command));
            }
            Effect::Copied { end } => {
                running.copies.remove(&(shard, epoch));
                fabric.judge.copied(running.me, shard, epoch, end.lsn);
                self.follow(fabric, shard, follower::Event::Copied { epoch, end });
            }
            Effect::Discard => {
                let in_place = copying.in_place;
                running.copies.remove(&(shard, epoch));
                self.remove_aside(fabric, shard, epoch);
                if in_place {
                    self.delete_files(fabric, shard, epoch);
                }
            }
        }
    }

    fn verify_copy(&mut self, fabric: &mut Fabric, shard: u64, epoch: u32) {
        let end = self.verify(shard, epoch);
        let files = self.copied_files(shard, epoch);
        self.copy_step(fabric, shard, epoch, Event::Verified { end, files });
    }

    /// Bytes of a copy reach the disk, so that a restart goes on with them.
    fn put_aside(
        &mut self,
        fabric: &mut Fabric,
        shard: u64,
        epoch: u32,
        file: SealedFile,
        at: u64,
        bytes: &Bytes,
    ) {
        let SealedFile { number, len, digest } = file;
        let name = Name::Aside { shard, epoch, number, len, digest };
        let write = Step::Write { name, at: at as usize, bytes: bytes.to_vec(), planned: 0 };
        let operation = self.begin(fabric, vec![write]);
        self.fly(operation, Flight::Aside);
    }

    fn remove_aside(&mut self, fabric: &mut Fabric, shard: u64, epoch: u32) {
        let names: Vec<Name> = self.disk.names().filter(|name| name.is_aside_of(shard, epoch)).collect();
        if !names.is_empty() {
            let steps = names.into_iter().map(|name| Step::Remove { name }).collect();
            let operation = self.begin(fabric, steps);
            self.fly(operation, Flight::Aside);
        }
    }

    /// The list of files aside, from their bytes.
    fn copied_files(&self, shard: u64, epoch: u32) -> Vec<SealedFile> {
        let Status::Running(running) = &self.process else { return Vec::new() };
        let Some(copying) = running.copies.get(&(shard, epoch)) else { return Vec::new() };
        copying.aside.iter().filter_map(|(number, bytes)| listed_as(*number, bytes)).collect()
    }

    /// Walks the files aside from the span's base on: frames, footers, digests.
    fn verify(&mut self, shard: u64, epoch: u32) -> Option<Place> {
        let Status::Running(running) = &mut self.process else { return None };
        let copying = running.copies.get_mut(&(shard, epoch))?;
        let known = running.state.span(shard, epoch)?;
        let span = truth::span(shard, known);
        let aside = copying.as_disk(shard, epoch);
        let judged = SpanFiles::judge(&aside, shard, epoch, Some(&span), Some(known.salt));
        copying.files = Some(judged.files);
        judged.sealed
    }

    /// The files aside take the place of whatever is there.
    fn adopt(&mut self, fabric: &mut Fabric, shard: u64, epoch: u32) {
        let names: Vec<Name> = self.disk.names().filter(|name| name.is_of(shard, epoch)).collect();
        let Status::Running(running) = &mut self.process else { return };
        let Some(copying) = running.copies.get_mut(&(shard, epoch)) else { return };
        copying.in_place = true;
        let aside = std::mem::take(&mut copying.aside);
        let surplus = names.into_iter().filter(|name| match name {
            Name::Segment { number, .. } => !aside.contains_key(number),
            _ => false,
        });
        let removes: Vec<Step> = surplus.map(|name| Step::Remove { name }).collect();
        let put = |(number, bytes)| Step::Put {
            name: Name::Segment { shard, epoch, number },
            bytes: Rc::new(bytes),
        };
        // What is here may be one of the last copies: each file goes only when what replaces it is there.
        let asides: Vec<Name> = self.disk.names().filter(|name| name.is_aside_of(shard, epoch)).collect();
        let asides = asides.into_iter().map(|name| Step::Remove { name });
        let steps: Vec<Step> = aside.into_iter().map(put).chain(removes).chain(asides).collect();
        if let Some(files) = copying.files.take() {
            running.files.insert((shard, epoch), files);
        }
        let operation = self.begin(fabric, steps);
        self.fly(operation, Flight::Copy(shard, epoch));
    }

    /// The copy is in place and durable.
    pub(super) fn copied(&mut self, fabric: &mut Fabric, shard: u64, epoch: u32) {
        fabric
            .trace
            .say(fabric.now, || format!("machine {}: has copied shard {shard}, span {epoch}", self.at));
        self.copy_step(fabric, shard, epoch, Event::Adopted);
    }

    /// Begins the copies that replace lost holders; lets the others go on.
    pub(super) fn tick_copies(&mut self, fabric: &mut Fabric) {
        self.replace_lost(fabric);
        let Status::Running(running) = &mut self.process else { return };
        if running.poisoned {
            return;
        }
        let state = Rc::clone(&running.state);
        // What was copied of a span that nobody wants any more: nobody was ever told of it.
        let unwanted: BTreeSet<(u64, u32)> = self
            .disk
            .names()
            .filter_map(|name| match name {
                Name::Aside { shard, epoch, .. } => Some((shard, epoch)),
                _ => None,
            })
            .filter(|(shard, epoch)| state.span(*shard, *epoch).is_none())
            .filter(|key| !running.copies.contains_key(key))
            .collect();
        for (shard, epoch) in unwanted {
            self.remove_aside(fabric, shard, epoch);
        }
        let Status::Running(running) = &mut self.process else { return };
        let copies: Vec<(u64, u32)> = running.copies.keys().copied().collect();
        for (shard, epoch) in copies {
            let span = state.span(shard, epoch).map(|span| truth::span(shard, span));
            let lost = truth::lost(&state, shard, epoch);
            self.copy_step(fabric, shard, epoch, Event::Viewed { span, lost });
            self.copy_step(fabric, shard, epoch, Event::Tick);
        }
    }

    /// Of the nodes that could take the place of a lost one, one after the other gets its turn: it may be dead.
    fn replace_lost(&mut self, fabric: &mut Fabric) {
        let Status::Running(running) = &mut self.process else { return };
        let state = Rc::clone(&running.state);
        let me = running.me.node;
        let turn = usize::try_from(fabric.now / (1000 * MS)).unwrap_or(0);
        let mut begin = Vec::new();
        for (shard, span) in state.spans().filter(|(_, span)| !span.is_unsealed()) {
            if !span.replicas.iter().any(|replica| truth::is_lost(&state, replica.node)) {
                continue;
            }
            let fit = |node: &&u64| state.nodes[*node].state == NodeState::ReadWrite && !span.is_on(**node);
            let fit: Vec<u64> = state.nodes.keys().filter(fit).copied().collect();
            if fit.get(turn.checked_rem(fit.len()).unwrap_or(0)) == Some(&me) {
                begin.push((shard, span.epoch));
            }
        }
        for (shard, epoch) in begin {
            self.copy(fabric, shard, epoch);
        }
    }

    /// Tells which files of a sealed span are here.
    pub(super) fn list(&self, fabric: &mut Fabric, from: usize, shard: u64, epoch: u32) {
        let Status::Running(running) = &self.process else { return };
        if !running.followers.get(&shard).is_some_and(|follower| follower.is_whole(epoch)) {
            return;
        }
        let file = |number| {
            let bytes = self.disk.read(Name::Segment { shard, epoch, number })?;
            listed_as(number, bytes)
        };
        let files = segments_of(&self.disk, shard, epoch).filter_map(file).collect();
        let message = Message::Listed { shard, epoch, node: running.me.node, files };
        fabric.send(self.at, from, message);
    }

    /// Gives bytes of a file.
    pub(super) fn give(
        &self,
        fabric: &mut Fabric,
        from: usize,
        (shard, epoch): (u64, u32),
        number: u64,
        (at, len): (u64, u64),
    ) {
        let Status::Running(running) = &self.process else { return };
        let whole = running.followers.get(&shard).is_some_and(|follower| follower.is_whole(epoch));
        let Some(bytes) = self.disk.read(Name::Segment { shard, epoch, number }).filter(|_| whole) else {
            return;
        };
        let end = bytes.len().min((at + len) as usize);
        let bytes = bytes.get(at as usize..end).unwrap_or(&[]).to_vec();
        fabric.send(self.at, from, Message::Piece { shard, epoch, number, at, bytes });
    }

    pub(super) fn listed(
        &mut self,
        fabric: &mut Fabric,
        shard: u64,
        epoch: u32,
        node: u64,
        files: Vec<SealedFile>,
    ) {
        if let Status::Running(running) = &mut self.process
            && let Some(copying) = running.copies.get_mut(&(shard, epoch))
        {
            copying.listed.extend(files.iter().map(|file| (file.number, *file)));
        }
        self.copy_step(fabric, shard, epoch, Event::Listed { node, files });
    }

    pub(super) fn piece(
        &mut self,
        fabric: &mut Fabric,
        (shard, epoch): (u64, u32),
        number: u64,
        at: u64,
        bytes: Vec<u8>,
    ) {
        self.copy_step(fabric, shard, epoch, Event::Piece { number, at, bytes: Bytes::from(bytes) });
    }
}

impl Copying {
    /// The files aside as a disk that holds nothing else.
    fn as_disk(&self, shard: u64, epoch: u32) -> Disk {
        let mut aside = Disk::default();
        let puts = self.aside.iter().map(|(number, bytes)| Step::Put {
            name: Name::Segment { shard, epoch, number: *number },
            bytes: Rc::new(bytes.clone()),
        });
        let operation = aside.begin(puts.collect());
        aside.finish(operation);
        aside
    }

    /// Puts frames into the files aside. The first one of all begins anew.
    fn mend(&mut self, shard: u64, epoch: u32, frames: &[Frame]) {
        let first = frames.first().map(Frame::at);
        if self.mended.end().is_none_or(|end| first != Some(end)) {
            self.mended = SpanFiles::new(shard, epoch);
            self.aside.clear();
        }
        for frame in frames {
            self.mended.wrote(std::slice::from_ref(frame));
            let file = self.aside.entry(self.mended.last_segment().unwrap_or(0)).or_default();
            file.resize(frame.header().block_index as usize * BLOCK, 0);
            file.extend_from_slice(frame.bytes());
        }
    }

    /// Footers for the files aside.
    fn finish(&mut self, span: &Span) {
        let Some(end) = span.end() else { return };
        let mut disk = self.as_disk(span.shard, span.epoch);
        let Some(steps) = self.mended.seal(&disk, span.base, end) else { return };
        let operation = disk.begin(steps);
        disk.finish(operation);
        for (number, bytes) in &mut self.aside {
            let name = Name::Segment { shard: span.shard, epoch: span.epoch, number: *number };
            if let Some(sealed) = disk.read(name) {
                bytes.clone_from(sealed);
            }
        }
    }
}

/// What an earlier life of this node has copied of a span.
fn found_aside(disk: &Disk, shard: u64, epoch: u32, copying: &mut Copying) -> Vec<(SealedFile, u64)> {
    let mut found = Vec::new();
    for name in disk.names().filter(|name| name.is_aside_of(shard, epoch)) {
        let (Name::Aside { number, len, digest, .. }, Some(bytes)) = (name, disk.read(name)) else {
            continue;
        };
        // Of two lists that a file was in, the later name wins: whether it is right is seen when it is listed again.
        copying.aside.insert(number, bytes.to_vec());
        found.retain(|(file, _): &(SealedFile, u64)| file.number != number);
        found.push((SealedFile { number, len, digest }, bytes.len() as u64));
    }
    found
}

/// A sealed file as it is listed.
pub(crate) fn listed_as(number: u64, bytes: &[u8]) -> Option<SealedFile> {
    Some(SealedFile { number, len: bytes.len() as u64, digest: trailer_digest(bytes)? })
}

fn trailer_digest(bytes: &[u8]) -> Option<[u8; 16]> {
    let last = bytes.len().checked_sub(BLOCK)?;
    let block = bytes.get(last..)?.first_chunk::<BLOCK>()?;
    Trailer::of_last_block(block, (last / BLOCK) as u32).map(|trailer| trailer.digest)
}
