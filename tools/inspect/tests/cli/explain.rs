//! What `explain` says: every place of a file, intact or damaged.

use serde_json::Value;

use crate::place::{Place, run};

fn at(byte: u64, place: &Place, number: u64) -> Value {
    let ran = run(&["explain", "--at", &byte.to_string(), "--output", "json"], &place.segment(1, number));
    serde_json::from_str(&ran.out).unwrap_or_else(|error| panic!("{error}: {}{}", ran.out, ran.err))
}

fn owners(page: &Value) -> Vec<&str> {
    page["structures"].as_array().unwrap().iter().map(|one| one["structure"].as_str().unwrap()).collect()
}

#[test]
fn every_kind_of_place_is_explained_down_to_its_field() {
    let place = Place::clean();
    let header = at(4096 + 33, &place, 1);
    assert_eq!((owners(&header), &header["field"]), (vec!["frame-header"], &"lsn".into()));
    let opening = at(128 + 60, &place, 1);
    assert_eq!(
        (owners(&opening), &opening["field"]),
        (vec!["frame-header", "row", "opening"], &"number".into())
    );
    let name = at(4096 + 130, &place, 1);
    assert_eq!((owners(&name), &name["field"]), (vec!["frame-header", "row", "control"], &"body".into()));
    let batch = at(4096 + 128 + 9 + 57, &place, 1);
    assert_eq!(owners(&batch), ["frame-header", "row", "batch-header"]);
    assert_eq!(batch["field"], "count");
    let record = at(4096 + 128 + 9 + 61, &place, 1);
    assert_eq!(owners(&record), ["frame-header", "row", "batch-header", "record"]);
    let padding = at(8191, &place, 1);
    assert_eq!(owners(&padding), ["frame-header", "padding"]);
    let footer = at(3 * 4096 + 128 + 16, &place, 1);
    assert_eq!(
        (owners(&footer), &footer["field"]),
        (vec!["footer-header", "footer-partition"], &"first_offset".into())
    );
    let trailer = at(4 * 4096 + 72, &place, 1);
    assert_eq!((owners(&trailer), &trailer["field"]), (vec!["trailer"], &"digest".into()));
    let end = at(3 * 4096 + 32, &place, 3);
    assert_eq!((owners(&end), &end["field"]), (vec!["end-block"], &"next_lsn".into()));
    let zeroes = at(65535, &place, 3);
    assert_eq!(owners(&zeroes), ["zeroes"]);
}

#[test]
fn the_superblock_is_explained_copy_by_copy() {
    let place = Place::new();
    let file = place.path().join("superblock");
    let ran = run(&["explain", "--at", "0x1040"], &file);
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert!(ran.out.contains("field generation of superblock"), "{}", ran.out);
    let map = run(&["explain"], &file).out;
    assert!(map.contains("copy 0 of the superblock, generation 4"), "{map}");
    assert!(map.contains("copy 1 of the superblock, generation 5"), "{map}");
}

#[test]
fn a_damaged_byte_is_shown_with_the_checksum_that_found_it() {
    let place = Place::clean();
    place.flip(&place.segment(1, 1), 4096 + 128 + 9 + 63);
    let page = at(4096 + 128 + 9 + 63, &place, 1);
    assert_eq!(page["region"]["owner"], "hole");
    let batch = &page["structures"][2];
    assert_eq!((&batch["structure"], &batch["verdict"]), (&"batch-header".into(), &"bad".into()));
    let crc = batch["fields"].as_array().unwrap().iter().find(|field| field["field"] == "crc").unwrap();
    assert_eq!(crc["verdict"], "bad");
    assert!(crc["why"].as_str().unwrap().starts_with("the bytes give"), "{crc}");
    assert_eq!(run(&["explain"], &place.segment(1, 1)).code, 5);
}

#[test]
fn nothing_in_a_header_with_a_bad_checksum_is_believed() {
    let place = Place::clean();
    place.flip(&place.segment(1, 1), 4096 + 40);
    let page = at(4096 + 72, &place, 1);
    let fields = page["structures"][0]["fields"].as_array().unwrap();
    let verdict = |name: &str| fields.iter().find(|field| field["field"] == name).unwrap()["verdict"].clone();
    assert_eq!((verdict("header_crc"), verdict("body_len")), ("bad".into(), "doubtful".into()));
}

#[test]
fn a_place_behind_the_end_is_not_found_and_a_folder_is_no_file() {
    let place = Place::clean();
    let ran = run(&["explain", "--at", "65536"], &place.segment(1, 3));
    assert_eq!(ran.code, 3);
    assert!(ran.err.contains("byte 65536 lies behind the file's end, which is at 65536"), "{}", ran.err);
    assert_eq!(run(&["explain"], place.path()).code, 1);
    assert_eq!(run(&["explain", "--at", "0x"], &place.segment(1, 3)).code, 2);
}

#[test]
fn no_flipped_bit_makes_explain_fail_and_each_is_noticed() {
    let place = Place::clean();
    let path = place.segment(1, 1);
    let whole = std::fs::read(&path).unwrap();
    for bit in (0..whole.len() * 8).step_by(1237) {
        let mut bytes = whole.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        std::fs::write(&path, &bytes).unwrap();
        let at = (bit / 8).to_string();
        let ran = run(&["explain", "--at", &at, "--output", "json"], &path);
        let page: Value =
            serde_json::from_str(&ran.out).unwrap_or_else(|error| panic!("{error} {}", ran.err));
        let text = page.to_string();
        // A trailer without its magic can't be told from what an earlier life left.
        let noticed = text.contains("\"verdict\":\"bad\"") || text.contains("\"verdict\":\"unchecked\"");
        assert!(noticed, "bit {bit}: nothing is bad in {text}");
    }
}
