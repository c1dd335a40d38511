//! A directory that `tidelog-inspect repair` has made of a damaged one, served by the real server.

use std::path::Path;

use tidelog_inspect::{Severity, findings, repair};

use crate::damage::{refusal, segments};
use crate::support::http::Http;
use crate::support::node::Node;
use crate::{SMALL, ok, start};

/// Records of the partition, each in a batch and a frame of its own.
const RECORDS: usize = 12;

/// A server that wrote records and was killed.
fn killed() -> Node {
    let (mut node, mut http) = start("");
    for n in 0..RECORDS {
        ok(http.post("/v1/topics/t/records?partition=0", "text/plain", format!("record {n}").as_bytes()));
    }
    node.kill();
    node
}

/// Damages the file in the block that holds `text`.
fn damage(path: &Path, text: &[u8]) {
    let mut bytes = std::fs::read(path).unwrap();
    let at = bytes.windows(text.len()).position(|window| window == text).unwrap();
    bytes[at] ^= 1;
    std::fs::write(path, bytes).unwrap();
}

fn holding(node: &Node, shard: &str, text: &[u8]) -> std::path::PathBuf {
    let holds = |path: &std::path::PathBuf| {
        std::fs::read(path).unwrap().windows(text.len()).any(|window| window == text)
    };
    segments(node, shard).into_iter().find(holds).unwrap()
}

/// A server on the repaired copy of the other one's directory.
fn on_repaired(node: &Node) -> Node {
    Node::start_on(SMALL, |data| {
        assert_eq!(repair(&node.data(), data).unwrap(), 5, "something is missing and is said to be");
        let loud: Vec<_> = findings(data).unwrap();
        assert!(loud.iter().all(|found| found.severity() == Severity::Note), "{loud:?}");
    })
}

#[test]
fn a_gap_that_a_repair_left_is_stepped_over_and_its_offsets_stay_empty() {
    let node = killed();
    damage(&holding(&node, "1", b"record 5"), b"record 5");
    let mut repaired = on_repaired(&node);
    for round in 0..2 {
        let mut http = Http::new(repaired.address());
        let mut from = |offset: usize| {
            let path = format!("/v1/topics/t/partitions/0/records?offset={offset}&wait_ms=1");
            let answer = http.get(&path).unwrap();
            assert!(answer.is_success(), "{}", answer.text());
            let lines = answer.text();
            let offsets = lines.lines().filter_map(|line| {
                let json: serde_json::Value = serde_json::from_str(line).unwrap();
                json["offset"].as_u64()
            });
            offsets.map(|offset| usize::try_from(offset).unwrap()).collect::<Vec<_>>()
        };
        // A read ends with a segment at the latest, and the restart began another one.
        let rest: Vec<usize> = (6..RECORDS).collect();
        assert_eq!(from(RECORDS), if round == 0 { vec![] } else { vec![RECORDS] });
        assert_eq!(from(4), [&[4], &rest[..]].concat(), "before the gap");
        assert_eq!(from(5), rest, "in the gap");
        assert_eq!(from(6), rest, "behind the gap");
        if round == 0 {
            // What is written goes on behind the old end, and a restart changes nothing of it.
            let path = "/v1/topics/t/records?partition=0";
            assert_eq!(ok(http.post(path, "text/plain", b"new"))["partitions"][0]["base_offset"], RECORDS);
            repaired.kill();
            repaired.restart();
        }
    }
}

#[test]
fn metadata_that_lost_a_command_on_which_later_ones_build_is_refused_with_its_place() {
    let mut node = killed();
    node.restart();
    node.kill();
    damage(&holding(&node, "0", b"start_node"), b"start_node");
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    assert_eq!(repair(&node.data(), &data).unwrap(), 5, "something is missing and is said to be");
    let (code, text) =
        refusal(&["--data", data.to_str().unwrap(), "--http", "127.0.0.1:0", "--kafka", "off"]);
    assert_eq!(code, 5, "{text}");
    assert!(text.contains("the metadata, LSN"), "nothing is served on a part of the metadata: {text}");
}
