//! Segments that do not follow each other.

use crate::place::{CLUSTER, Place, Shard, problems, run};
use crate::support::batches::{batch, control, created};

#[test]
fn a_missing_segment_is_named_with_its_lsns() {
    let place = Place::clean();
    std::fs::remove_file(place.segment(1, 2)).unwrap();
    let (code, found) = problems(place.path());
    assert_eq!((code, found.len()), (5, 1), "{found:?}");
    assert_eq!(found[0]["subject"], "missing-segment");
    assert!(found[0]["text"].as_str().unwrap().contains("segment 2 before this one is missing"));
    assert_eq!((&found[0]["first_lsn"], &found[0]["last_lsn"]), (&4.into(), &6.into()), "{found:?}");
}

/// Five segments of a partition, an offset each; the last footer says that offsets below `start` are unwanted.
pub(crate) fn five(start: u64) -> Place {
    let place = Place::new();
    let mut shard = Shard::new(1);
    shard.writer.write(&[created(7, "m/0"), batch(7, 0, 1000, &[b"x"])]);
    for offset in 1..5 {
        shard.roll();
        shard.writer.write(&[batch(7, offset, 1000, &[b"x"])]);
        if offset == 3 {
            shard.writer.write(&[control(5, 7, start, b"")]);
        }
    }
    shard.finish(&place);
    place
}

#[test]
fn segments_that_retention_gave_back_are_not_missed_from_the_front_or_from_the_middle() {
    for gone in [&[1][..], &[1, 2], &[2], &[2, 3], &[1, 3]] {
        let place = five(3);
        for number in gone {
            std::fs::remove_file(place.segment(1, *number)).unwrap();
        }
        assert_eq!(problems(&place.shard(1)), (0, Vec::new()), "{gone:?}");
        for command in ["dump", "stat"] {
            assert_eq!(run(&[command], &place.shard(1)).code, 0);
        }
    }
}

#[test]
fn missing_segments_with_wanted_records_are_named_with_the_offsets() {
    for (gone, offsets) in [
        (&[1][..], "offsets 0..1"),
        (&[2], "offsets 1..2"),
        (&[1, 3], "offsets 2..3"),
        (&[2, 3], "offsets 1..3"),
    ] {
        let start = if gone == [1, 3] { 1 } else { 0 };
        let place = five(start);
        for number in gone {
            std::fs::remove_file(place.segment(1, *number)).unwrap();
        }
        let (code, found) = problems(&place.shard(1));
        assert_eq!((code, found.len()), (5, 1), "{gone:?}: {found:?}");
        assert_eq!(found[0]["subject"], "missing-segment");
        let text = found[0]["text"].as_str().unwrap();
        assert!(text.contains("partition 7") && text.contains(offsets), "{gone:?}: {text}");
    }
}

#[test]
fn metadata_may_only_be_missing_behind_a_snapshot() {
    for (kind, code) in [(8, 5), (9, 0)] {
        let place = Place::new();
        let mut shard = Shard::new(0);
        shard.writer.write(&[control(8, 0, 0, b"{}")]);
        shard.roll();
        shard.writer.write(&[control(kind, 0, 0, b"{}"), control(8, 0, 0, b"{}")]);
        shard.finish(&place);
        assert_eq!(problems(&place.shard(0)).0, 0);
        std::fs::remove_file(place.segment(0, 1)).unwrap();
        assert_eq!(problems(&place.shard(0)).0, code, "kind {kind}");
    }
}

#[test]
fn a_segment_of_another_history_breaks_the_chain() {
    let place = Place::clean();
    let other = Place::new();
    let mut shard = Shard::new(1);
    shard.writer.write(&[created(7, "metrics/0"), batch(7, 0, 1000, &[b"other", b"history"])]);
    shard.writer.write(&[batch(7, 2, 2000, &[b"x"])]);
    shard.roll();
    shard.finish(&other);
    std::fs::copy(other.segment(1, 1), place.segment(1, 1)).unwrap();
    let (code, found) = problems(place.path());
    assert_eq!(code, 5);
    assert_eq!(
        (found[0]["subject"].as_str(), found[0]["file"].as_str()),
        (Some("chain"), place.segment(1, 2).to_str()),
        "{found:?}"
    );
}

#[test]
fn a_segment_that_was_rolled_back_is_told_by_its_successor() {
    let place = Place::clean();
    // Segment 1 as it was after its first write: a good end, but not the one that segment 2 names.
    let mut shard = Shard::new(1);
    shard.writer.write(&[created(7, "metrics/0"), batch(7, 0, 1000, &[b"a", b"b"])]);
    std::fs::write(place.segment(1, 1), &shard.writer.file).unwrap();
    let (code, found) = problems(place.path());
    assert_eq!(code, 5, "{found:?}");
    let finding = found.iter().find(|finding| finding["subject"] == "frame").unwrap();
    assert_eq!((&finding["first_lsn"], &finding["last_lsn"]), (&3.into(), &3.into()), "{finding}");
    assert!(finding["text"].as_str().unwrap().contains("an end block stands here"), "{finding}");
}

#[test]
fn a_file_in_the_wrong_place_is_told_from_damage() {
    let place = Place::clean();
    std::fs::copy(place.segment(0, 1), place.segment(1, 1)).unwrap();
    let (code, found) = problems(place.path());
    assert_eq!(code, 5);
    assert!(found.iter().any(|finding| finding["text"] == "it is a segment of shard 0"), "{found:?}");

    let place = Place::clean();
    std::fs::rename(place.segment(1, 3), place.segment(1, 9)).unwrap();
    let (code, found) = problems(place.path());
    assert_eq!(code, 5);
    assert!(
        found[0]["text"].as_str().unwrap().contains("name says segment 9, its opening frame 3"),
        "{found:?}"
    );
}

#[test]
fn a_segment_of_another_cluster_is_refused() {
    let place = Place::clean();
    place.edit(&place.path().join("superblock"), |bytes| {
        for copy in 0..2 {
            let block = &mut bytes[copy * 4096..(copy + 1) * 4096];
            block[32..48].copy_from_slice(&[0xC2; 16]);
            let crc = crc32c::crc32c(&block[12..128]);
            block[8..12].copy_from_slice(&crc.to_le_bytes());
        }
    });
    let (code, found) = problems(place.path());
    assert_eq!(code, 5);
    assert!(found.iter().all(|finding| finding["subject"] == "identity"), "{CLUSTER:?} {found:?}");
}

#[test]
fn a_lost_metadata_shard_is_told() {
    let place = Place::clean();
    std::fs::remove_dir_all(place.shard(0)).unwrap();
    let (code, found) = problems(place.path());
    assert_eq!((code, found[0]["subject"].as_str()), (5, Some("missing-file")), "{found:?}");
}

#[test]
fn offsets_that_skip_are_found() {
    let place = Place::new();
    let mut shard = Shard::new(1);
    shard.writer.write(&[created(7, "m/0"), batch(7, 0, 1000, &[b"x"])]);
    shard.writer.write(&[batch(7, 3, 1000, &[b"x"])]);
    shard.finish(&place);
    let (code, found) = problems(&place.shard(1));
    assert_eq!((code, found[0]["subject"].as_str()), (5, Some("offsets")), "{found:?}");
    assert!(found[0]["text"].as_str().unwrap().contains("partition 7 goes on with offset 3, must be 1"));
}
