//! A node's store takes part in the shards' spans: what the followers want is done on the disk and the network.

use std::rc::Rc;

use tidelog_replica::follower::{Effect, Event, Follower, Recovered};
use tidelog_replica::frame::Frame;
use tidelog_replica::message::From;
use tidelog_replica::planted::{self, Bug};
use tidelog_replica::span::Place;

use crate::disk::Step;
use crate::fabric::{Fabric, Message};
use crate::machine::{Flight, Machine, Status};

impl Machine {
    /// Gives an event to a shard's follower and does what it says.
    pub(crate) fn follow(&mut self, fabric: &mut Fabric, shard: u64, event: Event) {
        let Status::Running(running) = &mut self.process else { return };
        let me = running.me;
        let follower =
            running.followers.entry(shard).or_insert_with(|| Follower::new(me, Recovered::default()));
        let before = follower.promised();
        let effects = follower.step(event);
        let after = follower.promised();
        if after < before && !planted::has(Bug::SelfAuthorised) {
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
            Effect::Write { epoch, frames, doubted } => {
                if running.poisoned {
                    return;
                }
                if !planted::has(Bug::SelfAuthorised) && running.state.span(shard, epoch).is_none() {
                    let node = running.me.node;
                    fabric.judge.accuse(|| {
                        format!("node {node} is to write span {epoch}, which its metadata does not show")
                    });
                }
                let steps = running.span_files(shard, epoch).write(&frames, doubted);
                let operation = self.begin(fabric, steps);
                self.fly(operation, Flight::Write(shard, epoch, frames));
            }
            Effect::Keep { promised } => {
                running.keeping.push((shard, promised));
                self.keep_more(fabric);
            }
            Effect::Read { epoch, from, to, reader, attempt } => {
                let frames = self.read_frames(fabric, shard, epoch, from, to);
                let event = Event::Read { epoch, from, to, reader, attempt, frames };
                self.follow(fabric, shard, event);
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

    /// One write of the journal at a time; promises that came meanwhile share the next one.
    pub(super) fn keep_more(&mut self, fabric: &mut Fabric) {
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

    pub(super) fn delete_files(&mut self, fabric: &mut Fabric, shard: u64, epoch: u32) {
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
}
