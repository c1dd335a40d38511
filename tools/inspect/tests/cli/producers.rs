//! What footers remember of idempotent producers, compared with the frames.

use tidelog_format::BLOCK;
use tidelog_format::footer::Footer;

use crate::place::{Place, Shard, problems, run};
use crate::support::batches::{control, created, numbered};

/// Two sealed segments and an open one; producers 40 and 41 write on over the rolls.
fn place() -> Place {
    let place = Place::new();
    let mut shard = Shard::new(1);
    shard.writer.write(&[created(7, "m/0"), numbered(7, 0, 1000, (40, 0, 0), &[b"a", b"b"])]);
    shard.writer.write(&[numbered(7, 2, 1000, (41, 0, 9), &[b"c"])]);
    shard.roll();
    shard.writer.write(&[numbered(7, 3, 1000, (40, 0, 2), &[b"d"])]);
    shard.writer.write(&[numbered(7, 4, 1000, (40, 0, 3), &[b"e"])]);
    shard.roll();
    shard.writer.write(&[numbered(7, 5, 1000, (41, 0, 10), &[b"f"])]);
    shard.finish(&place);
    place
}

/// Changes the second segment's footer, checksums and all.
fn change(place: &Place, change: impl Fn(&mut Footer)) -> String {
    place.edit(&place.segment(1, 2), |bytes| {
        let mut footer = Footer::decode(&bytes[3 * BLOCK..]).unwrap();
        change(&mut footer);
        let again = footer.encode();
        bytes[3 * BLOCK..3 * BLOCK + again.len()].copy_from_slice(&again);
    });
    let (code, found) = problems(&place.shard(1));
    assert_eq!((code, found.len()), (5, 1), "{found:?}");
    found[0]["text"].as_str().unwrap().to_owned()
}

#[test]
fn producers_over_several_segments_are_what_their_footers_remember() {
    assert_eq!(problems(&place().shard(1)), (0, vec![]));
}

#[test]
fn a_footer_that_remembers_something_else_of_a_producer_is_found() {
    let text = change(&place(), |footer| footer.producers[0].run += 1);
    assert!(text.contains("remembers of producer 40 in partition 7 is not what the frames say"), "{text}");
    let text = change(&place(), |footer| footer.producers.truncate(1));
    assert!(text.contains("does not remember producer 41 in partition 7"), "{text}");
    let text = change(&place(), |footer| {
        let mut more = footer.producers[1].clone();
        more.producer_id = 50;
        footer.producers.push(more);
    });
    assert!(text.contains("remembers producer 50 in partition 7, the frames don't"), "{text}");
}

#[test]
fn behind_a_segment_that_is_gone_producers_are_taken_as_the_first_footer_has_them() {
    let place = Place::new();
    let mut shard = Shard::new(1);
    shard.writer.write(&[created(7, "m/0"), numbered(7, 0, 1000, (40, 0, 0), &[b"x"])]);
    for at in 1..4u8 {
        shard.roll();
        shard
            .writer
            .write(&[numbered(7, at.into(), 1000, (40, 0, at.into()), &[b"x"]), control(5, 7, 1, b"")]);
    }
    shard.finish(&place);
    std::fs::remove_file(place.segment(1, 1)).unwrap();
    assert_eq!(problems(&place.shard(1)), (0, vec![]));
    // Segment 3 is judged by what segment 2's footer remembers.
    place.edit(&place.segment(1, 3), |bytes| {
        let mut footer = Footer::decode(&bytes[2 * BLOCK..]).unwrap();
        footer.producers[0].run += 1;
        let again = footer.encode();
        bytes[2 * BLOCK..2 * BLOCK + again.len()].copy_from_slice(&again);
    });
    let (code, found) = problems(&place.shard(1));
    assert_eq!((code, found.len()), (5, 1), "{found:?}");
}

#[test]
fn a_producer_in_a_footer_is_explained_down_to_its_field() {
    let place = place();
    let body = 3 * BLOCK + 128 + 64 + 24;
    for (at, structure, field) in [
        (body + 16, "footer-producer", "run"),
        (body + 2 * 32 + 16, "footer-producer-batch", "first_sequence"),
    ] {
        let ran = run(&["explain", "--at", &at.to_string()], &place.segment(1, 2));
        assert!(ran.out.contains(&format!("field {field} of {structure}")), "{}{}", ran.out, ran.err);
    }
}
