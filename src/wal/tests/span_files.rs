//! A span's files as others get them: frames by their LSN, sealed files piece by piece, and what is made of them there.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may be blunt, its helpers too")]

mod support;

use std::path::{Path, PathBuf};

use support::spans::*;
use support::*;
use tidelog_format::block::BLOCK;
use tidelog_format::name;
use tidelog_io::sim::{Kind, Sim, block_on_sim};
use tidelog_io::{Fault, IoError};
use tidelog_wal::{
    Copied, CopyFiles, IntactFrames, ReadyFrame, SealedFile, SealedFiles, ShardSpec, SpanEnd, SpanFiles,
    epochs_in, put_span_aside,
};

fn dir() -> PathBuf {
    spec(1).dir
}

/// A span with several segments whose last one is open, and its frames.
fn open_span() -> (Sim, Vec<ReadyFrame>) {
    let sim = Sim::new(1);
    let sent = lead(&sim, 1, FIRST, false, records);
    let frames = sent.all().into_iter().flatten().collect();
    (sim, frames)
}

/// The same, sealed.
fn sealed_span() -> (Sim, Vec<ReadyFrame>) {
    let (sim, frames) = open_span();
    end(&sim, 1, FIRST, end_of(&frames)).unwrap();
    (sim, frames)
}

fn end_of(frames: &[ReadyFrame]) -> SpanEnd {
    let last = frames.last().unwrap();
    SpanEnd { lsn: last.header.lsn + 1, chain: last.next_chain }
}

fn at(frame: &ReadyFrame) -> SpanEnd {
    SpanEnd { lsn: frame.header.lsn, chain: frame.header.chain }
}

fn lsns(frames: &[ReadyFrame]) -> Vec<u64> {
    frames.iter().map(|frame| frame.header.lsn).collect()
}

fn with_files<T>(sim: &Sim, body: impl AsyncFnOnce(&mut SpanFiles<Sim>) -> T) -> T {
    block_on_sim(sim, async |disk| body(&mut SpanFiles::new(disk, dir(), 1)).await).unwrap()
}

fn listed(sim: &Sim) -> SealedFiles {
    with_files(sim, async |files| files.sealed().await.unwrap())
}

/// The file and the position of a frame.
fn place_of(sim: &Sim, frame: &ReadyFrame) -> (PathBuf, u64) {
    let position = frame.header.block_index as usize * BLOCK;
    let here = |bytes: &[u8]| bytes.get(position..position + frame.bytes.len()) == Some(&frame.bytes[..]);
    let file = segments(sim, 1).into_iter().find(|(_, bytes)| here(bytes)).unwrap().0;
    (file, position as u64)
}

fn spoil(sim: &Sim, frame: &ReadyFrame) {
    let (file, position) = place_of(sim, frame);
    sim.flip_bit(file, position + 130, 3).unwrap();
}

#[test]
fn frames_of_any_range_come_back_as_their_leader_has_made_them() {
    for (sim, all) in [open_span(), sealed_span()] {
        let (first, behind) = (all[0].header.lsn, end_of(&all).lsn);
        with_files(&sim, async |files| {
            for (from, to) in
                [(first, behind), (first + 7, first + 9), (behind - 1, behind), (first, first + 1)]
            {
                let found = files.frames(from, to, usize::MAX).await.unwrap();
                let wanted: Vec<u64> = (from..to).collect();
                assert_eq!((lsns(&found.frames), found.to, found.breaks_at), (wanted, to, None));
                for frame in &found.frames {
                    let there = &all[usize::try_from(frame.header.lsn - first).unwrap()];
                    assert!(frame.header == there.header && frame.bytes == there.bytes);
                    assert_eq!(frame.next_chain, there.next_chain);
                }
            }
        });
    }
}

#[test]
fn bytes_that_rotted_where_no_checksum_is_do_not_come_to_others() {
    let (sim, all) = sealed_span();
    let (file, position) = place_of(&sim, &all[3]);
    sim.flip_bit(&file, position + all[3].bytes.len() as u64 - 5, 3).unwrap();
    with_files(&sim, async |files| {
        let found = files.frames(all[3].header.lsn, all[4].header.lsn, usize::MAX).await.unwrap();
        assert!(found.frames[0].bytes == all[3].bytes);
    });
}

#[test]
fn a_range_is_read_in_bounded_pieces_that_go_on_where_the_one_before_ended() {
    let (sim, all) = open_span();
    with_files(&sim, async |files| {
        let (mut from, to) = (all[0].header.lsn, end_of(&all).lsn);
        let mut pieces = 0;
        while from < to {
            let IntactFrames { frames, to: reached, breaks_at, .. } =
                files.frames(from, to, 50_000).await.unwrap();
            let bytes: usize = frames.iter().map(|frame| frame.bytes.len()).sum();
            assert!(bytes <= 50_000 && breaks_at.is_none());
            assert_eq!(lsns(&frames), (from..reached).collect::<Vec<_>>());
            (from, pieces) = (reached, pieces + 1);
        }
        assert!(pieces > 5, "{pieces}");
        let least = files.frames(all[3].header.lsn, to, 1).await.unwrap();
        assert_eq!(lsns(&least.frames), [all[3].header.lsn], "one frame always fits");
    });
}

#[test]
fn what_is_damaged_is_left_out_and_what_is_intact_behind_it_is_found() {
    let opens = |frame: &&ReadyFrame| frame.header.block_index == 0;
    for sealed in [false, true] {
        let (sim, all) = if sealed { sealed_span() } else { open_span() };
        let second_opening = all.iter().filter(opens).nth(1).unwrap().header.lsn;
        let mut damaged = [3, 4, 9, second_opening, end_of(&all).lsn - 2];
        damaged.sort_unstable();
        for frame in all.iter().filter(|frame| damaged.contains(&frame.header.lsn)) {
            spoil(&sim, frame);
        }
        let wanted = |from: u64, to: u64| (from..to).filter(|lsn| !damaged.contains(lsn)).collect::<Vec<_>>();
        with_files(&sim, async |files| {
            let end = end_of(&all).lsn;
            for (from, to) in
                [(1, end), (1, 3), (3, 5), (4, 10), (second_opening, end), (second_opening + 1, end)]
            {
                let found = files.frames(from, to, usize::MAX).await.unwrap();
                assert_eq!(lsns(&found.frames), wanted(from, to), "{from} to {to}");
            }
            let whole = files.frames(1, end, usize::MAX).await.unwrap();
            assert_eq!(whole.breaks_at, Some(at(&all[2])), "behind the last frame before the first damage");
            assert_eq!(files.reach(1).await.unwrap().reach, end);
        });
    }
}

#[test]
fn nothing_is_given_that_is_not_of_the_span() {
    let (sim, all) = sealed_span();
    let base = end_of(&all);
    lead(&sim, 2, base, true, async |wal| {
        wal.append(1, batch(&["later".to_owned()])).await.unwrap();
    });
    with_files(&sim, async |files| {
        assert!(files.frames(base.lsn, base.lsn + 9, usize::MAX).await.unwrap().frames.is_empty());
        assert_eq!(files.sealed().await.unwrap().whole, Some((1, base)));
    });
    let epochs = block_on_sim(&sim, async |disk| epochs_in(&disk, &dir()).await.unwrap()).unwrap();
    assert_eq!(epochs, [1, 2]);
}

#[test]
fn a_span_is_whole_when_each_of_its_files_is_sealed_and_follows_the_one_before() {
    let (sim, all) = open_span();
    assert_eq!(listed(&sim).whole, None, "the last one is open");
    end(&sim, 1, FIRST, end_of(&all)).unwrap();
    let found = listed(&sim);
    assert_eq!(found.whole, Some((1, end_of(&all))));
    assert_eq!(found.files.len(), segments(&sim, 1).len());
    for (file, (_, bytes)) in found.files.iter().zip(segments(&sim, 1)) {
        assert_eq!(file.len, bytes.len() as u64);
    }
    let second = dir().join(name::segment(1, found.files[1].number));
    block_on_sim(&sim, async |disk| tidelog_io::Disk::remove(&disk, &second).await.unwrap()).unwrap();
    assert_eq!(listed(&sim).whole, None, "one is missing");
}

fn copy_spec() -> ShardSpec {
    spec(1)
}

/// Fetches what is lacking of the span's files, piece by piece, verifies and adopts.
async fn copy(disk: Sim, from: &Sim, files: &[SealedFile], piece: usize) -> Result<Copied, IoError> {
    let (mut copy, found) = CopyFiles::open(disk, copy_spec(), base_of(1, FIRST)).await?;
    for file in files {
        let bytes = from.read_file(dir().join(name::segment(1, file.number))).unwrap();
        let there = found.iter().find(|(listed, _)| listed == file).map_or(0, |(_, len)| *len);
        let mut at = there;
        while at < file.len {
            let len = piece.min(bytes.len() - at as usize);
            copy.store(*file, at, &bytes[at as usize..at as usize + len]).await?;
            at += len as u64;
        }
    }
    let copied = copy.verify().await?;
    if copied.end.is_some() {
        let adopted = copy.adopt().await?;
        assert_eq!(adopted, copied.files);
    } else {
        // What a crash left of unsynced bytes may be anything: it is fetched again.
        copy.discard().await?;
    }
    Ok(copied)
}

fn names_aside(sim: &Sim) -> Vec<PathBuf> {
    sim.files().into_iter().filter(|file| file.starts_with(dir().join(name::COPIES))).collect()
}

#[test]
fn a_sealed_span_is_copied_to_an_empty_disk() {
    let (from, all) = sealed_span();
    let files = listed(&from).files;
    let to = Sim::new(2);
    let copied = block_on_sim(&to, async |disk| copy(disk, &from, &files, 40_960).await.unwrap()).unwrap();
    assert_eq!(copied, Copied { end: Some(end_of(&all)), files });
    let to = to.crash(3);
    assert!(segments(&to, 1) == segments(&from, 1));
    assert_eq!(names_aside(&to), Vec::<PathBuf>::new());
}

#[test]
fn pieces_of_a_sealed_file_are_whole_blocks_up_to_its_end() {
    let (sim, _) = sealed_span();
    with_files(&sim, async |files| {
        let file = files.sealed().await.unwrap().files[0];
        let bytes = sim.read_file(dir().join(name::segment(1, file.number))).unwrap();
        let whole = files.piece(file.number, 0, 1 << 20).await.unwrap().unwrap();
        assert!(whole == bytes);
        let part = files.piece(file.number, 8192, 5000).await.unwrap().unwrap();
        assert!(part == bytes[8192..16384]);
        assert_eq!(files.piece(file.number, file.len, 4096).await.unwrap(), None);
        assert_eq!(files.piece(77, 0, 4096).await.unwrap(), None);
    });
}

#[test]
fn a_copy_that_a_crash_stops_anywhere_goes_on_and_comes_out_the_same() {
    let (from, all) = sealed_span();
    let files = listed(&from).files;
    for seed in 0..if cfg!(debug_assertions) { 60 } else { 200 } {
        // There is a damaged copy already, or the beginning of one.
        let mut sim = if seed % 2 == 0 { sealed_span().0 } else { open_span().0 };
        spoil(&sim, &all[4]);
        if seed % 2 == 1 {
            block_on_sim(&sim, async |disk| put_span_aside(&disk, &copy_spec()).await.unwrap()).unwrap();
        }
        let mut done = false;
        for life in 0..12 {
            if life < 11 {
                sim.fail_nth(1 + (seed * 7 + life * 13) % 90, Fault::Io);
            } else {
                sim.clear_faults();
            }
            let copied = block_on_sim(&sim, async |disk| copy(disk, &from, &files, 65_536).await).unwrap();
            done = copied.is_ok_and(|copied| copied.end.is_some());
            sim = sim.crash(seed * 100 + life);
            sim.clear_faults();
            if done {
                break;
            }
        }
        assert!(done, "seed {seed}");
        assert!(segments(&sim, 1) == segments(&from, 1), "seed {seed}");
    }
}

#[test]
fn a_copy_with_anything_wrong_in_it_is_not_the_span() {
    let (from, _) = sealed_span();
    let files = listed(&from).files;
    let lens: Vec<u64> = files.iter().map(|file| file.len).collect();
    for spoiled in 0..files.len() {
        for byte in [140, lens[spoiled] - 100, lens[spoiled] - 4096 - 4000] {
            let bad = sealed_span().0;
            let path = dir().join(name::segment(1, files[spoiled].number));
            bad.flip_bit(&path, byte, 1).unwrap();
            let to = Sim::new(2);
            let copied =
                block_on_sim(&to, async |disk| copy(disk, &bad, &files, 1 << 20).await.unwrap()).unwrap();
            assert_eq!(copied.end, None, "file {spoiled}, byte {byte}");
            assert!(segments(&to, 1).is_empty());
        }
    }
    let short = &files[..files.len() - 1];
    let to = Sim::new(2);
    let copied = block_on_sim(&to, async |disk| copy(disk, &from, short, 1 << 20).await.unwrap()).unwrap();
    assert_ne!(copied.end, listed(&from).whole.map(|(_, end)| end), "it ends earlier, and says so");
    let gap = [&files[..1], &files[2..]].concat();
    let to = Sim::new(2);
    let copied = block_on_sim(&to, async |disk| copy(disk, &from, &gap, 1 << 20).await.unwrap()).unwrap();
    assert_eq!(copied.end, None, "a file is missing");
}

#[test]
fn a_span_that_is_put_together_from_frames_has_the_same_files() {
    let (from, all) = sealed_span();
    let to = Sim::new(2);
    let copied = block_on_sim(&to, async |disk| {
        let (mut copy, _) = CopyFiles::open(disk, copy_spec(), base_of(1, FIRST)).await.unwrap();
        copy.mend(&all[..9]).await.unwrap();
        // Begun anew.
        for frames in all.chunks(5) {
            copy.mend(frames).await.unwrap();
        }
        copy.finish().await.unwrap();
        let copied = copy.verify().await.unwrap();
        copy.adopt().await.unwrap();
        copied
    });
    assert_eq!(copied.unwrap().end, Some(end_of(&all)));
    assert!(segments(&to, 1) == segments(&from, 1));
}

#[test]
fn a_sealed_segment_that_rotted_is_kept_for_people_and_readers_find_the_copy_that_came() {
    let (from, all) = sealed_span();
    let base = end_of(&all);
    let files = listed(&from).files;
    let (here, _) = sealed_span();
    // The first frame with a record of the first partition that is wanted: behind those that made the partitions.
    spoil(&here, &all[10]);
    follow(&here, 2, base, async |wal, _, _| {
        let failed = wal.read(1, 7, 1 << 20).await;
        assert!(failed.is_err(), "{failed:?}");
        let copied = copy(here.clone(), &from, &files, 1 << 20).await.unwrap();
        wal.adopt(1, &copied.files);
        assert_eq!(read_all(&wal, 1, 7).await.len(), 53);
    });
    let kept = |file: &&PathBuf| file.starts_with(Path::new("/data/lost+found"));
    let kept: Vec<PathBuf> = here.files().iter().filter(kept).cloned().collect();
    assert_eq!(kept.len(), files.len(), "{kept:?}");
    assert!(segments(&here, 1) == segments(&from, 1));
}

#[test]
fn a_failing_disk_is_told_and_nothing_in_place_is_touched() {
    let (from, _) = sealed_span();
    let files = listed(&from).files;
    let to = sealed_span().0;
    to.fail_from(Kind::Write, 1, Fault::Full);
    let copied = block_on_sim(&to, async |disk| copy(disk, &from, &files, 1 << 20).await).unwrap();
    assert_eq!(copied.unwrap_err().kind(), Fault::Full);
    assert!(segments(&to, 1) == segments(&from, 1));
}
