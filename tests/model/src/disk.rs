//! What the world does to processes and disks, within the fault model: of no frame are Q copies destroyed.

use crate::bug::Bug;
use crate::config::Config;
use crate::follower::{Follower, Tail};
use crate::frames::{Lsn, MOST_FRAMES};
use crate::message::{Node, SpanNumber};
use crate::state::State;

/// What broke so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Faults {
    /// Crashes with restart.
    pub crashes: u8,
    /// Disks lost or rolled back.
    pub lost_disks: u8,
    /// Frames that rotted.
    pub rot: u8,
}

/// What a crash leaves of the write that was in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remains {
    /// All of it: the write had reached the disk.
    Whole,
    /// None of it: the end block of the write before proves the end.
    Nothing,
    /// A part of it. Recovery cuts it off and cannot prove that it had never returned.
    Torn,
}

impl State {
    /// The process on a node ends and starts again. Whatever was only in memory is gone.
    pub fn restart(&mut self, config: &Config, node: Node, remains: Remains) {
        self.faults.crashes += 1;
        let follower = &mut self.followers[usize::from(node)];
        if config.has(Bug::VolatilePromise) {
            follower.promised = 0;
        }
        for tail in follower.tails_mut() {
            if config.has(Bug::ForgottenDoubt) {
                tail.doubted_to = 0;
            }
            leave(tail, remains);
        }
        self.stop_leaders(config, node);
    }

    /// A process that leads ends. When it starts again it has another incarnation, and leads nothing.
    fn stop_leaders(&mut self, config: &Config, node: Node) {
        for span in self.spans() {
            let durable = self.follower(node).tail(span).frames;
            let leader = &mut self.leaders[usize::from(span)];
            if leader.node != node || !leader.up {
                continue;
            }
            if config.has(Bug::ResumedLeader) {
                leader.incarnation += u8::try_from(crate::config::MOST_SPANS).unwrap_or(u8::MAX);
                leader.frames = durable;
                leader.committed = leader.committed.min(durable.end());
            } else {
                leader.up = false;
            }
        }
    }

    /// Whether the fault model allows to destroy a copy of this frame.
    fn may_hurt(&self, config: &Config, span: SpanNumber, lsn: Lsn) -> bool {
        self.told[usize::from(span)].hurt[usize::from(lsn)] + 1 < config.ack_quorum
    }

    /// Whether a node's disk may be lost: each of its frames must be left elsewhere.
    pub fn may_lose_disk(&self, config: &Config) -> bool {
        let frames = || 0..Lsn::try_from(MOST_FRAMES).unwrap_or(Lsn::MAX);
        self.faults.lost_disks < config.lost_disks
            && self.spans().all(|span| frames().all(|lsn| self.may_hurt(config, span, lsn)))
    }

    /// A disk is lost. The node comes back with another store, which is a member of nothing yet.
    pub fn lose_disk(&mut self, config: &Config, node: Node) {
        self.hurt_all(node);
        let old = self.followers[usize::from(node)].store;
        let store = if config.has(Bug::EmptyDiskVotes) { old } else { old + 1 };
        self.followers[usize::from(node)] = Follower::empty(store);
        self.stop_leaders(config, node);
    }

    /// A disk goes back to what it held before its last frame and its last promise. Its generation is behind the one in
    /// the metadata, so it is treated as lost.
    pub fn roll_back(&mut self, config: &Config, node: Node) {
        if !config.has(Bug::RolledBackRejoins) {
            return self.lose_disk(config, node);
        }
        self.hurt_all(node);
        let follower = &mut self.followers[usize::from(node)];
        follower.promised = 0;
        for tail in follower.tails_mut() {
            tail.end = tail.end.saturating_sub(1);
            tail.frames = tail.frames.below(tail.end);
        }
        self.stop_leaders(config, node);
    }

    fn hurt_all(&mut self, node: Node) {
        self.faults.lost_disks += 1;
        for span in self.spans() {
            if self.is_held_by(span, node) {
                self.told[usize::from(span)].hurt.iter_mut().for_each(|copies| *copies += 1);
            }
        }
    }

    /// Whether a frame on a node may rot: it is there, no write hides it, and the fault model allows it.
    pub fn may_rot(&self, config: &Config, node: Node, span: SpanNumber, lsn: Lsn) -> bool {
        self.faults.rot < config.rot
            && self.holds(span, node, lsn)
            && !self.follower(node).tail(span).writing()
            && self.may_hurt(config, span, lsn)
    }

    /// A durable frame rots, and a restart finds it. The last write cannot be told from a torn one and is cut; before
    /// it, later frames show that it had been durable.
    pub fn rot(&mut self, config: &Config, node: Node, span: SpanNumber, lsn: Lsn) {
        self.faults.rot += 1;
        self.told[usize::from(span)].hurt[usize::from(lsn)] += 1;
        let tail = self.followers[usize::from(node)].tail_mut(span);
        let believed = config.has(Bug::RotIsTorn) || config.has(Bug::FirstBadIsEnd);
        if lsn + 1 == tail.end {
            if config.has(Bug::ShortDoubt) {
                tail.doubted_to = 0;
            }
            tail.cut(lsn);
        } else if believed {
            tail.frames = tail.frames.below(lsn);
            tail.end = lsn;
        } else {
            tail.frames.damage(lsn);
            tail.damaged = true;
        }
        self.stop_leaders(config, node);
    }
}

fn leave(tail: &mut Tail, remains: Remains) {
    match remains {
        Remains::Whole => tail.end = tail.frames.end(),
        Remains::Nothing => tail.frames = tail.frames.below(tail.end),
        Remains::Torn if tail.writing() => tail.cut(tail.end),
        Remains::Torn => {}
    }
}
