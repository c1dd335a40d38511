//! Rebuilds the state from the entries of the metadata shard.

use tidelog_format::entry::{EntryKind, Row};
use tidelog_wal::FIRST_LSN;

use crate::command::Command;
use crate::local::MetaError;
use crate::state::State;

/// Takes entries in their order.
#[derive(Debug, Default)]
pub(crate) struct Replay {
    pub(crate) state: State,
    /// Bytes of commands behind the last snapshot.
    pub(crate) command_bytes: u64,
    /// Bytes of that snapshot.
    pub(crate) snapshot_bytes: u64,
    parts: Parts,
    /// LSN of the first entry, if the ones before it are gone and the snapshot that holds them has not come yet.
    headless: Option<u64>,
    begun: bool,
    failed: Option<MetaError>,
}

/// A snapshot whose parts are still coming.
#[derive(Debug, Default)]
pub(crate) struct Parts {
    bytes: Vec<u8>,
    next: u64,
}

impl Parts {
    /// Takes a part; with the last one all bytes come back. A part that does not follow is a leftover of a snapshot that
    /// was not finished.
    pub(crate) fn take(&mut self, row: &Row, body: &[u8]) -> Option<Vec<u8>> {
        if row.base_offset == 0 {
            self.forget();
        }
        if row.base_offset != self.next {
            return None;
        }
        self.bytes.extend_from_slice(body);
        self.next += 1;
        if self.next < u64::from(row.count) {
            return None;
        }
        self.next = 0;
        Some(std::mem::take(&mut self.bytes))
    }

    /// What was not finished until now never will be.
    pub(crate) fn forget(&mut self) {
        self.bytes.clear();
        self.next = 0;
    }
}

impl Replay {
    /// Takes the next entry; after the first failure nothing is taken.
    pub(crate) fn entry(&mut self, lsn: u64, kind: EntryKind, row: &Row, body: &[u8]) {
        if self.failed.is_some() {
            return;
        }
        if !self.begun {
            // The first entry of all is the opening of the first segment.
            self.begun = true;
            self.headless = (kind == EntryKind::Opening && lsn > FIRST_LSN).then_some(lsn);
        }
        let taken = match kind {
            EntryKind::Command if row.count > 0 => Err(MetaError::Mixed { lsn }),
            EntryKind::Vote | EntryKind::Truncate | EntryKind::Purge => Err(MetaError::Mixed { lsn }),
            EntryKind::Command => self.command(lsn, body),
            EntryKind::Snapshot => self.part(lsn, row, body),
            _ => Ok(()),
        };
        self.failed = taken.err();
    }

    /// The state, or the first failure.
    pub(crate) fn finish(mut self) -> Result<Replay, MetaError> {
        match (self.failed.take(), self.headless) {
            (Some(failed), _) => Err(failed),
            (None, Some(lsn)) => Err(MetaError::Beheaded { lsn }),
            (None, None) => Ok(self),
        }
    }

    fn command(&mut self, lsn: u64, body: &[u8]) -> Result<(), MetaError> {
        self.parts.forget();
        self.command_bytes += crate::local::on_disk(body.len());
        let command = Command::decode(body).map_err(|cause| MetaError::Unreadable { lsn, cause })?;
        if self.headless.is_some() {
            // What it builds on is gone; the snapshot that is to come holds what it did.
            return Ok(());
        }
        self.state.apply(&command).map(|_| ()).map_err(|why| MetaError::Replay { lsn, why })
    }

    fn part(&mut self, lsn: u64, row: &Row, body: &[u8]) -> Result<(), MetaError> {
        let Some(bytes) = self.parts.take(row, body) else { return Ok(()) };
        self.state = serde_json::from_slice(&bytes).map_err(|cause| MetaError::Unreadable { lsn, cause })?;
        self.state.verify().map_err(|broken| MetaError::Broken { lsn, broken })?;
        self.snapshot_bytes = bytes.len() as u64;
        self.command_bytes = 0;
        self.headless = None;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topic::Retention;

    fn row(part: u64, parts: u32) -> Row {
        Row { partition: 0, base_offset: part, length: 0, count: parts, kind: 0 }
    }

    fn command(shard: u64) -> Vec<u8> {
        Command::OpenShard { shard, class: Retention::default() }.encode()
    }

    fn snapshot(shards: u64) -> Vec<u8> {
        let mut state = State::default();
        for shard in 1..=shards {
            state.apply(&Command::OpenShard { shard, class: Retention::default() }).unwrap();
        }
        serde_json::to_vec(&state).unwrap()
    }

    #[test]
    fn a_whole_snapshot_replaces_what_came_before() {
        let bytes = snapshot(5);
        let (first, second) = bytes.split_at(10);
        let mut replay = Replay::default();
        replay.entry(0, EntryKind::Command, &row(0, 0), &command(1));
        replay.entry(1, EntryKind::Snapshot, &row(0, 2), first);
        replay.entry(2, EntryKind::Snapshot, &row(1, 2), second);
        replay.entry(3, EntryKind::Command, &row(0, 0), &command(6));
        let replay = replay.finish().unwrap();
        assert_eq!(replay.state.next_shard, 7);
        assert_eq!(
            (replay.snapshot_bytes, replay.command_bytes),
            (bytes.len() as u64, crate::local::on_disk(command(6).len()))
        );
    }

    #[test]
    fn a_snapshot_that_was_cut_by_a_crash_counts_for_nothing() {
        let bytes = snapshot(5);
        let (first, second) = bytes.split_at(10);
        let mut replay = Replay::default();
        replay.entry(0, EntryKind::Command, &row(0, 0), &command(1));
        replay.entry(1, EntryKind::Snapshot, &row(0, 2), first);
        replay.entry(2, EntryKind::Command, &row(0, 0), &command(2));
        replay.entry(3, EntryKind::Snapshot, &row(1, 2), second);
        assert_eq!(replay.finish().unwrap().state.next_shard, 3);
    }

    #[test]
    fn what_is_left_behind_segments_that_were_let_go_of_begins_with_a_whole_snapshot_or_is_refused() {
        let bytes = snapshot(5);
        let mut replay = Replay::default();
        replay.entry(7, EntryKind::Opening, &row(0, 0), &[]);
        replay.entry(8, EntryKind::Command, &row(0, 0), &command(5));
        replay.entry(9, EntryKind::Snapshot, &row(0, 1), &bytes);
        replay.entry(10, EntryKind::Command, &row(0, 0), &command(6));
        assert_eq!(replay.finish().unwrap().state.next_shard, 7);
        let mut replay = Replay::default();
        replay.entry(7, EntryKind::Opening, &row(0, 0), &[]);
        replay.entry(8, EntryKind::Command, &row(0, 0), &command(1));
        replay.entry(9, EntryKind::Snapshot, &row(0, 2), &bytes[..10]);
        assert!(matches!(replay.finish(), Err(MetaError::Beheaded { lsn: 7 })));
    }

    #[test]
    fn what_a_group_of_nodes_wrote_is_not_taken_for_a_lone_node_s() {
        for (kind, count) in [(EntryKind::Command, 1), (EntryKind::Vote, 1), (EntryKind::Purge, 1)] {
            let mut replay = Replay::default();
            replay.entry(7, kind, &row(0, count), &command(1));
            assert!(matches!(replay.finish(), Err(MetaError::Mixed { lsn: 7 })));
        }
    }

    #[test]
    fn what_cannot_be_applied_stops_the_replay_with_its_place() {
        let mut replay = Replay::default();
        replay.entry(7, EntryKind::Command, &row(0, 0), &command(9));
        replay.entry(8, EntryKind::Command, &row(0, 0), &command(1));
        assert!(matches!(replay.finish(), Err(MetaError::Replay { lsn: 7, .. })));
        let mut replay = Replay::default();
        replay.entry(7, EntryKind::Command, &row(0, 0), b"{\"new\":{}}");
        assert!(matches!(replay.finish(), Err(MetaError::Unreadable { lsn: 7, .. })));
    }
}
