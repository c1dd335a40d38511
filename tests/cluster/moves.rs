//! A single node that grows to three is evened out: partitions go on in other shards, under producers that send again what
//! they have heard nothing of, and readers that read from anywhere on.

use std::collections::BTreeMap;

use serde_json::Value;

use super::faults::history::{Counts, History};
use super::faults::load::{self, Doors, Load, TOPIC};
use super::nodes::Cluster;
use super::support::chance::Chance;
use super::support::http::Http;
use super::support::kcat::Kcat;
use super::support::{read, wait};

const PARTITIONS: u32 = 12;
/// Answers that each producer is given before and after what happens.
const ANSWERS: u64 = 20;

impl Cluster {
    fn doors(&mut self, nodes: usize) -> Vec<Doors> {
        (1..=nodes).map(|node| Doors { http: self.at(node), kafka: self.node(node).kafka() }).collect()
    }

    /// The cluster as a living node tells it, if one does.
    fn seen(&self) -> Option<Value> {
        let asked = |node| {
            let mut http = super::support::http::Http::new(self.at(node));
            serde_json::from_slice(&http.get("/v1/cluster").ok()?.body).ok()
        };
        self.living().find_map(asked)
    }

    /// Waits until partitions and leaders are even, and nothing is under way or missing.
    fn until_spread(&self) -> Value {
        wait::until("partitions and leaders to be even", || {
            let told = self.seen()?;
            let even = ["leaders", "copies", "partitions"];
            let even = even.iter().all(|of| told["skew"][of].as_u64().is_some_and(|skew| skew < 20));
            let whole = told["under_replicated"] == 0 && told["without_leader"] == 0 && told["moving"] == 0;
            let spread = shards(&told).iter().filter(|shard| shard["partitions"] != 0).count() == 6;
            (even && whole && spread).then_some(told)
        })
    }
}

/// Shards of the topic's class.
fn shards(told: &Value) -> Vec<Value> {
    told["shards"].as_array().into_iter().flatten().cloned().collect()
}

/// Partitions that each node leads.
fn led(told: &Value) -> BTreeMap<u64, u64> {
    let mut led = BTreeMap::new();
    for shard in shards(told) {
        *led.entry(shard["leader"].as_u64().unwrap()).or_default() += shard["partitions"].as_u64().unwrap();
    }
    led
}

/// Waits until each producer was answered again so often.
fn until_answered(load: &Load) {
    let before = load.answers();
    wait::until("each producer to be answered again", || {
        load.answers().iter().zip(&before).all(|(now, before)| *now >= before + ANSWERS).then_some(())
    });
}

/// Ends the load and checks all that it was told and given against what each node serves from the beginning on.
fn check(cluster: &Cluster, load: Load) -> Counts {
    let (told, seen) = load.finish();
    let mut counts = Counts::default();
    for node in cluster.living() {
        let held = (0..PARTITIONS).map(|number| (number, read::partition(cluster.at(node), TOPIC, number)));
        let history = History { told: told.clone(), seen: seen.clone(), held: held.collect() };
        counts = history.check(load::value).unwrap_or_else(|wrong| panic!("by node {node}: {wrong}"));
    }
    counts
}

/// What a node's metrics say of a counter.
fn counted(cluster: &Cluster, node: usize, name: &str) -> u64 {
    let text = cluster.get(node, "/metrics").text();
    let line = text.lines().find(|line| line.starts_with(&format!("tidelog_{name} ")));
    line.and_then(|line| line.rsplit_once(' ')?.1.parse().ok()).unwrap_or(0)
}

/// A node that was alone under load, and now is one of three.
fn grown(chance: &mut Chance) -> (Cluster, Load) {
    let mut cluster = Cluster::default();
    cluster.add();
    cluster.create_wide_topic(1, TOPIC, PARTITIONS);
    let load = Load::start(&cluster.doors(1), PARTITIONS, chance);
    until_answered(&load);
    cluster.add();
    cluster.add();
    cluster.until_voters(&[1, 2, 3]);
    (cluster, load)
}

#[test]
fn a_single_node_that_grows_to_three_is_evened_out_under_load() {
    let mut chance = Chance::new("moves");
    let (mut cluster, load) = grown(&mut chance);
    let told = cluster.until_spread();
    eprintln!("{} {:?}", told["skew"], led(&told));
    assert_eq!(led(&told).into_values().collect::<Vec<_>>(), [4; 3], "{told}");
    until_answered(&load);
    let counts = check(&cluster, load);
    eprintln!("{counts}");
    if let Some(kcat) = Kcat::find(cluster.node(3)) {
        // A client of Kafka's goes over from place to place without noticing.
        let mut read = 0;
        for number in 0..PARTITIONS {
            let number = number.to_string();
            let told =
                kcat.run(&["-C", "-t", TOPIC, "-p", &number, "-o", "beginning", "-e", "-f", "%o\n"], b"");
            for (line, offset) in String::from_utf8(told).unwrap().lines().zip(0u64..) {
                assert_eq!(line, offset.to_string(), "partition {number}");
                read += 1;
            }
        }
        assert_eq!(read, counts.held);
    }
    let sum = |name| (1..=3).map(|node| counted(&cluster, node, name)).sum::<u64>();
    let (left, arrived, closed_ms) = (
        sum("shards_partitions_left_total"),
        sum("shards_partitions_arrived_total"),
        sum("shards_partitions_closed_ms_total"),
    );
    eprintln!("{left} partitions moved, each closed for {} ms", closed_ms / left.max(1));
    assert_eq!((left, arrived), (8, 8), "no more than it takes");
}

#[test]
fn what_a_partition_left_in_other_shards_is_found_by_time_and_let_go_of_with_it() {
    let mut cluster = Cluster::default();
    cluster.add();
    cluster.create_wide_topic(1, TOPIC, PARTITIONS);
    let write = |cluster: &Cluster, from: u64| {
        for number in 0..PARTITIONS {
            let line =
                |n: u64| serde_json::json!({"value": n.to_string(), "timestamp": 1000 + n}).to_string();
            let body = (from..from + 10).map(line).collect::<Vec<_>>().join("\n");
            let path = format!("/v1/topics/{TOPIC}/records?partition={number}");
            wait::until("records to be stored", || {
                let answer = cluster.post(2, &path, "application/x-ndjson", body.as_bytes());
                answer.is_success().then_some(())
            });
        }
    };
    cluster.add();
    wait::until("the second node to know the topic", || {
        cluster.get(2, &format!("/v1/topics/{TOPIC}")).is_success().then_some(())
    });
    write(&cluster, 0);
    cluster.add();
    cluster.until_voters(&[1, 2, 3]);
    cluster.until_spread();
    write(&cluster, 10);
    let records = |node, number: u32, from: &str| {
        let path = format!("/v1/topics/{TOPIC}/partitions/{number}/records?{from}");
        cluster.get(node, &path)
    };
    for number in 0..PARTITIONS {
        for node in 1..=3 {
            for wanted in [0, 5, 9, 10, 15] {
                let answer = records(node, number, &format!("timestamp={}&max_bytes=1", 1000 + wanted));
                let found = read::records(&answer.body);
                assert!(found.first().is_some_and(|first| first.offset <= wanted), "{}", answer.text());
                assert!(found.iter().any(|record| record.offset == wanted), "{node} {number} {wanted}");
            }
        }
        // In what is now the last place, or in the one before.
        let keep = if number % 2 == 0 { 15 } else { 5 };
        let trim = format!("/v1/topics/{TOPIC}/partitions/{number}/trim");
        let body = serde_json::json!({"offset": keep}).to_string();
        let answer = cluster.post(3, &trim, "application/json", body.as_bytes());
        assert!(answer.is_success(), "{}", answer.text());
        for node in 1..=3 {
            assert_eq!(records(node, number, &format!("offset={}", keep - 1)).status, 416);
            let first = read::records(&records(node, number, "offset=beginning").body);
            assert_eq!(first.first().map(|record| record.offset), Some(keep));
            let from = usize::try_from(keep).unwrap();
            assert_eq!(read::partition_from(cluster.at(node), TOPIC, number, from).len(), 20 - from);
        }
    }
    // Once it is deleted no shard knows its partitions.
    let mut http = Http::new(cluster.at(2));
    assert!(http.request("DELETE", &format!("/v1/topics/{TOPIC}"), "", b"").unwrap().is_success());
    wait::until("all shards to have let go of it", || {
        (1..=3)
            .all(|node| {
                let shards = cluster.status(node)["shards"].as_array().unwrap().clone();
                shards.iter().filter(|shard| shard["role"] == "data").all(|shard| shard["partitions"] == 0)
            })
            .then_some(())
    });
}

#[test]
fn leaders_that_are_killed_while_partitions_move_lose_and_double_nothing() {
    let mut chance = Chance::new("moves");
    let (mut cluster, load) = grown(&mut chance);
    let mut kills = 0;
    for _ in 0..6 {
        // Whoever leads the shard that is left, or the one to which a partition goes, sooner or later.
        let victim = usize::try_from(chance.within(1, 3)).unwrap();
        let before = cluster.seen().map(|told| led_now(&told));
        let moves = wait::within(std::time::Duration::from_secs(10), || {
            let told = cluster.seen()?;
            let differs = Some(led_now(&told)) != before || told["moving"] != 0;
            differs.then_some(())
        });
        cluster.node(victim).kill();
        kills += 1;
        eprintln!("node {victim} killed, something moved: {}", moves.is_some());
        cluster.node(victim).restart();
        until_answered(&load);
    }
    let told = cluster.until_spread();
    eprintln!("{kills} kills, {} {:?}", told["skew"], led(&told));
    eprintln!("{}", check(&cluster, load));
}

/// How many partitions each shard has.
fn led_now(told: &Value) -> Vec<(u64, u64)> {
    let count = |shard: Value| Some((shard["shard"].as_u64()?, shard["partitions"].as_u64()?));
    shards(told).into_iter().filter_map(count).collect()
}
