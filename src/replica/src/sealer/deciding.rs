//! Where the span ends, by what its holders have answered.
//!
//! A damaged holder says how far its frames go without a gap, and how far there are any. When the end hangs on what
//! damaged holders have, the coordinator gathers: it asks them for what they have behind the end at hand, and goes on
//! for as long as somebody has the next frame intact. Different frames that rotted on different disks are no loss then.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::frame::Frame;
use crate::message::{Grade, Request, Standing};
use crate::planted::{self, Bug};
use crate::sealer::holder::Holder;
use crate::sealer::{AGAIN, Effect, PIECE, PREFER_ALL, Phase, Sealer};
use crate::span::{Place, Replica};

/// The end so far, and what is at hand to bring it further.
#[derive(Debug, Default)]
pub(super) struct Gathering {
    /// Behind the last frame that somebody has intact; `None` before the first answer.
    at: Option<Place>,
    pieces: BTreeMap<u64, Frame>,
    /// Whom was asked for what.
    asked: BTreeMap<Replica, u64>,
}

impl Gathering {
    pub(super) fn ask_again(&mut self) {
        self.asked.clear();
    }
}

impl Sealer {
    /// The answers that count toward the end: of those that held the span, never of a substitute (I9).
    fn standings(&self) -> Vec<Standing> {
        let votes = |substitute: bool| !substitute || planted::has(Bug::SubstituteVotes);
        let voters = self.holders.iter().filter(|holder| votes(holder.instead_of.is_some()));
        voters.filter_map(|holder| holder.standing).collect()
    }

    /// The end, once it is known; asks damaged holders for more where it hangs on them.
    pub(super) fn decide(&mut self, now: Duration) -> Option<Place> {
        let standings = self.standings();
        let all = standings.len() >= self.span.replicas.len();
        let sure = standings.iter().filter(|said| said.grade == Grade::Proved).count();
        let enough = sure >= self.span.fence_quorum() && (all || now >= self.begun + PREFER_ALL);
        let accepted = self.accepted && self.has_waited(now);
        if !(enough || all || accepted) {
            return None;
        }
        let mut end = self.furthest(&standings)?;
        if !enough {
            // All have answered, or people have decided: nothing more can come but from behind somebody's damage.
            end = self.gather(end)?;
            // What holds all of the span may still be damaged everywhere. With a gap left, people decide.
            let furthest = standings.iter().map(|said| said.reach).max()?;
            let whole = standings.iter().any(|said| said.grade != Grade::Suspect) || end.lsn >= furthest;
            if !whole && !accepted {
                return None;
            }
        }
        let committed = standings.iter().map(|said| said.committed).max()?;
        let missing = end.lsn < committed && !planted::has(Bug::ShortestEnd);
        if missing && !accepted { None } else { Some(end) }
    }

    /// What people accept is what all that are left have, not what the quickest has: whoever may still answer gets the time.
    fn has_waited(&self, now: Duration) -> bool {
        let silent = |holder: &&Holder| {
            holder.instead_of.is_none() && holder.standing.is_none() && !self.lost.contains(&holder.replica)
        };
        !self.holders.iter().any(|holder| silent(&holder)) || now >= self.begun + 4 * AGAIN
    }

    fn furthest(&self, standings: &[Standing]) -> Option<Place> {
        let ends = standings.iter().map(|said| said.end);
        if planted::has(Bug::ShortestEnd) {
            return ends.min();
        }
        if planted::has(Bug::CommittedEnd) {
            let committed = standings.iter().map(|said| said.committed).max()?;
            // A place at the committed LSN is known only where a holder ends there.
            return standings.iter().map(|said| said.end).filter(|end| end.lsn >= committed).min();
        }
        ends.max_by_key(|end| end.lsn)
    }

    /// Goes on from the furthest end that has no gap with frames from behind damage. `None` while somebody has not told
    /// what he has.
    fn gather(&mut self, furthest: Place) -> Option<Place> {
        let gathering = &mut self.gathering;
        let mut at = gathering.at.filter(|at| at.lsn >= furthest.lsn).unwrap_or(furthest);
        while let Some(frame) = gathering.pieces.remove(&at.lsn).filter(|frame| frame.at() == at) {
            at = frame.next();
        }
        gathering.pieces.retain(|lsn, _| *lsn >= at.lsn);
        gathering.at = Some(at);
        let mut waits = false;
        for holder in self.holders.iter().filter(|holder| holder.is_damaged()) {
            let reach = holder.standing.map_or(0, |said| said.reach);
            if reach <= at.lsn || holder.told_to > at.lsn {
                continue;
            }
            waits = true;
            if gathering.asked.insert(holder.replica, at.lsn) != Some(at.lsn) {
                let (attempt, to) = (self.attempt, reach.min(at.lsn.saturating_add(PIECE)));
                let request = Request::FetchTail { attempt, from: at.lsn, to };
                self.out.push(Effect::Send { to: holder.replica, request });
            }
        }
        if waits { None } else { Some(at) }
    }

    /// A damaged holder gives what it has behind the end so far.
    pub(super) fn gathered(&mut self, by: usize, from: u64, to: u64, frames: &[Frame]) {
        let Some(at) = self.gathering.at.filter(|_| self.phase == Phase::Fencing) else { return };
        if from > at.lsn.max(self.holders[by].told_to) {
            return;
        }
        self.holders[by].told_to = self.holders[by].told_to.max(to);
        for frame in frames.iter().filter(|frame| frame.lsn() >= at.lsn) {
            self.gathering.pieces.entry(frame.lsn()).or_insert_with(|| frame.clone());
        }
    }
}
