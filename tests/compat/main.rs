//! Files of every released format version, written once by the server of that time and never again: today's server
//! reads them, goes on behind them, and the inspector finds them sound.
//!
//! `v1.0/` is of the time before there were spans: a data directory without the zeroes at its files' ends (`files.json` has the
//! lengths) and all records in it (`records.jsonl`). `v1.0-spans/` has several spans and a promise journal; its files are
//! whole, so that the inspector's own golden output is of them, too (`tools/inspect/tests/cmd/spans.trycmd`).
//! `cargo test -p tidelog --test compat -- --ignored` writes the directory that `write.rs` names; it never writes one that
//! exists.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may be blunt")]
#![allow(clippy::print_stdout, reason = "the test runner shows it when a test fails")]

#[path = "../support/mod.rs"]
mod support;

mod golden;
mod write;

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;
use std::process::Command;

use golden::Golden;
use serde_json::Value;
use support::http::Http;
use support::node::Node;
use support::offline;

/// All records that the server gives out, as `records.jsonl` has them. Offsets that `gone` names, by topic and
/// partition, are skipped: a server says of them that they are gone, and serves nothing in their place.
fn served(node: &Node, topics: &BTreeMap<String, u64>, gone: &[(String, Range<u64>)]) -> Vec<Value> {
    let mut http = Http::new(node.address());
    let mut out = Vec::new();
    for (topic, partition) in topics.iter().flat_map(|(topic, count)| (0..*count).map(move |n| (topic, n))) {
        let name = format!("{topic}/{partition}");
        let mut next = 0;
        loop {
            let skip = gone.iter().find(|(of, range)| *of == name && range.contains(&next));
            next = skip.map_or(next, |(_, range)| range.end);
            let path = format!("/v1/topics/{topic}/partitions/{partition}/records?offset={next}");
            let answer = http.get(&path).unwrap();
            assert_eq!(answer.status, 200, "{path}: {}", answer.text());
            let text = answer.text();
            let page: Vec<Value> = text.lines().map(|line| golden::record(line, topic, partition)).collect();
            let Some(last) = page.last() else { break };
            next = last["offset"].as_u64().unwrap() + 1;
            out.extend(page);
        }
    }
    out
}

/// All records that the inspector finds, in the same form and order.
fn found(inspector: &Path, data: &Path) -> Vec<Value> {
    let run =
        Command::new(inspector).args(["dump", "--records", "--output", "json"]).arg(data).output().unwrap();
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    let text = String::from_utf8(run.stdout).unwrap();
    let of = |line: &str| {
        let json: Value = serde_json::from_str(line).unwrap();
        let (topic, partition) = (json["topic"].as_str().unwrap(), json["partition"].as_u64().unwrap());
        golden::record(line, topic, partition)
    };
    let mut out: Vec<Value> = text.lines().map(of).collect();
    out.sort_by_key(golden::place);
    out
}

#[test]
fn the_server_of_today_reads_every_record_of_every_version_and_goes_on_behind_them() {
    let inspector = offline::inspector();
    let all = Golden::all();
    assert!(!all.is_empty());
    for golden in all {
        let mut node = Node::start_on("", |data| golden.restore(data));
        // The last span that was written then is sealed now, and another one is open.
        let status: Value =
            serde_json::from_str(&Http::new(node.address()).get("/v1/status").unwrap().text()).unwrap();
        for shard in status["shards"].as_array().unwrap().iter().filter(|shard| shard["shard"] != 0) {
            let sealed = &shard["span"]["sealed"];
            assert!(shard["span"]["spans"] == golden.spans() + 1 && sealed["grade"] != "suspect", "{shard}");
            assert!(sealed["end_lsn"].as_u64() > Some(1), "{shard}");
        }
        assert!(served(&node, &golden.topics(), &[]) == golden.records, "{}: records differ", golden.name);
        let ends = |node: &Node| -> u64 { served(node, &golden.topics(), &[]).len() as u64 };
        let before = ends(&node);
        for topic in golden.topics().keys() {
            let path = format!("/v1/topics/{topic}/records");
            let body = b"{\"records\":[{\"value\":\"of today\"}]}";
            let answer = Http::new(node.address()).post(&path, "application/json", body).unwrap();
            assert!(answer.is_success(), "{}: {}", golden.name, answer.text());
        }
        node.kill();
        node.restart();
        assert_eq!(ends(&node), before + golden.topics().len() as u64, "{}: what was added", golden.name);
        assert!(node.stop().success());
        if let Some(inspector) = &inspector {
            offline::verify(inspector, &node.data());
        }
    }
}

#[test]
fn the_inspector_of_today_finds_every_version_sound_and_every_record() {
    let Some(inspector) = offline::inspector() else { return };
    for golden in Golden::all() {
        let (_dir, data) = support::node::scratch();
        golden.restore(&data);
        offline::verify(&inspector, &data);
        assert!(found(&inspector, &data) == golden.records, "{}: records differ", golden.name);
    }
}

#[test]
fn a_repaired_copy_of_a_damaged_directory_is_served_without_what_is_lost() {
    let Some(inspector) = offline::inspector() else { return };
    for golden in Golden::all() {
        repaired_is_served(&inspector, &golden);
    }
}

fn repaired_is_served(inspector: &Path, golden: &Golden) {
    let (_dir, scratch) = support::node::scratch();
    let (damaged, copy) = (scratch.join("damaged"), scratch.join("copy"));
    golden.restore(&damaged);
    golden::damage(&damaged);
    let run = Command::new(inspector)
        .args(["repair", "--output", "json"])
        .arg(&damaged)
        .arg(&copy)
        .output()
        .unwrap();
    let report: Value = serde_json::from_slice(&run.stdout).unwrap();
    assert_eq!((run.status.code(), &report["verified"]), (Some(5), &"ok".into()), "{report}");
    let number = |lost: &Value, name: &str| lost[name].as_u64().unwrap();
    let lost: Vec<(String, Range<u64>)> = report["lost"]
        .as_array()
        .unwrap()
        .iter()
        .map(|lost| (lost["name"].as_str().unwrap().to_owned(), number(lost, "from")..number(lost, "to")))
        .collect();
    assert!(!lost.is_empty(), "{report}");
    let gone = |record: &Value| {
        let name = format!("{}/{}", record["topic"].as_str().unwrap(), record["partition"]);
        lost.iter().any(|(of, range)| *of == name && range.contains(&number(record, "offset")))
    };
    let left: Vec<&Value> = golden.records.iter().filter(|record| !gone(record)).collect();
    assert!(left.len() < golden.records.len());
    assert!(found(inspector, &copy).iter().eq(left.iter().copied()), "what is left differs");
    let mut node = Node::start_on("", |data| golden::copy(&copy, data));
    assert!(served(&node, &golden.topics(), &lost).iter().eq(left.iter().copied()), "what is served differs");
    assert!(node.stop().success());
}
