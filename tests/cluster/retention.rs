//! What nobody wants any more is given back by all nodes that hold it.

use std::path::Path;

use super::nodes::Cluster;
use super::support::{http::Http, read, wait};

/// A topic keeps so much; a segment is as large.
const KEPT: u64 = 1024 * 1024;
/// What is kept, the rest of a span that has begun to go, the next one, and files that are made ready: far from what is
/// written.
const BOUND: u64 = 16 * KEPT;
const RECORD: usize = 64 * 1024;

impl Cluster {
    /// Stores a record wherever that works.
    fn store_large(&self, partition: u32, value: &[u8]) {
        let path = format!("/v1/topics/t/records?partition={partition}");
        wait::until("a record to be stored", || {
            let posted = |node: &usize| Http::post_soon(self.at(*node), &path, value);
            self.living().find(posted)
        });
    }

    fn write(&self, from: usize, count: usize) {
        self.write_to(0, from, count);
    }

    fn write_to(&self, partition: u32, from: usize, count: usize) {
        for n in from..from + count {
            let mut value = format!("{n:0>20}").into_bytes();
            // Text that does not become much shorter when it is compressed.
            let mut x = n as u64 + 1;
            value.extend(
                std::iter::repeat_with(|| {
                    x = x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                    b' ' + 1 + (x >> 58) as u8
                })
                .take(RECORD),
            );
            self.store_large(partition, &value);
        }
    }

    /// Bytes of a node's segments.
    fn used(&mut self, node: usize) -> u64 {
        bytes(&self.node(node).data().join("shards"))
    }

    /// Goes on writing until every node has given back what is not kept: the span in which the last kept records are goes
    /// when there are later ones.
    fn until_small(&mut self) {
        for node in self.living().collect::<Vec<usize>>() {
            let mut number = 50_000;
            wait::until("a node to give its disk back", || {
                number += 1;
                self.write(number, 1);
                (self.used(node) < BOUND).then_some(())
            });
        }
    }
}

/// Of all files below a directory; those that go meanwhile count nothing.
fn bytes(dir: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(dir) else { return 0 };
    let of = |path: &Path| match std::fs::metadata(path) {
        Ok(meta) if meta.is_dir() => bytes(path),
        Ok(meta) => meta.len(),
        Err(_) => 0,
    };
    entries.filter_map(|entry| Some(of(&entry.ok()?.path()))).sum()
}

#[test]
fn all_holders_give_back_what_a_topic_does_not_keep_and_one_that_was_away_does_so_when_it_is_back() {
    let mut cluster = Cluster::of_three_with("retention_check_ms = 200\n");
    let topic = format!(r#"{{"name":"t","partitions":1,"config":{{"retention_bytes":{KEPT}}}}}"#);
    assert!(cluster.post(1, "/v1/topics", "application/json", topic.as_bytes()).is_success());
    for round in 0..3 {
        // More than the bound in each round.
        cluster.write(round * 400, 400);
        cluster.until_small();
        cluster.node(3).kill();
        cluster.write(10_000 + round * 400, 400);
        cluster.until_small();
        cluster.node(3).restart();
        cluster.until_small();
    }
    cluster.write(90_000, 1);
    let start = wait::until("the first kept record to be known", || {
        let told: serde_json::Value = serde_json::from_slice(&cluster.get(1, "/v1/topics/t").body).ok()?;
        told["partitions"][0]["start_offset"].as_u64().filter(|start| *start > 1000)
    });
    let found = read::newest(cluster.at(1), "t", 0);
    assert!(found[0].offset >= start);
    assert!(found.last().unwrap().value.as_ref().unwrap().starts_with("00000000000000090000"));
    assert!(found.len() as u64 >= KEPT / RECORD as u64, "{} records are kept", found.len());
}

#[test]
fn a_topic_with_limits_is_spread_over_the_nodes_that_come_and_what_it_left_behind_is_given_back() {
    const PARTITIONS: u32 = 6;
    const BEFORE: usize = 20;
    let mut cluster = Cluster::of_one_with("retention_check_ms = 200\n");
    let config = format!(r#"{{"retention_bytes":{KEPT}}}"#);
    let topic = format!(r#"{{"name":"t","partitions":{PARTITIONS},"config":{config}}}"#);
    assert!(cluster.post(1, "/v1/topics", "application/json", topic.as_bytes()).is_success());
    (0..PARTITIONS).for_each(|partition| cluster.write_to(partition, 0, BEFORE));
    cluster.add();
    cluster.add();
    cluster.until_voters(&[1, 2, 3]);
    wait::until("each node to lead a third of the topic", || {
        let told: serde_json::Value = serde_json::from_slice(&cluster.get(1, "/v1/cluster").body).ok()?;
        let shards: Vec<&serde_json::Value> =
            told["shards"].as_array()?.iter().filter(|shard| shard["partitions"] != 0).collect();
        let mut leaders: Vec<u64> = shards.iter().filter_map(|shard| shard["leader"].as_u64()).collect();
        leaders.sort_unstable();
        let thirds = shards.iter().all(|shard| shard["partitions"] == 2);
        (thirds && leaders == [1, 2, 3] && told["moving"] == 0).then_some(())
    });
    let mut number = BEFORE;
    wait::until("what is in older places to be let go of", || {
        (0..PARTITIONS).for_each(|partition| cluster.write_to(partition, number, 5));
        number += 5;
        let told: serde_json::Value = serde_json::from_slice(&cluster.get(1, "/v1/topics/t").body).ok()?;
        let starts = told["partitions"].as_array()?.iter().map(|one| one["start_offset"].as_u64());
        starts.map(|start| start.filter(|start| *start >= BEFORE as u64)).collect::<Option<Vec<u64>>>()
    });
    for node in 1..=3 {
        wait::until("a node to give its disk back", || {
            (0..PARTITIONS).for_each(|partition| cluster.write_to(partition, number, 1));
            number += 1;
            (cluster.used(node) < 3 * BOUND).then_some(())
        });
        for partition in 0..PARTITIONS {
            let found = read::newest(cluster.at(node), "t", partition);
            let number = |record: &read::Record| record.value.as_ref().unwrap()[..20].parse::<u64>().unwrap();
            let follows = |pair: &[read::Record]| number(&pair[1]) - number(&pair[0]) <= 1;
            // Twice only if the first try was not answered.
            assert!(found.windows(2).all(follows), "records are missing");
            let kept = found.len() as u64 * RECORD as u64;
            let first = found[0].offset;
            assert!(first >= BEFORE as u64 && kept >= KEPT, "{kept} bytes from {first} on are kept");
        }
    }
}
