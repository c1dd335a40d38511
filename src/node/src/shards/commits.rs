//! The appender of a span that this process leads, as the rules meet it: every frame goes to all holders, this store among
//! them, and a quorum of answers makes it committed.
//!
//! # Durability
//! Nothing is committed but by `tidelog_replica::quorum`.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tidelog_replica::follower;
use tidelog_wal::{Commits, Made};

use super::held::Held;
use crate::spans::lead;

/// Lives on the thread of the shard's disk. The shard's lock is held for the length of a step, by whoever has an event.
#[derive(Debug)]
pub(super) struct Leading {
    held: Arc<Held>,
    epoch: u32,
    base: u64,
    /// Somebody else than this store gets the frames, so their bytes are copied.
    shared: bool,
}

impl Leading {
    pub(super) fn new(held: Arc<Held>, epoch: u32, base: u64, shared: bool) -> Leading {
        Leading { held, epoch, base, shared }
    }
}

impl Commits for Leading {
    fn may_frame(&mut self, bytes: usize) -> bool {
        self.held.rules().leader_of(self.epoch).is_some_and(|leader| leader.may_frame(bytes))
    }

    fn framed(&mut self, opening: Option<Made<'_>>, frame: Made<'_>) -> bool {
        self.held.framed(self.epoch, lead::frames(opening.as_ref(), &frame, self.shared))
    }

    fn written(&mut self) {
        self.held.wrote(follower::Event::Written { epoch: self.epoch });
    }

    fn failed(&mut self) {
        self.held.lost_its_log();
    }

    fn committed(&mut self) -> u64 {
        let rules = self.held.rules();
        match rules.leader_of(self.epoch) {
            Some(_) => self.held.committed.load(Ordering::Relaxed),
            // Another span is led by now: what this one had committed was published before, or is published by its seal.
            None => self.base,
        }
    }

    fn is_over(&mut self) -> bool {
        let rules = self.held.rules();
        let leader = rules.leader_of(self.epoch);
        rules.resting || !leader.is_some_and(|leader| leader.leads() || leader.is_closing())
    }

    fn ends_here(&self) -> bool {
        false
    }
}
