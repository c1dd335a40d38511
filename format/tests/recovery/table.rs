//! Every cell of the recovery table: built as a file, walked, and compared with what people read.

use std::collections::HashMap;

use tidelog_format::BLOCK;
use tidelog_format::scan::Expect;
use tidelog_format::verdict::{At, Evidence, Grade, Verdict, verdict};
use tidelog_format::walk::{Step, Walk};

use crate::samples;
use crate::support::batches::batch;
use crate::support::writer::Writer;

/// Frames up to `s`, then room.
fn before_s() -> Writer {
    let mut writer = samples::open();
    let pending = writer.block * BLOCK;
    writer.file.truncate(pending);
    writer
}

/// The block or blocks that stand at `s`.
fn standing(at: At, writer: &Writer) -> Vec<u8> {
    let next = writer.prepare(&[batch(7, 4, 1040, &[b"the frame s"])]).bytes;
    match at {
        At::EndBlock => writer.prepare_mark(false).bytes,
        At::Footer => writer.prepare_seal()[1].bytes.clone(),
        At::Virgin => vec![0; BLOCK],
        At::Stale => samples::earlier_life(1 + 2, 3, 77)[..BLOCK].to_vec(),
        At::DamagedHeader => flipped(&next[..BLOCK], 40),
        At::DamagedBody => flipped(&next[..BLOCK], 200),
        At::FileEnd => Vec::new(),
        At::Unsupported => newer(&next[..BLOCK]),
    }
}

fn flipped(block: &[u8], byte: usize) -> Vec<u8> {
    let mut out = block.to_vec();
    out[byte] ^= 1;
    out
}

/// The block's header with the next major version and a good checksum.
pub(crate) fn newer(block: &[u8]) -> Vec<u8> {
    let mut out = block.to_vec();
    out[15] = 2;
    let crc = crc32c::crc32c(&out[12..128]);
    out[8..12].copy_from_slice(&crc.to_le_bytes());
    out
}

/// A block behind `s` that shows this, in its place `distance` blocks behind.
fn witness(evidence: Evidence, writer: &Writer, distance: usize) -> Vec<u8> {
    let mut later = writer.clone();
    let mut end = |synced: bool| {
        (later.end_first_lsn, later.lsn, later.block) = (writer.lsn, writer.lsn + 1, writer.block + distance);
        let mark = later.prepare_mark(false).bytes;
        if synced { mark } else { without_mark(&mark) }
    };
    match evidence {
        Evidence::Nothing => vec![0; BLOCK],
        Evidence::WriteBegun => end(false),
        Evidence::WasDurable => end(true),
        Evidence::EndsHere => {
            let [mut tail, _] = writer.prepare_seal();
            let index = u32::try_from(writer.block + distance).unwrap();
            tail.bytes[68..72].copy_from_slice(&index.to_le_bytes());
            let crc = crc32c::crc32c(&tail.bytes[12..128]);
            tail.bytes[8..12].copy_from_slice(&crc.to_le_bytes());
            tail.bytes
        }
    }
}

fn without_mark(end_block: &[u8]) -> Vec<u8> {
    let mut out = end_block.to_vec();
    out[72] = 0;
    let crc = crc32c::crc32c(&out[12..128]);
    out[8..12].copy_from_slice(&crc.to_le_bytes());
    out
}

/// Walks to `s` and shows the walk one block behind it.
fn walk_cell(at: At, evidence: Evidence) -> (At, Evidence, Verdict) {
    let writer = before_s();
    let mut file = writer.file.clone();
    file.extend(standing(at, &writer));
    let mut walk = Walk::new(writer.expect());
    loop {
        let position = usize::try_from(walk.position()).unwrap();
        match walk.step(&file[position..], true) {
            Step::Frame(_) => {}
            Step::Stopped => break,
            Step::Need(needed) => panic!("{needed} bytes wanted"),
        }
    }
    assert_eq!(walk.expect().lsn, Some(writer.lsn));
    walk.look_behind(&witness(evidence, &writer, 3), u32::try_from(writer.block + 3).unwrap());
    let outcome = walk.finish(None);
    (outcome.at, outcome.evidence, outcome.verdict)
}

#[test]
fn every_cell_of_the_table_is_reached_by_a_walk() {
    for at in At::ALL {
        for evidence in Evidence::ALL {
            let walked = walk_cell(at, evidence);
            assert_eq!(walked, (at, evidence, verdict(at, evidence)));
        }
    }
}

/// What a walk to `s` makes of a block behind it.
fn weighed(writer: &Writer, block: &[u8], index: usize) -> Evidence {
    weighed_by(writer.expect(), writer, block, index)
}

fn weighed_by(expect: Expect, writer: &Writer, block: &[u8], index: usize) -> Evidence {
    let mut walk = Walk::new(expect);
    while let Step::Frame(_) = walk.step(&writer.file[usize::try_from(walk.position()).unwrap()..], true) {}
    walk.look_behind(block, u32::try_from(index).unwrap());
    walk.finish(None).evidence
}

#[test]
fn only_intact_headers_of_the_segment_are_evidence() {
    let writer = before_s();
    let witness = witness(Evidence::WasDurable, &writer, 3);
    let place = writer.block + 3;
    assert_eq!(weighed(&writer, &witness, place), Evidence::WasDurable);
    assert_eq!(weighed(&writer, &witness, place + 1), Evidence::WasDurable, "wherever a disk has put it");
    assert_eq!(weighed(&writer, &witness, writer.block), Evidence::WasDurable, "also at s");
    assert_eq!(weighed(&writer, &witness, writer.block - 1), Evidence::Nothing, "before s");
    assert_eq!(weighed(&writer, &flipped(&witness, 33), place), Evidence::Nothing, "damaged");
    for (byte, what) in [(16, "of another salt"), (64, "of another epoch")] {
        let mut other = flipped(&witness, byte);
        let crc = crc32c::crc32c(&other[12..128]);
        other[8..12].copy_from_slice(&crc.to_le_bytes());
        assert_eq!(weighed(&writer, &other, place), Evidence::Nothing, "{what}");
    }
    assert_eq!(weighed(&writer, &newer(&witness), place), Evidence::WasDurable, "newer, and of this segment");
    let stale = flipped(&witness, 16);
    assert_eq!(weighed(&writer, &newer(&stale), place), Evidence::Nothing, "newer, and of another");
}

#[test]
fn where_no_salt_is_known_a_header_counts_in_its_own_place_only() {
    let mut writer = samples::open();
    let last = (writer.block - 1) * BLOCK;
    let end = writer.prepare_mark(false).bytes;
    // The opening frame is damaged, so that the walk learns no salt.
    writer.file[33] ^= 1;
    for (salt, out_of_place) in [(Some(writer.salt), Evidence::WasDurable), (None, Evidence::Nothing)] {
        let expect = Expect { salt, ..writer.expect() };
        let in_place = weighed_by(expect, &writer, &end, writer.block);
        assert_eq!(in_place, Evidence::WasDurable);
        assert_eq!(weighed_by(expect, &writer, &end, writer.block + 1), out_of_place);
        assert_eq!(weighed_by(expect, &writer, &end, 0), out_of_place);
        assert_eq!(weighed_by(expect, &writer, &writer.file[last..last + BLOCK], 1), out_of_place);
    }
}

#[test]
fn what_stands_at_s_in_its_own_place_says_nothing_more() {
    let writer = before_s();
    for at in At::ALL.into_iter().filter(|at| *at != At::FileEnd) {
        let block = standing(at, &writer);
        assert_eq!(weighed(&writer, &block[..BLOCK], writer.block), Evidence::Nothing, "{at:?}");
    }
}

#[test]
fn a_frames_head_that_changed_places_with_its_marked_end_blocks_head_was_durable() {
    let writer = samples::marked();
    let frame = writer.returned.last().unwrap().frames[0].at;
    let end = writer.block * BLOCK;
    let mut file = writer.file.clone();
    for at in 0..512 {
        file.swap(frame + at, end + at);
    }
    let walked = crate::support::walking::walk(&file, writer.expect(), None);
    assert_eq!((walked.outcome.verdict, walked.frames.len()), (Verdict::Corrupt, 3));
    // Without the mark nothing says that the write had returned.
    let writer = samples::open();
    let mut file = writer.file.clone();
    for at in 0..512 {
        file.swap(frame + at, end + at);
    }
    let walked = crate::support::walking::walk(&file, writer.expect(), None);
    assert_eq!(walked.outcome.verdict, Verdict::Torn);
}

#[test]
fn a_trailer_that_is_damaged_behind_its_header_seals_nothing_and_proves_all_the_same_what_was_durable() {
    let writer = samples::sealed();
    let (last, end) = (writer.returned.last().unwrap().frames[0].at, writer.block * BLOCK);
    let trailer = writer.file.len() - BLOCK;
    let mut file = writer.file.clone();
    file[trailer + 200] ^= 1;
    // Of the seal only the trailer is left, and of the last frame nothing.
    file[end..end + 512].fill(0);
    file[last..last + 512].fill(0);
    let walked = crate::support::walking::walk(&file, writer.expect(), None);
    assert_eq!((walked.outcome.verdict, walked.frames.len()), (Verdict::Corrupt, 3));
    // With the last frame it says that the frames end there.
    file[last..last + 512].copy_from_slice(&writer.file[last..last + 512]);
    let walked = crate::support::walking::walk(&file, writer.expect(), None);
    assert_eq!((walked.outcome.verdict, walked.frames.len()), (Verdict::End(Grade::Proved), 4));
}

#[test]
fn a_successor_says_what_a_trailer_says() {
    let writer = samples::open();
    for (ends, wanted) in [
        (writer.lsn, Verdict::End(Grade::Proved)),
        (writer.lsn + 1, Verdict::Corrupt),
        (writer.lsn - 1, Verdict::Corrupt),
    ] {
        let walked = crate::support::walking::walk(&writer.file, writer.expect(), Some(ends));
        assert_eq!(walked.outcome.verdict, wanted, "successor begins at {ends}");
    }
}

#[test]
fn evidence_of_durability_outranks_all_and_is_never_cut() {
    for at in At::ALL {
        let found = verdict(at, Evidence::WasDurable);
        assert!(matches!(found, Verdict::Corrupt | Verdict::Unsupported), "{at:?}: {found:?}");
    }
}

#[test]
fn nothing_newer_is_called_damage() {
    for evidence in Evidence::ALL {
        assert_eq!(verdict(At::Unsupported, evidence), Verdict::Unsupported);
    }
}

fn named(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::End(Grade::Proved) => "End, proved",
        Verdict::End(Grade::Strong) => "End, strong",
        Verdict::End(Grade::Weak) => "End, weak",
        Verdict::Torn => "Torn",
        Verdict::Corrupt => "Corrupt",
        Verdict::Unsupported => "Unsupported",
    }
}

const HEADING: &str = "stands | nothing else | a write begun | ends here | was durable |";

/// The rows of a page's recovery table.
fn rows_of(page: &str) -> HashMap<String, Vec<String>> {
    let page = std::fs::read_to_string(format!("{}/{page}", env!("CARGO_MANIFEST_DIR"))).unwrap();
    let table = page.lines().skip_while(|line| !line.ends_with(HEADING)).skip(2);
    table
        .take_while(|line| line.starts_with('|'))
        .map(|line| {
            let mut cells = line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned());
            (cells.next().unwrap(), cells.collect())
        })
        .collect()
}

#[test]
fn the_pages_show_the_table_that_the_code_uses() {
    for page in ["../docs/recovery.md", "SPEC.md"] {
        let rows = rows_of(page);
        assert_eq!(rows.len(), At::ALL.len(), "{page}");
        for at in At::ALL {
            let wanted: Vec<_> =
                Evidence::ALL.into_iter().map(|evidence| named(verdict(at, evidence))).collect();
            assert_eq!(rows.get(&format!("{at:?}")).unwrap(), &wanted, "{page}, row {at:?}");
        }
    }
}
