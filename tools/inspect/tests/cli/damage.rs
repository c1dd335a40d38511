//! Damage: named by file and byte range, and no end of the verification.

use serde_json::Value;
use tidelog_format::BLOCK;

use crate::place::{Place, Shard, problems, run};
use crate::support::batches::{batch, created};

/// The one problem of the shard's segment, with its bytes.
fn the_one(place: &Place, number: u64) -> (Value, u64, u64) {
    let (code, found) = problems(place.path());
    assert_eq!(code, 5, "{found:?}");
    assert_eq!(found.len(), 1, "{found:?}");
    let finding = found.into_iter().next().unwrap();
    assert_eq!(finding["file"], place.segment(1, number).to_str().unwrap());
    let (from, to) = (finding["from"].as_u64().unwrap(), finding["to"].as_u64().unwrap());
    (finding, from, to)
}

/// Every segment of `Place::clean` is: opening frame, two frames, then what ends it; a block each.
#[test]
fn a_flipped_bit_anywhere_in_a_frame_of_a_sealed_segment_is_named_and_the_frames_behind_it_are_read() {
    for (block, at) in
        [(0, 9), (0, 40), (0, 130), (1, 0), (1, 100), (1, 128), (1, 150), (1, 190), (2, 50), (2, 140)]
    {
        let place = Place::clean();
        place.flip(&place.segment(1, 1), block * BLOCK + at);
        let (finding, from, to) = the_one(&place, 1);
        let flipped = (block * BLOCK) as u64;
        assert_eq!((from, to), (flipped, flipped + BLOCK as u64), "{block} {at}: {finding}");
        assert_eq!((&finding["subject"], &finding["verdict"]), (&"frame".into(), &"corrupt".into()));
        if block > 0 {
            assert_eq!(finding["first_lsn"], 1 + block as u64, "{finding}");
        }
        assert_eq!(finding["last_lsn"], 1 + block as u64, "{finding}");
        let report = run(&["verify", "--output", "json"], place.path());
        let report: Value = serde_json::from_str(&report.out).unwrap();
        let segment = report["segments"]
            .as_array()
            .unwrap()
            .iter()
            .find(|s| s["file"] == finding["file"])
            .unwrap()
            .clone();
        assert_eq!((&segment["frames"], &segment["end"]), (&2.into(), &"corrupt".into()), "{segment}");
    }
}

#[test]
fn two_holes_are_named_apart() {
    let place = Place::new();
    let mut shard = Shard::new(1);
    shard.writer.write(&[created(7, "m/0")]);
    for offset in 0..6 {
        shard.writer.write(&[batch(7, offset, 1000, &[b"x"])]);
    }
    shard.finish(&place);
    let file = place.segment(1, 1);
    place.flip(&file, 2 * BLOCK + 130);
    place.edit(&file, |bytes| bytes[4 * BLOCK..6 * BLOCK].fill(0xEE));
    let (code, found) = problems(&place.shard(1));
    assert_eq!(code, 5);
    let places: Vec<_> = found
        .iter()
        .map(|f| (f["from"].clone(), f["to"].clone(), f["first_lsn"].clone(), f["last_lsn"].clone()))
        .collect();
    let expected = [(2 * BLOCK, 3 * BLOCK, 3, 3), (4 * BLOCK, 6 * BLOCK, 5, 6)];
    assert_eq!(places, expected.map(|(a, b, c, d)| (a.into(), b.into(), c.into(), d.into())), "{found:?}");
}

#[test]
fn damage_below_the_last_write_of_an_open_segment_is_corruption() {
    let place = Place::clean();
    place.flip(&place.segment(1, 3), BLOCK + 150);
    let (finding, from, to) = the_one(&place, 3);
    assert_eq!((from, to), (BLOCK as u64, 2 * BLOCK as u64), "{finding}");
}

#[test]
fn a_flipped_bit_in_a_footer_is_its_own_problem() {
    for at in [9, 60, 140, 170] {
        let place = Place::clean();
        place.flip(&place.segment(1, 1), 3 * BLOCK + at);
        let (finding, from, to) = the_one(&place, 1);
        assert_eq!(finding["subject"], "footer", "{finding}");
        assert_eq!((from, to), (3 * BLOCK as u64, 4 * BLOCK as u64));
    }
}

#[test]
fn a_flipped_bit_in_a_trailer_is_its_own_problem() {
    for at in [3, 40, 75, 2000] {
        let place = Place::clean();
        place.flip(&place.segment(1, 1), 4 * BLOCK + at);
        let (finding, from, to) = the_one(&place, 1);
        assert_eq!(finding["subject"], "trailer", "{finding}");
        assert_eq!((from, to), (4 * BLOCK as u64, 5 * BLOCK as u64));
    }
}

#[test]
fn a_segment_that_lost_footer_and_trailer_is_told_by_its_successor() {
    let place = Place::clean();
    place.edit(&place.segment(1, 1), |bytes| bytes[3 * BLOCK..].fill(0x77));
    let (finding, from, _) = the_one(&place, 1);
    assert_eq!((finding["subject"].as_str(), from), (Some("footer"), 3 * BLOCK as u64));
}

#[test]
fn bytes_in_the_padding_are_a_problem_of_their_own_kind() {
    for block in [0, 2] {
        let place = Place::clean();
        place.flip(&place.segment(1, 1), block * BLOCK + 4000);
        let (finding, from, to) = the_one(&place, 1);
        assert_eq!((&finding["subject"], &finding["verdict"]), (&"padding".into(), &"padding".into()));
        assert!(from > (block * BLOCK) as u64 && to == ((block + 1) * BLOCK) as u64, "{finding}");
        assert_eq!(finding["first_lsn"], 1 + block as u64);
    }
    let place = Place::clean();
    place.flip(&place.segment(1, 1), 3 * BLOCK + 4000);
    assert_eq!(the_one(&place, 1).0["subject"], "padding", "of the footer");
}

#[test]
fn a_footer_that_says_something_else_than_the_frames_is_found() {
    let place = Place::clean();
    place.edit(&place.segment(1, 2), |bytes| {
        let at = 3 * BLOCK;
        let mut footer = tidelog_format::footer::Footer::decode(&bytes[at..]).unwrap();
        footer.partitions[0].next_offset += 1;
        let again = footer.encode();
        bytes[at..at + again.len()].copy_from_slice(&again);
    });
    let (finding, ..) = the_one(&place, 2);
    let text = finding["text"].as_str().unwrap();
    assert!(text.contains("next offset 5 for partition 7, the frames 4"), "{text}");
}

#[test]
fn one_damaged_superblock_copy_is_a_warning_and_two_are_corruption() {
    let place = Place::clean();
    let file = place.path().join("superblock");
    place.flip(&file, 50);
    let (code, found) = problems(place.path());
    assert_eq!((code, found[0]["severity"].as_str()), (0, Some("warning")), "{found:?}");
    assert_eq!((&found[0]["from"], &found[0]["to"]), (&0.into(), &4096.into()));
    place.flip(&file, BLOCK + 50);
    let (code, found) = problems(place.path());
    assert_eq!((code, found.len()), (5, 2), "{found:?}");
    std::fs::remove_file(&file).unwrap();
    let (code, found) = problems(place.path());
    assert_eq!((code, found[0]["subject"].as_str()), (5, Some("missing-file")), "{found:?}");
}

#[test]
fn a_newer_version_is_said_to_be_newer_and_never_called_corrupt() {
    for number in [1, 3] {
        let place = Place::clean();
        place.edit(&place.segment(1, number), |bytes| newer(&mut bytes[2 * BLOCK..3 * BLOCK]));
        for command in ["verify", "dump", "stat"] {
            let ran = run(&[command], place.path());
            assert_eq!(ran.code, 1, "{command} {number}: {}{}", ran.out, ran.err);
            let text = ran.out + &ran.err;
            assert!(text.contains("format version 9 is newer than 1"), "{command}: {text}");
            assert!(text.contains("bytes 8192..") && !text.contains("CORRUPT"), "{command}: {text}");
        }
    }
    let place = Place::clean();
    place.edit(&place.path().join("superblock"), |bytes| {
        newer(&mut bytes[..BLOCK]);
        newer(&mut bytes[BLOCK..]);
    });
    let ran = run(&["verify"], place.path());
    assert_eq!(ran.code, 1, "{}", ran.out);
}

/// Makes a header one of version 9, its checksum good.
fn newer(block: &mut [u8]) {
    block[15] = 9;
    let crc = crc32c::crc32c(&block[12..128]);
    block[8..12].copy_from_slice(&crc.to_le_bytes());
}

#[test]
fn garbage_of_any_kind_is_refused_without_a_crash() {
    let place = Place::clean();
    let mut seed = 0x9E37_79B9_7F4A_7C15_u64;
    for round in 0..20 {
        place.edit(&place.segment(1, 2), |bytes| {
            for _ in 0..40 {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let at = usize::try_from(seed >> 33).unwrap() % bytes.len();
                bytes[at] ^= u8::try_from(seed & 0xFF).unwrap();
            }
        });
        for args in [&["verify"][..], &["dump"], &["dump", "--records"], &["stat"]] {
            let ran = run(args, place.path());
            assert!(matches!(ran.code, 0 | 5), "round {round} {args:?}: {} {}", ran.code, ran.err);
        }
    }
}

#[test]
fn headers_that_lie_under_a_good_checksum_are_refused_without_a_crash() {
    let mut random = crate::support::random::Random::new(7);
    for round in 0..40 {
        let place = Place::clean();
        let file = place.segment(1, 1 + random.next() % 3);
        place.edit(&file, |bytes| {
            for _ in 0..=random.next() % 3 {
                let block = usize::try_from(random.next()).unwrap_or(0) % 5 * BLOCK;
                let header = &mut bytes[block..block + 128];
                header[usize::try_from(14 + random.next() % 100).unwrap()] ^= random.next().to_le_bytes()[0];
                let crc = crc32c::crc32c(&header[12..]);
                header[8..12].copy_from_slice(&crc.to_le_bytes());
            }
        });
        for args in [&["verify"][..], &["dump", "--records"], &["stat"]] {
            let ran = run(args, place.path());
            assert!(matches!(ran.code, 0 | 1 | 5), "round {round} {args:?}: {} {}", ran.code, ran.err);
        }
    }
}
