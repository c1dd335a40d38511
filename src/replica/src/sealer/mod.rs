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
//! - Committed is asked for only when Q fenced holders have everything below (I5), and only under this attempt. Where a
//!   holder is lost or damaged a substitute may be the copy.
//! - Holders count by their directory, not by their node (I9).

mod copying;
mod deciding;
mod holder;
#[cfg(test)]
mod tests;

use std::time::Duration;

use crate::message::{Answer, From, Grade, Request};
use crate::planted::{self, Bug};
use crate::span::{Place, Replica, Span, SpanState};

use deciding::Gathering;
use holder::Holder;

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
    /// What the metadata says about nodes: for copies that cannot be had from the span's holders any more.
    Known {
        /// Holders of the span that are lost for ever.
        lost: Vec<Replica>,
        /// Who takes new copies, the best first.
        takers: Vec<Replica>,
    },
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
        /// Who has everything below the end, substitutes too: these are best to hold what follows.
        survivors: Vec<Replica>,
        /// Who takes the place of which holder of the span, in the same command.
        substitutes: Vec<Substitute>,
    },
    /// The coordinator is done; what there was to tell to the holders was told before.
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

/// A node that holds a sealed span in the place of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Substitute {
    /// The holder that cannot be a copy any more.
    pub old: Replica,
    /// Who holds all of the span instead.
    pub new: Replica,
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
    gathering: Gathering,
    lost: Vec<Replica>,
    takers: Vec<Replica>,
    takers_turn: usize,
    out: Vec<Effect>,
}

impl Sealer {
    /// Begins to fence. The metadata has given `attempt` to this coordinator.
    pub fn new(span: Span, attempt: u32, now: Duration) -> (Sealer, Vec<Effect>) {
        assert!(attempt > span.epoch, "an attempt is newer than the span");
        let holder = |replica: &Replica| Holder::new(*replica, None, span.base.lsn);
        let mut sealer = Sealer {
            holders: span.replicas.iter().map(holder).collect(),
            span,
            attempt,
            phase: Phase::Fencing,
            begun: now,
            asked: now,
            moved: now,
            accepted: false,
            gathering: Gathering::default(),
            lost: Vec::new(),
            takers: Vec::new(),
            takers_turn: 0,
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
            Event::Known { lost, takers } => self.known(lost, takers),
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
        let unsure = |holder: &&Holder| holder.instead_of.is_none() && holder.grade() != Some(Grade::Proved);
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
                (holder.standing, holder.fenced) = (Some(*standing), true);
            }
            Answer::HigherPromise { attempt, promised } if *attempt == self.attempt => {
                debug_assert!(*promised > self.attempt);
                self.over(false);
            }
            Answer::Tail { attempt, from: first, to, frames } if *attempt == self.attempt => {
                self.gathered(at, *first, *to, frames);
                self.pass_on(from.replica, *first, *to, frames);
            }
            Answer::Repaired { attempt, durable } if *attempt == self.attempt => {
                self.moved = now;
                let holder = &mut self.holders[at];
                (holder.durable, holder.fenced, holder.missed) = (*durable, true, 0);
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

    fn known(&mut self, lost: Vec<Replica>, takers: Vec<Replica>) {
        let known = |replica: &Replica| takers.contains(replica);
        self.holders.retain(|holder| holder.instead_of.is_none() || known(&holder.replica));
        (self.lost, self.takers) = (lost, takers);
    }

    fn over(&mut self, sealed: bool) {
        self.phase = Phase::Over;
        if sealed {
            for holder in &self.holders {
                self.out.push(Effect::Send { to: holder.replica, request: Request::SpanSealed });
            }
        }
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
            self.begin_anew(now);
        }
        match self.phase {
            Phase::Fencing | Phase::Repairing(_) => {
                self.gathering.ask_again();
                for holder in &mut self.holders {
                    if holder.fetched.take().is_some() {
                        holder.turn = holder.turn.wrapping_add(1);
                    }
                    holder.missed = 0;
                }
                self.ask_fences();
                self.ask_substitutes();
            }
            Phase::Committing(_) | Phase::Over => {}
        }
    }

    fn begin_anew(&mut self, now: Duration) {
        self.phase = Phase::Fencing;
        self.moved = now;
        self.gathering = Gathering::default();
        // A substitute may be the one that is silent: others get their turn.
        self.holders.retain(|holder| holder.instead_of.is_none());
        self.takers_turn = self.takers_turn.wrapping_add(1);
        for holder in &mut self.holders {
            holder.forget(self.span.base.lsn);
        }
    }

    fn ask_fences(&mut self) {
        let asked = |holder: &&Holder| {
            holder.standing.is_none() && (holder.instead_of.is_none() || planted::has(Bug::SubstituteVotes))
        };
        for holder in self.holders.iter().filter(asked) {
            let request = Request::Fence { attempt: self.attempt, base: self.span.base };
            self.out.push(Effect::Send { to: holder.replica, request });
        }
    }

    fn go_on(&mut self, now: Duration) {
        if self.phase == Phase::Fencing {
            if planted::has(Bug::SubstituteVotes) {
                self.find_substitutes();
                self.ask_fences();
            }
            if let Some(end) = self.decide(now) {
                self.phase = Phase::Repairing(end);
                self.moved = now;
            }
        }
        if let Phase::Repairing(end) = self.phase {
            self.repair(end);
        }
    }
}
