//! The tail of one span on one disk.

use std::collections::VecDeque;

use crate::follower::{Found, WINDOW_BYTES, WINDOW_FRAMES};
use crate::frame::Frame;
use crate::message::Grade;
use crate::planted::{self, Bug};
use crate::span::{Place, Process};

/// Frames whose chain values are remembered, to compare what is sent again with what is here.
const REMEMBERED: usize = 2 * WINDOW_FRAMES;
/// How far behind a cut frames may have been acknowledged. The last write was one frame, or an opening frame and one
/// more; but a later restart may cut again, a write further down, and does not know how far the first one doubted.
const DOUBTED: u64 = 16;

/// What a holder has of an unsealed span.
#[derive(Debug)]
pub(super) struct Tail {
    /// Behind the last durable frame.
    pub(super) end: Place,
    /// Behind the last frame that waits to be written.
    pub(super) next: Place,
    pub(super) queue: VecDeque<Frame>,
    queued: usize,
    /// Behind the write in flight.
    pub(super) writing: Option<Place>,
    /// Below it everything is committed.
    pub(super) committed: u64,
    grade: Grade,
    /// The end is doubted until it is here: so far may frames have been acknowledged that the crash took.
    doubted_to: u64,
    recent: VecDeque<Place>,
    /// Who appends, and is to be told.
    pub(super) leader: Option<Process>,
    /// Who repairs, in which attempt.
    pub(super) repairer: Option<(Process, u32)>,
    /// Where the metadata says that the span ends.
    pub(super) sealed: Option<Place>,
    /// The executor is asked to seal or to copy.
    pub(super) settling: bool,
    /// Where the first damaged frame stands, if damage was found while running.
    pub(super) intact: Option<Place>,
    /// Behind the last intact frame that a restart found behind damage.
    beyond: u64,
    /// Not even the base is known: a file is there and not its first frame.
    pub(super) baseless: bool,
}

/// What to do with frames that were sent.
pub(super) enum Fit {
    /// They continue the end; so many of them were taken, maybe none.
    Taken,
    /// They begin behind the end.
    Gap,
    /// They are not what is here. Equal LSNs of one span have equal frames, so somebody broke a rule or a disk lied.
    Differs,
}

impl Tail {
    /// Nothing yet.
    pub(super) fn at(base: Place) -> Tail {
        Tail {
            end: base,
            next: base,
            queue: VecDeque::new(),
            queued: 0,
            writing: None,
            committed: base.lsn,
            grade: Grade::Proved,
            doubted_to: 0,
            recent: VecDeque::new(),
            leader: None,
            repairer: None,
            sealed: None,
            settling: false,
            intact: None,
            beyond: 0,
            baseless: false,
        }
    }

    /// What a restart found. When so many frames as may have been cut are there again, all that was ever acknowledged is,
    /// because the leader sends the same frames.
    pub(super) fn found(found: &Found) -> Tail {
        let (base, end) = found.held.unwrap_or((Place { lsn: 0, chain: 0 }, Place { lsn: 0, chain: 0 }));
        let mut tail = Tail::at(base);
        (tail.end, tail.next) = (end, end);
        tail.grade = found.grade;
        tail.doubted_to = doubt_from(end.lsn);
        tail.beyond = found.reach;
        tail.intact = (found.grade == Grade::Suspect).then_some(end);
        tail.committed = found.committed.max(base.lsn);
        tail.baseless = found.held.is_none();
        tail
    }

    /// Tells where the span begins to a tail that has nothing of it.
    pub(super) fn learn_base(&mut self, base: Place) {
        if self.baseless {
            let grade = self.grade;
            let intact = (grade == Grade::Suspect).then_some(base);
            let (doubted_to, beyond) = (doubt_from(base.lsn), self.beyond);
            *self = Tail { grade, doubted_to, intact, beyond, ..Tail::at(base) };
        }
    }

    /// How sure the end is.
    pub(super) fn grade(&self) -> Grade {
        match self.grade {
            Grade::Unproved if self.end.lsn >= self.doubted_to && !self.baseless => Grade::Proved,
            grade => grade,
        }
    }

    /// Whether a restart behind the write in flight must find the end doubted.
    pub(super) fn is_doubted_behind_write(&self) -> bool {
        let reached = self.writing.is_none_or(|end| end.lsn >= self.doubted_to);
        self.grade == Grade::Unproved && !reached
    }

    /// Behind the frames that can be given to others without a gap.
    pub(super) fn usable_end(&self) -> Place {
        self.intact.filter(|intact| intact.lsn < self.end.lsn).unwrap_or(self.end)
    }

    /// Behind the last frame that may be intact: a damaged tail may have some behind the damage.
    pub(super) fn reach(&self) -> u64 {
        if planted::has(Bug::PrefixOnly) {
            return self.usable_end().lsn;
        }
        self.beyond.max(self.end.lsn)
    }

    /// Trusts what is here no more.
    pub(super) fn doubt(&mut self) {
        self.grade = Grade::Suspect;
    }

    /// Takes what continues the end, as far as there is room; what is here already is compared.
    pub(super) fn take(&mut self, frames: Vec<Frame>) -> Fit {
        for frame in frames {
            if frame.lsn() < self.next.lsn {
                let known = self.recent.iter().find(|place| place.lsn == frame.next().lsn);
                if known.is_some_and(|place| *place != frame.next()) {
                    return Fit::Differs;
                }
                continue;
            }
            if frame.lsn() > self.next.lsn {
                return Fit::Gap;
            }
            if frame.at() != self.next {
                return Fit::Differs;
            }
            if self.queue.len() >= WINDOW_FRAMES
                || (self.queued > 0 && self.queued + frame.len() > WINDOW_BYTES)
            {
                return Fit::Gap;
            }
            self.next = frame.next();
            self.recent.push_back(self.next);
            if self.recent.len() > REMEMBERED {
                self.recent.pop_front();
            }
            self.committed = self.committed.max(frame.committed());
            self.queued += frame.len();
            self.queue.push_back(frame);
        }
        Fit::Taken
    }

    /// The next write, when none is in flight: a frame, or an opening frame with the frame behind it.
    pub(super) fn next_write(&mut self) -> Option<Vec<Frame>> {
        if self.writing.is_some() {
            return None;
        }
        let first = self.queue.front()?;
        // Alone an opening frame is written only when a repair brought no more: then nothing will follow it.
        let count = match (first.opens_segment(), self.queue.len()) {
            (true, 1) if self.repairer.is_none() => return None,
            (true, 2..) => 2,
            _ => 1,
        };
        let frames: Vec<Frame> = self.queue.drain(..count).collect();
        self.queued -= frames.iter().map(Frame::len).sum::<usize>();
        self.writing = frames.last().map(Frame::next);
        Some(frames)
    }

    /// Forgets what waits to be written; gives whether there was any.
    pub(super) fn deny(&mut self) -> bool {
        let end = self.writing.unwrap_or(self.end);
        let denied = end != self.next;
        self.queue.clear();
        self.queued = 0;
        self.next = end;
        self.recent.retain(|place| place.lsn <= end.lsn);
        denied
    }
}

fn doubt_from(end: u64) -> u64 {
    end.saturating_add(DOUBTED)
}
