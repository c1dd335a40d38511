//! What a coordinator knows of one node that has the span, or is to have it.

use crate::message::{Grade, Standing};
use crate::span::Replica;

/// A holder of the span, or a substitute for one that cannot be a copy any more.
#[derive(Clone, Copy, Debug)]
pub(super) struct Holder {
    pub(super) replica: Replica,
    /// A substitute, in whose place. It knows nothing of what was acknowledged: it is never asked for the end.
    pub(super) instead_of: Option<Replica>,
    pub(super) standing: Option<Standing>,
    /// Durable there under this attempt.
    pub(super) durable: u64,
    /// It has promised this attempt, by its answer to a fence or a repair.
    pub(super) fenced: bool,
    /// What was last fetched for it: from where, and the turn of whom.
    pub(super) fetched: Option<(u64, usize)>,
    /// Whose turn it is to give the frames that it lacks.
    pub(super) turn: usize,
    /// How many were asked in turn and did not have the next frame. When all were, time has to pass.
    pub(super) missed: usize,
    /// Of a damaged holder: what it has between the end in question and here has been told.
    pub(super) told_to: u64,
}

impl Holder {
    pub(super) fn new(replica: Replica, instead_of: Option<Replica>, base: u64) -> Holder {
        Holder {
            replica,
            instead_of,
            standing: None,
            durable: base,
            fenced: false,
            fetched: None,
            turn: 0,
            missed: 0,
            told_to: base,
        }
    }

    /// Nothing that it said is believed any more.
    pub(super) fn forget(&mut self, base: u64) {
        *self = Holder { turn: self.turn, ..Holder::new(self.replica, self.instead_of, base) };
    }

    pub(super) fn grade(&self) -> Option<Grade> {
        self.standing.map(|said| said.grade)
    }

    pub(super) fn is_damaged(&self) -> bool {
        self.grade() == Some(Grade::Suspect)
    }

    /// Whether it takes frames: it has promised, and is not damaged.
    pub(super) fn takes(&self) -> bool {
        self.instead_of.is_some() || (self.standing.is_some() && !self.is_damaged())
    }

    /// Whether it may have the frame at this LSN.
    pub(super) fn may_give(&self, lsn: u64) -> bool {
        self.standing.is_some_and(|said| said.end.lsn > lsn || said.reach > lsn)
    }
}
