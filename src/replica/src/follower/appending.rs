//! A holder takes the leader's frames.

use crate::follower::tail::{Fit, Tail};
use crate::follower::{Effect, Follower};
use crate::frame::{self, Frame};
use crate::message::{Answer, Envelope, Grade, Refusal};
use crate::planted::{self, Bug};
use crate::span::{Process, SpanState};

impl Follower {
    /// The checks stand in the order of what they protect: first the promise, then who asks, then what is here.
    pub(super) fn append(&mut self, envelope: &Envelope, base: u64, committed: u64, frames: Vec<Frame>) {
        let (epoch, from) = (envelope.epoch, envelope.from);
        let again = planted::has(Bug::RepairCounts) && self.holds_already(epoch, &frames);
        if epoch < self.promised && !again {
            let promised = self.promised;
            return self.refuse(from, epoch, Refusal::Fenced { promised });
        }
        if let Err(refusal) = self.admit(envelope, &frames) {
            return self.refuse(from, epoch, refusal);
        }
        let full = !self.room && !frames.is_empty();
        // The first append of a span fences whatever is older. It is answered when that is on the disk.
        self.promise(epoch);
        let Some(tail) = self.tails.get_mut(&epoch) else { return };
        tail.leader = Some(from);
        tail.committed = tail.committed.max(committed);
        if tail.grade() == Grade::Suspect || tail.sealed.is_some() {
            return self.refuse(from, epoch, Refusal::StoreGone);
        }
        if full {
            return self.refuse(from, epoch, Refusal::ReadOnly);
        }
        let fit = if base > tail.next.lsn { Fit::Gap } else { tail.take(frames) };
        let end = tail.next.lsn;
        match fit {
            Fit::Taken => {
                self.write_next(epoch);
                // Nothing is written now: all of it was here, or an opening frame waits for the frame behind it.
                if self.tails.get(&epoch).is_some_and(|tail| tail.writing.is_none()) {
                    self.tell_leader(epoch);
                }
            }
            Fit::Gap => {
                self.refuse(from, epoch, Refusal::Gap { end });
                self.write_next(epoch);
            }
            Fit::Differs => self.quarantine(epoch),
        }
    }

    /// Whether the metadata at hand lets this process append to the span here. Makes the tail when it is the first time.
    fn admit(&mut self, envelope: &Envelope, frames: &[Frame]) -> Result<(), Refusal> {
        let Some(span) = self.view.spans.get(&envelope.epoch) else {
            return self.admit_unknown(envelope, frames);
        };
        if !span.is_led_by(&envelope.from) || !span.is_held_by(&self.me) {
            return Err(Refusal::UnknownSpan);
        }
        if let Some(tail) = self.tails.get_mut(&envelope.epoch) {
            tail.learn_base(span.base);
            return Ok(());
        }
        // A tail begins only by metadata that is as new as the leader's, and shows the span open: what was deleted
        // here must not come to life again because of a late message.
        if self.view.version < envelope.version
            || span.state != SpanState::Open
            || self.whole.contains_key(&envelope.epoch)
        {
            self.refresh(envelope.version);
            return Err(Refusal::UnknownSpan);
        }
        self.tails.insert(envelope.epoch, Tail::at(span.base));
        Ok(())
    }

    fn admit_unknown(&mut self, envelope: &Envelope, frames: &[Frame]) -> Result<(), Refusal> {
        if planted::has(Bug::SelfAuthorised)
            && let Some(first) = frames.first()
        {
            self.tails.entry(envelope.epoch).or_insert_with(|| Tail::at(first.at()));
            return Ok(());
        }
        self.look_up(envelope);
        Err(Refusal::UnknownSpan)
    }

    /// Has the metadata read: newer than what is at hand, for that does not show the span.
    pub(super) fn look_up(&mut self, envelope: &Envelope) {
        self.refresh(envelope.version.max(self.view.version.saturating_add(1)));
    }

    fn holds_already(&self, epoch: u32, frames: &[Frame]) -> bool {
        self.tails.get(&epoch).is_some_and(|tail| frames.iter().all(|frame| frame.lsn() < tail.end.lsn))
    }

    pub(super) fn refuse(&mut self, to: Process, epoch: u32, refusal: Refusal) {
        self.answer(to, epoch, Answer::Refused(refusal));
    }

    /// Starts the next write if none is in flight. A coordinator may know of a span before this node does: a file of it begins
    /// when the metadata shows what it follows.
    pub(super) fn write_next(&mut self, epoch: u32) {
        if !self.view.spans.contains_key(&epoch) && !planted::has(Bug::SelfAuthorised) {
            return;
        }
        let Some(tail) = self.tails.get_mut(&epoch) else { return };
        let Some(frames) = tail.next_write() else { return };
        debug_assert!(frame::are_consecutive(tail.end, epoch, &frames));
        let doubted = tail.is_doubted_behind_write();
        if planted::has(Bug::AckBeforeSync)
            && let (Some(leader), Some(writing)) = (tail.leader, tail.writing)
        {
            self.answer(leader, epoch, Answer::Appended { durable: writing.lsn });
        }
        self.out.push(Effect::Write { epoch, frames, doubted });
    }

    /// The write in flight has returned.
    pub(super) fn written(&mut self, epoch: u32) {
        let Some(tail) = self.tails.get_mut(&epoch) else { return };
        let Some(end) = tail.writing.take() else { return };
        assert!(end.lsn > tail.end.lsn, "a write ends behind the end before it");
        tail.end = end;
        self.tell_leader(epoch);
        self.tell_repairer(epoch);
        self.answer_fences();
        self.write_next(epoch);
        self.settle(epoch);
    }

    /// The write in flight did not begin for want of room.
    pub(super) fn full(&mut self, epoch: u32) {
        self.room = false;
        self.not_begun(epoch, Refusal::ReadOnly);
    }

    /// The write in flight did not begin. What waits is let go of, and sent again by whoever sent it; a fence must not wait
    /// for room on the disk.
    pub(super) fn not_begun(&mut self, epoch: u32, refusal: Refusal) {
        let Some(tail) = self.tails.get_mut(&epoch) else { return };
        tail.writing = None;
        tail.deny();
        if let Some(leader) = tail.leader.filter(|_| epoch >= self.promised) {
            self.refuse(leader, epoch, refusal);
        }
        self.answer_fences();
        self.settle(epoch);
    }

    /// Tells the leader how far this disk has come, if nothing forbids it.
    pub(super) fn tell_leader(&mut self, epoch: u32) {
        let Some(tail) = self.tails.get(&epoch) else { return };
        let Some(leader) = tail.leader else { return };
        let durable = tail.end.lsn;
        let again = planted::has(Bug::RepairCounts);
        if epoch < self.promised && !again {
            let promised = self.promised;
            self.refuse(leader, epoch, Refusal::Fenced { promised });
        } else if tail.grade() == Grade::Suspect {
            self.refuse(leader, epoch, Refusal::StoreGone);
        } else if self.kept >= epoch || again {
            self.answer(leader, epoch, Answer::Appended { durable });
        }
    }

    /// A frame that was sent is not the one that is here.
    pub(super) fn quarantine(&mut self, epoch: u32) {
        if let Some(tail) = self.tails.get_mut(&epoch) {
            tail.deny();
            tail.doubt();
            self.out.push(Effect::Quarantine { epoch });
        }
    }
}
