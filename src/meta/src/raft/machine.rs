//! The state as openraft feeds it, and its snapshots.

use std::io::Cursor;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use openraft::storage::RaftStateMachine;
use openraft::{
    Entry, EntryPayload, LogId, OptionalSend, RaftSnapshotBuilder, Snapshot, StorageError, StorageIOError,
    StoredMembership,
};
use tokio::sync::watch;

use super::journal::{Found, Journal};
use super::stored::Meta;
use super::{Types, Voter};
use crate::hash::Checkpoint;
use crate::illegal::Illegal;
use crate::outcome::Outcome;
use crate::state::State;

type Members = StoredMembership<u64, Voter>;

/// A handle to the state; all of them are the same one.
#[derive(Debug, Clone)]
pub(super) struct Machine(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    journal: Journal,
    now: RwLock<Now>,
    /// The last durable snapshot, as it is sent.
    snapshot: Mutex<Option<(Meta, Arc<Vec<u8>>)>>,
    version: watch::Sender<u64>,
    checkpoint: watch::Sender<Option<Checkpoint>>,
}

#[derive(Debug, Clone)]
struct Now {
    state: Arc<State>,
    last: Option<LogId<u64>>,
    members: Members,
}

impl Machine {
    pub(super) fn new(journal: Journal, found: Found) -> Machine {
        let (now, snapshot) = match found.snapshot {
            Some(snapshot) => {
                let bytes = Arc::new(encode(&snapshot.state));
                let (last, members) = (snapshot.meta.last_log_id, snapshot.meta.last_membership.clone());
                let now = Now { state: Arc::new(snapshot.state), last, members };
                (now, Some((snapshot.meta, bytes)))
            }
            None => (Now { state: Arc::default(), last: None, members: Members::default() }, None),
        };
        let version = watch::Sender::new(now.state.version);
        let (now, snapshot) = (RwLock::new(now), Mutex::new(snapshot));
        Machine(Arc::new(Inner { journal, now, snapshot, version, checkpoint: watch::Sender::new(None) }))
    }

    /// The state as it is now.
    pub(super) fn state(&self) -> Arc<State> {
        Arc::clone(&self.0.now.read().unwrap_or_else(PoisonError::into_inner).state)
    }

    /// Versions, as they come.
    pub(super) fn version(&self) -> watch::Receiver<u64> {
        self.0.version.subscribe()
    }

    /// Hashes to be compared with the other members', as they come.
    pub(super) fn checkpoint(&self) -> watch::Receiver<Option<Checkpoint>> {
        self.0.checkpoint.subscribe()
    }

    /// Makes this member go astray.
    #[cfg(test)]
    pub(super) fn damage(&self, damage: impl FnOnce(&mut State)) {
        let mut now = self.0.now.write().unwrap_or_else(PoisonError::into_inner);
        damage(Arc::make_mut(&mut now.state));
    }

    fn now(&self) -> Now {
        self.0.now.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    #[expect(clippy::result_large_err, reason = "openraft's own error")]
    fn apply_one(&self, now: &mut Now, entry: Entry<Types>) -> Result<Option<Outcome>, StorageError<u64>> {
        now.last = Some(entry.log_id);
        let command = match entry.payload {
            EntryPayload::Blank => return Ok(None),
            EntryPayload::Membership(members) => {
                now.members = Members::new(Some(entry.log_id), members);
                return Ok(None);
            }
            EntryPayload::Normal(command) => command,
        };
        let state = Arc::make_mut(&mut now.state);
        match state.apply(&command) {
            Ok(applied) => {
                let version = state.version;
                if let Some(new) = state.checkpoint.as_ref().filter(|new| new.version == version) {
                    self.0.checkpoint.send_replace(Some(new.clone()));
                }
                Ok(Some(Outcome::Applied { applied, version }))
            }
            // Whatever this member said or did from here on could be wrong.
            Err(why @ Illegal::Astray { .. }) => Err(StorageIOError::apply(entry.log_id, &why).into()),
            Err(why) => Ok(Some(Outcome::Illegal(why))),
        }
    }

    /// Makes a snapshot durable, and the one that is sent.
    async fn keep(&self, meta: &Meta, state: &State, bytes: Arc<Vec<u8>>) -> Result<(), StorageError<u64>> {
        let written = self.0.journal.write_snapshot(meta, state).await;
        written.map_err(|error| StorageIOError::write_snapshot(Some(meta.signature()), &error))?;
        *self.0.snapshot.lock().unwrap_or_else(PoisonError::into_inner) = Some((meta.clone(), bytes));
        Ok(())
    }
}

/// What a snapshot is called: by the last entry that it covers.
pub(super) fn snapshot_name(last: Option<LogId<u64>>) -> String {
    last.map_or_else(|| "empty".to_owned(), |last| format!("{last}"))
}

fn encode(state: &State) -> Vec<u8> {
    // Plain structs of numbers and strings always become JSON.
    serde_json::to_vec(state).unwrap_or_default()
}

/// A moment of the state, to be made a snapshot of.
#[derive(Debug)]
pub(super) struct Moment {
    machine: Machine,
    now: Now,
}

impl RaftSnapshotBuilder<Types> for Moment {
    async fn build_snapshot(&mut self) -> Result<Snapshot<Types>, StorageError<u64>> {
        let Now { state, last, members } = self.now.clone();
        let meta = Meta { last_log_id: last, last_membership: members, snapshot_id: snapshot_name(last) };
        let bytes = Arc::new(encode(&state));
        self.machine.keep(&meta, &state, Arc::clone(&bytes)).await?;
        Ok(Snapshot { meta, snapshot: Box::new(Cursor::new(bytes.to_vec())) })
    }
}

impl RaftStateMachine<Types> for Machine {
    type SnapshotBuilder = Moment;

    async fn applied_state(&mut self) -> Result<(Option<LogId<u64>>, Members), StorageError<u64>> {
        let Now { last, members, .. } = self.now();
        Ok((last, members))
    }

    async fn apply<I>(&mut self, entries: I) -> Result<Vec<Option<Outcome>>, StorageError<u64>>
    where
        I: IntoIterator<Item = Entry<Types>> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let mut outcomes = Vec::new();
        let mut now = self.0.now.write().unwrap_or_else(PoisonError::into_inner);
        for entry in entries {
            outcomes.push(self.apply_one(&mut now, entry)?);
        }
        self.0.version.send_replace(now.state.version);
        Ok(outcomes)
    }

    async fn get_snapshot_builder(&mut self) -> Moment {
        Moment { machine: self.clone(), now: self.now() }
    }

    async fn begin_receiving_snapshot(&mut self) -> Result<Box<Cursor<Vec<u8>>>, StorageError<u64>> {
        Ok(Box::new(Cursor::new(Vec::new())))
    }

    async fn install_snapshot(
        &mut self,
        meta: &Meta,
        snapshot: Box<Cursor<Vec<u8>>>,
    ) -> Result<(), StorageError<u64>> {
        let bytes = snapshot.into_inner();
        let refused = |why: &(dyn std::error::Error + 'static)| {
            StorageIOError::read_snapshot(Some(meta.signature()), openraft::AnyError::error(why))
        };
        let state: State = serde_json::from_slice(&bytes).map_err(|error| refused(&error))?;
        state.verify().map_err(|broken| refused(&broken))?;
        self.keep(meta, &state, Arc::new(bytes)).await?;
        let (last, members) = (meta.last_log_id, meta.last_membership.clone());
        let version = state.version;
        let now = Now { state: Arc::new(state), last, members };
        *self.0.now.write().unwrap_or_else(PoisonError::into_inner) = now;
        self.0.version.send_replace(version);
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot<Types>>, StorageError<u64>> {
        let kept = self.0.snapshot.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Ok(kept.map(|(meta, bytes)| Snapshot { meta, snapshot: Box::new(Cursor::new(bytes.to_vec())) }))
    }
}
