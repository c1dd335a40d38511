//! The coordinator of a seal: finds out where a span ends, makes the end safe, has it committed.
//!
//! # Purpose
//! Anybody may run it, two at once, and die anywhere: the promises of the holders and the condition on the metadata's
//! command let one of them win, and what the loser did does no harm.
//!
//! # States
//! ```text
//!  (BeginSeal gave the attempt a)
//!       |
//!    Fencing -- enough Standings --> Repairing(end) -- Q hold [.., end) --> Committing(end) --> Over
//!       |                                |                                      |
//!       +------- HigherPromise, a newer attempt, the span is sealed ------------+----> Over
//! ```
//!
//! # Invariants
//! - The end is the furthest end of fenced holders. They are enough when F of them are sure of theirs, or when all have
//!   answered: any F meet any Q that acknowledged something (I5, I7).
//! - The end is never below what any of them knows as committed: then something is missing, and the coordinator waits.
//! - Committed is asked for only when Q fenced holders have everything below (I5), and only under this attempt.
//! - Holders count by their directory, not by their node (I9).

#[cfg(test)]
mod tests;

use std::time::Duration;

use crate::frame::Frame;
use crate::message::{Answer, From, Grade, Request, Standing};
use crate::planted::{self, Bug};
use crate::span::{Place, Replica, Span, SpanState};

/// How long it waits for the rest of the holders when enough have answered: a further end saves repairs.
const PREFER_ALL: Duration = Duration::from_millis(20);
/// What was not answered is asked again after this time.
const AGAIN: Duration = Duration::from_millis(250);
/// Most frames of one fetch.
const PIECE: u64 = 16;

/// What happens to a coordinator.
#[derive(Clone, Debug)]
pub enum Event {
    /// A holder has answered.
    Answered(From),
    /// The metadata's answer to [`Effect::Commit`]: whether the span ends so. Indeterminate is no answer: read the
    /// metadata and give [`Event::Viewed`].
    Committed {
        /// Whether it was done.
        done: bool,
    },
    /// The metadata shows the span so.
    Viewed(SpanState),
    /// An operator takes the end that the holders at hand give, whatever may be missing.
    AcceptTail,
    /// Time has passed.
    Tick,
}

/// What the executor is to do.
#[derive(Clone, Debug)]
pub enum Effect {
    /// Send this to a holder.
    Send {
        /// Whom.
        to: Replica,
        /// What.
        request: Request,
    },
    /// Have the metadata end the span here, on condition that this attempt is the newest, and open the next span.
    Commit {
        /// The attempt.
        attempt: u32,
        /// The end.
        end: Place,
        /// Holders that have everything below the end: who is best to lead and to hold what follows.
        survivors: Vec<Replica>,
    },
    /// The coordinator is done.
    Over {
        /// Whether the span is sealed; otherwise somebody else is at it.
        sealed: bool,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Fencing,
    Repairing(Place),
    Committing(Place),
    Over,
}

/// What is known of a holder.
#[derive(Clone, Copy, Debug)]
struct Holder {
    replica: Replica,
    standing: Option<Standing>,
    /// Durable there under this attempt.
    durable: u64,
    /// What was last fetched for it.
    fetched: Option<u64>,
}

/// The coordinator of one attempt.
#[derive(Debug)]
pub struct Sealer {
    span: Span,
    attempt: u32,
    phase: Phase,
    holders: Vec<Holder>,
    begun: Duration,
    asked: Duration,
    /// When a holder last came further.
    moved: Duration,
    accepted: bool,
    out: Vec<Effect>,
}

impl Sealer {
    /// Begins to fence. The metadata has given `attempt` to this coordinator.
    pub fn new(span: Span, attempt: u32, now: Duration) -> (Sealer, Vec<Effect>) {
        assert!(attempt > span.epoch, "an attempt is newer than the span");
        let holder = |replica: &Replica| Holder {
            replica: *replica,
            standing: None,
            durable: span.base.lsn,
            fetched: None,
        };
        let mut sealer = Sealer {
            holders: span.replicas.iter().map(holder).collect(),
            span,
            attempt,
            phase: Phase::Fencing,
            begun: now,
            asked: now,
            moved: now,
            accepted: false,
            out: Vec::new(),
        };
        sealer.ask_fences();
        let effects = std::mem::take(&mut sealer.out);
        (sealer, effects)
    }

    /// Takes an event; says what is to be done.
    pub fn step(&mut self, now: Duration, event: Event) -> Vec<Effect> {
        if self.phase == Phase::Over {
            return Vec::new();
        }
        match event {
            Event::Answered(from) => self.answered(now, &from),
            Event::Committed { done } => self.over(done),
            Event::Viewed(state) => self.viewed(state),
            Event::AcceptTail => self.accepted = true,
            Event::Tick => self.tick(now),
        }
        self.go_on(now);
        std::mem::take(&mut self.out)
    }

    /// The span.
    pub fn span(&self) -> &Span {
        &self.span
    }

    /// The attempt.
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    /// Holders that have not answered, or are not sure of their end: what an operator is shown of a seal that waits.
    pub fn missing(&self) -> Vec<Replica> {
        let unsure = |holder: &&Holder| holder.standing.is_none_or(|said| said.grade != Grade::Proved);
        self.holders.iter().filter(unsure).map(|holder| holder.replica).collect()
    }

    fn answered(&mut self, now: Duration, from: &From) {
        if (from.shard, from.epoch) != (self.span.shard, self.span.epoch) {
            return;
        }
        let Some(at) = self.holders.iter().position(|holder| holder.replica == from.replica) else { return };
        match &from.answer {
            Answer::Fenced(standing) if standing.attempt == self.attempt => {
                let holder = &mut self.holders[at];
                holder.durable = holder.durable.max(standing.end.lsn);
                holder.standing = Some(*standing);
            }
            Answer::HigherPromise { attempt, promised } if *attempt == self.attempt => {
                debug_assert!(*promised > self.attempt);
                self.over(false);
            }
            Answer::Tail { attempt, frames } if *attempt == self.attempt => self.pass_on(frames),
            Answer::Repaired { attempt, durable } if *attempt == self.attempt => {
                self.moved = now;
                self.holders[at].durable = *durable;
            }
            _ => {}
        }
    }

    fn viewed(&mut self, state: SpanState) {
        match state {
            SpanState::Sealed { end } => {
                let ours = matches!(self.phase, Phase::Committing(asked) if asked == end);
                self.over(ours);
            }
            SpanState::Sealing { attempt } if attempt > self.attempt => self.over(false),
            SpanState::Sealing { .. } | SpanState::Open => {
                // Still ours, so an unclear commit was not done, or not yet. The same command again does no harm.
                if let Phase::Committing(end) = self.phase {
                    self.phase = Phase::Repairing(end);
                }
            }
        }
    }

    fn over(&mut self, sealed: bool) {
        self.phase = Phase::Over;
        self.out.push(Effect::Over { sealed });
    }

    fn tick(&mut self, now: Duration) {
        if now < self.asked + AGAIN {
            return;
        }
        self.asked = now;
        if matches!(self.phase, Phase::Repairing(_)) && now >= self.moved + 4 * AGAIN {
            // Nothing moves: the source may have found that it cannot give what it said. Ask everybody anew; nothing was
            // committed under this attempt, and whatever was asked for was as good an end.
            self.phase = Phase::Fencing;
            self.moved = now;
            for holder in &mut self.holders {
                holder.standing = None;
                holder.durable = self.span.base.lsn;
            }
        }
        match self.phase {
            Phase::Fencing | Phase::Repairing(_) => {
                for holder in &mut self.holders {
                    holder.fetched = None;
                }
                self.ask_fences();
            }
            Phase::Committing(_) | Phase::Over => {}
        }
    }

    fn ask_fences(&mut self) {
        for holder in self.holders.iter().filter(|holder| holder.standing.is_none()) {
            let request = Request::Fence { attempt: self.attempt, base: self.span.base };
            self.out.push(Effect::Send { to: holder.replica, request });
        }
    }

    fn go_on(&mut self, now: Duration) {
        if self.phase == Phase::Fencing
            && let Some(end) = self.decide(now)
        {
            self.phase = Phase::Repairing(end);
            self.moved = now;
        }
        if let Phase::Repairing(end) = self.phase {
            self.repair(end);
        }
    }

    /// The end, once it is known.
    fn decide(&self, now: Duration) -> Option<Place> {
        let standings: Vec<Standing> = self.holders.iter().filter_map(|holder| holder.standing).collect();
        let all = standings.len() == self.holders.len();
        let sure = standings.iter().filter(|said| said.grade == Grade::Proved).count();
        let enough = sure >= self.span.fence_quorum() && (all || now >= self.begun + PREFER_ALL);
        // All have answered: nothing more can come. One that is damaged gives what it has; if all are, people decide.
        let exhausted = all && standings.iter().any(|said| said.grade != Grade::Suspect);
        if !(enough || exhausted || self.accepted) {
            return None;
        }
        let end = self.furthest(&standings)?;
        let committed = standings.iter().map(|said| said.committed).max()?;
        let missing = end.lsn < committed && !planted::has(Bug::ShortestEnd);
        if missing && !self.accepted { None } else { Some(end) }
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

    /// Fetches for those that are short; asks to commit when enough have everything.
    fn repair(&mut self, end: Place) {
        let fenced = |holder: &&Holder| holder.standing.is_some_and(|said| said.grade != Grade::Suspect);
        let survivors: Vec<Replica> = self
            .holders
            .iter()
            .filter(fenced)
            .filter(|holder| holder.durable >= end.lsn)
            .map(|holder| holder.replica)
            .collect();
        // Where people have decided, what is lost is not waited for: the copies are made again from those that are left.
        let needed = if self.accepted { 1 } else { self.span.quorum };
        if survivors.len() >= needed || (planted::has(Bug::NoTailRepair) && !survivors.is_empty()) {
            self.phase = Phase::Committing(end);
            self.out.push(Effect::Commit { attempt: self.attempt, end, survivors });
            return;
        }
        let furthest =
            self.holders.iter().filter(|holder| holder.standing.is_some_and(|said| said.end == end));
        // One that is sure of its end first; all of them hold the same frames.
        let Some(source) = furthest.min_by_key(|holder| holder.standing.map(|said| said.grade)) else {
            return;
        };
        let source = source.replica;
        for holder in &mut self.holders {
            let short =
                holder.standing.is_some_and(|said| said.grade != Grade::Suspect) && holder.durable < end.lsn;
            if !short || holder.fetched == Some(holder.durable) {
                continue;
            }
            holder.fetched = Some(holder.durable);
            let (from, to) = (holder.durable, end.lsn.min(holder.durable + PIECE));
            let request = Request::FetchTail { attempt: self.attempt, from, to };
            self.out.push(Effect::Send { to: source, request });
        }
    }

    /// Gives frames to the holders that end among them.
    fn pass_on(&mut self, frames: &[Frame]) {
        let Phase::Repairing(end) = self.phase else { return };
        for holder in &self.holders {
            let short =
                holder.standing.is_some_and(|said| said.grade != Grade::Suspect) && holder.durable < end.lsn;
            let starts = frames.first().is_some_and(|first| first.lsn() <= holder.durable);
            if !short || !starts {
                continue;
            }
            let wanted = |frame: &&Frame| (holder.durable..end.lsn).contains(&frame.lsn());
            let frames: Vec<Frame> = frames.iter().filter(wanted).cloned().collect();
            if !frames.is_empty() {
                let request = Request::RepairAppend { attempt: self.attempt, base: self.span.base, frames };
                self.out.push(Effect::Send { to: holder.replica, request });
            }
        }
    }
}
