//! Ends of open segments: notes, not corruption.

use serde_json::Value;
use tidelog_format::BLOCK;
use tidelog_format::end_block::EndBlock;
use tidelog_format::opening::Opening;
use tidelog_format::trailer::Trailer;

use crate::place::{CLUSTER, EPOCH, Place, SEGMENT_BYTES, problems, run};
use crate::support::batches::batch;
use crate::support::writer::Writer;

fn notes(place: &Place) -> (i32, Vec<Value>) {
    let ran = run(&["verify", "--output", "json"], place.path());
    let report: Value = serde_json::from_str(&ran.out).unwrap();
    (ran.code, report["findings"].as_array().unwrap().clone())
}

#[test]
fn a_torn_last_write_is_a_note() {
    // The last write: a frame in block 2, its end block in block 3.
    let verdicts = ["torn", "torn", "weak end"];
    let torn = [BLOCK * 2..BLOCK * 3, BLOCK * 2 + 100..BLOCK * 3, BLOCK * 2 + 140..BLOCK * 4];
    for (torn, verdict) in torn.into_iter().zip(verdicts) {
        let place = Place::clean();
        place.edit(&place.segment(1, 3), |bytes| bytes[torn.clone()].fill(0));
        let (code, found) = notes(&place);
        assert_eq!((code, found.len()), (0, 1), "{found:?}");
        assert_eq!((&found[0]["severity"], &found[0]["subject"]), (&"note".into(), &"tail".into()));
        assert_eq!((&found[0]["verdict"], &found[0]["from"]), (&verdict.into(), &8192.into()), "{found:?}");
        assert_eq!(found[0]["first_lsn"], 9, "{found:?}");
    }
}

#[test]
fn a_segment_whose_seal_was_interrupted_before_its_last_block_is_open() {
    let place = Place::clean();
    for number in [1, 2] {
        place.edit(&place.segment(1, number), |bytes| {
            let last = bytes.len() - BLOCK;
            let block = bytes[last..].first_chunk().unwrap();
            let trailer = Trailer::of_last_block(block, (last / BLOCK) as u32).unwrap();
            let (at, next_lsn) = (trailer.footer_position() as usize, trailer.next_lsn);
            let end = EndBlock {
                salt: trailer.salt,
                next_lsn,
                first_lsn: next_lsn - 1,
                chain: trailer.chain,
                epoch: trailer.epoch,
                block_index: (at / BLOCK) as u32,
                synced: true,
                clean: false,
            };
            end.encode(bytes[at..].first_chunk_mut().unwrap());
        });
        let (code, found) = notes(&place);
        assert_eq!((code, found.len() as u64), (0, number), "{found:?}");
        let text = found[0]["text"].as_str().unwrap();
        assert!(text.starts_with("not sealed yet"), "{text}");
    }
    // An end block that says anything else is damage.
    place.edit(&place.segment(1, 1), |bytes| {
        let last = bytes.len() - BLOCK;
        let trailer =
            Trailer::of_last_block(bytes[last..].first_chunk().unwrap(), (last / BLOCK) as u32).unwrap();
        bytes[trailer.footer_position() as usize + 40] ^= 1;
    });
    assert_eq!(notes(&place).0, 5);
}

#[test]
fn a_write_of_which_only_the_end_block_arrived_is_torn() {
    let place = Place::clean();
    place.edit(&place.segment(1, 3), |bytes| bytes[BLOCK * 2..BLOCK * 3].fill(0xAB));
    let (code, found) = notes(&place);
    assert_eq!((code, found[0]["verdict"].as_str()), (0, Some("torn")), "{found:?}");
    let ran = run(&["dump", "--records"], &place.segment(1, 3));
    assert_eq!((ran.code, ran.out.lines().count()), (0, 1), "{}{}", ran.out, ran.err);
    assert!(ran.err.contains("[torn]"), "{}", ran.err);
}

#[test]
fn a_file_that_ends_in_its_last_frame_has_an_unproved_end() {
    let place = Place::clean();
    place.edit(&place.segment(1, 3), |bytes| bytes.truncate(2 * BLOCK + 1000));
    let (code, found) = notes(&place);
    assert_eq!(code, 0, "{found:?}");
    assert!(found.iter().any(|finding| finding["verdict"] == "weak end"), "{found:?}");
    assert!(
        found.iter().any(|finding| finding["severity"] == "warning"),
        "an odd length is worth a look: {found:?}"
    );
}

#[test]
fn a_segment_prepared_and_not_begun_is_a_note_even_if_it_holds_an_earlier_life() {
    let place = Place::clean();
    // Of a span before: another salt than the one that segment 3 announces.
    let opening = Opening::new(CLUSTER, 1, 1, SEGMENT_BYTES);
    let mut old = Writer::new(vec![0; 65536], opening, [1; 16], EPOCH - 1, 1);
    old.write(&[batch(7, 0, 1000, &[b"old"])]);
    for content in [vec![0; 65536], Vec::new(), old.file] {
        std::fs::write(place.segment(1, 4), content).unwrap();
        let (code, found) = notes(&place);
        assert_eq!(code, 0, "{found:?}");
        assert!(
            found.iter().any(|finding| finding["text"].as_str().unwrap().contains("nothing was written")),
            "{found:?}"
        );
    }
}

#[test]
fn a_seal_that_was_not_finished_is_a_note() {
    let place = Place::clean();
    let mut bytes = std::fs::read(place.segment(1, 2)).unwrap();
    // Footer and trailer are there, and the file is not cut yet.
    bytes.resize(65536, 0);
    std::fs::write(place.segment(1, 2), &bytes).unwrap();
    assert_eq!(problems(place.path()), (0, Vec::new()));
    // Of the seal only the footer is there.
    bytes[4 * BLOCK..].fill(0);
    std::fs::write(place.segment(1, 2), &bytes).unwrap();
    assert_eq!(problems(place.path()), (0, Vec::new()));
    // Nothing of it.
    bytes[3 * BLOCK..].fill(0);
    std::fs::write(place.segment(1, 2), &bytes).unwrap();
    assert_eq!(problems(place.path()), (0, Vec::new()));
}

#[test]
fn a_recycled_file_given_alone_is_not_taken_for_the_segment_of_its_name() {
    let place = Place::clean();
    std::fs::copy(place.segment(1, 1), place.segment(1, 4)).unwrap();
    let ran = run(&["verify"], &place.segment(1, 4));
    assert_eq!(ran.code, 0, "{}", ran.out);
    assert!(ran.out.contains("it still holds segment 1"), "{}", ran.out);
}
