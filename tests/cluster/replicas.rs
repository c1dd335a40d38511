//! Records outlive the nodes that took them.

use std::time::Instant;

use serde_json::Value;

use super::nodes::{Cluster, free_address, settings};
use super::support::node::Node;
use super::support::{http::Http, read, wait};

pub(crate) const TOPIC: &str = "t";
const PARTITION: u32 = 0;
/// So many looks at what the nodes hold for one more record.
const LOOKS: u32 = 50;

impl Cluster {
    /// Stores a record wherever that works, and gives the node that took it. What was not clear is tried again: the record may
    /// be there twice then.
    pub(crate) fn store(&self, value: &str) -> usize {
        let path = format!("/v1/topics/{TOPIC}/records?partition={PARTITION}");
        wait::until("a record to be stored", || {
            self.living().find(|node| Http::post_soon(self.at(*node), &path, value.as_bytes()))
        })
    }

    /// The values that some node serves, once the last one of `stored` is among them.
    pub(crate) fn read_all(&self, stored: &[String]) -> Vec<String> {
        let path = format!("/v1/topics/{TOPIC}/partitions/{PARTITION}/records?offset=beginning");
        wait::until("a node to serve the records", || {
            let node = self
                .living()
                .find(|node| Http::new(self.at(*node)).get(&path).is_ok_and(|answer| answer.is_success()))?;
            let found = read::partition(self.at(node), TOPIC, PARTITION);
            let found: Vec<String> = found.into_iter().map(|record| record.value.unwrap()).collect();
            found.contains(stored.last()?).then_some(found)
        })
    }

    /// The shard of the partition, as a node has it.
    fn shard(&self, node: usize) -> Option<Value> {
        let shards = self.status(node)["shards"].clone();
        shards.as_array()?.iter().find(|shard| shard["role"] == "data" && shard["partitions"] != 0).cloned()
    }

    /// Waits until every span has as many holders as it can have.
    fn until_shipped(&self) {
        wait::until("sealed spans to have all their copies", || {
            // Whoever has no frame of the last span shows nothing of the shard.
            let shown: Vec<Value> = self.living().filter_map(|node| self.shard(node)).collect();
            (!shown.is_empty() && shown.iter().all(|shard| shard["spans_short"] == 0)).then_some(())
        });
    }

    /// Waits until so many nodes hold the newest span, and all of them have all of it. Who has no frame of a span shows nothing
    /// of it: now and then another record is stored.
    pub(crate) fn until_held_by(&self, nodes: usize, stored: &mut Vec<String>) {
        let mut looks = 0;
        wait::until("all holders to have all records", || {
            looks += 1;
            if looks % LOOKS == 0 {
                let value = format!("record {} to be held", stored.len());
                self.store(&value);
                stored.push(value);
            }
            let shards: Option<Vec<Value>> = self.living().map(|node| self.shard(node)).collect();
            let shards = shards?;
            let first = shards.first()?;
            let same = shards.iter().all(|shard| {
                shard["span"]["epoch"] == first["span"]["epoch"]
                    && shard["committed_lsn"] == first["committed_lsn"]
            });
            let held = first["span"]["replicas"].as_array()?.len();
            (same && held == nodes && shards.len() == nodes).then_some(())
        });
    }
}

pub(crate) fn values(from: usize, count: usize) -> impl Iterator<Item = String> {
    (from..from + count).map(|n| format!("{n:0>2000}"))
}

/// Whether all that was acknowledged is there, in its order.
pub(crate) fn has_all(found: &[String], stored: &[String]) -> Result<(), String> {
    let mut rest = found.iter();
    match stored.iter().find(|value| !rest.any(|found| found == *value)) {
        Some(lost) => Err(format!("{} of {} is not there", lost.trim_start_matches('0'), stored.len())),
        None => Ok(()),
    }
}

#[test]
fn what_a_killed_leader_has_acknowledged_another_node_serves_and_it_catches_up_when_it_is_back() {
    let mut cluster = Cluster::of_three();
    cluster.create_wide_topic(1, TOPIC, 1);
    let mut stored: Vec<String> = Vec::new();
    for round in 0..3 {
        let mut leader = 0;
        for value in values(round * 100, 100) {
            leader = cluster.store(&value);
            stored.push(value);
        }
        cluster.until_held_by(3, &mut stored);
        cluster.node(leader).kill();
        let began = Instant::now();
        let value = format!("behind the loss of node {leader}, round {round}");
        assert_ne!(cluster.store(&value), leader);
        eprintln!("round {round}: another node leads after {:?}", began.elapsed());
        stored.push(value);
        has_all(&cluster.read_all(&stored), &stored).unwrap();
        cluster.node(leader).restart();
    }
    cluster.until_held_by(3, &mut stored);
    has_all(&cluster.read_all(&stored), &stored).unwrap();
}

#[test]
fn what_one_node_had_comes_to_those_that_join_and_outlives_it() {
    let mut cluster = Cluster::default();
    cluster.add();
    cluster.create_wide_topic(1, TOPIC, 1);
    // Several sealed segments.
    let mut stored: Vec<String> = values(0, 2500).collect();
    for value in &stored {
        cluster.store(value);
    }
    cluster.add();
    cluster.add();
    for value in values(5000, 100) {
        cluster.store(&value);
        stored.push(value);
    }
    cluster.until_held_by(3, &mut stored);
    cluster.until_shipped();
    // One voter alone would take the metadata with it.
    cluster.until_voters(&[1, 2, 3]);
    cluster.node(1).kill();
    let last = "behind the loss of the first node".to_owned();
    cluster.store(&last);
    stored.push(last);
    has_all(&cluster.read_all(&stored), &stored).unwrap();
}

#[test]
fn a_directory_that_was_alone_becomes_a_cluster_with_all_its_records() {
    let mut alone = Node::start("[storage]\nsegment_bytes = 1048576\n");
    let created = Http::new(alone.address())
        .post("/v1/topics", "application/json", br#"{"name":"t","partitions":1}"#)
        .unwrap();
    assert!(created.is_success(), "{}", created.text());
    let mut stored: Vec<String> = values(0, 1500).collect();
    for value in &stored {
        let path = format!("/v1/topics/{TOPIC}/records?partition={PARTITION}");
        assert!(Http::new(alone.address()).post(&path, "text/plain", value.as_bytes()).unwrap().is_success());
    }
    assert!(alone.stop().success());
    let peer = free_address();
    alone.configure(&settings(peer, None));
    alone.restart();
    let mut cluster = Cluster::from(alone, peer);
    cluster.store("as a cluster of one");
    stored.push("as a cluster of one".to_owned());
    cluster.add();
    cluster.add();
    cluster.until_shipped();
    // A span has files where it has frames.
    cluster.store("as a cluster of three");
    stored.push("as a cluster of three".to_owned());
    cluster.until_held_by(3, &mut stored);
    cluster.until_voters(&[1, 2, 3]);
    cluster.node(1).kill();
    cluster.store("as a cluster of two");
    stored.push("as a cluster of two".to_owned());
    has_all(&cluster.read_all(&stored), &stored).unwrap();
}
