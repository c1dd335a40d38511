//! Body of the fuzz target for what the metadata's shard holds.

use tidelog_format::entry::{EntryKind, Row};

use crate::command::Command;
use crate::raft::fuzz_stored;
use crate::replay::Replay;
use crate::state::State;

/// The bytes as a command, as a snapshot, as what a member of a group stores, and, in pieces that the first byte of each
/// measures, as the entries of a shard. Panics only when an invariant is broken.
pub fn fuzz_metadata(data: &[u8]) {
    if let Ok(command) = Command::decode(data) {
        let again = Command::decode(&command.encode());
        assert!(again.is_ok_and(|again| again == command), "a command is not read as it was written");
    }
    if let Ok(state) = serde_json::from_slice::<State>(data) {
        let _ = state.verify();
    }
    fuzz_stored(data);
    entries(data);
}

/// Whatever entries come, the state that they leave holds together.
fn entries(data: &[u8]) {
    let (mut replay, mut rest, mut lsn) = (Replay::default(), data, 0);
    while let Some((first, behind)) = rest.split_first() {
        let (body, next) = behind.split_at(behind.len().min(usize::from(*first) * 2));
        let kind = if first & 1 == 0 { EntryKind::Command } else { EntryKind::Snapshot };
        let count = u32::from(kind == EntryKind::Snapshot);
        let row = Row { partition: 0, base_offset: 0, length: 0, count, kind: kind as u8 };
        replay.entry(lsn, kind, &row, body);
        (rest, lsn) = (next, lsn + 1);
    }
    if let Ok(replay) = replay.finish() {
        assert!(replay.state.verify().is_ok(), "the state contradicts itself");
    }
}
