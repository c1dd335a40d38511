//! What `diff` finds, and what it leaves out.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::place::{Place, Shard, command};
use crate::support::batches::{batch, created};

fn diff(a: &Path, b: &Path) -> (i32, Value) {
    let output = command(&["diff", "--output", "json"]).arg(a).arg(b).output().unwrap();
    let (out, err) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    let report = serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out}{err}"));
    (output.status.code().unwrap(), report)
}

fn one(values: &[&[u8]]) -> Place {
    let place = Place::new();
    let mut shard = Shard::new(1);
    shard.writer.write(&[created(7, "metrics/0")]);
    for (offset, value) in (0..).zip(values) {
        shard.writer.write(&[batch(7, offset, 1000, &[value])]);
    }
    shard.finish(&place);
    place
}

#[test]
fn copies_are_the_same_whatever_belongs_to_their_store() {
    let (a, b) = (Place::clean(), Place::clean());
    // The end block, what lies behind it, and the superblock are a store's own.
    b.edit(&b.segment(1, 3), |bytes| bytes[3 * 4096..].fill(0));
    b.edit(&b.path().join("superblock"), |bytes| bytes[48] ^= 1);
    let (code, report) = diff(a.path(), b.path());
    assert_eq!((code, &report["same"], &report["segments"]), (0, &true.into(), &4.into()), "{report}");
    assert_eq!(diff(&a.segment(1, 2), &b.segment(1, 2)).0, 0);
    assert_eq!(diff(&a.shard(1), &b.shard(1)).0, 0);
}

#[test]
fn the_first_byte_that_differs_is_named_with_its_field() {
    let (a, b) = (one(&[b"first", b"same"]), one(&[b"fIrst", b"same"]));
    let (code, report) = diff(a.path(), b.path());
    assert_eq!(code, 1);
    let found = &report["differences"][0];
    assert_eq!((&found["lsn"], &found["shard"]), (&3.into(), &1.into()), "{report}");
    assert!(found["text"].as_str().unwrap().ends_with("in header_crc of frame-header"), "{found}");
    assert!(found["byte"].as_u64().unwrap() == 2 * 4096 + 8, "{found}");
}

#[test]
fn frames_shards_and_segments_that_only_one_has_are_named() {
    let (a, b) = (one(&[b"x", b"y", b"z"]), one(&[b"x"]));
    let (code, report) = diff(a.path(), b.path());
    assert_eq!(code, 1);
    assert_eq!(report["differences"][0]["text"], "only A has the frames of LSN 4 to 5", "{report}");
    let (a, b) = (Place::clean(), Place::clean());
    fs::remove_file(b.segment(1, 2)).unwrap();
    fs::remove_dir_all(b.shard(0)).unwrap();
    let (code, report) = diff(a.path(), b.path());
    let texts: Vec<&str> =
        report["differences"].as_array().unwrap().iter().map(|one| one["text"].as_str().unwrap()).collect();
    assert_eq!((code, texts), (1, vec!["the shard is only in A", "the segment is only in A"]));
}

#[test]
fn a_damaged_copy_differs_in_the_frame_that_is_damaged() {
    let (a, b) = (Place::clean(), Place::clean());
    b.flip(&b.segment(1, 1), 4096 + 200);
    let (code, report) = diff(a.path(), b.path());
    assert_eq!(code, 1);
    assert_eq!(report["differences"][0]["text"], "only A has the frame of LSN 2", "{report}");
}
