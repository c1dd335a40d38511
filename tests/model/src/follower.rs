//! The rules at a replica: what it takes, what it answers, and what it must have on disk before it answers.

use crate::bug::Bug;
use crate::config::{Config, MOST_SPANS};
use crate::frames::{Frames, Incarnation, Lsn};
use crate::message::{Epoch, Grade, Message, Node, Replica, SpanNumber, StoreId};
use crate::state::State;

/// What a replica has of one span.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Tail {
    /// What was written; behind `end` is at most one frame, the write in flight.
    pub frames: Frames,
    /// Behind the last durable frame.
    pub end: Lsn,
    /// The highest committed LSN heard of.
    pub committed: Lsn,
    /// The end is doubted until it is here: so far may frames have been acknowledged that are gone.
    pub doubted_to: Lsn,
    /// A frame that had been durable is damaged.
    pub damaged: bool,
}

impl Tail {
    /// A write was handed to the disk and has not returned.
    pub fn writing(&self) -> bool {
        self.end < self.frames.end()
    }

    /// How sure the end is. A doubted end is proved again when as much as was cut has been written anew: the last write
    /// was one frame.
    pub fn grade(&self) -> Grade {
        if self.damaged {
            Grade::Suspect
        } else if self.end < self.doubted_to {
            Grade::Unproved
        } else {
            Grade::Proved
        }
    }

    /// Recovery cuts what cannot be read of the last write, which was to end one frame further.
    pub fn cut(&mut self, end: Lsn) {
        self.frames = self.frames.below(end);
        self.end = end;
        self.doubted_to = self.doubted_to.max(end + 1);
    }
}

/// A store: its promise and its tails.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Follower {
    /// Which data directory this is.
    pub store: StoreId,
    /// No append of a lower epoch is taken any more. On disk before anything is answered that depends on it.
    pub promised: Epoch,
    tails: [Tail; MOST_SPANS],
}

impl Follower {
    /// A new store: nothing promised, nothing held.
    pub fn empty(store: StoreId) -> Self {
        Self { store, ..Self::default() }
    }

    /// What is here of a span.
    pub fn tail(&self, span: SpanNumber) -> &Tail {
        &self.tails[usize::from(span)]
    }

    /// What is here of a span, to change it.
    pub fn tail_mut(&mut self, span: SpanNumber) -> &mut Tail {
        &mut self.tails[usize::from(span)]
    }

    /// What is here of all spans.
    pub fn tails(&self) -> &[Tail] {
        &self.tails
    }

    /// What is here of all spans, to change it.
    pub fn tails_mut(&mut self) -> impl Iterator<Item = &mut Tail> {
        self.tails.iter_mut()
    }
}

impl State {
    fn follower_mut(&mut self, node: Node) -> &mut Follower {
        &mut self.followers[usize::from(node)]
    }

    fn replica(&self, node: Node) -> Replica {
        Replica { node, store: self.follower(node).store }
    }

    /// `Append`: written iff the epoch is not below the promise, the store holds the span, the base is the local end,
    /// the chain matches, and no write is in flight. Answered only when the write has returned ([`State::written`]).
    pub fn append(
        &mut self,
        config: &Config,
        node: Node,
        span: SpanNumber,
        prev: Frames,
        frame: Incarnation,
    ) {
        let epoch = self.metadata.span(span).epoch;
        let fenced = epoch < self.follower(node).promised && !config.has(Bug::UnfencedAppend);
        let tail = *self.follower(node).tail(span);
        if fenced || !self.is_held_by(span, node) || tail.damaged {
            return;
        }
        if tail.frames == prev && !tail.writing() {
            let follower = self.follower_mut(node);
            // The first append of a span fences whatever is older.
            follower.promised = follower.promised.max(epoch);
            follower.tail_mut(span).frames.push(frame);
            if config.has(Bug::AckBeforeSync) {
                self.tell_leader(node, span, prev.end() + 1);
            } else if !config.writes_take_time() {
                self.written(node, span);
            }
        } else if prev.end() < tail.end && tail.frames.at(prev.end()) == Some(frame) {
            // A duplicate below the local end, byte for byte the same, is answered again.
            self.tell_leader(node, span, tail.end);
        }
    }

    /// The write in flight has returned: now, and not before, the append is answered.
    pub fn written(&mut self, node: Node, span: SpanNumber) {
        let tail = self.follower_mut(node).tail_mut(span);
        tail.end = tail.frames.end();
        let end = tail.end;
        self.tell_leader(node, span, end);
    }

    fn tell_leader(&mut self, node: Node, span: SpanNumber, end: Lsn) {
        let from = self.replica(node);
        self.network.send(Message::Appended { span, from, end });
    }

    /// `Fence`: the promise is durable first; then the local end is read, with no write in flight.
    pub fn fence(&mut self, config: &Config, node: Node, span: SpanNumber, attempt: Epoch) {
        let follower = self.follower_mut(node);
        let overtaken = attempt < follower.promised || (attempt == follower.promised && !config.asks_again);
        let tail = *follower.tail(span);
        if overtaken || tail.writing() {
            return;
        }
        if !config.has(Bug::UnfencedLength) {
            follower.promised = attempt;
        }
        let (frames, grade, committed) = (tail.frames, tail.grade(), tail.committed);
        let from = self.replica(node);
        self.network.send(Message::Fenced { attempt, from, frames, grade, committed });
    }

    /// `RepairAppend`: iff the attempt is not below the promise, which it raises: whoever is repaired is fenced. What is
    /// here must begin what is sent, or be longer and the same up to there. A substitute takes it too: it gets the whole
    /// span, and counts only as a copy of what is sealed.
    pub fn repair(&mut self, config: &Config, node: Node, span: SpanNumber, attempt: Epoch, frames: Frames) {
        let follower = *self.follower(node);
        let tail = *follower.tail(span);
        let overtaken = attempt < follower.promised && !config.has(Bug::RepairUnfenced);
        let held = self.is_held_by(span, node) || self.may_substitute(config, span, self.replica(node));
        if overtaken || !held || tail.writing() || tail.damaged {
            return;
        }
        let (shorter, longer) = (tail.frames.begins(&frames), frames.begins(&tail.frames));
        if !shorter && !longer {
            return;
        }
        let follower = self.follower_mut(node);
        follower.promised = follower.promised.max(attempt);
        if shorter {
            let tail = follower.tail_mut(span);
            tail.frames = frames;
            tail.end = frames.end();
        }
        let from = self.replica(node);
        self.network.send(Message::Repaired { attempt, from, end: frames.end() });
        if config.has(Bug::RepairAcked) {
            self.tell_leader(node, span, frames.end());
        }
    }

    /// `Committed`: what may be served, and what is told when fenced.
    pub fn learn_committed(&mut self, node: Node, span: SpanNumber, end: Lsn) {
        let tail = self.follower_mut(node).tail_mut(span);
        tail.committed = tail.committed.max(end);
    }
}
