//! A restart seals the span before and leads the next one; a directory that is not what it was is refused.

use std::process::Command;

use serde_json::Value;

use crate::support::http::Http;
use crate::support::node::{Node, program};
use crate::{SMALL, ok, start, values};

fn shard(node: &Node, number: u64) -> Value {
    let status = ok(Http::new(node.address()).get("/v1/status"));
    let shards = status["shards"].as_array().unwrap();
    shards.iter().find(|shard| shard["shard"] == number).unwrap().clone()
}

/// Starts a server that must refuse to run: exit code and words.
fn refusal(node: &Node) -> (i32, String) {
    let data = node.data();
    let args = ["serve", "--http", "127.0.0.1:0", "--kafka", "off", "--data", data.to_str().unwrap()];
    // One that is not refused is ended after a while.
    let output = Command::new("timeout").args(["-k", "5", "60"]).arg(program()).args(args).output().unwrap();
    (output.status.code().unwrap(), String::from_utf8_lossy(&output.stderr).into_owned())
}

fn with_records() -> Node {
    let (node, mut http) = start("");
    ok(http.post("/v1/topics/t/records", "text/plain", b"a\nb\n"));
    node
}

#[test]
fn every_restart_seals_the_span_before_where_it_ended_and_leads_the_next_one() {
    let mut node = with_records();
    let first = shard(&node, 1);
    let span = &first["span"];
    assert_eq!(
        (&span["leader"]["incarnation"], &span["quorum"], &span["base_lsn"]),
        (&1.into(), &1.into(), &1.into())
    );
    assert_eq!(first["committed_lsn"], first["next_lsn"]);
    assert!(span["sealed"].is_null() && shard(&node, 0)["span"].is_null());
    node.kill();
    node.restart();
    let second = shard(&node, 1);
    let sealed = &second["span"]["sealed"];
    assert_eq!((&sealed["epoch"], &sealed["grade"]), (&span["epoch"], &"proved".into()));
    assert_eq!(sealed["end_lsn"], first["committed_lsn"]);
    assert_eq!(second["span"]["base_lsn"], first["committed_lsn"]);
    assert!(second["span"]["epoch"].as_u64() > span["epoch"].as_u64());
    assert_eq!((&second["span"]["leader"]["incarnation"], &second["span"]["spans"]), (&2.into(), &2.into()));
    assert!(node.stop().success());
    node.restart();
    assert_eq!(shard(&node, 1)["span"]["spans"], 3);
    assert_eq!(values(&node, "t", 0), ["a", "b"]);
}

#[test]
fn a_damaged_or_missing_promise_journal_is_refused_and_rebuilt_only_when_told() {
    let mut node = with_records();
    let file = node.data().join("promises");
    for damage in [true, false] {
        assert!(node.stop().success());
        match damage {
            true => std::fs::write(&file, vec![0x55; 65536]).unwrap(),
            false => std::fs::remove_file(&file).unwrap(),
        }
        let (code, text) = refusal(&node);
        assert!(code == 5 && text.contains("promises") && text.contains("--accept-loss"), "{code}: {text}");
        node.configure(&format!("accept_loss = true\n{SMALL}"));
        node.restart();
        node.stop();
        node.configure(SMALL);
        node.restart();
        assert_eq!(values(&node, "t", 0), ["a", "b"]);
    }
    let kept = std::fs::read_dir(node.data().join("lost+found")).unwrap().count();
    assert_eq!(kept, 1, "the damaged one is kept");
}

#[test]
fn a_superblock_of_an_earlier_time_is_refused_however_often_it_is_tried_and_the_right_one_goes_on() {
    let mut node = with_records();
    let file = node.data().join("superblock");
    let old = std::fs::read(&file).unwrap();
    for _ in 0..4 {
        assert!(node.stop().success());
        node.restart();
    }
    assert!(node.stop().success());
    let right = std::fs::read(&file).unwrap();
    std::fs::write(&file, &old).unwrap();
    for _ in 0..8 {
        let (code, text) = refusal(&node);
        assert_eq!(code, 5, "{text}");
        assert!(std::fs::read(&file).unwrap() == old, "it is refused before anything is written");
    }
    std::fs::write(&file, &right).unwrap();
    node.restart();
    assert_eq!(values(&node, "t", 0), ["a", "b"]);
    assert_eq!(shard(&node, 1)["span"]["leader"]["incarnation"], 6);
}
