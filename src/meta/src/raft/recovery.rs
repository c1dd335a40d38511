//! What a member finds in its shard at start: its vote, its entries, its last whole snapshot, and what the node had
//! before it belonged to a group.

use std::collections::BTreeMap;

use openraft::{Entry, LogId, Vote};
use tidelog_format::entry::{EntryKind, Row};
use tidelog_wal::{Status, Wal};

use super::Types;
use super::stored::{self, Meta};
use crate::local::MetaError;
use crate::replay::{Parts, Replay};
use crate::state::State;

/// What a metadata shard was written for until now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Past {
    /// Nothing was.
    Empty,
    /// A node that is alone.
    Alone,
    /// A member of a group.
    Member,
}

/// Reads a metadata shard to say whose it is.
///
/// # Errors
/// It cannot be read, or is not understood.
pub async fn past(wal: &Wal) -> Result<Past, MetaError> {
    if let Status::ReadOnly(hole) = wal.status() {
        return Err(MetaError::Hole(hole));
    }
    let mut recovery = Recovery::default();
    wal.scan_controls(|lsn, kind, row, body| recovery.entry(lsn, kind, row, body)).await?;
    let (recovery, alone) = recovery.finish()?;
    Ok(match (recovery.in_a_group || recovery.snapshot.is_some(), alone == State::default()) {
        (true, _) => Past::Member,
        (false, true) => Past::Empty,
        (false, false) => Past::Alone,
    })
}

/// An entry, and the LSN of the frame that holds it once that is durable.
#[derive(Debug, Clone)]
pub(super) struct Kept {
    pub(super) lsn: Option<u64>,
    pub(super) entry: Entry<Types>,
}

/// A snapshot that is durable.
#[derive(Debug, Clone)]
pub(super) struct Snapshot {
    /// LSN of its first part.
    pub(super) lsn: u64,
    pub(super) meta: Meta,
    pub(super) state: State,
}

/// Takes the shard's entries in their order.
#[derive(Debug, Default)]
pub(super) struct Recovery {
    pub(super) vote: Option<(u64, Vote<u64>)>,
    pub(super) purged: Option<LogId<u64>>,
    pub(super) entries: BTreeMap<u64, Kept>,
    pub(super) snapshot: Option<Snapshot>,
    /// What the node had while it was alone.
    alone: Replay,
    parts: Parts,
    first_part: u64,
    in_a_group: bool,
    failed: Option<MetaError>,
}

impl Recovery {
    /// Takes the next entry; after the first failure nothing is taken.
    pub(super) fn entry(&mut self, lsn: u64, kind: EntryKind, row: &Row, body: &[u8]) {
        if self.failed.is_some() {
            return;
        }
        let taken = match kind {
            // Whether the first files are gone, and with them what the node had while it was alone.
            EntryKind::Opening if !self.in_a_group => {
                self.alone.entry(lsn, kind, row, body);
                Ok(())
            }
            EntryKind::Command if row.count == 0 => {
                self.alone.entry(lsn, kind, row, body);
                if self.in_a_group { Err(MetaError::Mixed { lsn }) } else { Ok(()) }
            }
            EntryKind::Command => self.raft_entry(lsn, row.base_offset, body),
            EntryKind::Snapshot => self.part(lsn, row, body),
            EntryKind::Vote => stored::decode_vote(body)
                .map(|vote| self.vote = Some((lsn, vote)))
                .map_err(|cause| MetaError::Unreadable { lsn, cause }),
            EntryKind::Truncate => {
                self.entries.split_off(&row.base_offset);
                Ok(())
            }
            EntryKind::Purge => self.purge(lsn, body),
            _ => Ok(()),
        };
        self.in_a_group |= row.count > 0 && kind != EntryKind::Snapshot;
        self.failed = taken.err();
    }

    /// Everything, or the first failure. With it the state from before the group, if there was one.
    pub(super) fn finish(mut self) -> Result<(Recovery, State), MetaError> {
        if let Some(failed) = self.failed.take() {
            return Err(failed);
        }
        let alone = std::mem::take(&mut self.alone).finish()?.state;
        Ok((self, alone))
    }

    fn raft_entry(&mut self, lsn: u64, index: u64, body: &[u8]) -> Result<(), MetaError> {
        let entry = stored::decode_entry(body).map_err(|cause| MetaError::Unreadable { lsn, cause })?;
        if entry.log_id.index != index {
            return Err(MetaError::Mixed { lsn });
        }
        self.entries.insert(index, Kept { lsn: Some(lsn), entry });
        Ok(())
    }

    fn purge(&mut self, lsn: u64, body: &[u8]) -> Result<(), MetaError> {
        let through = stored::decode_id(body).map_err(|cause| MetaError::Unreadable { lsn, cause })?;
        self.entries = self.entries.split_off(&(through.index + 1));
        self.purged = Some(through);
        Ok(())
    }

    /// Parts of a group's snapshot may have other entries between them; of two attempts the later one begins anew.
    fn part(&mut self, lsn: u64, row: &Row, body: &[u8]) -> Result<(), MetaError> {
        if !self.in_a_group {
            // Perhaps of the time before the group, then this understands it.
            let mut alone = std::mem::take(&mut self.alone);
            alone.entry(lsn, EntryKind::Snapshot, row, body);
            self.alone = alone;
        }
        if row.base_offset == 0 {
            self.first_part = lsn;
        }
        let Some(whole) = self.parts.take(row, body) else { return Ok(()) };
        match stored::decode_snapshot(&whole) {
            Ok((meta, state)) => {
                state.verify().map_err(|broken| MetaError::Broken { lsn, broken })?;
                self.alone = Replay::default();
                self.in_a_group = true;
                self.snapshot = Some(Snapshot { lsn: self.first_part, meta, state });
                Ok(())
            }
            Err(cause) if self.in_a_group => Err(MetaError::Unreadable { lsn, cause }),
            // The other reader has it, or says what is wrong with it.
            Err(_) => Ok(()),
        }
    }
}
