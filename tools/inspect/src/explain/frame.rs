//! A frame: header, entries, table, padding; each field with what it is worth.
//!
//! The frame need not be intact: what its checksums vouch for is good, the rest is shown as far as its lengths can
//! be followed. All of it is taken from the bytes at hand, and nothing is allocated from a length.

use std::ops::Range;

use tidelog_format::block::{BLOCK_U64, HEADER_LEN};
use tidelog_format::entry::{EntryKind, FIRST_SKIPPABLE, ROW_LEN};
use tidelog_format::frame::BATCH_HEAD;
use tidelog_format::opening::Opening;
use tidelog_format::scan::Expect;

use super::batch;
use super::field::{Field, Structure, Value, Verdict};
use super::header::{self, covered_by};
use super::layout::{FRAME, HOLDER, OPENING, ROW, SPAN_START};
use super::{Sink, Wanted};
use crate::control::{kind_name, text_of};
use crate::error::InspectError;

/// Bytes of a control entry's body that are shown as its value.
const SHOWN: usize = 256;

/// A row of the table, and its body's place.
#[derive(Debug, Clone, Copy)]
struct Row<'a> {
    index: usize,
    bytes: &'a [u8],
    body: &'a [u8],
    /// Places within the frame.
    row_at: usize,
    body_at: usize,
}

impl Row<'_> {
    fn number(&self, name: &str) -> u64 {
        ROW.number(self.bytes, name)
    }

    fn kind(&self) -> u8 {
        self.bytes.get(24).copied().unwrap_or_default()
    }
}

/// The table of a frame, as far as it can be followed.
struct Table<'a> {
    rows: Vec<Row<'a>>,
    /// What no row leads to: bodies behind the last one, and rows.
    lost: [Range<usize>; 2],
}

impl<'a> Table<'a> {
    /// Follows the lengths of a frame whose bodies and table end at `end`.
    fn read(bytes: &'a [u8], end: usize, entries: usize) -> Table<'a> {
        let table_len = entries.saturating_mul(ROW_LEN);
        let Some(table_at) = end.checked_sub(table_len).filter(|at| *at >= HEADER_LEN) else {
            return Table { rows: Vec::new(), lost: [HEADER_LEN.min(end)..end, end..end] };
        };
        let (mut rows, mut at) = (Vec::new(), HEADER_LEN);
        for (index, row) in bytes[table_at..end].chunks_exact(ROW_LEN).enumerate() {
            let length = usize::try_from(ROW.number(row, "length")).unwrap_or(usize::MAX);
            let Some(to) = at.checked_add(length).filter(|to| *to <= table_at) else { break };
            rows.push(Row {
                index,
                bytes: row,
                body: &bytes[at..to],
                row_at: table_at + index * ROW_LEN,
                body_at: at,
            });
            at = to;
        }
        let lost = [at..table_at, table_at + rows.len() * ROW_LEN..end];
        Table { rows, lost }
    }

    fn is_whole(&self) -> bool {
        self.lost.iter().all(Range::is_empty)
    }
}

/// Explains the frame that `bytes` begin with, at `position` of its file. They are the whole frame, or all that
/// the file has of it. `expect` is what must stand there, as far as it is known.
pub(crate) fn explain(
    bytes: &[u8],
    position: u64,
    expect: &Expect,
    wanted: &Wanted,
    sink: &mut Sink<'_>,
) -> Result<(), InspectError> {
    let (mut head, good) = header::explain(&FRAME, bytes, position, expect);
    let number = |name| usize::try_from(FRAME.number(bytes, name)).unwrap_or(usize::MAX);
    // Lengths of a header whose checksum is bad are not believed.
    let says = if good { HEADER_LEN.saturating_add(number("body_len")) } else { bytes.len() };
    let end = says.min(bytes.len());
    let table = Table::read(bytes, end, if good { number("entries") } else { usize::MAX });
    let table_good = good && judge_table(&mut head, bytes, end == says, &table);
    let words = format!("frame of LSN {}, {} entries", FRAME.number(bytes, "lsn"), table.rows.len());
    sink(if good { head.says(words) } else { head.says("a frame, by what can't be believed") })?;
    for row in &table.rows {
        let (row_from, body_from) = (position + row.row_at as u64, position + row.body_at as u64);
        let in_row = wanted.takes(row_from, row_from + ROW_LEN as u64);
        if in_row || wanted.takes(body_from, body_from + row.body.len() as u64) {
            sink(row_structure(row, row_from, table_good))?;
            if !in_row || wanted.is_open() {
                entry(row, body_from, table_good, wanted, sink)?;
            }
        }
    }
    for lost in &table.lost {
        let from = position + lost.start as u64;
        if wanted.takes(from, from + lost.len() as u64) && !lost.is_empty() {
            sink(unfollowed(&bytes[lost.clone()], from))?;
        }
    }
    let padding = bytes.get(end..header::round_up(end).min(bytes.len())).unwrap_or_default();
    let from = position + end as u64;
    if !padding.is_empty() && wanted.takes(from, from + padding.len() as u64) {
        sink(zeroes("padding", padding, from).says("zero up to the next block"))?;
    }
    Ok(())
}

/// Bytes of a damaged frame or footer to which no length leads.
pub(crate) fn unfollowed(bytes: &[u8], from: u64) -> Structure {
    let bad = Verdict::Bad("no length that can be believed leads here".to_owned());
    let mut structure = Structure::new("body", from, bytes.len()).verdict(bad.clone());
    let shown: Vec<u8> = bytes.iter().take(SHOWN).copied().collect();
    structure.push(Field {
        field: "unfollowed",
        from,
        to: from + bytes.len() as u64,
        value: Value::Text(text_of(&shown)),
        meaning: "of a structure that is damaged".to_owned(),
        verdict: bad,
        bytes: shown,
    });
    structure
}

/// Bytes that must be zero, as one field.
pub(crate) fn zeroes(name: &'static str, bytes: &[u8], from: u64) -> Structure {
    let mut structure = Structure::new(name, from, bytes.len());
    let at = bytes.iter().position(|byte| *byte != 0);
    let verdict = Verdict::when(at.is_none(), || "must be zero and is not".to_owned());
    if let Some(at) = at {
        structure.verdict = Verdict::Bad(format!("byte {} must be zero and is not", from + at as u64));
    }
    structure.push(Field {
        field: "zero",
        from,
        to: from + bytes.len() as u64,
        value: Value::Number(u64::from(at.is_some())),
        meaning: "checked by verification, under no checksum".to_owned(),
        verdict,
        bytes: bytes[at.unwrap_or(0).min(bytes.len())..].iter().take(16).copied().collect(),
    });
    structure
}

/// Whether table and heads are what the header's table_crc says.
fn judge_table(head: &mut Structure, bytes: &[u8], fits: bool, table: &Table<'_>) -> bool {
    if !fits {
        head.judge("body_len", Verdict::Bad("the file ends before the frame does".to_owned()));
        return false;
    }
    if !table.is_whole() {
        let text = "the table's lengths do not fill the frame's body";
        head.judge("table_crc", Verdict::Bad(text.to_owned()));
        return false;
    }
    let mut crc = table.rows.iter().fold(0, |crc, row| crc32c::crc32c_append(crc, row.bytes));
    for row in &table.rows {
        let batch = row.kind() == EntryKind::Batch as u8;
        let covered = if batch { row.body.get(..BATCH_HEAD).unwrap_or(row.body) } else { row.body };
        crc = crc32c::crc32c_append(crc, covered);
    }
    let good = u64::from(crc) == FRAME.number(bytes, "table_crc");
    head.judge("table_crc", Verdict::when(good, || format!("the bytes give {crc:08x}")));
    good
}

fn row_structure(row: &Row<'_>, from: u64, good: bool) -> Structure {
    let mut structure = Structure::new(ROW.name, from, ROW_LEN)
        .layout(&ROW, row.bytes, &Verdict::covered(good))
        .verdict(covered_by(good, "table_crc"))
        .says(format!(
            "row {}: {} of partition {}",
            row.index,
            kind_name(row.kind()),
            row.number("partition")
        ));
    structure.mean("kind", kind_name(row.kind()));
    let kind = row.kind();
    if kind == 0 || (kind < FIRST_SKIPPABLE && EntryKind::from_number(kind).is_none()) {
        structure.judge("kind", Verdict::Bad("unknown, and must be understood".to_owned()));
    }
    structure
}

fn entry(
    row: &Row<'_>,
    from: u64,
    good: bool,
    wanted: &Wanted,
    sink: &mut Sink<'_>,
) -> Result<(), InspectError> {
    match EntryKind::from_number(row.kind()) {
        Some(EntryKind::Batch) => {
            let says = batch::RowSays { base_offset: row.number("base_offset"), count: row.number("count") };
            batch::explain(row.body, from, Some(says), wanted, sink)
        }
        Some(EntryKind::Opening) => sink(opening(row.body, from, good)),
        Some(EntryKind::SpanStart) if is_span_start(row) => span_start(row, from, good, sink),
        _ => sink(control(row, from, good)),
    }
}

fn opening(body: &[u8], from: u64, good: bool) -> Structure {
    let mut structure = Structure::new(OPENING.name, from, body.len())
        .layout(&OPENING, body, &Verdict::covered(good))
        .verdict(covered_by(good, "table_crc"))
        .says("identity of the segment");
    match Opening::decode(body) {
        Err(damage) => structure.verdict = Verdict::Bad(damage.to_string()),
        Ok(opening) => {
            if let Err(newer) = opening.check_features() {
                structure.judge("incompatible", Verdict::Bad(newer.to_string()));
            }
            if opening.predecessor.is_none() {
                structure.mean("predecessor_number", "none");
            }
        }
    }
    structure
}

/// Whether the body is as long as the holders that the row counts make it.
fn is_span_start(row: &Row<'_>) -> bool {
    let holders = usize::try_from(row.number("count")).unwrap_or(usize::MAX);
    row.body.len().checked_sub(SPAN_START.len) == holders.checked_mul(HOLDER.len)
}

fn span_start(row: &Row<'_>, from: u64, good: bool, sink: &mut Sink<'_>) -> Result<(), InspectError> {
    let (head, holders) = row.body.split_at(SPAN_START.len);
    let mut structure = Structure::new(SPAN_START.name, from, head.len())
        .layout(&SPAN_START, head, &Verdict::covered(good))
        .verdict(covered_by(good, "table_crc"))
        .says(format!("the span begins with LSN {}", row.number("base_offset")));
    if SPAN_START.number(head, "previous_epoch") == 0 {
        structure.mean("previous_epoch", "none");
    }
    sink(structure)?;
    for (index, holder) in holders.chunks_exact(HOLDER.len).enumerate() {
        let at = from + (SPAN_START.len + index * HOLDER.len) as u64;
        let structure = Structure::new(HOLDER.name, at, holder.len())
            .layout(&HOLDER, holder, &Verdict::covered(good))
            .verdict(covered_by(good, "table_crc"))
            .says(format!("holder {index} of the span"));
        sink(structure)?;
    }
    Ok(())
}

fn control(row: &Row<'_>, from: u64, good: bool) -> Structure {
    let name = kind_name(row.kind());
    let mut structure = Structure::new("control", from, row.body.len())
        .verdict(covered_by(good, "table_crc"))
        .says(format!("{name} of partition {}", row.number("partition")));
    let shown = &row.body[..row.body.len().min(SHOWN)];
    structure.push(Field {
        field: "body",
        from,
        to: from + row.body.len() as u64,
        value: Value::Text(text_of(shown)),
        meaning: name.to_owned(),
        verdict: Verdict::covered(good),
        bytes: shown.to_vec(),
    });
    structure
}

/// Position of a frame by its place in blocks.
pub(crate) fn position_of(block_index: u32) -> u64 {
    u64::from(block_index) * BLOCK_U64
}
