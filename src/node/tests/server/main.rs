//! The real server as a process, asked over its port and stopped in every way.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may be blunt")]
#![allow(clippy::print_stdout, reason = "the test runner shows it when a test fails")]

#[path = "../../../../tests/support/mod.rs"]
mod support;

mod bad_input;
mod damage;
mod durability;
mod idempotence;
mod kafka;
mod limits;
mod opentsdb;
mod records;
mod repaired;
mod spans;
mod topics;

use serde_json::Value;
use support::http::{Answer, Http};
use support::node::Node;

/// Small segments, so that a start does not fill hundreds of megabytes.
pub(crate) const SMALL: &str = "[storage]\nsegment_bytes = 1048576\n";

/// A server on an empty directory, and a connection to it.
pub(crate) fn start(config: &str) -> (Node, Http) {
    let node = Node::start(&format!("{SMALL}{config}"));
    let http = Http::new(node.address());
    (node, http)
}

/// A request that must succeed; its answer as JSON.
pub(crate) fn ok(answer: std::io::Result<Answer>) -> Value {
    let answer = answer.unwrap();
    assert!(answer.is_success(), "{}: {}", answer.status, answer.text());
    serde_json::from_slice(&answer.body).unwrap_or(Value::Null)
}

/// A request that must be refused: status and code of the answer.
pub(crate) fn refused(answer: std::io::Result<Answer>) -> (u16, String, String) {
    let answer = answer.unwrap();
    let json: Value = serde_json::from_slice(&answer.body).unwrap_or_else(|_| panic!("{}", answer.text()));
    let text = |name: &str| json["error"][name].as_str().unwrap_or_default().to_owned();
    (answer.status, text("code"), text("message"))
}

/// Values of a whole partition, in order.
pub(crate) fn values(node: &Node, topic: &str, partition: u32) -> Vec<String> {
    let records = support::read::partition(node.address(), topic, partition);
    records.into_iter().map(|record| record.value.unwrap_or_default()).collect()
}
