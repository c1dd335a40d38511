//! Every bit of a segment flipped, every length cut: detected or harmless, nothing served wrong.

use tidelog_format::BLOCK;
use tidelog_format::footer::Footer;
use tidelog_format::scan::Expect;
use tidelog_format::trailer::{Digest, Trailer};
use tidelog_format::verdict::{Grade, Verdict};

use crate::samples;
use crate::support::walking::{Walked, walk, walk_in_pieces};
use crate::support::writer::Writer;

/// The frame whose content holds this byte.
fn owner(writer: &Writer, byte: usize) -> Option<u64> {
    let frames = writer.frames();
    frames
        .iter()
        .find(|frame| (frame.at..frame.at + frame.content.len()).contains(&byte))
        .map(|frame| frame.lsn)
}

fn last_write_begins(writer: &Writer) -> u64 {
    writer.returned.last().unwrap().first_lsn
}

/// The walk gave out the frames below `end` and no other, each as it was written.
fn assert_frames_below(writer: &Writer, walked: &Walked, end: u64, what: &str) {
    let wanted: Vec<_> = writer.frames().into_iter().filter(|frame| frame.lsn < end).collect();
    assert_eq!(walked.frames, wanted, "{what}");
    assert_eq!(walked.outcome.expect.lsn, Some(end), "{what}");
}

/// Flips every bit from block `from` on. `proved` says that the whole segment was known durable when it was written.
fn flip_every_bit(writer: &Writer, from: usize, proved: bool) {
    let mut file = writer.file.clone();
    let expect = writer.expect();
    for byte in from * BLOCK..file.len() {
        let lsn = owner(writer, byte);
        for bit in 0..8 {
            file[byte] ^= 1 << bit;
            let walked = walk(&file, expect, None);
            let what = format!("byte {byte} bit {bit}: {:?}", walked.outcome);
            match lsn {
                Some(lsn) => {
                    // A frame that can't be read is not stepped over.
                    assert_frames_below(writer, &walked, lsn, &what);
                    let durable = proved || lsn < last_write_begins(writer);
                    let allowed = match walked.outcome.verdict {
                        Verdict::Corrupt => true,
                        Verdict::Torn | Verdict::End(Grade::Weak) => !durable,
                        _ => false,
                    };
                    assert!(allowed, "{what}");
                }
                None => {
                    assert_frames_below(writer, &walked, writer.lsn, &what);
                    assert!(matches!(walked.outcome.verdict, Verdict::End(_)), "{what}");
                }
            }
            file[byte] ^= 1 << bit;
        }
    }
}

#[test]
fn every_flipped_bit_of_a_sealed_segment_is_detected_or_harmless() {
    flip_every_bit(&samples::sealed(), 0, true);
}

#[test]
fn every_flipped_bit_of_an_open_segment_is_detected_or_harmless() {
    flip_every_bit(&samples::open(), 0, false);
}

#[test]
fn every_flipped_bit_of_a_segment_with_a_sync_mark_is_detected_or_harmless() {
    let writer = samples::marked();
    // What is before the last write is as in the segment without the mark.
    let last = writer.returned.last().unwrap().frames[0].at / BLOCK;
    flip_every_bit(&writer, last, true);
}

#[test]
fn every_flipped_bit_of_a_recycled_segment_is_detected_or_harmless() {
    flip_every_bit(&samples::recycled(), 0, false);
}

#[test]
fn every_flipped_bit_of_footer_and_trailer_is_seen_by_the_one_or_the_other() {
    let writer = samples::sealed();
    let footer_at = writer.block * BLOCK;
    let trailer_at = writer.file.len() - BLOCK;
    let footer = Footer::decode(&writer.file[footer_at..trailer_at]).unwrap();
    let positions: usize = footer.partitions.iter().map(|row| row.positions.len()).sum();
    let body_end = footer_at + 128 + footer.partitions.len() * 64 + positions * 24;
    for byte in footer_at..writer.file.len() {
        for bit in 0..8 {
            let mut file = writer.file.clone();
            file[byte] ^= 1 << bit;
            let found = Footer::decode(&file[footer_at..trailer_at]);
            let block = u32::try_from(trailer_at / BLOCK).unwrap();
            let trailer = Trailer::of_last_block(file[trailer_at..].try_into().unwrap(), block);
            if byte >= trailer_at {
                assert!(trailer.is_none(), "byte {byte} bit {bit} of the trailer");
            } else if byte < body_end {
                assert!(found.is_err(), "byte {byte} bit {bit} of the footer");
            } else {
                assert_eq!(found.as_ref(), Ok(&footer), "byte {byte} bit {bit} of the footer's padding");
            }
        }
    }
}

#[test]
fn every_flipped_bit_of_the_frames_changes_the_digest_of_a_sealed_segment() {
    let writer = samples::sealed();
    let trailer_at = writer.file.len() - BLOCK;
    let block = u32::try_from(trailer_at / BLOCK).unwrap();
    let trailer = Trailer::of_last_block(writer.file[trailer_at..].try_into().unwrap(), block).unwrap();
    let end = usize::try_from(trailer.footer_position()).unwrap();
    assert_eq!(end, writer.block * BLOCK);
    let mut frames = writer.file[..end].to_vec();
    assert_eq!(walk(&writer.file, writer.expect(), None).digest, trailer.digest);
    for byte in 0..frames.len() {
        frames[byte] ^= 0x10;
        let mut digest = Digest::default();
        digest.update(&frames);
        assert_ne!(digest.value(), trailer.digest, "byte {byte}");
        frames[byte] ^= 0x10;
    }
}

fn cut_everywhere(writer: &Writer, expect: Expect) {
    for len in 0..writer.file.len() {
        let walked = walk(&writer.file[..len], expect, None);
        let whole = writer
            .frames()
            .iter()
            .filter(|frame| frame.at + frame.content.len().next_multiple_of(BLOCK) <= len)
            .count();
        let end = writer.base_lsn + u64::try_from(whole).unwrap();
        let what = format!("cut at {len}: {:?}", walked.outcome);
        assert_eq!(walked.frames, writer.frames()[..whole], "{what}");
        // Nothing in the file can say what the cut took away ...
        assert!(matches!(walked.outcome.verdict, Verdict::End(_)), "{what}");
        // ... but who knows the segment's end sees the hole.
        let told = walk(&writer.file[..len], expect, Some(writer.lsn)).outcome.verdict;
        if end < writer.lsn {
            assert_ne!(walked.outcome.verdict, Verdict::End(Grade::Proved), "{what}");
            assert_eq!(told, Verdict::Corrupt, "{what}");
        } else {
            assert_eq!(told, Verdict::End(Grade::Proved), "{what}");
        }
    }
}

#[test]
fn every_cut_of_a_sealed_segment_leaves_whole_frames_and_no_proof() {
    let writer = samples::sealed();
    cut_everywhere(&writer, writer.expect());
}

#[test]
fn every_cut_of_an_open_segment_leaves_whole_frames_and_no_proof() {
    let writer = samples::open();
    cut_everywhere(&writer, writer.expect());
}

#[test]
fn every_cut_of_a_recycled_segment_leaves_whole_frames_and_no_proof() {
    let writer = samples::recycled();
    cut_everywhere(&writer, writer.expect());
}

#[test]
fn a_walk_in_pieces_finds_what_a_walk_over_the_whole_file_finds() {
    for writer in [samples::open(), samples::sealed(), samples::recycled()] {
        for byte in (0..writer.file.len()).step_by(97) {
            let mut file = writer.file.clone();
            file[byte] ^= 4;
            let (whole, pieces) =
                (walk(&file, writer.expect(), None), walk_in_pieces(&file, writer.expect(), None));
            assert_eq!(whole.frames, pieces.frames);
            assert_eq!(format!("{:?}", whole.outcome), format!("{:?}", pieces.outcome));
        }
    }
}
