//! What all headers share: the prelude, its checksum, and the fields that say where a structure belongs.

use tidelog_format::block::{HEADER_LEN, MAGIC};
use tidelog_format::scan::Expect;
use tidelog_format::{BLOCK, FORMAT_MAJOR};

use super::field::{Structure, Verdict};
use super::layout::{Layout, PRELUDE};
use crate::output::hex;

/// Whether the checksum of the header is good, so that its lengths may be believed.
pub(crate) fn is_good(bytes: &[u8]) -> bool {
    let crc = bytes.get(12..HEADER_LEN).map(crc32c::crc32c);
    crc.is_some_and(|crc| u64::from(crc) == PRELUDE.number(bytes, "header_crc"))
}

/// A header of which only the prelude is known.
pub(crate) fn explain_prelude(bytes: &[u8], position: u64, expect: &Expect) -> (Structure, bool) {
    let good = is_good(bytes);
    let covered = Verdict::covered(good);
    let len = PRELUDE.len.min(bytes.len());
    let mut structure = Structure::new(PRELUDE.name, position, len).layout(&PRELUDE, bytes, &covered);
    judge_sum(&mut structure, bytes, good);
    if good {
        judge_prelude(&mut structure, bytes, expect);
    }
    (structure, good)
}

fn judge_sum(structure: &mut Structure, bytes: &[u8], good: bool) {
    structure.judge("magic", Verdict::when(bytes.starts_with(&MAGIC), || "no header of Tidelog".to_owned()));
    let computed = bytes.get(12..HEADER_LEN).map(crc32c::crc32c).unwrap_or_default();
    structure.judge("header_crc", Verdict::when(good, || format!("the bytes give {computed:08x}")));
}

/// The header of this layout at the first of `bytes`, and whether its checksum is good. Without a good checksum
/// nothing in it is believed, and so shown.
pub(crate) fn explain(layout: &Layout, bytes: &[u8], position: u64, expect: &Expect) -> (Structure, bool) {
    let good = is_good(bytes);
    let covered = Verdict::covered(good);
    let mut structure = Structure::new(layout.name, position, layout.len.min(bytes.len()))
        .layout(&PRELUDE, bytes, &covered)
        .layout(layout, bytes, &covered);
    judge_sum(&mut structure, bytes, good);
    if good {
        judge_prelude(&mut structure, bytes, expect);
        judge_place(&mut structure, layout, bytes, expect);
    }
    judge_zeroes(&mut structure, layout, bytes);
    (structure, good)
}

fn judge_prelude(structure: &mut Structure, bytes: &[u8], expect: &Expect) {
    let number = |name| PRELUDE.number(bytes, name);
    let len = number("header_len") == HEADER_LEN as u64;
    structure.judge("header_len", Verdict::when(len, || "must be 128".to_owned()));
    let version = number("version") == u64::from(FORMAT_MAJOR);
    structure
        .judge("version", Verdict::when(version, || "another version than this program reads".to_owned()));
    if let (Some(salt), Some(found)) = (expect.salt, bytes.get(16..32)) {
        let why = || format!("the segment's is {}: of an earlier life of the file", hex(&salt));
        structure.judge("salt", Verdict::when(found == salt, why));
    }
}

/// The fields that tell a structure's place, where something says what they must be.
fn judge_place(structure: &mut Structure, layout: &Layout, bytes: &[u8], expect: &Expect) {
    let lsn = if layout.field("lsn").is_some() { "lsn" } else { "next_lsn" };
    let places = [
        ("block_index", Some(u64::from(expect.block_index)), false),
        ("epoch", expect.epoch.map(u64::from), false),
        (lsn, expect.lsn, false),
        ("chain", expect.chain, true),
    ];
    for (name, must, is_sum) in places {
        let (Some(must), Some(_)) = (must, layout.field(name)) else { continue };
        let found = layout.number(bytes, name);
        let why = || if is_sum { format!("must be {must:016x}") } else { format!("must be {must}") };
        structure.judge(name, Verdict::when(found == must, why));
    }
}

/// What no checksum covers, and what readers ignore in a header whose checksum is good.
fn judge_zeroes(structure: &mut Structure, layout: &Layout, bytes: &[u8]) {
    let rest = bytes.get(HEADER_LEN..layout.len.min(bytes.len())).unwrap_or_default();
    if !rest.is_empty() {
        let zero = rest.iter().all(|byte| *byte == 0);
        structure.judge("padding", Verdict::when(zero, || "must be zero and is not".to_owned()));
    }
    let reserved = layout.fields.iter().filter(|place| place.name.starts_with("zero"));
    for place in reserved {
        let zero =
            bytes.get(place.at..place.at + place.len).is_none_or(|bytes| bytes.iter().all(|b| *b == 0));
        if !zero {
            structure.judge(place.name, Verdict::Bad("must be zero and is not".to_owned()));
        }
    }
}

/// What a structure is worth that a checksum elsewhere covers.
pub(crate) fn covered_by(good: bool, checksum: &str) -> Verdict {
    Verdict::when(good, || format!("{checksum} is not good"))
}

/// Up to whole blocks.
pub(crate) fn round_up(bytes: usize) -> usize {
    bytes.div_ceil(BLOCK).saturating_mul(BLOCK)
}
