//! # Purpose
//! A metadata store for the simulator: one state, and all the ways in which asking for it can go wrong. Time is a number
//! that the caller moves on; the same seed and the same calls give the same answers.
//!
//! # Invariants
//! - Commands take effect one after the other, each at one moment. A read answers the state of a moment between its
//!   asking and its answer.
//! - A command whose outcome is [`Outcome::Indeterminate`] took effect before that answer, takes effect after it, or
//!   never.
//! - Hints come late, in any order, or never, and say no more than that there may be something to read.

mod store;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tidelog_io::random::Entropy;

use crate::command::Command;
use crate::outcome::Outcome;
use crate::state::State;

pub use store::ModelStore;

/// How badly the store behaves. `Faults::default()` is quick and faultless.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Faults {
    /// The longest way to the store, and the longest way back; each way takes 1 to this.
    pub delay: u64,
    /// After this long without an answer the asker is told that there is none.
    pub patience: u64,
    /// One command in so many never arrives (0: none), and its outcome is indeterminate.
    pub lost: u64,
    /// One command in so many takes effect, though its asker is told that the outcome is indeterminate, perhaps before
    /// that (0: none).
    pub unclear: u64,
    /// One read in so many gets no answer (0: none).
    pub unread: u64,
    /// One hint in so many is lost (0: none).
    pub unhinted: u64,
}

impl Default for Faults {
    fn default() -> Faults {
        Faults { delay: 1, patience: 100, lost: 0, unclear: 0, unread: 0, unhinted: 0 }
    }
}

/// Names a question, for its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(u64);

/// What reaches an asker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// To [`Model::propose`].
    Proposed(Ticket, Outcome),
    /// To [`Model::read`]; `None` when the store could not be reached.
    Read(Ticket, Option<Arc<State>>),
    /// There may be this version to read. Version numbers only rise, hints need not.
    Hint(u64),
}

#[derive(Debug)]
enum Event {
    /// A command reaches the store; its asker hears of it unless it was told otherwise already.
    Command { asker: u64, ticket: Ticket, command: Command, told: bool },
    /// A question for the state reaches the store.
    Read { asker: u64, ticket: Ticket },
    /// Something reaches an asker.
    Answer { asker: u64, answer: Answer },
}

/// A metadata store with faults.
#[derive(Debug)]
pub struct Model {
    state: Arc<State>,
    entropy: Entropy,
    faults: Faults,
    /// By moment and order of asking, so that nothing depends on the order of a map of hashes.
    coming: BTreeMap<(u64, u64), Event>,
    /// Counts events and tickets.
    counter: u64,
    watchers: BTreeSet<u64>,
    cut_off: BTreeSet<u64>,
    has_quorum: bool,
}

impl Model {
    /// A store with this state.
    pub fn new(state: State, seed: u64, faults: Faults) -> Model {
        Model {
            state: Arc::new(state),
            entropy: Entropy::seeded(seed),
            faults,
            coming: BTreeMap::new(),
            counter: 0,
            watchers: BTreeSet::new(),
            cut_off: BTreeSet::new(),
            has_quorum: true,
        }
    }

    /// The state as it is now: for the simulator's own checks, never for a node.
    pub fn truth(&self) -> &State {
        &self.state
    }

    /// Behaves differently from now on; what is on its way stays.
    pub fn set_faults(&mut self, faults: Faults) {
        self.faults = faults;
    }

    /// The store's own nodes lose or find their quorum. Without it nothing takes effect and nothing is answered.
    pub fn set_quorum(&mut self, has_quorum: bool) {
        self.has_quorum = has_quorum;
    }

    /// An asker cannot reach the store, or can again.
    pub fn set_reach(&mut self, asker: u64, reaches: bool) {
        if reaches {
            self.cut_off.remove(&asker)
        } else {
            self.cut_off.insert(asker)
        };
    }

    /// The asker wants hints from now on. More than once does no harm.
    pub fn watch(&mut self, asker: u64) {
        self.watchers.insert(asker);
    }

    /// Asks for a change. The answer comes out of [`Model::next`].
    pub fn propose(&mut self, now: u64, asker: u64, command: Command) -> Ticket {
        let ticket = self.ticket();
        let lost = self.entropy.one_in(self.faults.lost) || !self.reaches(asker);
        let unclear = self.entropy.one_in(self.faults.unclear);
        if lost || unclear {
            // Told at any moment, before or after it takes effect.
            let told_at = now + 1 + self.entropy.below(self.faults.patience.max(1));
            self.put(told_at, Event::Answer { asker, answer: unknown(ticket) });
        }
        if !lost {
            let arrives =
                now + self.way() + if unclear { self.entropy.below(self.faults.patience) } else { 0 };
            self.put(arrives, Event::Command { asker, ticket, command, told: unclear });
        }
        ticket
    }

    /// Asks for the state. The answer comes out of [`Model::next`].
    pub fn read(&mut self, now: u64, asker: u64) -> Ticket {
        let ticket = self.ticket();
        if self.entropy.one_in(self.faults.unread) || !self.reaches(asker) {
            self.put(now + self.faults.patience, Event::Answer { asker, answer: Answer::Read(ticket, None) });
        } else {
            let arrives = now + self.way();
            self.put(arrives, Event::Read { asker, ticket });
        }
        ticket
    }

    /// The moment of the next event, for the caller's own queue.
    pub fn next_at(&self) -> Option<u64> {
        self.coming.first_key_value().map(|((at, _), _)| *at)
    }

    /// What reaches an asker next, up to and at `now`: the asker and the answer. Ask again until there is nothing.
    pub fn next(&mut self, now: u64) -> Option<(u64, Answer)> {
        while self.next_at().is_some_and(|at| at <= now) {
            let ((at, _), event) = self.coming.pop_first()?;
            match event {
                Event::Command { asker, ticket, command, told } => {
                    self.command_arrives(at, asker, ticket, &command, told);
                }
                Event::Read { asker, ticket } => {
                    let state = (self.has_quorum && self.reaches(asker)).then(|| Arc::clone(&self.state));
                    let way = if state.is_some() { self.way() } else { self.faults.patience };
                    self.put(at + way, Event::Answer { asker, answer: Answer::Read(ticket, state) });
                }
                Event::Answer { asker, answer } => {
                    if let Some(answer) = self.as_it_arrives(asker, answer) {
                        return Some((asker, answer));
                    }
                }
            }
        }
        None
    }

    fn command_arrives(&mut self, at: u64, asker: u64, ticket: Ticket, command: &Command, told: bool) {
        if !self.has_quorum {
            // It waits in a leader's journal: once there is a quorum again it may count, or another leader's does.
            if !told {
                self.put(at + self.faults.patience, Event::Answer { asker, answer: unknown(ticket) });
            }
            if self.entropy.one_in(2) {
                let again = at + 1 + self.faults.patience;
                self.put(again, Event::Command { asker, ticket, command: command.clone(), told: true });
            }
            return;
        }
        let outcome = match Arc::make_mut(&mut self.state).apply(command) {
            Ok(applied) => {
                self.hint(at);
                Outcome::Applied { applied, version: self.state.version }
            }
            Err(why) => Outcome::Illegal(why),
        };
        if !told {
            let arrives = at + self.way();
            self.put(arrives, Event::Answer { asker, answer: Answer::Proposed(ticket, outcome) });
        }
    }

    fn hint(&mut self, at: u64) {
        for asker in self.watchers.clone() {
            if !self.entropy.one_in(self.faults.unhinted) {
                let arrives = at + self.way() + self.entropy.below(self.faults.delay * 4 + 1);
                let answer = Answer::Hint(self.state.version);
                self.put(arrives, Event::Answer { asker, answer });
            }
        }
    }

    /// One that is cut off hears nothing, which it takes for no answer.
    fn as_it_arrives(&self, asker: u64, answer: Answer) -> Option<Answer> {
        if self.reaches(asker) {
            return Some(answer);
        }
        match answer {
            Answer::Proposed(ticket, _) => Some(unknown(ticket)),
            Answer::Read(ticket, _) => Some(Answer::Read(ticket, None)),
            Answer::Hint(_) => None,
        }
    }

    fn reaches(&self, asker: u64) -> bool {
        !self.cut_off.contains(&asker)
    }

    fn way(&self) -> u64 {
        1 + self.entropy.below(self.faults.delay)
    }

    fn ticket(&mut self) -> Ticket {
        self.counter += 1;
        Ticket(self.counter)
    }

    fn put(&mut self, at: u64, event: Event) {
        self.counter += 1;
        self.coming.insert((at, self.counter), event);
    }
}

fn unknown(ticket: Ticket) -> Answer {
    Answer::Proposed(ticket, Outcome::Indeterminate)
}
