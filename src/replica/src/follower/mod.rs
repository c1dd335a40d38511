//! A store's part in the spans of one shard: takes the leader's frames, promises, tells its end, takes repairs, seals.
//!
//! # Purpose
//! Every holder runs this, the leader's own store too: the leader's frames reach its own disk by the same
//! [`Request::Append`] as any other, so that a fence on the leader's node stops the leader like everybody else.
//!
//! # Invariants
//! - One write in flight per shard and store: a frame, or an opening frame with the frame behind it.
//! - `promised` never goes down, and nothing that depends on it is answered before it is on the disk (I4).
//! - Accepted is what continues this store's end: same epoch, next LSN, matching chain (I2).
//! - A fence is answered when the write in flight has returned, so that the end told is the end (40-replication, I5).
//! - Frames are dropped, and files deleted, only because the metadata says so (I10). A message is never enough.
//!
//! # Durability
//! [`Answer::Appended`] and [`Answer::Repaired`] follow [`Event::Written`], which the executor gives when a synchronous
//! write has returned. After [`Event::Failed`] nothing is acknowledged any more.

mod appending;
mod fencing;
mod sealing;
mod tail;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use crate::frame::Frame;
use crate::message::{Answer, Envelope, Grade, Refusal, Request};
use crate::planted::{self, Bug};
use crate::span::{Place, Process, Replica, Span};

use tail::Tail;

/// Most frames that wait behind the write in flight.
pub const WINDOW_FRAMES: usize = 16;
/// Most bytes of them.
pub const WINDOW_BYTES: usize = 32 * 1024 * 1024;

/// What a node's metadata says about a shard.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct View {
    /// Its version: grows with every command.
    pub version: u64,
    /// Whether it came from a linearizable read. What came otherwise may be old: nothing is deleted because of it.
    pub current: bool,
    /// Spans with a lower epoch were dropped: nobody wants them any more.
    pub first: u32,
    /// The shard's spans.
    pub spans: BTreeMap<u32, Span>,
}

/// What a restart found of an unsealed span.
#[derive(Clone, Copy, Debug)]
pub struct Found {
    /// The span.
    pub epoch: u32,
    /// Its first place and its end on this disk; `None` when a file is there and not even its first frame.
    pub held: Option<(Place, Place)>,
    /// How sure the end is.
    pub grade: Grade,
    /// Behind the last intact frame of the span on this disk, which may stand behind damage; 0 if none is known.
    pub reach: u64,
    /// The highest committed LSN in its frames.
    pub committed: u64,
}

/// What a restart found of a shard.
#[derive(Clone, Debug, Default)]
pub struct Recovered {
    /// The highest promise in the journal.
    pub promised: u32,
    /// Spans without a seal.
    pub open: Vec<Found>,
    /// Ends of the spans that are sealed on this disk.
    pub sealed: BTreeMap<u32, Place>,
}

/// What happens to a follower.
#[derive(Clone, Debug)]
pub enum Event {
    /// A peer asks.
    Asked(Envelope, Request),
    /// The write in flight has returned, synced.
    Written {
        /// The span.
        epoch: u32,
    },
    /// The write in flight did not begin, because the disk has no room for it: nothing of it is there.
    Full {
        /// The span.
        epoch: u32,
    },
    /// The write in flight did not begin, because the metadata shows the span no more: nothing of it is there.
    Dropped {
        /// The span.
        epoch: u32,
    },
    /// A write or sync failed: this store is not written any more.
    Failed,
    /// A promise is on the disk.
    Kept {
        /// The promise.
        promised: u32,
    },
    /// The metadata changed, or was read anew.
    Viewed(View),
    /// The frames that [`Effect::Read`] asked for: all that are intact in the range.
    Read {
        /// The span.
        epoch: u32,
        /// First LSN of the range.
        from: u64,
        /// Behind its last: less than was asked for when it would be too much at once.
        to: u64,
        /// Who asked for them.
        reader: Process,
        /// In which attempt.
        attempt: u32,
        /// The frames, in order; those that cannot be read are left out.
        frames: Vec<Frame>,
    },
    /// [`Effect::Seal`] is done and durable.
    Sealed {
        /// The span.
        epoch: u32,
    },
    /// Another holder's files of a sealed span were copied and verified.
    Copied {
        /// The span.
        epoch: u32,
        /// Its end.
        end: Place,
    },
    /// A read or a scrub has found damage in the span's files.
    Damaged {
        /// The span.
        epoch: u32,
        /// Where the first damaged frame stands: all before it is intact.
        intact: Place,
    },
    /// The disk has room for appends, or has not.
    Room(bool),
}

/// What the executor is to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Answer a peer.
    Answer {
        /// Whom.
        to: Process,
        /// About which span.
        epoch: u32,
        /// What.
        answer: Answer,
    },
    /// Write these frames behind the end with one synchronous write, then give [`Event::Written`].
    Write {
        /// The span.
        epoch: u32,
        /// One frame, or an opening frame and one more.
        frames: Vec<Frame>,
        /// The end behind them is doubted still: the write ends with a block of zeroes, not with an end block, so that
        /// a restart finds the doubt again.
        doubted: bool,
    },
    /// Put the promise into the journal, then give [`Event::Kept`].
    Keep {
        /// The promise.
        promised: u32,
    },
    /// Read the intact frames of a span from the disk, those behind damage too, then give [`Event::Read`].
    Read {
        /// The span.
        epoch: u32,
        /// First LSN.
        from: u64,
        /// Behind the last.
        to: u64,
        /// For whom.
        reader: Process,
        /// In which attempt.
        attempt: u32,
    },
    /// Cut the span at its end, write the footer, then give [`Event::Sealed`]. When the chain value at `end` is not the
    /// one on this disk: put the span's files aside and copy them from another holder.
    Seal {
        /// The span.
        epoch: u32,
        /// Its end.
        end: Place,
    },
    /// This store lacks frames of a sealed span: copy its files from another holder, then give [`Event::Copied`].
    Copy {
        /// The span.
        epoch: u32,
        /// Its end.
        end: Place,
    },
    /// Delete the span's files: the metadata has dropped it or given it to others.
    Delete {
        /// The span.
        epoch: u32,
    },
    /// Put the span's files aside, keep them, use them for nothing.
    Quarantine {
        /// The span.
        epoch: u32,
    },
    /// Read the metadata, at least of this version, then give [`Event::Viewed`].
    Refresh {
        /// The version.
        version: u64,
    },
}

/// A store's part in a shard.
#[derive(Debug)]
pub struct Follower {
    me: Replica,
    promised: u32,
    /// The highest promise that is on the disk.
    kept: u32,
    view: View,
    tails: BTreeMap<u32, Tail>,
    whole: BTreeMap<u32, Place>,
    fences: Vec<fencing::Waiting>,
    failed: bool,
    room: bool,
    out: Vec<Effect>,
}

impl Follower {
    /// The part of a store in which `recovered` was found.
    pub fn new(me: Replica, recovered: Recovered) -> Follower {
        let tails = recovered.open.into_iter().map(|found| (found.epoch, Tail::found(&found))).collect();
        Follower {
            me,
            promised: recovered.promised,
            kept: recovered.promised,
            view: View::default(),
            tails,
            whole: recovered.sealed,
            fences: Vec::new(),
            failed: false,
            room: true,
            out: Vec::new(),
        }
    }

    /// Takes an event; says what is to be done.
    pub fn step(&mut self, event: Event) -> Vec<Effect> {
        match event {
            Event::Asked(envelope, request) if !self.failed => self.asked(&envelope, request),
            Event::Asked(envelope, request) => self.answer_failed(&envelope, &request),
            Event::Written { epoch } => self.written(epoch),
            Event::Full { epoch } => self.full(epoch),
            Event::Dropped { epoch } => self.not_begun(epoch, Refusal::UnknownSpan),
            Event::Failed => self.fail(),
            Event::Kept { promised } => self.keep(promised),
            Event::Viewed(view) => self.viewed(view),
            Event::Read { epoch, from, to, reader, attempt, frames } => {
                self.answer(reader, epoch, Answer::Tail { attempt, from, to, frames });
            }
            Event::Sealed { epoch } => self.sealed(epoch),
            Event::Copied { epoch, end } => {
                self.tails.remove(&epoch);
                self.whole.insert(epoch, end);
            }
            Event::Damaged { epoch, intact } => self.damaged(epoch, intact),
            Event::Room(room) => self.room = room,
        }
        std::mem::take(&mut self.out)
    }

    fn asked(&mut self, envelope: &Envelope, request: Request) {
        match request {
            Request::Append { base, committed, frames } => self.append(envelope, base, committed, frames),
            Request::Fence { attempt, base } => self.fence(envelope, attempt, base),
            Request::FetchTail { attempt, from, to } => self.fetch(envelope, attempt, from, to),
            Request::RepairAppend { attempt, base, frames } => self.repair(envelope, attempt, base, frames),
            Request::SpanSealed => self.refresh(envelope.version),
        }
    }

    fn refresh(&mut self, version: u64) {
        if self.view.version < version {
            self.out.push(Effect::Refresh { version });
        }
    }

    fn answer(&mut self, to: Process, epoch: u32, answer: Answer) {
        self.out.push(Effect::Answer { to, epoch, answer });
    }

    /// Which store this is.
    pub fn me(&self) -> Replica {
        self.me
    }

    /// The highest promise.
    pub fn promised(&self) -> u32 {
        self.promised
    }

    /// What readers of a span may see here: LSNs below (I8). `None` when nothing of it is here.
    pub fn readable(&self, epoch: u32) -> Option<u64> {
        if let Some(end) = self.whole.get(&epoch) {
            return Some(end.lsn);
        }
        let tail = self.tails.get(&epoch)?;
        if planted::has(Bug::ReadLocalEnd) {
            return Some(tail.end.lsn);
        }
        Some(tail.committed.min(tail.end.lsn))
    }

    /// Where a span ends on this disk, whether or not it is sealed.
    pub fn end(&self, epoch: u32) -> Option<Place> {
        self.whole.get(&epoch).copied().or_else(|| self.tails.get(&epoch).map(|tail| tail.end))
    }

    /// Whether a span is sealed here with all its frames.
    pub fn is_whole(&self, epoch: u32) -> bool {
        self.whole.contains_key(&epoch)
    }

    /// The spans that are sealed here, with their ends.
    pub fn whole(&self) -> &BTreeMap<u32, Place> {
        &self.whole
    }
}
