//! The appender of a span that this process leads, as the rules meet it: every frame goes to all holders, this store among
//! them, and a quorum of answers makes it committed.
//!
//! # Durability
//! Nothing is committed but by `tidelog_replica::quorum`.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use tidelog_replica::follower;
use tidelog_replica::frame::Frame;
use tidelog_wal::{Commits, Made};

use super::held::Held;

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

    fn frame(&self, made: &Made<'_>) -> Frame {
        let bytes = if self.shared { Bytes::copy_from_slice(made.bytes) } else { Bytes::new() };
        Frame::made(*made.header, made.next_chain, bytes)
    }
}

impl Commits for Leading {
    fn may_frame(&mut self) -> bool {
        let rules = self.held.rules();
        let leader = rules.leader.as_ref().filter(|leader| leader.span().epoch == self.epoch);
        leader.is_some_and(tidelog_replica::leader::Leader::may_frame)
    }

    fn framed(&mut self, opening: Option<Made<'_>>, frame: Made<'_>) -> bool {
        let frames = opening.iter().chain([&frame]).map(|made| self.frame(made)).collect();
        self.held.framed(self.epoch, frames)
    }

    fn written(&mut self) {
        self.held.wrote(follower::Event::Written { epoch: self.epoch });
    }

    fn failed(&mut self) {
        self.held.wrote(follower::Event::Failed);
    }

    fn committed(&mut self) -> u64 {
        let rules = self.held.rules();
        match &rules.leader {
            Some(leader) if leader.span().epoch == self.epoch => self.held.committed.load(Ordering::Relaxed),
            // Another span is led by now: what this one had committed was published before, or is published by its seal.
            _ => self.base,
        }
    }

    fn is_over(&mut self) -> bool {
        let rules = self.held.rules();
        let leader = rules.leader.as_ref().filter(|leader| leader.span().epoch == self.epoch);
        rules.resting || !leader.is_some_and(|leader| leader.leads() || leader.is_closing())
    }

    fn ends_here(&self) -> bool {
        false
    }
}
