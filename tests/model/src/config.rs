//! How large a world is explored, and what may go wrong in it.

use crate::bug::{Bug, Bugs};
use crate::frames::Lsn;

/// The most nodes of a configuration.
pub const MOST_NODES: usize = 3;
/// The most spans of the shard's chain.
pub const MOST_SPANS: usize = 2;
/// The most attempts to seal, over all spans.
pub const MOST_ATTEMPTS: usize = 3;

/// One space to explore: its quorums and its budgets.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// What it is called in reports.
    pub name: &'static str,
    /// Replicas of each span: n.
    pub nodes: u8,
    /// Q: on so many replicas a frame is durable before it is acknowledged.
    pub ack_quorum: u8,
    /// Frames that each leader may write.
    pub frames: Lsn,
    /// Attempts to seal. Each has its own coordinator, and all of them race.
    pub attempts: u8,
    /// Spans in the chain: a seal opens the next one while there is one.
    pub spans: u8,
    /// Crashes with restart.
    pub crashes: u8,
    /// Disks lost or rolled back.
    pub lost_disks: u8,
    /// Frames that rot on one replica.
    pub rot: u8,
    /// Whether replicas serve readers.
    pub readers: bool,
    /// Whether replicas remember the committed LSN and report it when they are fenced.
    pub reports: bool,
    /// Whether a fence that was answered may be answered again, with what has changed meanwhile.
    pub asks_again: bool,
    /// Whether a node that lost its disk may take a span's frames as another store, and holds it from the seal on.
    pub substitutes: bool,
    /// Whether leaders may close their span themselves.
    pub closes: bool,
    /// The rules that are planted wrong.
    pub bugs: Bugs,
}

impl Config {
    /// Three replicas, Q = 2, F = 2, two frames, two racing coordinators; nothing breaks.
    pub const THREE: Config = Config {
        name: "three nodes",
        nodes: 3,
        ack_quorum: 2,
        frames: 2,
        attempts: 2,
        spans: 1,
        crashes: 0,
        lost_disks: 0,
        rot: 0,
        readers: false,
        reports: false,
        asks_again: false,
        substitutes: false,
        closes: false,
        bugs: Bugs::NONE,
    };

    /// F: so many members must have answered a fence before an end is believed. F + Q > n.
    pub fn fence_quorum(&self) -> u8 {
        let fence = self.nodes - self.ack_quorum + 1;
        if self.has(Bug::SmallFence) { fence - 1 } else { fence }
    }

    /// What the leader asks for before it acknowledges.
    pub fn acks_needed(&self) -> u8 {
        if self.has(Bug::WeakQuorum) { self.ack_quorum - 1 } else { self.ack_quorum }
    }

    /// Whether a write's way to the disk is a step of its own. Where nothing crashes, a write in flight cannot be told
    /// from a message that is still on its way, so it would only make the space larger.
    pub fn writes_take_time(&self) -> bool {
        self.crashes > 0
    }

    /// Whether a rule is planted wrong.
    pub fn has(&self, bug: Bug) -> bool {
        self.bugs.has(bug)
    }
}
