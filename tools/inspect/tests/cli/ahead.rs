//! Verification reads segments ahead on all cores; what it says is what it would say in order.

use serde_json::Value;
use tidelog_format::BLOCK;

use crate::chain::five;
use crate::place::{Place, Shard, run};
use crate::support::batches::{batch, created};

fn report(path: &std::path::Path) -> Value {
    serde_json::from_str(&run(&["verify", "--output", "json"], path).out).unwrap()
}

/// A shard of many sealed segments.
fn many(segments: u64) -> Place {
    let place = Place::new();
    let mut shard = Shard::new(1);
    shard.writer.write(&[created(7, "m/0"), batch(7, 0, 1000, &[b"x"])]);
    for offset in 1..segments {
        shard.roll();
        shard.writer.write(&[batch(7, offset, 1000, &[b"x"])]);
    }
    shard.finish(&place);
    place
}

#[test]
fn all_segments_of_a_long_shard_are_verified_in_their_order() {
    let place = many(60);
    let found = report(&place.shard(1));
    assert_eq!((&found["status"], found["findings"].as_array().unwrap().len()), (&"ok".into(), 0), "{found}");
    let lsns: Vec<u64> = found["segments"]
        .as_array()
        .unwrap()
        .iter()
        .map(|segment| segment["base_lsn"].as_u64().unwrap())
        .collect();
    assert!(lsns.len() == 60 && lsns.is_sorted(), "{lsns:?}");
}

#[test]
fn a_neighbour_whose_seal_lies_changes_no_verdict() {
    // The footer of segment 2, checksums and all, says another end than the frames do.
    let place = five(3);
    place.edit(&place.segment(1, 2), |bytes| {
        let at = bytes.len() - 2 * BLOCK;
        let mut footer = tidelog_format::footer::Footer::decode(&bytes[at..]).unwrap();
        footer.next_lsn += 7;
        footer.chain ^= 1;
        footer.partitions[0].next_offset += 3;
        let again = footer.encode();
        bytes[at..at + again.len()].copy_from_slice(&again);
    });
    let found = report(&place.shard(1));
    let files: Vec<&str> = found["findings"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|finding| finding["severity"] != "note")
        .map(|finding| finding["file"].as_str().unwrap())
        .collect();
    assert!(!files.is_empty() && files.iter().all(|file| file.ends_with("2.seg")), "{found}");
}
