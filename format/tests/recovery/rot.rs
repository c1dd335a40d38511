//! Rot of a write that had returned, with something later in the file that shows it: always Corrupt, never cut.

use std::ops::Range;

use tidelog_format::BLOCK;
use tidelog_format::verdict::Verdict;

use crate::crashes::{Known, grown};
use crate::samples::earlier_life;
use crate::support::random::{Random, seeds};
use crate::support::walking::walk;
use crate::support::writer::Writer;

const EPOCH: u32 = 9;

/// A frame that evidence stands behind: any when the end block has its mark, else all but the last write's.
fn victim(random: &mut Random, writer: &Writer) -> Option<(u64, Range<usize>)> {
    let mut writes = writer.returned.as_slice();
    if !writer.marked {
        writes = &writes[..writes.len() - 1];
    }
    let frames: Vec<_> = writes.iter().flat_map(|write| &write.frames).collect();
    let frame = frames.get(random.below(frames.len().max(1)))?;
    Some((frame.lsn, frame.at..frame.at + frame.content.len()))
}

/// Damages the range in one of the ways in which disks do. `old` is what stood in the file before.
fn damage(random: &mut Random, file: &mut [u8], range: &Range<usize>, old: &[u8]) {
    let at = range.start + random.below(range.len());
    let sector = (at / 512 * 512).max(range.start)..(at / 512 * 512 + 512).min(range.end);
    let block = (at / BLOCK * BLOCK).max(range.start)..(at / BLOCK * BLOCK + BLOCK).min(range.end);
    match random.below(7) {
        0 => file[at] ^= 1 << random.below(8),
        1 => {
            for _ in 0..1 + random.below(9) {
                file[range.start + random.below(range.len())] ^= 1 << random.below(8);
            }
        }
        2 => file[sector].fill(0),
        3 => file[block].fill(0),
        // A write that the disk lost: what stood there before.
        4 => copy_from(file, old, block),
        5 => copy_from(file, old, range.clone()),
        // Another block of the file, written to the wrong place.
        _ => {
            let whole = at / BLOCK * BLOCK;
            let from = random.below(file.len() / BLOCK) * BLOCK;
            file.copy_within(from..from + BLOCK, whole);
        }
    }
}

fn copy_from(file: &mut [u8], old: &[u8], range: Range<usize>) {
    for at in range {
        file[at] = old.get(at).copied().unwrap_or_default();
    }
}

/// Sometimes only a later frame is left to say that `lsn` was durable, sometimes only what ends the segment.
fn leave_one_witness(random: &mut Random, file: &mut [u8], writer: &Writer, lsn: u64) {
    match random.below(3) {
        0 => file[writer.block * BLOCK + random.below(128)] ^= 1,
        1 => {
            for frame in writer.frames().iter().filter(|frame| frame.lsn > lsn) {
                file[frame.at + random.below(128)] ^= 1;
            }
        }
        _ => {}
    }
}

#[test]
fn rot_of_a_returned_write_with_later_evidence_is_always_corrupt() {
    let mut rotten = 0;
    for seed in seeds(1500) {
        let mut random = Random::new(seed);
        let known = Known::any(&mut random);
        let old = earlier_life(24, known.earlier_epoch(EPOCH), seed);
        let mut writer = grown(&mut random, old.clone(), EPOCH, 2);
        if random.one_in(4) {
            writer.seal();
            writer.marked = true;
        }
        let Some((lsn, range)) = victim(&mut random, &writer) else { continue };
        let mut file = writer.file.clone();
        damage(&mut random, &mut file, &range, &old);
        if file[range.clone()] == writer.file[range] {
            continue;
        }
        rotten += 1;
        if lsn < writer.returned.last().unwrap().first_lsn {
            leave_one_witness(&mut random, &mut file, &writer, lsn);
        }
        let walked = walk(&file, known.expect(&writer), None);
        let what = format!("seed {seed}, {known:?}, frame {lsn}: {:?}", walked.outcome);
        assert_eq!(walked.outcome.verdict, Verdict::Corrupt, "{what}");
        let before: Vec<_> = writer.frames().into_iter().filter(|frame| frame.lsn < lsn).collect();
        assert_eq!(walked.frames, before, "{what}");
    }
    assert!(rotten > 1000, "only {rotten} of 1500 seeds or more damaged anything");
}

#[test]
fn a_last_write_that_the_disk_lost_in_part_is_not_called_a_proved_end() {
    let mut writer = grown(&mut Random::new(4), vec![0; 30 * BLOCK], EPOCH, 3);
    let before = writer.file.clone();
    let first = writer.block * BLOCK..(writer.block + 1) * BLOCK;
    writer.write(&crate::crashes::entries(&mut Random::new(5), 4000));
    writer.file[first.clone()].copy_from_slice(&before[first]);
    let verdict = walk(&writer.file, writer.expect(), None).outcome.verdict;
    assert_eq!(verdict, Verdict::Torn, "the old end block says nothing about a write that was begun");
}
