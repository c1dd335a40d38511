//! What breaks.

use std::time::Duration;

use tidelog_meta::Command;
use tidelog_replica::leader::Event;

use crate::disk::{Name, SECTOR};
use crate::fabric::{Happening, MS, Net};
use crate::machine::Status;
use crate::world::World;

/// A successor has so long to get what it lacks.
const HAND_OVER: Duration = Duration::from_millis(200);

impl World {
    /// Something breaks, or is mended.
    pub(crate) fn fault(&mut self) {
        let pause = 20 * MS + self.fabric.chance.below(250 * MS);
        self.fabric.after(pause, Happening::Fault);
        let at = self.fabric.chance.index(self.machines.len());
        let shard = 1 + self.fabric.chance.below(self.shards);
        match self.fabric.chance.below(100) {
            0..=17 => self.cut_power(at),
            18 => (0..self.machines.len()).for_each(|at| self.cut_power(at)),
            19..=33 => self.change_network(),
            34..=45 => self.cut_network(at),
            46..=49 => self.machines[at].begin_seal(&mut self.fabric, shard),
            // Two at once.
            50..=53 => {
                self.machines[at].begin_seal(&mut self.fabric, shard);
                let other = self.fabric.chance.index(self.machines.len());
                self.machines[other].begin_seal(&mut self.fabric, shard);
            }
            54..=57 => self.hand_over(at, shard),
            58..=60 => self.fabric.failing[at] = [0, 0, 3, 30][self.fabric.chance.index(4)],
            61..=64 => self.fabric.slowness[at] = [1, 1, 20, 300][self.fabric.chance.index(4)],
            65..=68 => self.fill_disk(at, shard),
            69..=76 => self.rot(),
            77..=79 if !self.scattered => self.rot_last(),
            77..=79 => self.rot(),
            80 => self.delete_topic(),
            81..=85 => self.trim(shard),
            86..=90 => self.raise_generation(at),
            _ => self.read_somewhere(at),
        }
    }

    pub(crate) fn read_somewhere(&mut self, at: usize) {
        for shard in 1..=self.shards {
            self.machines[at].read(&mut self.fabric, shard);
        }
    }

    /// The power goes, and comes again later. The bad disk may not be what it was.
    fn cut_power(&mut self, at: usize) {
        if matches!(self.machines[at].process, Status::Off) {
            return;
        }
        let now = self.fabric.now;
        self.fabric.trace.say(now, || format!("machine {at}: power cut"));
        self.machines[at].crash(&mut self.fabric);
        if at == self.bad && !self.scattered {
            match self.fabric.chance.below(10) {
                0 => {
                    self.fabric.trace.say(now, || format!("machine {at}: its disk is lost"));
                    self.machines[at].disk.lose();
                }
                1 | 2 => self.roll_back(at),
                _ => {}
            }
        }
        let pause = 50 * MS + self.fabric.chance.below(1500 * MS);
        self.fabric.after(pause, Happening::Boot { at });
    }

    /// The disk is what it was at some earlier start. (What was written since the last superblock cannot be told.)
    fn roll_back(&mut self, at: usize) {
        let images = self.machines[at].images.len();
        if images > 1 {
            let which = 1 + self.fabric.chance.index(images - 1);
            let now = self.fabric.now;
            self.fabric.trace.say(now, || format!("machine {at}: its disk went back to start {which}"));
            self.machines[at].disk = self.machines[at].images[which].clone();
        }
    }

    fn change_network(&mut self) {
        let chance = &mut self.fabric.chance;
        let without_meta = std::mem::take(&mut self.fabric.net.without_meta);
        let cut = std::mem::take(&mut self.fabric.net.cut);
        self.fabric.net = Net {
            lost: [0, 0, 2, 15][chance.index(4)],
            twice: [0, 0, 5, 20][chance.index(4)],
            late: [0, 2, 10, 30][chance.index(4)],
            delay: [MS, 3 * MS, 20 * MS][chance.index(3)],
            cut,
            without_meta,
        };
    }

    fn cut_network(&mut self, at: usize) {
        let others = self.machines.len();
        let chance = &mut self.fabric.chance;
        let net = &mut self.fabric.net;
        match chance.below(6) {
            0 | 1 => {
                net.cut.clear();
                net.without_meta.clear();
            }
            // One way only.
            2 => net.cut.extend((0..others).map(|to| (at, to))),
            3 => net.cut.extend((0..others).map(|from| (from, at))),
            4 => net.cut.extend((0..others).flat_map(|other| [(at, other), (other, at)])),
            _ => net.without_meta.push(at),
        }
        let now = self.fabric.now;
        let (cut, meta) = (self.fabric.net.cut.len(), self.fabric.net.without_meta.clone());
        self.fabric.trace.say(now, || format!("network: {cut} ways cut, without metadata: {meta:?}"));
    }

    /// The leader is asked to end its span in good order: at once, when all that was made is committed, or when a successor has it
    /// too.
    fn hand_over(&mut self, at: usize, shard: u64) {
        let until = self.fabric.clock() + HAND_OVER;
        let store = match &self.machines[at].process {
            Status::Running(running) => Some(running.me),
            _ => None,
        };
        let how = match at % 3 {
            _ if !self.gentle => Event::Close,
            0 => Event::Drain,
            1 => Event::HandOver { to: None, until },
            _ => Event::HandOver { to: store, until },
        };
        for machine in &mut self.machines {
            machine.lead(&mut self.fabric, shard, how.clone());
        }
    }

    fn fill_disk(&mut self, at: usize, shard: u64) {
        let room = self.fabric.chance.percent(60);
        let event = tidelog_replica::follower::Event::Room(room);
        self.machines[at].follow(&mut self.fabric, shard, event);
    }

    /// A bit of a segment of the bad disk flips, where something was written.
    fn rot(&mut self) {
        if self.scattered {
            return self.rot_anywhere();
        }
        let at = self.bad;
        let names: Vec<Name> =
            self.machines[at].disk.names().filter(|name| matches!(name, Name::Segment { .. })).collect();
        if names.is_empty() {
            return;
        }
        // The newest ones most of all: that is where it could be mistaken for something else.
        let back = self.fabric.chance.index(names.len()).min(self.fabric.chance.index(names.len()));
        let name = names[names.len() - 1 - back];
        let written = self.machines[at].disk.read(name).map_or(0, |bytes| {
            bytes.chunks(SECTOR).take_while(|sector| sector.iter().any(|byte| *byte != 0)).count()
        });
        if written == 0 {
            return;
        }
        let back = self.fabric.chance.index(written).min(self.fabric.chance.index(written));
        let sector = written - 1 - back;
        let byte = sector * SECTOR + self.fabric.chance.index(200);
        let bit = self.fabric.chance.below(8) as u8;
        self.machines[at].disk.rot(name, byte, bit);
        let now = self.fabric.now;
        self.fabric.trace.say(now, || format!("machine {at}: bit {bit} of byte {byte} of {name:?} flips"));
        if self.fabric.chance.percent(50) {
            self.scrub(at);
        }
    }

    /// A frame of an open span rots on any disk, and a restart finds it. Of no frame two copies rot, so that all of them
    /// are left, though maybe no disk has all of them.
    fn rot_anywhere(&mut self) {
        let at = self.fabric.chance.index(self.machines.len());
        let shard = 1 + self.fabric.chance.below(self.shards);
        let Some(span) = self.fabric.truth.state().last_span(shard) else { return };
        let (epoch, quorum) = (span.epoch, usize::from(span.quorum));
        let Some(running) = self.machines[at].running() else { return };
        let Some(files) = running.files.get(&(shard, epoch)).filter(|files| !files.slots().is_empty()) else {
            return;
        };
        // So many nodes must be left undamaged that the seal has its copies, with or without substitutes.
        let damaged = self.damaged.entry((shard, epoch)).or_default();
        if !damaged.contains(&at) && damaged.len() + quorum >= self.machines.len() {
            return;
        }
        let slots = files.slots();
        let back = self.fabric.chance.index(slots.len()).min(self.fabric.chance.index(slots.len()));
        let slot = &slots[slots.len() - 1 - back];
        let (name, position) = files.position(slot);
        // With an opening frame goes the frame that was written with it, if it is the last write.
        let lsns = slot.at.lsn..=slot.at.lsn + u64::from(position == 0);
        if lsns.clone().any(|lsn| self.hurt.contains(&(shard, epoch, lsn))) {
            return;
        }
        damaged.insert(at);
        self.hurt.extend(lsns.map(|lsn| (shard, epoch, lsn)));
        let (byte, bit) = (position + self.fabric.chance.index(200), self.fabric.chance.below(8) as u8);
        let now = self.fabric.now;
        self.fabric.trace.say(now, || format!("machine {at}: bit {bit} of byte {byte} of {name:?} flips"));
        self.machines[at].disk.rot(name, byte, bit);
        self.cut_power(at);
    }

    /// The last frame of an open span rots on the bad disk, and a restart finds it.
    fn rot_last(&mut self) {
        let at = self.bad;
        let shard = 1 + self.fabric.chance.below(self.shards);
        let Some(epoch) = self.fabric.truth.state().last_span(shard).map(|span| span.epoch) else { return };
        let Some(running) = self.machines[at].running() else { return };
        let Some(files) = running.files.get(&(shard, epoch)) else { return };
        let Some((name, position)) = files.slots().last().map(|slot| files.position(slot)) else { return };
        let now = self.fabric.now;
        self.fabric.trace.say(now, || format!("machine {at}: the last frame of {name:?} rots"));
        self.machines[at].disk.rot(name, position + self.fabric.chance.index(200), 1);
        self.cut_power(at);
    }

    /// What a machine holds is read and compared with its checksums: sealed spans whole, open ones frame by frame.
    pub(crate) fn scrub(&mut self, at: usize) {
        let Some(running) = self.machines[at].running() else { return };
        let mut found = Vec::new();
        for (shard, follower) in &running.followers {
            for epoch in follower.whole().keys() {
                let damaged = running.scrub(&self.machines[at].disk, *shard, *epoch);
                found.extend(damaged.map(|event| (*shard, event)));
            }
        }
        for ((shard, epoch), files) in &running.files {
            let whole = running.followers.get(shard).is_none_or(|follower| follower.is_whole(*epoch));
            let damaged = files.first_damaged(&self.machines[at].disk, 0, u64::MAX).filter(|_| !whole);
            let event = |intact| tidelog_replica::follower::Event::Damaged { epoch: *epoch, intact };
            found.extend(damaged.map(|intact| (*shard, event(intact))));
        }
        for (shard, event) in found {
            self.machines[at].follow(&mut self.fabric, shard, event);
        }
    }

    /// Nobody wants the records of the shard's oldest span any more.
    fn trim(&mut self, shard: u64) {
        let state = std::rc::Rc::clone(self.fabric.truth.state());
        let Some(chain) = state.chains.get(&shard) else { return };
        let Some(first) = chain.spans.first().filter(|first| chain.spans.len() > 1 && !first.is_unsealed())
        else {
            return;
        };
        // By the proof of any holder: the next offset of each partition at the span's end.
        let ends = self.machines.iter().find_map(|machine| machine.ends_of(shard, first.epoch));
        let Some(ends) = ends else { return };
        for (name, topic) in &state.topics {
            for (number, partition) in (0u32..).zip(&topic.partitions) {
                let end = ends.get(&partition.id).copied().unwrap_or(0);
                if partition.shard() == shard && end > partition.start() {
                    let (name, id) = (name.clone(), topic.id.clone());
                    let command = Command::Trim { name, id, partition: number, offset: end };
                    self.fabric.apply(&command);
                    self.fabric.judge.trimmed(partition.id, end);
                }
            }
        }
        let partitions = state.partitions();
        let of_shard = partitions.filter(|partition| partition.shard() == shard);
        let mut proof: Vec<(u64, u64)> =
            of_shard.map(|partition| (partition.id, ends.get(&partition.id).copied().unwrap_or(0))).collect();
        proof.sort_unstable();
        self.fabric.apply(&Command::DropSpan { shard, epoch: first.epoch, ends: proof });
    }

    /// A topic ends; one is always left. Its records are not wanted any more, while they are copied and sealed.
    fn delete_topic(&mut self) {
        let state = std::rc::Rc::clone(self.fabric.truth.state());
        if state.topics.len() < 2 || !self.fabric.chance.percent(30) {
            return;
        }
        let at = self.fabric.chance.index(state.topics.len());
        let Some((name, topic)) = state.topics.iter().nth(at) else { return };
        self.fabric.apply(&Command::DeleteTopic { name: name.clone(), id: topic.id.clone() });
        for partition in &topic.partitions {
            self.fabric.judge.trimmed(partition.id, u64::MAX);
        }
    }

    fn raise_generation(&mut self, at: usize) {
        self.machines[at].raise_generation(&mut self.fabric);
    }
}
