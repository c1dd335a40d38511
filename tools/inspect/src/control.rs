//! Control entries in words.

use tidelog_format::entry::{Entry, EntryKind};
use tidelog_format::opening::Opening;
use tidelog_format::partition_taken;
use tidelog_format::promise::Promise;
use tidelog_format::record_format::escaped;
use tidelog_format::span_start::SpanStart;

use crate::output::hex;

/// A word for the kind, also used in JSON.
pub(crate) fn kind(entry: &Entry<'_>) -> &'static str {
    kind_name(entry.row.kind)
}

/// A word for the kind with this number.
pub(crate) fn kind_name(number: u8) -> &'static str {
    match EntryKind::from_number(number) {
        Some(EntryKind::Batch) => "batch",
        Some(EntryKind::Opening) => "opening",
        Some(EntryKind::PartitionCreated) => "partition-created",
        Some(EntryKind::PartitionDeleted) => "partition-deleted",
        Some(EntryKind::Trim) => "trim",
        Some(EntryKind::SpanStart) => "span-start",
        Some(EntryKind::Promise) => "promise",
        Some(EntryKind::Command) => "command",
        Some(EntryKind::Snapshot) => "snapshot",
        Some(EntryKind::Vote) => "vote",
        Some(EntryKind::Truncate) => "truncate",
        Some(EntryKind::Purge) => "purge",
        Some(EntryKind::ShardState) => "shard-state",
        Some(EntryKind::PartitionTaken) => "partition-taken",
        None if number == crate::lost::LOST => "lost",
        None => "unknown",
    }
}

/// What the entry says; text from its body is cut after `max` bytes and not yet escaped.
pub(crate) fn says(entry: &Entry<'_>, max: usize) -> String {
    let row = &entry.row;
    match entry.kind() {
        Some(EntryKind::Opening) => match Opening::decode(entry.body) {
            Ok(opening) => opening_says(&opening),
            Err(damage) => damage.to_string(),
        },
        Some(EntryKind::PartitionCreated) => text(entry.body, max),
        Some(EntryKind::PartitionDeleted) => "all records are unwanted".to_owned(),
        Some(EntryKind::Trim) => format!("records below offset {} are unwanted", row.base_offset),
        Some(EntryKind::PartitionTaken) => match partition_taken::decode(row.partition, entry.body) {
            Ok(producers) => {
                let (at, count) = (row.base_offset, producers.len());
                format!(
                    "goes on here at offset {at}, with what {count} producers wrote last in another shard"
                )
            }
            Err(damage) => damage.to_string(),
        },
        Some(EntryKind::SpanStart) => match SpanStart::decode(row, entry.body) {
            Ok(start) => start_says(&start),
            Err(_) => text(entry.body, max),
        },
        Some(EntryKind::Promise) => match Promise::of_row(row) {
            Some(promise) => format!("shard {} takes nothing below epoch {}", promise.shard, promise.epoch),
            None => text(entry.body, max),
        },
        Some(EntryKind::Snapshot) => {
            format!("part {} of {}: {}", row.base_offset.saturating_add(1), row.count, text(entry.body, max))
        }
        None => match crate::lost::of(row) {
            Some(gone) => format!("offsets {}..{} were lost before a repair", gone.start, gone.end),
            None => format!("kind {}, may be skipped: {}", row.kind, text(entry.body, max)),
        },
        Some(_) => text(entry.body, max),
    }
}

fn opening_says(opening: &Opening) -> String {
    let before = match opening.predecessor {
        Some(before) => {
            format!("after segment {} of epoch {}, LSN {}", before.number, before.epoch, before.last_lsn)
        }
        None => "the first".to_owned(),
    };
    format!(
        "segment {} of shard {}, {before}, planned for {} bytes, cluster {}",
        opening.number,
        opening.shard,
        opening.segment_bytes,
        hex(&opening.cluster)
    )
}

fn start_says(start: &SpanStart) -> String {
    let SpanStart { base_lsn, leader, incarnation, previous, quorum, holders, .. } = start;
    let after = previous.map_or("the shard's first".to_owned(), |epoch| format!("behind epoch {epoch}"));
    let nodes: Vec<String> =
        holders.iter().map(|one| format!("{} ({})", one.node, hex(&one.store))).collect();
    format!(
        "span from LSN {base_lsn}, {after}; node {leader} leads in its start {incarnation}; {quorum} of {} hold a frame \
         before it is acknowledged: node {}",
        holders.len(),
        nodes.join(", node ")
    )
}

/// The body as text if it is text, else as hexadecimal digits.
fn text(body: &[u8], max: usize) -> String {
    let cut = &body[..body.len().min(max)];
    let rest = if body.len() > max { format!(" ... ({} bytes)", body.len()) } else { String::new() };
    match std::str::from_utf8(cut) {
        Ok(text) => format!("{text}{rest}"),
        // Cut within a character: what is before it is text.
        Err(error) if error.error_len().is_none() && body.len() > max => {
            format!("{}{rest}", String::from_utf8_lossy(&cut[..error.valid_up_to()]))
        }
        Err(_) => format!("{}{rest}", hex(&cut[..cut.len().min(max / 2)])),
    }
}

/// Bytes as text if they are text up to a character that is cut, else as hexadecimal digits.
pub(crate) fn text_of(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        Err(error) if error.error_len().is_none() && error.valid_up_to() > 0 => {
            String::from_utf8_lossy(&bytes[..error.valid_up_to()]).into_owned()
        }
        Err(_) => hex(bytes),
    }
}

/// What the entry says, for a table: escaped.
pub(crate) fn shown(entry: &Entry<'_>, max: usize) -> String {
    escaped(says(entry, max).as_bytes())
}
