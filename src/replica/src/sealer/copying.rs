//! Makes the end safe: so many copies of everything below it as the span's quorum.
//!
//! A copy that can never be had from a holder, because its disk is lost or what it has is damaged, is made on a
//! substitute: a node that takes new copies gets the whole span. It counts as a copy of what is sealed and takes the
//! holder's place with the seal; it never counts toward the end, which was known before (I9).

use crate::frame::Frame;
use crate::message::Request;
use crate::planted::{self, Bug};
use crate::sealer::holder::Holder;
use crate::sealer::{Effect, PIECE, Phase, Sealer, Substitute};
use crate::span::{Place, Replica};

impl Sealer {
    /// Fetches for those that are short; asks to commit when enough have everything.
    pub(super) fn repair(&mut self, end: Place) {
        let survivors: Vec<Replica> = self
            .holders
            .iter()
            .filter(|holder| self.has_all(holder, end))
            .map(|holder| holder.replica)
            .collect();
        // Where people have decided, what is lost is not waited for: the copies are made again from those that are left.
        let needed = if self.accepted { 1 } else { self.span.quorum };
        if survivors.len() >= needed || (planted::has(Bug::NoTailRepair) && !survivors.is_empty()) {
            let whole = |holder: &&Holder| survivors.contains(&holder.replica);
            let substitutes = self
                .holders
                .iter()
                .filter(whole)
                .filter_map(|holder| Some(Substitute { old: holder.instead_of?, new: holder.replica }));
            let substitutes = substitutes.collect();
            self.phase = Phase::Committing(end);
            self.out.push(Effect::Commit { attempt: self.attempt, end, survivors, substitutes });
            return;
        }
        self.find_substitutes();
        self.fetch(end);
    }

    /// Whether a node has everything below the end under this attempt, and is believed.
    fn has_all(&self, holder: &Holder, end: Place) -> bool {
        let whole = holder.fenced && holder.durable >= end.lsn;
        let undamaged = holder.takes();
        // People have decided to go on with what is left, and all of it is before this holder's damage.
        let left = self.accepted && holder.standing.is_some_and(|said| said.end.lsn >= end.lsn);
        whole && (undamaged || left)
    }

    /// Takes nodes for the holders that can never be copies, if too few others are left.
    pub(super) fn find_substitutes(&mut self) {
        let held = |holder: &&Holder| holder.instead_of.is_none();
        let hopeless = |holder: &&Holder| self.lost.contains(&holder.replica) || holder.is_damaged();
        let (lost, able): (Vec<&Holder>, Vec<&Holder>) = self.holders.iter().filter(held).partition(hopeless);
        let replaced: Vec<Replica> = self.holders.iter().filter_map(|holder| holder.instead_of).collect();
        let short = self.span.quorum.saturating_sub(able.len() + replaced.len());
        let open: Vec<Replica> =
            lost.iter().map(|holder| holder.replica).filter(|replica| !replaced.contains(replica)).collect();
        let mut free: Vec<Replica> = self.takers.clone();
        free.retain(|taker| !self.holders.iter().any(|holder| holder.replica.node == taker.node));
        if !free.is_empty() {
            let turn = self.takers_turn % free.len();
            free.rotate_left(turn);
        }
        for (old, new) in open.into_iter().zip(free).take(short) {
            let substitute = Holder::new(new, Some(old), self.span.base.lsn);
            // Nothing to copy yet: it promises the attempt, and says so.
            self.send_repair(new, Vec::new());
            self.holders.push(substitute);
        }
    }

    fn fetch(&mut self, end: Place) {
        for at in 0..self.holders.len() {
            let holder = self.holders[at];
            let (from, turn) = (holder.durable, holder.turn);
            if !holder.takes() || from >= end.lsn || holder.fetched == Some((from, turn)) {
                continue;
            }
            let Some(source) = self.source(from, turn).filter(|_| holder.missed < self.sources(from)) else {
                continue;
            };
            self.holders[at].fetched = Some((from, turn));
            let (attempt, to) = (self.attempt, end.lsn.min(from + PIECE));
            self.out.push(Effect::Send { to: source, request: Request::FetchTail { attempt, from, to } });
        }
    }

    fn sources(&self, lsn: u64) -> usize {
        self.holders.iter().filter(|holder| holder.may_give(lsn)).count()
    }

    /// Who gives the frame at this LSN: those that are sure of their end first, then one after the other.
    fn source(&self, lsn: u64, turn: usize) -> Option<Replica> {
        let mut sources: Vec<&Holder> = self.holders.iter().filter(|holder| holder.may_give(lsn)).collect();
        sources.sort_by_key(|holder| holder.grade());
        let turn = turn.checked_rem(sources.len())?;
        sources.get(turn).map(|holder| holder.replica)
    }

    /// Gives frames to the nodes that end among them. Whoever waited for the next frame from this holder, and it was not
    /// there, asks the next one.
    pub(super) fn pass_on(&mut self, by: Replica, from: u64, to: u64, frames: &[Frame]) {
        let Phase::Repairing(end) = self.phase else { return };
        for at in 0..self.holders.len() {
            let holder = self.holders[at];
            if !holder.takes() || !(from..to).contains(&holder.durable) || holder.durable >= end.lsn {
                continue;
            }
            let given = run_from(frames, holder.durable, end.lsn);
            let asked = holder.fetched == Some((holder.durable, holder.turn));
            if !given.is_empty() {
                self.send_repair(holder.replica, given);
            } else if asked && self.source(holder.durable, holder.turn) == Some(by) {
                self.holders[at].turn = holder.turn.wrapping_add(1);
                self.holders[at].missed = holder.missed + 1;
            }
        }
    }

    /// Asks those that have not promised yet.
    pub(super) fn ask_substitutes(&mut self) {
        let silent = |holder: &&Holder| holder.instead_of.is_some() && !holder.fenced;
        let silent: Vec<Replica> = self.holders.iter().filter(silent).map(|holder| holder.replica).collect();
        for replica in silent {
            self.send_repair(replica, Vec::new());
        }
    }

    fn send_repair(&mut self, to: Replica, frames: Vec<Frame>) {
        let (attempt, base) = (self.attempt, self.span.base);
        self.out.push(Effect::Send { to, request: Request::RepairAppend { attempt, base, frames } });
    }
}

/// The frames that follow each other from an LSN on.
fn run_from(frames: &[Frame], from: u64, end: u64) -> Vec<Frame> {
    let start = frames.partition_point(|frame| frame.lsn() < from);
    let wanted = (from..end).zip(&frames[start..]);
    wanted.take_while(|(lsn, frame)| frame.lsn() == *lsn).map(|(_, frame)| frame.clone()).collect()
}
