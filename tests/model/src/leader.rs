//! The rules at a leader. It never learns that it was fenced, which is the worst that it can do.

use crate::bug::Bug;
use crate::config::Config;
use crate::frames::{Frames, Incarnation, Lsn};
use crate::message::{Message, Node, SpanNumber};
use crate::metadata::SpanState;
use crate::state::State;

/// The process that leads one span.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Leader {
    /// Where it runs.
    pub node: Node,
    /// Its start. It is in the span's record, so that a restarted process is not the leader.
    pub incarnation: Incarnation,
    /// Whether the process runs.
    pub up: bool,
    /// What it framed.
    pub frames: Frames,
    /// Acknowledged below here.
    pub committed: Lsn,
    /// It has stopped acknowledging, to close the span.
    pub closing: bool,
}

impl Leader {
    /// The leader of a span that has just been opened.
    pub fn of(span: SpanNumber, node: Node) -> Self {
        Self { node, incarnation: span + 1, up: true, ..Self::default() }
    }
}

impl State {
    fn leader_mut(&mut self, span: SpanNumber) -> &mut Leader {
        &mut self.leaders[usize::from(span)]
    }

    /// The leader of a span.
    pub fn leader(&self, span: SpanNumber) -> &Leader {
        &self.leaders[usize::from(span)]
    }

    /// Frames once and sends to all replicas, its own among them.
    pub fn produce(&mut self, span: SpanNumber) {
        let leader = self.leader_mut(span);
        let (prev, frame) = (leader.frames, leader.incarnation);
        leader.frames.push(frame);
        self.network.send(Message::Append { span, prev, frame });
    }

    /// Whether the next frame is durable on Q replicas, by answers that count.
    pub fn can_acknowledge(&self, config: &Config, span: SpanNumber) -> bool {
        let leader = self.leader(span);
        if leader.closing && !config.has(Bug::AckWhileClosing) {
            return false;
        }
        let counts = |message: &Message| match *message {
            Message::Appended { span: of, from, end } => {
                of == span && end > leader.committed && from.store == self.metadata.store_of(span, from.node)
            }
            _ => false,
        };
        let acks = self.network.iter().filter(counts).count();
        leader.committed < leader.frames.end() && acks >= usize::from(config.acks_needed())
    }

    /// Acknowledges one more frame: from here on it may not be lost.
    pub fn acknowledge(&mut self, config: &Config, span: SpanNumber) {
        let leader = self.leader_mut(span);
        leader.committed += 1;
        let acked = leader.frames.below(leader.committed);
        let end = leader.committed;
        self.told[usize::from(span)].acked = acked;
        if config.readers || config.reports {
            self.network.send(Message::Committed { span, end });
        }
    }

    /// Stops acknowledging and sends the close on its way.
    pub fn close(&mut self, config: &Config, span: SpanNumber) {
        let leader = self.leader_mut(span);
        leader.closing = true;
        let at_its_end = config.has(Bug::ClosesAtItsEnd);
        let frames = if at_its_end { leader.frames } else { leader.frames.below(leader.committed) };
        self.network.send(Message::LeaderClose { span, frames });
    }

    /// The close reaches the metadata. If it is refused somebody seals already, or it was done before: in both cases the
    /// leader stays silent.
    pub fn commit_close(&mut self, config: &Config, span: SpanNumber, frames: Frames) {
        if self.metadata.leader_close(span, frames) {
            self.after_seal(config, span, self.leader(span).node);
        } else if config.has(Bug::BelievesClose) {
            self.leader_mut(span).closing = false;
        }
    }

    /// What follows a seal in the same command: the record of what was sealed, and the next span.
    pub fn after_seal(&mut self, config: &Config, span: SpanNumber, next: Node) {
        if let SpanState::Sealed { frames, .. } = self.metadata.span(span).state {
            self.told[usize::from(span)].sealed.get_or_insert(frames);
        }
        let stores = self.followers.map(|follower| follower.store);
        if span + 1 < config.spans && self.metadata.open_next(span, stores) {
            *self.leader_mut(span + 1) = Leader::of(span + 1, next);
        }
    }
}
