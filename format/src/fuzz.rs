//! Bodies of the fuzz targets for segments, footers and superblocks: no input panics, what is read has the
//! promised form, and what was decoded survives being encoded.

mod parts;

use crate::block::{self, BLOCK, Damage, HEADER_LEN, MAGIC};
use crate::entry::EntryKind;
use crate::footer::Footer;
use crate::index::{SealedAs, SegmentIndex};
use crate::le;
use crate::partition_taken;
use crate::scan::{Expect, Found, scan, scan_unverified};
use crate::span_start::SpanStart;
use crate::superblock::Superblock;
use crate::trailer::Trailer;
use crate::walk::{Outcome, Step, Walk};

pub use parts::{fuzz_compression, fuzz_parts};

/// Walks `data` as a segment's file. The first byte chooses what is known beforehand, and whether checksums are
/// put right first, so that a mutated field gets past the first door. Panics only when an invariant is broken.
pub fn fuzz_scan(data: &[u8]) {
    let Some((choice, file)) = data.split_first() else { return };
    let mut file = file.to_vec();
    if choice & 1 != 0 {
        put_right(&mut file);
    }
    for (block_index, at) in (0u32..).zip((0..file.len()).step_by(BLOCK)) {
        let expect = Expect { block_index, ..Expect::default() };
        if let Found::Frame(frame) = scan(&file[at..], &expect) {
            assert!(matches!(scan_unverified(&file[at..], &expect), Found::Frame(_)));
            let _ = frame.padding_is_zero();
            for entry in frame.entries().filter(|entry| entry.kind() == Some(EntryKind::PartitionTaken)) {
                let Ok(rows) = partition_taken::decode(entry.row.partition, entry.body) else { continue };
                let body = partition_taken::encode(&rows).unwrap_or_default();
                assert_eq!(partition_taken::decode(entry.row.partition, &body), Ok(rows));
            }
            for entry in frame.entries().filter(|entry| entry.kind() == Some(EntryKind::SpanStart)) {
                let Ok(start) = SpanStart::decode(&entry.row, entry.body) else { continue };
                let (row, body) = start.encode();
                assert_eq!(SpanStart::decode(&row, &body), Ok(start));
            }
        }
    }
    let promises = crate::promise::read(&file).promises;
    assert!(promises.len() <= file.len() / crate::entry::ROW_LEN);
    let expect = known(*choice, &file);
    let ends = (choice & 8 != 0).then_some(u64::from(choice >> 4));
    let whole = walk(&file, expect, ends, file.len());
    assert_eq!(whole, walk(&file, expect, ends, 1), "a walk in pieces ends elsewhere");
}

/// What the walk is told: nothing, or what the first block says.
fn known(choice: u8, file: &[u8]) -> Expect {
    match scan(file, &Expect::default()) {
        Found::Frame(frame) if choice & 2 != 0 => Expect {
            block_index: 0,
            salt: (choice & 4 != 0).then_some(frame.header.salt),
            epoch: Some(frame.header.epoch),
            lsn: Some(frame.header.lsn),
            chain: Some(frame.header.chain),
        },
        _ => Expect::default(),
    }
}

fn walk(file: &[u8], expect: Expect, ends: Option<u64>, at_first: usize) -> String {
    let mut walk = Walk::new(expect);
    let mut index = SegmentIndex::default();
    let mut want = at_first;
    loop {
        let at = usize::try_from(walk.position()).unwrap_or(usize::MAX);
        let rest = file.get(at..).unwrap_or_default();
        let piece = &rest[..want.min(rest.len())];
        let before = walk.expect().lsn;
        match walk.step(piece, piece.len() == rest.len()) {
            Step::Need(needed) => {
                assert!(needed > piece.len(), "asks for what it has");
                want = needed;
            }
            Step::Stopped => break,
            Step::Frame(frame) => {
                assert!(before.is_none_or(|lsn| lsn == frame.header.lsn));
                assert_eq!(usize::try_from(u64::from(frame.header.block_index) * block::BLOCK_U64), Ok(at));
                assert_eq!(frame.bytes(), &rest[..frame.bytes().len()]);
                let bodies: usize =
                    frame.entries().map(|entry| entry.body.len() + crate::entry::ROW_LEN).sum();
                assert_eq!(bodies, le::index(frame.header.body_len));
                index.note_frame(&frame);
                want = at_first;
            }
        }
    }
    let behind = walk.expect().block_index;
    for (index, bytes) in (0u32..).zip(file.chunks(BLOCK)).skip(le::index(behind)) {
        walk.look_behind(bytes, index);
    }
    let digest = walk.digest();
    let outcome = walk.finish(ends);
    seal(&mut index, &outcome);
    format!("{outcome:?} {digest:?}")
}

/// The index of any frames makes a footer that reads back.
fn seal(index: &mut SegmentIndex, outcome: &Outcome) {
    let expect = &outcome.expect;
    let footer = index.seal(&SealedAs {
        salt: expect.salt.unwrap_or_default(),
        base_lsn: 0,
        next_lsn: expect.lsn.unwrap_or_default(),
        chain: expect.chain.unwrap_or_default(),
        epoch: expect.epoch.unwrap_or_default(),
        block_index: expect.block_index,
    });
    // Batches in an order that no writer makes give rows that no reader takes.
    if footer.partitions.iter().all(|row| row.first_offset <= row.next_offset) {
        assert_eq!(Footer::decode(&footer.encode()).as_ref(), Ok(&footer));
    }
}

/// Puts the checksums of frames right: of batches, tables and headers.
fn put_right(file: &mut [u8]) {
    for (block_index, at) in (0u32..).zip((0..file.len().saturating_sub(BLOCK - 1)).step_by(BLOCK)) {
        let bytes = &mut file[at..];
        if bytes[..8] != MAGIC {
            continue;
        }
        resum(bytes);
        let expect = Expect { block_index, ..Expect::default() };
        retable(bytes, &expect);
        let batches: Vec<_> = match scan_unverified(bytes, &expect) {
            Found::Frame(frame) => frame
                .entries()
                .filter(|entry| entry.kind() == Some(EntryKind::Batch))
                .map(|entry| entry.at..entry.at + entry.body.len())
                .collect(),
            _ => continue,
        };
        for batch in batches {
            let crc = crc32c::crc32c(&bytes[batch.start + 21..batch.end]);
            le::put(bytes, batch.start + 17, &crc.to_be_bytes());
        }
        retable(bytes, &expect);
    }
}

fn retable(frame: &mut [u8], expect: &Expect) {
    if let Found::DamagedBody(_, Damage::TableCrc { computed, .. }) = scan_unverified(frame, expect) {
        le::put(frame, 80, &computed.to_le_bytes());
        resum(frame);
    }
}

fn resum(header: &mut [u8]) {
    let crc = crc32c::crc32c(&header[12..HEADER_LEN]);
    le::put(header, 8, &crc.to_le_bytes());
}

/// Reads `data` as footer, trailer and superblock, as they are and with checksums put right. Panics only when an
/// invariant is broken.
pub fn fuzz_footer(data: &[u8]) {
    footer(data);
    superblock(data);
    let mut right = data.to_vec();
    if right.len() >= 2 * BLOCK {
        for at in [0, BLOCK] {
            le::put(&mut right, at, &MAGIC);
            resum(&mut right[at..]);
        }
        superblock(&right);
    }
    if right.len() >= BLOCK {
        le::put(&mut right, 0, &MAGIC);
        if let Ok(body_len) = usize::try_from(le::u64_at(&right, 56))
            && let Some(body) = right.get(HEADER_LEN..).and_then(|rest| rest.get(..body_len))
        {
            let crc = crc32c::crc32c(body);
            le::put(&mut right, 72, &crc.to_le_bytes());
        }
        resum(&mut right);
        footer(&right);
    }
}

fn footer(data: &[u8]) {
    if let Some(block) = data.last_chunk::<BLOCK>()
        && let Some(trailer) = Trailer::of_last_block(block, le::u32_at(block, 68))
    {
        let mut out = [0; BLOCK];
        trailer.encode(&mut out);
        assert_eq!(Trailer::of_last_block(&out, trailer.block_index), Some(trailer));
        assert!(trailer.footer_position() <= u64::from(trailer.block_index) * block::BLOCK_U64);
    }
    let Ok(footer) = Footer::decode(data) else { return };
    assert_eq!(Footer::decode(&footer.encode()).as_ref(), Ok(&footer));
    for row in &footer.partitions {
        assert_eq!(footer.partition(row.partition), Some(row));
        let _ = row.position_of(row.first_offset);
    }
    let index = SegmentIndex::behind(&footer);
    assert_eq!(index.len(), footer.partitions.len());
    assert_eq!(index.producers().snapshot(), footer.producers);
}

fn superblock(data: &[u8]) {
    let Ok(found) = Superblock::decode(data) else { return };
    let mut copy = [0; BLOCK];
    found.encode(&mut copy);
    let mut file = vec![0; 2 * BLOCK];
    le::put(&mut file, le::index(found.copy()) * BLOCK, &copy);
    assert_eq!(Superblock::decode(&file), Ok(found));
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The seeds of the fuzzers run as a test: each golden file, each choice.
    #[test]
    fn the_golden_files_break_no_invariant() {
        for entry in std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/vectors")).unwrap() {
            let file = std::fs::read(entry.unwrap().path()).unwrap();
            fuzz_footer(&file);
            fuzz_parts(&file);
            for at in (0..file.len()).step_by(BLOCK) {
                fuzz_footer(&file[at..]);
            }
            for choice in 0..=u8::MAX {
                fuzz_scan(&[&[choice], file.as_slice()].concat());
            }
        }
    }
}
