//! A holder promises, tells its end, gives frames, takes repairs.

use crate::follower::tail::{Fit, Tail};
use crate::follower::{Effect, Follower};
use crate::frame::Frame;
use crate::message::{Answer, Envelope, Grade, Refusal, Request, Standing};
use crate::planted::{self, Bug};
use crate::span::{Place, Process};

/// A fence that is answered when the promise is on the disk and the write in flight has returned.
#[derive(Debug)]
pub(super) struct Waiting {
    to: Process,
    epoch: u32,
    attempt: u32,
}

impl Follower {
    /// Raises the promise. What older leaders and coordinators have waiting here is denied at once.
    pub(super) fn promise(&mut self, promised: u32) {
        if promised <= self.promised {
            return;
        }
        self.promised = promised;
        if planted::has(Bug::VolatilePromise) {
            self.kept = promised;
        } else {
            self.out.push(Effect::Keep { promised });
        }
        let denied: Vec<(Process, u32)> = self
            .tails
            .range_mut(..promised)
            .filter_map(|(epoch, tail)| {
                tail.repairer = None;
                if tail.deny() { tail.leader.map(|leader| (leader, *epoch)) } else { None }
            })
            .collect();
        for (leader, epoch) in denied {
            self.refuse(leader, epoch, Refusal::Fenced { promised });
        }
    }

    /// A promise is on the disk.
    pub(super) fn keep(&mut self, promised: u32) {
        self.kept = self.kept.max(promised);
        assert!(self.kept <= self.promised, "the journal is never ahead");
        self.answer_fences();
        let epochs: Vec<u32> = self.tails.keys().copied().collect();
        for epoch in epochs {
            self.tell_repairer(epoch);
            if epoch == promised {
                self.tell_leader(epoch);
            }
        }
    }

    fn is_overtaken(&mut self, envelope: &Envelope, attempt: u32) -> bool {
        let promised = self.promised;
        if attempt < promised {
            self.answer(envelope.from, envelope.epoch, Answer::HigherPromise { attempt, promised });
        }
        attempt < promised
    }

    pub(super) fn fence(&mut self, envelope: &Envelope, attempt: u32, base: Place) {
        if self.is_overtaken(envelope, attempt) {
            return;
        }
        let epoch = envelope.epoch;
        if !planted::has(Bug::UnfencedLength) {
            self.promise(attempt);
        }
        if !self.whole.contains_key(&epoch) {
            // Even where nothing of the span is known the promise stands, and nothing is what this store has of it.
            self.tails.entry(epoch).or_insert_with(|| Tail::at(base)).learn_base(base);
        }
        self.fences.retain(|waiting| (waiting.to, waiting.epoch) != (envelope.from, epoch));
        self.fences.push(Waiting { to: envelope.from, epoch, attempt });
        self.answer_fences();
    }

    /// Answers the fences that need not wait any longer.
    pub(super) fn answer_fences(&mut self) {
        let mut waiting = std::mem::take(&mut self.fences);
        waiting.retain(|fence| {
            let promised = self.promised;
            if fence.attempt < promised {
                let answer = Answer::HigherPromise { attempt: fence.attempt, promised };
                self.answer(fence.to, fence.epoch, answer);
                return false;
            }
            let kept = self.kept >= fence.attempt || planted::has(Bug::UnfencedLength);
            match self.standing(fence).filter(|_| kept) {
                Some(standing) => self.answer(fence.to, fence.epoch, Answer::Fenced(standing)),
                None => return true,
            }
            false
        });
        self.fences = waiting;
    }

    /// How far the span has come here; `None` while a write is in flight.
    fn standing(&self, fence: &Waiting) -> Option<Standing> {
        let attempt = fence.attempt;
        if let Some(end) = self.whole.get(&fence.epoch) {
            let (reach, committed) = (end.lsn, end.lsn);
            return Some(Standing { attempt, end: *end, reach, grade: Grade::Proved, committed });
        }
        let tail = self.tails.get(&fence.epoch)?;
        if tail.writing.is_some() {
            return None;
        }
        let (end, reach) = (tail.usable_end(), tail.reach());
        Some(Standing { attempt, end, reach, grade: tail.grade(), committed: tail.committed })
    }

    pub(super) fn fetch(&mut self, envelope: &Envelope, attempt: u32, from: u64, to: u64) {
        if !self.is_overtaken(envelope, attempt) && self.end(envelope.epoch).is_some() {
            self.out.push(Effect::Read { epoch: envelope.epoch, from, to, reader: envelope.from, attempt });
        }
    }

    /// Takes a coordinator's frames. They raise the promise as a fence does: whoever is repaired is fenced.
    pub(super) fn repair(&mut self, envelope: &Envelope, attempt: u32, base: Place, frames: Vec<Frame>) {
        let epoch = envelope.epoch;
        if planted::has(Bug::RepairCounts) {
            // Neither asks for the promise nor raises it.
        } else if self.is_overtaken(envelope, attempt) {
            return;
        } else {
            self.promise(attempt);
        }
        if !self.whole.contains_key(&epoch) {
            let tail = self.tails.entry(epoch).or_insert_with(|| Tail::at(base));
            tail.learn_base(base);
            if tail.grade() == Grade::Suspect || tail.sealed.is_some() {
                return;
            }
            tail.repairer = Some((envelope.from, attempt));
            if matches!(tail.take(frames), Fit::Differs) {
                return self.quarantine(epoch);
            }
        }
        if !self.view.spans.contains_key(&epoch) {
            self.look_up(envelope);
        }
        self.write_next(epoch);
        self.tell_repairer(epoch);
    }

    /// Tells the coordinator how far this disk has come, once the promise is on it.
    pub(super) fn tell_repairer(&mut self, epoch: u32) {
        let Some(tail) = self.tails.get(&epoch) else { return };
        let Some((to, attempt)) = tail.repairer else { return };
        let kept = self.kept >= attempt || planted::has(Bug::RepairCounts);
        if kept && tail.grade() != Grade::Suspect {
            let durable = tail.end.lsn;
            self.answer(to, epoch, Answer::Repaired { attempt, durable });
        }
    }

    /// The store failed: the first failure ends all writing here. What is durable may still be read.
    pub(super) fn fail(&mut self) {
        self.failed = true;
        self.fences.clear();
        let leaders: Vec<(Process, u32)> = self
            .tails
            .iter_mut()
            .filter_map(|(epoch, tail)| {
                tail.deny();
                tail.doubt();
                tail.leader.map(|leader| (leader, *epoch))
            })
            .collect();
        for (leader, epoch) in leaders {
            self.refuse(leader, epoch, Refusal::StoreGone);
        }
    }

    /// A store that failed cannot promise, so it answers no coordinator, but lets frames be read that are on it.
    pub(super) fn answer_failed(&mut self, envelope: &Envelope, request: &Request) {
        match request {
            Request::Append { .. } => self.refuse(envelope.from, envelope.epoch, Refusal::StoreGone),
            Request::SpanSealed => self.refresh(envelope.version),
            Request::Fence { .. } | Request::FetchTail { .. } | Request::RepairAppend { .. } => {}
        }
    }
}
