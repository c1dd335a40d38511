//! What stands where no intact frame does: holes, ends, seals, leftovers.

use tidelog_format::block::{BLOCK_U64, MAGIC};
use tidelog_format::frame::MAX_BODY;
use tidelog_format::scan::{Expect, Found, scan};
use tidelog_format::{BLOCK, FORMAT_MAJOR};

use super::field::{Field, Structure, Value, Verdict};
use super::layout::{END_BLOCK, FOOTER, FRAME, Layout, PRELUDE, SUPERBLOCK, TRAILER};
use super::show::Page;
use super::{Region, Wanted, batch, frame, seal};
use crate::error::InspectError;
use crate::output::hex;
use crate::pass::{Hole, Passed};
use crate::window::{MAX_FOOTER, Window};

/// Bytes of unknown content that are shown.
const SHOWN: usize = 64;

/// One copy of a superblock.
pub(crate) fn superblock(
    block: &[u8],
    from: u64,
    wanted: &Wanted,
    page: &mut Page<'_, '_>,
) -> Result<(), InspectError> {
    if block.get(15).is_some_and(|version| *version != FORMAT_MAJOR) && block.starts_with(&MAGIC) {
        let (to, says) = (from + block.len() as u64, "of another version".to_owned());
        page.region(Region { from, to, owner: "superblock", lsn: None, verdict: "unsupported", says })?;
        return if wanted.takes(from, to) {
            foreign(block, from, &Expect::default(), wanted, page)
        } else {
            Ok(())
        };
    }
    let found = seal::explain_block(&SUPERBLOCK, block, from, &Expect::default());
    let verdict = if found.verdict.is_bad() { "damaged copy" } else { "good" };
    let to = from + block.len() as u64;
    page.region(Region { from, to, owner: "superblock", lsn: None, verdict, says: found.says.clone() })?;
    if wanted.takes(from, to) { page.structure(found) } else { Ok(()) }
}

/// A file that is one batch.
pub(crate) fn lone_batch(bytes: &[u8], wanted: &Wanted, page: &mut Page<'_, '_>) -> Result<(), InspectError> {
    let to = bytes.len() as u64;
    let says = "a Kafka RecordBatch and nothing else".to_owned();
    page.region(Region { from: 0, to, owner: "batch", lsn: None, verdict: "good", says })?;
    batch::explain(bytes, 0, None, wanted, &mut |found| page.structure(found))
}

/// What is in a hole, block by block. `known` has the segment's salt and epoch.
pub(crate) fn hole(
    window: &mut Window,
    hole: &Hole,
    known: &Expect,
    wanted: &Wanted,
    page: &mut Page<'_, '_>,
) -> Result<(), InspectError> {
    let (from, to, lsn) = (hole.from, hole.to.min(window.len()), hole.first_lsn);
    page.region(Region { from, to, owner: "hole", lsn, verdict: "corrupt", says: hole.reason.clone() })?;
    let mut at = from;
    while at < to {
        let expect = Expect { lsn: None, chain: None, ..placed(known, at) };
        let length = block(window, at, to, &expect, wanted, page)?;
        at += length.max(BLOCK_U64);
    }
    Ok(())
}

fn placed(known: &Expect, at: u64) -> Expect {
    Expect { block_index: u32::try_from(at / BLOCK_U64).unwrap_or(u32::MAX), ..*known }
}

/// Everything from `behind` to the file's end.
pub(crate) fn behind(
    window: &mut Window,
    behind: u64,
    passed: &Passed,
    wanted: &Wanted,
    page: &mut Page<'_, '_>,
) -> Result<(), InspectError> {
    let mut at = behind;
    while at < window.len() {
        let is_end = at == passed.end_position();
        let known = if is_end { passed.end } else { Expect { lsn: None, chain: None, ..passed.end } };
        let expect = placed(&known, at);
        let view = window.view(at, BLOCK)?;
        let (owner, verdict, says) = owner(view.bytes, &expect);
        let length = if owner == "zeroes" || owner == "leftover" {
            run(window, at, &expect, owner)?
        } else {
            block(window, at, window.len(), &expect, wanted, page)?
        };
        let to = (at + length.max(1)).min(window.len());
        page.region(Region { from: at, to, owner, lsn: known.lsn.filter(|_| is_end), verdict, says })?;
        if (owner == "zeroes" || owner == "leftover") && wanted.takes(at, to) && page.wants_fields() {
            let inner = if wanted.is_open() { (at, to) } else { block_of(wanted, at, to) };
            page.structure(unknown(window, inner, owner)?)?;
        }
        at = to;
    }
    Ok(())
}

/// The block of the byte that is asked for.
fn block_of(wanted: &Wanted, from: u64, to: u64) -> (u64, u64) {
    let at = wanted.0.unwrap_or(from);
    let start = (at - at % BLOCK_U64).max(from);
    (start, (start + BLOCK_U64).min(to))
}

/// Owner, verdict and a phrase for what stands behind the frames.
fn owner(bytes: &[u8], expect: &Expect) -> (&'static str, &'static str, String) {
    match scan(bytes, expect) {
        Found::End(_) => ("end-block", "good", "the last write ended here".to_owned()),
        Found::Footer(_) => ("footer", "good", "index of the sealed segment".to_owned()),
        Found::Trailer(_) => ("trailer", "good", "end of the sealed segment".to_owned()),
        Found::Virgin => ("zeroes", "virgin", "never written".to_owned()),
        Found::Stale(_) => ("leftover", "stale", "of an earlier life of the file".to_owned()),
        Found::Frame(_) | Found::Need(_) if bytes.len() >= BLOCK => {
            ("frame", "behind the end", "a frame that does not follow".to_owned())
        }
        Found::DamagedBody(_, damage) => ("frame", "damaged", damage.to_string()),
        Found::DamagedHeader(damage) if bytes.starts_with(&MAGIC) => {
            ("header", "damaged", damage.to_string())
        }
        Found::Unsupported(newer) => ("unknown", "unsupported", newer.to_string()),
        _ => ("leftover", "no header", "bytes without an intact header".to_owned()),
    }
}

/// How many bytes from `at` on have the same owner.
fn run(window: &mut Window, at: u64, expect: &Expect, first: &str) -> Result<u64, InspectError> {
    let mut behind = at;
    while behind < window.len() {
        let view = window.view(behind, BLOCK)?;
        if view.bytes.is_empty() || (behind > at && owner(view.bytes, &placed(expect, behind)).0 != first) {
            break;
        }
        behind += BLOCK_U64.min(view.bytes.len() as u64);
    }
    Ok(behind - at)
}

/// Explains what begins at `at`, whatever it is, and says how many bytes it has.
fn block(
    window: &mut Window,
    at: u64,
    limit: u64,
    expect: &Expect,
    wanted: &Wanted,
    page: &mut Page<'_, '_>,
) -> Result<u64, InspectError> {
    let layout = layout_of(window.view(at, BLOCK)?.bytes);
    let left = usize::try_from(limit - at).unwrap_or(usize::MAX);
    let length = match layout {
        Some(layout) if layout.name == FRAME.name => {
            let head = window.view(at, BLOCK)?.bytes;
            let body = usize::try_from(FRAME.number(head, "body_len")).unwrap_or(0).min(MAX_BODY);
            if super::header::is_good(head) {
                super::header::round_up(128 + body).min(left)
            } else {
                BLOCK.min(left)
            }
        }
        Some(layout) if layout.name == FOOTER.name => {
            let head = window.view(at, BLOCK)?.bytes;
            let body = FOOTER.number(head, "body_len").min(MAX_FOOTER);
            let good = super::header::is_good(head);
            let bytes = if good { 128 + usize::try_from(body).unwrap_or(0) } else { BLOCK };
            super::header::round_up(bytes).min(left)
        }
        _ => BLOCK.min(left),
    };
    let to = at + length as u64;
    if !page.wants_fields() || !wanted.takes(at, to) {
        return Ok(length as u64);
    }
    let bytes = window.piece(at, length)?;
    let mut sink = |found| page.structure(found);
    match layout {
        Some(layout) if layout.name == FRAME.name => frame::explain(&bytes, at, expect, wanted, &mut sink)?,
        Some(layout) if layout.name == FOOTER.name => {
            seal::explain_footer(&bytes, at, expect, wanted, &mut sink)?;
        }
        Some(layout) if layout.name == PRELUDE.name => foreign(&bytes, at, expect, wanted, page)?,
        Some(layout) => sink(seal::explain_block(layout, &bytes, at, expect))?,
        None => page.structure(unknown(window, (at, to), "unknown")?)?,
    }
    Ok(length as u64)
}

/// The layout that a header's magic and kind name, whether or not its checksum is good. Of another version or kind
/// only the prelude is known.
fn layout_of(bytes: &[u8]) -> Option<&'static Layout> {
    let kind = bytes.get(14).filter(|_| bytes.starts_with(&MAGIC))?;
    let version = bytes.get(15).copied().unwrap_or_default();
    Some(match kind {
        1 if version == FORMAT_MAJOR => &FRAME,
        2 if version == FORMAT_MAJOR => &END_BLOCK,
        3 if version == FORMAT_MAJOR => &FOOTER,
        4 if version == FORMAT_MAJOR => &TRAILER,
        _ => &PRELUDE,
    })
}

/// A header of another version or kind, and the rest of its block.
fn foreign(
    bytes: &[u8],
    at: u64,
    expect: &Expect,
    wanted: &Wanted,
    page: &mut Page<'_, '_>,
) -> Result<(), InspectError> {
    let (head, _) = super::header::explain_prelude(bytes, at, expect);
    page.structure(head.says("a header that this program knows no more of"))?;
    let (from, rest) = (at + PRELUDE.len as u64, bytes.get(PRELUDE.len..).unwrap_or_default());
    if rest.is_empty() || !wanted.takes(from, from + rest.len() as u64) {
        return Ok(());
    }
    page.structure(frame::unfollowed(rest, from))
}

/// Bytes that nothing is known of but their beginning.
fn unknown(window: &Window, (from, to): (u64, u64), owner: &'static str) -> Result<Structure, InspectError> {
    let bytes = window.piece(from, SHOWN)?;
    let name = if owner == "zeroes" { "zeroes" } else { "unknown" };
    let (verdict, meaning) = match owner {
        "zeroes" => (Verdict::Good, "never written"),
        "leftover" => {
            (Verdict::Unchecked, "not part of the segment: an earlier life of the file, or a torn write")
        }
        _ => (Verdict::Bad("no intact header stands here".to_owned()), "what it was can't be told"),
    };
    let mut structure = Structure::new(name, from, usize::try_from(to - from).unwrap_or(usize::MAX));
    structure.verdict = verdict.clone();
    structure.push(Field {
        field: name,
        from,
        to,
        value: Value::Text(hex(&bytes)),
        meaning: meaning.to_owned(),
        verdict,
        bytes,
    });
    Ok(structure)
}
