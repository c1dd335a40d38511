//! `index`: the footers that the frames give, beside those that are stored.
//!
//! A footer is a pure function of the frames and of the footer before, so a lost one is no loss; one that differs
//! is damage, or was written by another program.

use serde::Serialize;
use tidelog_format::footer::Footer;
use tidelog_format::index::{SealedAs, SegmentIndex};
use tidelog_format::time_text::time_text;

use crate::args::{IndexArgs, Output};
use crate::error::InspectError;
use crate::finding::{Finding, Severity, Status};
use crate::output::{Screen, dash, tell};
use crate::read::ReadSegment;
use crate::seal::footer_differs;
use crate::shard::Shard;
use crate::tree::Tree;

/// The index of one segment, by its frames.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct IndexReport {
    shard: Option<u64>,
    file: String,
    /// `same`, `differs`, `lost` (rebuilt), `open` (no footer yet), `unknown` (can't be rebuilt).
    state: &'static str,
    /// In what way it is not the same.
    text: Option<String>,
    footer_bytes: u64,
    positions: u64,
    partitions: Vec<Row>,
}

/// A partition, by the frames.
#[derive(Debug, Clone, Serialize)]
struct Row {
    partition: u64,
    log_start: u64,
    first_offset: u64,
    next_offset: u64,
    min_timestamp: Option<i64>,
    max_timestamp: Option<i64>,
    bytes: u64,
    positions: Vec<Place>,
}

#[derive(Debug, Clone, Serialize)]
struct Place {
    offset: u64,
    block: u32,
    max_timestamp: i64,
}

/// What the frames of a segment give, compared with what is stored. `index` is `None` when it can't be had.
pub(crate) fn compare(read: &ReadSegment, index: Option<&SegmentIndex>) -> IndexReport {
    let file = read.name.clone();
    let shard = read.passed.opening.map(|opening| opening.shard);
    let empty = |state, text: Option<String>| IndexReport {
        shard,
        file: file.clone(),
        state,
        text,
        footer_bytes: 0,
        positions: 0,
        partitions: Vec::new(),
    };
    if read.is_earlier_life || read.passed.is_unbegun() {
        return empty("unused", None);
    }
    let Some(footer) = index.and_then(|index| rebuilt(read, index)) else {
        let text =
            "a hole in it, or a segment before it that is not here, keeps the index from being rebuilt";
        return empty("unknown", Some(text.to_owned()));
    };
    let (state, text) = match read.seal.as_ref().map(|seal| &seal.footer) {
        None => ("open", None),
        Some(Err(damage)) => ("lost", Some(format!("the stored one: {damage}"))),
        Some(Ok(stored)) => match footer_differs(stored, &footer) {
            None => ("same", None),
            text => ("differs", text),
        },
    };
    let footer_bytes = footer.encode().len() as u64;
    let partitions: Vec<Row> = footer.partitions.iter().map(row).collect();
    let positions = partitions.iter().map(|row| row.positions.len() as u64).sum();
    IndexReport { footer_bytes, positions, partitions, ..empty(state, text) }
}

fn rebuilt(read: &ReadSegment, index: &SegmentIndex) -> Option<Footer> {
    if let Some(seal) = &read.seal {
        return Some(seal.rebuilt(index));
    }
    let end = &read.passed.end;
    Some(index.clone().seal(&SealedAs {
        salt: end.salt?,
        base_lsn: read.passed.base?.0,
        next_lsn: end.lsn?,
        chain: end.chain?,
        epoch: end.epoch?,
        block_index: end.block_index,
    }))
}

fn row(row: &tidelog_format::footer::PartitionIndex) -> Row {
    let holds = row.has_batches();
    Row {
        partition: row.partition,
        log_start: row.log_start,
        first_offset: row.first_offset,
        next_offset: row.next_offset,
        min_timestamp: holds.then_some(row.min_timestamp),
        max_timestamp: holds.then_some(row.max_timestamp),
        bytes: row.bytes,
        positions: row
            .positions
            .iter()
            .map(|place| Place {
                offset: place.offset,
                block: place.block,
                max_timestamp: place.max_timestamp,
            })
            .collect(),
    }
}

/// Rebuilds and compares all indexes in the tree.
pub(crate) fn index(screen: &mut Screen<'_>, args: &IndexArgs, tree: &Tree) -> Result<Status, InspectError> {
    let mut findings = Vec::new();
    let mut reports = Vec::new();
    for folder in &tree.shards {
        let mut shard = Shard::new(folder, None, tree.lone).with_index();
        shard.run()?;
        reports.extend(shard.segments.into_iter().filter_map(|segment| segment.index));
        findings.append(&mut shard.findings);
    }
    print(screen, args, &reports)?;
    screen.out.flush()?;
    let loud = |finding: &&Finding| finding.severity != Severity::Note;
    tell(&findings.iter().filter(loud).cloned().collect::<Vec<_>>());
    Ok(Status::of(&findings))
}

fn print(screen: &mut Screen<'_>, args: &IndexArgs, reports: &[IndexReport]) -> Result<(), InspectError> {
    if args.common.output == Output::Json {
        for report in reports {
            screen.json(report)?;
        }
        return Ok(());
    }
    let line = |report: &IndexReport| {
        vec![
            dash(report.shard),
            report.file.rsplit('/').next().unwrap_or_default().to_owned(),
            report.state.to_owned(),
            report.partitions.len().to_string(),
            report.positions.to_string(),
            report.footer_bytes.to_string(),
            report.text.clone().unwrap_or_default(),
        ]
    };
    let rows: Vec<_> = reports.iter().map(line).collect();
    let head = ["shard", "segment", "index", "partitions", "positions", "bytes", "what"];
    screen.table(&head, &[0, 3, 4, 5], &rows)?;
    if args.rows {
        for report in reports.iter().filter(|report| !report.partitions.is_empty()) {
            writeln!(screen.out, "\n{}", report.file)?;
            partitions(screen, report)?;
        }
    }
    Ok(())
}

fn partitions(screen: &mut Screen<'_>, report: &IndexReport) -> Result<(), InspectError> {
    let time = |ms: Option<i64>| dash(ms.map(time_text));
    let line = |row: &Row| {
        vec![
            row.partition.to_string(),
            row.log_start.to_string(),
            format!("{}..{}", row.first_offset, row.next_offset),
            row.bytes.to_string(),
            time(row.min_timestamp),
            time(row.max_timestamp),
            row.positions
                .iter()
                .map(|place| format!("{}@{}", place.offset, place.block))
                .collect::<Vec<_>>()
                .join(" "),
        ]
    };
    let rows: Vec<_> = report.partitions.iter().map(line).collect();
    let head = ["partition", "start", "offsets", "bytes", "from", "to", "positions (offset@block)"];
    Ok(screen.table(&head, &[0, 1, 2, 3], &rows)?)
}
