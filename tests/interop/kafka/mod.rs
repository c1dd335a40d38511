//! Kafka's clients, as people run them, against the Kafka port: the programs of Debian, and the libraries of Python and
//! Node behind small drivers (`clients/`), which take a job and say what happened.

mod admin;
mod codecs;
mod committed;
mod driver;
mod groups;
mod idempotent;
mod kcat;
mod many_topics;
mod positions;
mod record;
mod senders;

use serde_json::json;

use crate::support::node::Node;
use driver::{Client, Driver};
use record::Record;

/// Small segments, so that a start does not fill hundreds of megabytes; sessions as short as a test wants them.
const CONFIG: &str = "[storage]\nsegment_bytes = 8388608\n[groups]\nmin_session_ms = 1000\n";

fn start() -> Node {
    Node::start(CONFIG)
}

/// A topic with so many partitions.
fn create(node: &Node, topic: &str, partitions: u32) {
    let count = partitions.to_string();
    let run = node.client(&["topic", "create", topic, "--partitions", &count]).output().unwrap();
    assert!(run.status.success(), "topic create {topic}: {}", String::from_utf8_lossy(&run.stderr));
}

/// Produces records with a client and waits until all are acknowledged.
fn produce(node: &Node, client: Client, topic: &str, records: &[Record]) {
    let records: Vec<_> = records.iter().map(Record::to_json).collect();
    let jobs = json!([{"topic": topic, "codec": "none", "records": records}]);
    Driver::start(node, client, "produce", &json!({ "jobs": jobs })).finish();
}
