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
    fn store_large(&self, value: &[u8]) {
        wait::until("a record to be stored", || {
            let posted =
                |node: &usize| Http::post_soon(self.at(*node), "/v1/topics/t/records?partition=0", value);
            self.living().find(posted)
        });
    }

    fn write(&self, from: usize, count: usize) {
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
            self.store_large(&value);
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
    let path = format!("/v1/topics/t/partitions/0/records?offset={start}");
    wait::until("what is kept to be served", || {
        Http::new(cluster.at(1)).get(&path).is_ok_and(|answer| answer.is_success()).then_some(())
    });
    let found = read::partition_from(cluster.at(1), "t", 0, usize::try_from(start).unwrap());
    assert!(found.last().unwrap().value.as_ref().unwrap().starts_with("00000000000000090000"));
    assert!(found.len() as u64 >= KEPT / RECORD as u64, "{} records are kept", found.len());
}
