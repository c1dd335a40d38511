//! Files without a frame of their own segment: those that wait for their turn, and those that stand in another's place.

use std::path::Path;

use tidelog_format::opening::Opening;

use crate::place::{CLUSTER, EPOCH, Place, SEGMENT_BYTES, problems};
use crate::support::batches::{batch, created};
use crate::support::writer::Writer;

/// A segment of shard 1 that is in none of the directories here.
fn segment(shard: u64, epoch: u32, number: u64, salt: u8) -> Vec<u8> {
    let opening = Opening::new(CLUSTER, shard, number, SEGMENT_BYTES);
    let mut writer = Writer::new(vec![0; 65536], opening, [salt; 16], epoch, 1);
    writer.write(&[created(7, "metrics/0"), batch(7, 0, 1000, &[b"a"])]);
    writer.file
}

/// What is said of the shard's folder, in one text, when one file holds this.
fn said(place: &Place, file: &Path, content: &[u8]) -> (i32, String) {
    std::fs::write(file, content).unwrap();
    let (code, found) = problems(&place.shard(1));
    (code, found.iter().map(|finding| finding["text"].to_string()).collect())
}

#[test]
fn a_file_that_waits_for_its_turn_is_no_problem_whatever_it_holds_of_earlier_segments() {
    let place = Place::clean();
    let next = place.segment(1, 4);
    for content in [segment(1, EPOCH - 1, 1, 1), segment(1, EPOCH - 1, 9, 1), Vec::new(), vec![0; 65536]] {
        assert_eq!(said(&place, &next, &content), (0, String::new()));
    }
}

#[test]
fn a_segment_of_another_shard_in_a_waiting_or_in_the_newest_files_place_is_named() {
    for number in [3, 4] {
        for (epoch, of) in [(EPOCH, 2), (EPOCH, 9), (EPOCH - 1, 2), (EPOCH + 1, 3)] {
            let place = Place::clean();
            let (code, said) = said(&place, &place.segment(1, number), &segment(2, epoch, of, 1));
            assert_eq!(code, 5, "{number}: segment {of} of epoch {epoch}");
            assert!(said.contains("it is a segment of shard 2"), "{said}");
        }
    }
}

#[test]
fn a_copy_of_a_segment_that_has_a_file_of_its_own_is_named() {
    let place = Place::clean();
    let older = std::fs::read(place.segment(1, 2)).unwrap();
    let (code, text) = said(&place, &place.segment(1, 3), &older);
    assert_eq!(code, 5);
    assert!(text.contains("it holds segment 2 of epoch 3, which has a file of its own"), "{text}");
    // Without the other one a segment is missing, and that is told.
    std::fs::remove_file(place.segment(1, 2)).unwrap();
    assert_eq!(problems(&place.shard(1)).0, 5);
}

#[test]
fn a_later_segment_and_one_with_another_salt_than_was_announced_are_named() {
    for (epoch, number, what) in [
        (EPOCH + 1, 4, "it holds segment 4 of epoch 4"),
        (EPOCH, 4, "it holds segment 4 of epoch 3"),
        (EPOCH, 3, "it holds segment 3 of epoch 3, which does not follow"),
    ] {
        let place = Place::clean();
        let (code, said) = said(&place, &place.segment(1, 3), &segment(1, epoch, number, 1));
        assert_eq!(code, 5, "{what}");
        assert!(said.contains(what), "{said}");
    }
}

#[test]
fn two_segments_that_were_exchanged_are_named() {
    for other in [1, 2] {
        let place = Place::clean();
        let (newest, older) = (place.segment(1, 3), place.segment(1, other));
        let (one, two) = (std::fs::read(&newest).unwrap(), std::fs::read(&older).unwrap());
        std::fs::write(&newest, two).unwrap();
        std::fs::write(&older, one).unwrap();
        let (code, found) = problems(place.path());
        assert_eq!(code, 5);
        assert!(found.iter().any(|finding| finding["subject"] == "identity"), "{found:?}");
    }
}

#[test]
fn a_shard_that_begins_with_a_later_file_has_lost_those_before_where_none_is_sealed() {
    let place = Place::clean();
    // What they hold is not wanted by anything that is left; but the newest sealed segment is never given back.
    for number in [1, 2] {
        std::fs::remove_file(place.segment(1, number)).unwrap();
    }
    let begun = segment(1, EPOCH, 3, 1);
    for (content, expected) in [(begun, 5), (vec![0; 65536], 0), (segment(1, EPOCH - 1, 1, 1), 0)] {
        let (code, said) = said(&place, &place.segment(1, 3), &content);
        // Files that are only ready may be those of a node that has just joined: a warning.
        assert_eq!(code, expected, "{said}");
        assert!(said.contains("segments before 3 are missing: the newest sealed one"), "{said}");
    }
}
