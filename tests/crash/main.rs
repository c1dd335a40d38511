//! kill -9 of the real server under load, again and again, with a ledger kept outside the process. After each restart
//! every acknowledged record must be there: unchanged, in order, once, where the answer said it is.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may be blunt")]
#![allow(clippy::print_stdout, reason = "the test runner shows it when a test fails")]

#[path = "../support/mod.rs"]
mod support;

mod audit;
mod load;

use std::collections::BTreeMap;

use audit::Audit;
use load::Load;
use support::chance::Chance;
use support::http::Http;
use support::node::Node;
use support::{offline, read};

/// Small segments, so that the kills also hit rolls and recycled files.
const CONFIG: &str = "[storage]\nsegment_bytes = 1048576\n";

/// A server with the topic that the load writes to.
fn start() -> Node {
    let node = Node::start(CONFIG);
    let topic = serde_json::json!({"name": load::TOPIC, "partitions": load::PARTITIONS}).to_string();
    let answer = Http::new(node.address()).post("/v1/topics", "application/json", topic.as_bytes()).unwrap();
    assert!(answer.is_success(), "{}", answer.text());
    node
}

fn cycles() -> u64 {
    std::env::var("TIDELOG_CRASH_CYCLES").ok().and_then(|cycles| cycles.parse().ok()).unwrap_or(5)
}

#[test]
fn kill_9_under_load_loses_changes_reorders_and_doubles_nothing() {
    let mut chance = Chance::new("kill -9 under load");
    let inspector = offline::inspector();
    let mut node = start();
    let mut audit = Audit::default();
    for cycle in 0..cycles() {
        let load = Load::start(&node, &mut chance, cycle);
        load.wait_for_answers(chance.within(1, 150));
        node.kill();
        let ledger = load.finish();
        if let Some(inspector) = &inspector {
            offline::verify(inspector, &node.data());
        }
        // What one backend wrote the other one reads.
        node.configure(&format!("io = \"{}\"\n{CONFIG}", if cycle % 2 == 0 { "posix" } else { "auto" }));
        // Every third time recovery is cut off as well.
        if cycle % 3 == 2 {
            node.spawn();
            // Where the kill hits is left to chance; nothing depends on this time.
            std::thread::sleep(std::time::Duration::from_millis(chance.within(0, 60)));
            node.kill();
        }
        node.restart();
        audit.take(ledger);
        // What lies further back is read again every tenth time, and at the end.
        audit.check(node.address(), cycle % 10 != 0 && cycle + 1 < cycles());
    }
    println!("{} cycles: {audit}", cycles());
    assert!(audit.acknowledged() > 0);
}

#[test]
fn a_stop_under_load_loses_nothing_and_is_a_success() {
    let mut chance = Chance::new("stop under load");
    let mut node = start();
    let mut audit = Audit::default();
    for cycle in 0..3 {
        let load = Load::start(&node, &mut chance, cycle);
        load.wait_for_answers(chance.within(20, 100));
        let status = node.stop();
        assert!(status.success(), "a stop that was asked for ends with {status}");
        let ledger = load.finish();
        if let Some(inspector) = offline::inspector() {
            offline::verify(&inspector, &node.data());
        }
        node.restart();
        audit.take(ledger);
        audit.check(node.address(), false);
    }
    println!("3 stops: {audit}");
}

#[test]
fn what_a_restart_finds_is_what_the_restart_before_found() {
    let mut chance = Chance::new("restarts without load");
    let mut node = start();
    let load = Load::start(&node, &mut chance, 0);
    load.wait_for_answers(60);
    node.kill();
    load.finish();
    node.restart();
    let content = |node: &Node| -> BTreeMap<u32, Vec<read::Record>> {
        (0..load::PARTITIONS).map(|p| (p, read::partition(node.address(), load::TOPIC, p))).collect()
    };
    let first = content(&node);
    for kill in [true, false, true] {
        if kill {
            node.kill();
        } else {
            assert!(node.stop().success());
        }
        node.restart();
        assert!(content(&node) == first, "a restart without any write changed what is stored");
    }
}
