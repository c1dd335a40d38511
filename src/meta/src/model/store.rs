//! The model behind the trait that the others have, for code that awaits.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;

use super::{Answer, Model, Ticket};
use crate::command::Command;
use crate::outcome::Outcome;
use crate::state::State;
use crate::store::{MetaStore, Unavailable};

/// The model, whose time goes on only while somebody waits for an answer.
#[derive(Debug)]
pub struct ModelStore {
    inner: Mutex<Inner>,
    hint: watch::Sender<u64>,
}

#[derive(Debug)]
struct Inner {
    model: Model,
    now: u64,
    recent: Arc<State>,
    /// Answers that came while another one was waited for.
    early: BTreeMap<Ticket, Answer>,
}

/// The one who asks.
const ASKER: u64 = 1;

impl ModelStore {
    /// Of this model.
    pub fn new(mut model: Model) -> ModelStore {
        model.watch(ASKER);
        let recent = Arc::new(model.truth().clone());
        let hint = watch::Sender::new(recent.version);
        ModelStore { inner: Mutex::new(Inner { model, now: 0, recent, early: BTreeMap::new() }), hint }
    }

    fn ask(&self, ask: impl FnOnce(&mut Model, u64) -> Ticket) -> Option<Answer> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let now = inner.now;
        let ticket = ask(&mut inner.model, now);
        loop {
            if let Some(answer) = inner.early.remove(&ticket) {
                return Some(answer);
            }
            inner.now = inner.model.next_at()?.max(inner.now);
            let now = inner.now;
            while let Some((_, answer)) = inner.model.next(now) {
                match &answer {
                    Answer::Hint(version) => {
                        self.hint.send_replace(*version);
                    }
                    Answer::Read(ticket, state) => {
                        if let Some(newer) = state.as_ref().filter(|one| one.version > inner.recent.version) {
                            inner.recent = Arc::clone(newer);
                        }
                        inner.early.insert(*ticket, answer);
                    }
                    Answer::Proposed(ticket, _) => {
                        inner.early.insert(*ticket, answer);
                    }
                }
            }
        }
    }
}

impl MetaStore for ModelStore {
    async fn propose(&self, command: Command) -> Result<Outcome, Unavailable> {
        match self.ask(|model, now| model.propose(now, ASKER, command)) {
            Some(Answer::Proposed(_, outcome)) => Ok(outcome),
            _ => Ok(Outcome::Indeterminate),
        }
    }

    async fn read(&self) -> Result<Arc<State>, Unavailable> {
        match self.ask(|model, now| model.read(now, ASKER)) {
            Some(Answer::Read(_, Some(state))) => Ok(state),
            _ => Err(Unavailable::NoAnswer),
        }
    }

    fn recent(&self) -> Arc<State> {
        Arc::clone(&self.inner.lock().unwrap_or_else(PoisonError::into_inner).recent)
    }

    fn watch(&self) -> watch::Receiver<u64> {
        self.hint.subscribe()
    }
}
