//! The group's entries and votes in our write-ahead log, as openraft wants to have them.

use std::fmt::Debug;
use std::io;
use std::ops::RangeBounds;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use openraft::storage::{LogFlushed, RaftLogStorage};
use openraft::{Entry, LogId, LogState, OptionalSend, RaftLogReader, StorageError, StorageIOError, Vote};
use tidelog_wal::{AppendError, Appending, Control, Status, Wal};

use super::Types;
use super::recovery::{Kept, Recovery, Snapshot};
use super::stored::{self, Meta};
use crate::local::{MetaError, PART};
use crate::state::State;

/// A handle to the journal; all of them are the same one.
#[derive(Debug, Clone)]
pub(super) struct Journal(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    wal: Wal,
    kept: Mutex<Memory>,
    /// Held while a snapshot is written, so that the parts of two do not mix.
    one_snapshot: tokio::sync::Mutex<()>,
}

/// What is on disk and still wanted, in memory.
#[derive(Debug, Default)]
struct Memory {
    entries: std::collections::BTreeMap<u64, Kept>,
    vote: Option<Vote<u64>>,
    purged: Option<LogId<u64>>,
    snapshot_lsn: Option<u64>,
}

/// What a member begins with.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) snapshot: Option<Snapshot>,
    /// What the node had before it belonged to a group.
    pub(super) alone: State,
    pub(super) has_entries: bool,
}

impl Journal {
    /// Reads the whole shard.
    pub(super) async fn open(wal: Wal) -> Result<(Journal, Found), MetaError> {
        if let Status::ReadOnly(hole) = wal.status() {
            return Err(MetaError::Hole(hole));
        }
        let mut recovery = Recovery::default();
        wal.scan_controls(|lsn, kind, row, body| recovery.entry(lsn, kind, row, body)).await?;
        let (recovery, alone) = recovery.finish()?;
        let Recovery { vote, purged, entries, snapshot, .. } = recovery;
        let has_entries = !entries.is_empty() || purged.is_some();
        let memory = Memory {
            entries,
            vote: vote.map(|(_, vote)| vote),
            purged,
            snapshot_lsn: snapshot.as_ref().map(|snapshot| snapshot.lsn),
        };
        let one_snapshot = tokio::sync::Mutex::new(());
        let journal = Journal(Arc::new(Inner { wal, kept: Mutex::new(memory), one_snapshot }));
        Ok((journal, Found { snapshot, alone, has_entries }))
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.0.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes a snapshot and waits until all of it is durable. Entries may come between its parts.
    pub(super) async fn write_snapshot(&self, meta: &Meta, state: &State) -> Result<(), AppendError> {
        let _one = self.0.one_snapshot.lock().await;
        let bytes = Bytes::from(stored::encode_snapshot(meta, state));
        let parts = u32::try_from(bytes.len().div_ceil(PART)).unwrap_or(u32::MAX);
        let mut first = None;
        for part in 0..parts {
            let from = part as usize * PART;
            let body = bytes.slice(from..bytes.len().min(from + PART));
            let durable = self.0.wal.control(Control::Snapshot { part, parts, body }).await?;
            first.get_or_insert(durable.lsn());
        }
        self.memory().snapshot_lsn = first;
        tracing::info!(bytes = bytes.len(), parts, "snapshot of the group's metadata written");
        Ok(())
    }

    /// Releases the segments that nothing needs any more. The newest vote is written again behind them.
    async fn release(&self, purge_lsn: u64) -> Result<(), AppendError> {
        let (vote, mut needed) = {
            let memory = self.memory();
            let Some(snapshot) = memory.snapshot_lsn else { return Ok(()) };
            let first = memory.entries.first_key_value().and_then(|(_, kept)| kept.lsn);
            // An entry that is not durable yet will be behind all that is.
            (memory.vote, purge_lsn.min(first.unwrap_or(u64::MAX)).min(snapshot))
        };
        if let Some(vote) = vote {
            let body = Bytes::from(stored::encode_vote(&vote));
            needed = needed.min(self.0.wal.control(Control::RaftVote { body }).await?.lsn());
        }
        let released = self.0.wal.release_commands_before(needed).await?;
        if released > 0 {
            tracing::info!(released, needed, "segments of the metadata released");
        }
        Ok(())
    }

    /// Notes where entries are once they are durable; the first failure is the answer.
    async fn settle(&self, waiting: Vec<(LogId<u64>, Appending)>) -> Result<(), io::Error> {
        for (id, appending) in waiting {
            let durable = appending.await.map_err(io::Error::other)?;
            let mut memory = self.memory();
            if let Some(kept) = memory.entries.get_mut(&id.index).filter(|kept| kept.entry.log_id == id) {
                kept.lsn = Some(durable.lsn());
            }
        }
        Ok(())
    }
}

impl RaftLogReader<Types> for Journal {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> Result<Vec<Entry<Types>>, StorageError<u64>> {
        let memory = self.memory();
        Ok(memory.entries.range(range).map(|(_, kept)| kept.entry.clone()).collect())
    }
}

impl RaftLogStorage<Types> for Journal {
    type LogReader = Journal;

    async fn get_log_state(&mut self) -> Result<LogState<Types>, StorageError<u64>> {
        let memory = self.memory();
        let last = memory.entries.last_key_value().map(|(_, kept)| kept.entry.log_id);
        Ok(LogState { last_purged_log_id: memory.purged, last_log_id: last.or(memory.purged) })
    }

    async fn get_log_reader(&mut self) -> Journal {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote<u64>) -> Result<(), StorageError<u64>> {
        let body = Bytes::from(stored::encode_vote(vote));
        let written = self.0.wal.control(Control::RaftVote { body }).await;
        written.map_err(|error| StorageIOError::write_vote(&error))?;
        self.memory().vote = Some(*vote);
        Ok(())
    }

    async fn read_vote(&mut self) -> Result<Option<Vote<u64>>, StorageError<u64>> {
        Ok(self.memory().vote)
    }

    async fn append<I>(&mut self, entries: I, callback: LogFlushed<Types>) -> Result<(), StorageError<u64>>
    where
        I: IntoIterator<Item = Entry<Types>> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let mut waiting = Vec::new();
        for entry in entries {
            let (id, body) = (entry.log_id, Bytes::from(stored::encode_entry(&entry)));
            let handed_in = self.0.wal.begin_control(Control::RaftEntry { index: id.index, body }).await;
            waiting.push((id, handed_in.map_err(|error| StorageIOError::write_logs(&error))?));
            self.memory().entries.insert(id.index, Kept { lsn: None, entry });
        }
        let journal = self.clone();
        tokio::spawn(async move { callback.log_io_completed(journal.settle(waiting).await) });
        Ok(())
    }

    async fn truncate(&mut self, from: LogId<u64>) -> Result<(), StorageError<u64>> {
        let written = self.0.wal.control(Control::RaftTruncate { from: from.index }).await;
        written.map_err(|error| StorageIOError::write_logs(&error))?;
        self.memory().entries.split_off(&from.index);
        Ok(())
    }

    async fn purge(&mut self, through: LogId<u64>) -> Result<(), StorageError<u64>> {
        let body = Bytes::from(stored::encode_id(&through));
        let written = self.0.wal.control(Control::RaftPurge { through: through.index, body }).await;
        let durable = written.map_err(|error| StorageIOError::write_logs(&error))?;
        {
            let mut memory = self.memory();
            memory.entries = memory.entries.split_off(&(through.index + 1));
            memory.purged = Some(through);
        }
        let released = self.release(durable.lsn()).await;
        Ok(released.map_err(|error| StorageIOError::write_logs(&error))?)
    }
}
