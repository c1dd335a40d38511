//! The real server under load loses its process, its power, its disk, again and again, with a ledger kept outside. After
//! each restart every acknowledged record must be there: unchanged, in order, once, where the answer said it is.
//!
//! What needs FUSE, loop devices or User-Mode Linux says that it is skipped where the machine has none, and fails
//! instead when `TIDELOG_REQUIRE_DISKS` is set.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may be blunt")]
#![allow(clippy::print_stdout, reason = "the test runner shows it when a test fails")]

#[path = "../support/mod.rs"]
mod support;

mod audit;
mod errors;
mod kept;
mod kernel;
mod kills;
mod load;
mod mounted;
mod power;
mod recovery;

use std::collections::BTreeMap;

use audit::Audit;
use load::{Begin, Lasting, Load};
use support::chance::Chance;
use support::disks::rig;
use support::http::Http;
use support::node::Node;
use support::{offline, read};

/// Small segments and frequent retention, so that the kills also hit rolls, files that are given back, and recycled ones.
const CONFIG: &str = "[storage]\nsegment_bytes = 1048576\nretention_check_ms = 100\n";

/// A server with the topics that the load writes to.
fn start() -> Node {
    let node = Node::start(CONFIG);
    create_topics(&node);
    node
}

fn create_topics(node: &Node) {
    let topic = serde_json::json!({"name": load::TOPIC, "partitions": load::PARTITIONS}).to_string();
    let answer = Http::new(node.address()).post("/v1/topics", "application/json", topic.as_bytes()).unwrap();
    assert!(answer.is_success(), "{}", answer.text());
    kept::create(node.address());
}

/// A count from the environment.
fn count(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().and_then(|count| count.parse().ok()).unwrap_or(otherwise)
}

/// A load from the beginning.
fn first_load(node: &Node, chance: &mut Chance) -> Load {
    let lasting = Lasting::new(chance);
    Load::start(node, Begin { cycle: 0, lasting, from: 0, chance, faults: false })
}

#[test]
fn a_stop_under_load_loses_nothing_and_is_a_success() {
    let mut chance = Chance::new("stop under load");
    let mut node = start();
    let (mut audit, mut lasting) = (Audit::default(), Lasting::new(&mut chance));
    for cycle in 0..3 {
        let from = audit.tail();
        let load = Load::start(&node, Begin { cycle, lasting, from, chance: &mut chance, faults: false });
        load.wait_for_answers(chance.within(20, 100));
        let status = node.stop();
        assert!(status.success(), "a stop that was asked for ends with {status}");
        let (ledger, goes_on) = load.finish();
        lasting = goes_on;
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
    let load = first_load(&node, &mut chance);
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
