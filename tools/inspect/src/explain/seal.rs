//! Footer, and the structures that fill a block of their own: end block, trailer, superblock.

use tidelog_format::BLOCK;
use tidelog_format::block::{BLOCK_U64, HEADER_LEN};
use tidelog_format::scan::Expect;

use super::field::{Structure, Verdict};
use super::frame::{unfollowed, zeroes};
use super::header::{self, covered_by};
use super::layout::{
    END_BLOCK, FOOTER, Layout, PARTITION, POSITION, PRODUCER, PRODUCER_BATCH, SUPERBLOCK, TRAILER,
};
use super::{Sink, Wanted};
use crate::error::InspectError;

/// The structure of one block at `position`.
pub(crate) fn explain_block(layout: &Layout, bytes: &[u8], position: u64, expect: &Expect) -> Structure {
    let (mut structure, _) = header::explain(layout, bytes, position, expect);
    let number = |name| layout.number(bytes, name);
    let words = match layout.name {
        name if name == END_BLOCK.name => {
            let marks = match number("flags") & 3 {
                0 => "no mark",
                1 => "synced",
                2 => "clean stop",
                _ => "synced, clean stop",
            };
            structure.mean("flags", marks);
            format!("end block before LSN {}, {marks}", number("next_lsn"))
        }
        name if name == TRAILER.name => {
            format!("trailer of a sealed segment, LSNs {}..{}", number("base_lsn"), number("next_lsn"))
        }
        name if name == SUPERBLOCK.name => {
            let copy = position / BLOCK_U64;
            let says = number("copy");
            structure.judge("copy", Verdict::when(says == copy, || format!("stands at copy {copy}")));
            let known = number("incompatible") == 0;
            let text = "unknown to this program; use a newer Tidelog";
            structure.judge("incompatible", Verdict::when(known, || text.to_owned()));
            format!("copy {copy} of the superblock, generation {}", number("generation"))
        }
        other => other.to_owned(),
    };
    structure.says(words)
}

/// The footer that `bytes` begin with: whole blocks up to the trailer, or all that is there.
pub(crate) fn explain_footer(
    bytes: &[u8],
    position: u64,
    expect: &Expect,
    wanted: &Wanted,
    sink: &mut Sink<'_>,
) -> Result<(), InspectError> {
    let (mut head, good) = header::explain(&FOOTER, bytes, position, expect);
    let number = |name| usize::try_from(FOOTER.number(bytes, name)).unwrap_or(usize::MAX);
    let partitions = number("partitions");
    let body = HEADER_LEN.checked_add(number("body_len")).and_then(|end| bytes.get(HEADER_LEN..end));
    let crc = body.map(crc32c::crc32c).unwrap_or_default();
    let body_good = good && body.is_some() && u64::from(crc) == FOOTER.number(bytes, "body_crc");
    if good {
        head.judge("body_crc", Verdict::when(body_good, || format!("the bytes give {crc:08x}")));
    }
    let words =
        format!("footer of LSNs {}..{}, {partitions} partitions", number("base_lsn"), number("next_lsn"));
    sink(head.says(words))?;
    let Some(body) = body.filter(|_| good) else {
        let (from, rest) = (position + HEADER_LEN as u64, bytes.get(HEADER_LEN..).unwrap_or_default());
        let takes = !rest.is_empty() && wanted.takes(from, from + rest.len() as u64);
        return if takes { sink(unfollowed(rest, from)) } else { Ok(()) };
    };
    let rows = [
        (&PARTITION, partitions),
        (&POSITION, number("positions")),
        (&PRODUCER, number("producers")),
        (&PRODUCER_BATCH, number("producer_batches")),
    ];
    let mut at = 0;
    for (layout, count) in rows {
        for index in 0..count {
            let Some(row) = body.get(at..at + layout.len) else { break };
            let from = position + (HEADER_LEN + at) as u64;
            if wanted.takes(from, from + row.len() as u64) {
                sink(row_structure(layout, index, row, from, body_good))?;
            }
            at += layout.len;
        }
    }
    rest(body, at, position, body_good, wanted, sink)?;
    let used = HEADER_LEN + body.len();
    let padding = bytes.get(used..header::round_up(used).min(bytes.len())).unwrap_or_default();
    let from = position + used as u64;
    if !padding.is_empty() && wanted.takes(from, from + padding.len() as u64) {
        sink(zeroes("padding", padding, from).says("zero up to the trailer"))?;
    }
    Ok(())
}

fn row_structure(layout: &Layout, index: usize, row: &[u8], from: u64, good: bool) -> Structure {
    let word = layout.fields.first().map_or("", |field| field.name);
    let structure = Structure::new(layout.name, from, row.len());
    structure
        .layout(layout, row, &Verdict::covered(good))
        .verdict(covered_by(good, "body_crc"))
        .says(format!("row {index}: {word} {}", layout.number(row, word)))
}

/// What of the body is none of the rows that the header counts.
fn rest(
    body: &[u8],
    at: usize,
    position: u64,
    good: bool,
    wanted: &Wanted,
    sink: &mut Sink<'_>,
) -> Result<(), InspectError> {
    let rest = body.get(at..).unwrap_or_default();
    let from = position + (HEADER_LEN + at) as u64;
    if rest.is_empty() || !wanted.takes(from, from + rest.len() as u64) {
        return Ok(());
    }
    let structure = Structure::new("footer-rest", from, rest.len()).verdict(Verdict::covered(good));
    sink(structure.says("rows that this program does not know"))
}

/// Whether the blocks of a file are those of a superblock: short, and with its kind in a header.
pub(crate) fn is_superblock(len: u64, first: &[u8]) -> bool {
    let kind =
        |at: usize| first.get(at..at + 16).is_some_and(|head| head.starts_with(b"\x89TLG") && head[14] == 5);
    len <= 2 * BLOCK_U64 && (kind(0) || kind(BLOCK))
}
