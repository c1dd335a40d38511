//! A holder learns from the metadata what has ended, and what nobody wants any more.

use crate::follower::tail::Tail;
use crate::follower::{Effect, Follower, View};
use crate::message::Grade;
use crate::planted::{self, Bug};
use crate::span::{Place, SpanState};

impl Follower {
    /// Takes a newer view. An older one is ignored, unless it is as new and known to be current.
    pub(super) fn viewed(&mut self, view: View) {
        let newer = view.version > self.view.version;
        let confirms = view.version == self.view.version && view.current;
        if !newer && !confirms {
            return;
        }
        self.view = view;
        self.note_missing();
        let epochs: Vec<u32> = self.tails.keys().chain(self.whole.keys()).copied().collect();
        for epoch in epochs {
            self.review(epoch);
            self.write_next(epoch);
        }
    }

    /// Sealed spans that are to be here and of which nothing is: they are short by all their frames.
    fn note_missing(&mut self) {
        for (epoch, span) in &self.view.spans {
            let known = self.tails.contains_key(epoch) || self.whole.contains_key(epoch);
            if !known && span.end().is_some() && span.is_held_by(&self.me) {
                self.tails.insert(*epoch, Tail::at(span.base));
            }
        }
    }

    /// Does with a span what the metadata says about it.
    fn review(&mut self, epoch: u32) {
        let Some(span) = self.view.spans.get(&epoch) else {
            return self.review_unlisted(epoch);
        };
        let held = span.is_held_by(&self.me);
        if let SpanState::Sealed { end } = span.state {
            if !held {
                // Given to others. Whoever holds it now was verified before the metadata said so.
                if self.view.current {
                    self.delete(epoch);
                }
                return;
            }
            let base = span.base;
            if self.whole.get(&epoch).is_some_and(|whole| *whole != end) {
                // A copy that a crash interrupted: each file is sealed, and some are missing.
                self.whole.remove(&epoch);
                self.tails.insert(epoch, Tail::at(base));
            }
            if let Some(tail) = self.tails.get_mut(&epoch).filter(|tail| tail.sealed.is_none()) {
                tail.learn_base(base);
                tail.sealed = Some(end);
                tail.deny();
                self.settle(epoch);
            }
        }
    }

    /// A span that the metadata does not list: dropped, or not known to it. Only what is known to be dropped is deleted.
    fn review_unlisted(&mut self, epoch: u32) {
        let dropped = self.view.current && epoch < self.view.first;
        if dropped || planted::has(Bug::DeletesUnknown) {
            self.delete(epoch);
        }
    }

    fn delete(&mut self, epoch: u32) {
        let writing = self.tails.get(&epoch).is_some_and(|tail| tail.writing.is_some());
        if writing {
            // The file is still in use; the next view finds it again.
            return;
        }
        self.tails.remove(&epoch);
        self.whole.remove(&epoch);
        if planted::has(Bug::SelfAuthorised) {
            (self.promised, self.kept) = (0, 0);
        }
        self.out.push(Effect::Delete { epoch });
    }

    /// Brings a span that has ended to its end on this disk, once no write is in flight.
    pub(super) fn settle(&mut self, epoch: u32) {
        let Some(tail) = self.tails.get_mut(&epoch) else { return };
        let Some(end) = tail.sealed else { return };
        // A store that failed is not written any more, not to seal and not to copy; a restart looks again.
        if tail.writing.is_some() || tail.settling || self.failed {
            return;
        }
        tail.settling = true;
        tail.committed = tail.committed.max(end.lsn);
        // Damage behind the end is cut off; what is before it is verified while the footer is made.
        let known = tail.grade() != Grade::Suspect || tail.intact.is_some();
        let here = tail.usable_end();
        if known && !tail.baseless && (here.lsn > end.lsn || here == end) {
            self.out.push(Effect::Seal { epoch, end });
        } else {
            self.out.push(Effect::Copy { epoch, end });
        }
    }

    /// What is damaged counts for nothing until it is whole again. A sealed span is copied from another holder.
    pub(super) fn damaged(&mut self, epoch: u32, intact: Place) {
        if self.whole.remove(&epoch).is_some()
            && let Some(span) = self.view.spans.get(&epoch)
        {
            let mut tail = Tail::at(span.base);
            tail.sealed = span.end();
            self.tails.insert(epoch, tail);
        }
        if let Some(tail) = self.tails.get_mut(&epoch) {
            tail.deny();
            tail.doubt();
            tail.intact = Some(intact);
            tail.settling = false;
            self.settle(epoch);
        }
    }

    /// The span is cut and has its footer.
    pub(super) fn sealed(&mut self, epoch: u32) {
        let end = self.tails.remove(&epoch).and_then(|tail| tail.sealed);
        if let Some(end) = end {
            self.whole.insert(epoch, end);
        }
    }
}
