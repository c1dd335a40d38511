//! Another node leads because somebody asks for it, and those who write notice nothing but a moment's silence.

use std::collections::BTreeSet;
use std::io::Write;
use std::process::Stdio;

use serde_json::{Value, json};

use super::nodes::Cluster;
use super::producer::Stream;
use super::support::kcat::Kcat;
use super::support::{read, wait};

const TOPIC: &str = "t";

impl Cluster {
    /// The whole cluster, as a node tells it.
    pub(crate) fn told(&self, node: usize) -> Value {
        serde_json::from_slice(&self.get(node, "/v1/cluster").body).unwrap()
    }

    /// The shard with partitions whose number is the lowest, with a leader.
    pub(crate) fn led(&self) -> Value {
        wait::until("a shard with partitions to be led", || {
            let told = self.told(1);
            let shards = told["shards"].as_array().unwrap();
            let shard = shards.iter().find(|shard| shard["partitions"] != 0 && shard["leader"].is_u64());
            shard.cloned()
        })
    }

    /// Kafka's ports of all nodes.
    pub(crate) fn kafka_ports(&mut self, nodes: usize) -> Vec<std::net::SocketAddr> {
        (1..=nodes).map(|node| self.node(node).kafka()).collect()
    }

    /// Runs `tidelog cluster ARGS`; its exit code and what it wrote.
    pub(crate) fn run(&mut self, node: usize, args: &[&str]) -> (i32, String, String) {
        let run = self.node(node).client(&[&["cluster"], args].concat()).output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (run.status.code().unwrap(), text(run.stdout), text(run.stderr))
    }
}

/// Numbers from 0 on, each once and in order, are what a partition holds.
pub(crate) fn assert_numbers(cluster: &Cluster, node: usize, count: u64) {
    wait::until("a node to serve what was written", || {
        let http = super::support::http::Http::new(cluster.at(node));
        let path = format!("/v1/topics/{TOPIC}/partitions/0/records?offset=beginning&max_bytes=1");
        let mut http = http;
        http.get(&path).is_ok_and(|answer| answer.is_success()).then_some(())
    });
    let found = read::partition(cluster.at(node), TOPIC, 0);
    for (number, record) in found.iter().enumerate() {
        assert_eq!(record.value, Some(number.to_string()), "one is lost, doubled, or out of its order");
    }
    assert_eq!(found.len() as u64, count);
}

#[test]
fn a_leader_moves_to_every_other_node_under_an_idempotent_producer() {
    let mut cluster = Cluster::of_three();
    cluster.create_wide_topic(1, TOPIC, 1);
    let stream = Stream::start(cluster.kafka_ports(3), TOPIC);
    stream.until_more(100);
    let shard = cluster.led();
    let number = shard["shard"].to_string();
    let mut leads = BTreeSet::new();
    for turn in 1..=6 {
        let to = (turn % 3 + 1).to_string();
        // Whoever is asked has the leader do it.
        let asked = turn % 2 + 1;
        let moved = wait::until("a move that is not too early", || {
            let (code, out, said) = cluster.run(asked, &["move-leader", &number, &to, "--output", "json"]);
            // Just after a move the next holder may lack frames still: that is refused, and asked for again.
            assert!(code == 0 || (code == 6 && said.contains("behind")), "{code}: {said}");
            (code == 0).then(|| serde_json::from_str::<Value>(&out).unwrap())
        });
        assert_eq!(moved["to"].to_string(), to);
        eprintln!("{moved}");
        leads.insert(to);
        stream.until_more(100);
    }
    assert_eq!(leads.len(), 3);
    let sent = stream.finish();
    eprintln!("{sent:?}");
    for node in 1..=3 {
        assert_numbers(&cluster, node, sent.count);
    }
}

#[test]
fn kcat_fails_in_nothing_while_the_leader_moves() {
    let mut cluster = Cluster::of_three();
    cluster.create_wide_topic(1, TOPIC, 1);
    let shard = cluster.led();
    let path = format!("/v1/cluster/shards/{}/leader", shard["shard"]);
    let Some(kcat) = Kcat::find(cluster.node(2)) else { return };
    let mut child = kcat
        .command(&["-P", "-t", TOPIC, "-p", "0", "-X", "enable.idempotence=true", "-X", "linger.ms=1"])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    let mut count = 0u64;
    for turn in 1..=6u64 {
        for _ in 0..2000 {
            writeln!(input, "{count}").unwrap();
            count += 1;
        }
        input.flush().unwrap();
        let body = json!({"node": turn % 3 + 1}).to_string();
        wait::until("the leader to move", || {
            let answer = cluster.post(1, &path, "application/json", body.as_bytes());
            answer.is_success().then_some(())
        });
    }
    drop(input);
    let ended = child.wait_with_output().unwrap();
    assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
    assert_numbers(&cluster, 1, count);
}

#[test]
fn what_cannot_lead_is_refused_with_the_reason() {
    let mut cluster = Cluster::of_three();
    cluster.create_wide_topic(1, TOPIC, 1);
    let shard = cluster.led();
    let number = shard["shard"].to_string();
    for (args, code, why) in [
        (["move-leader", "77", "1"], 3, "there is no shard 77"),
        (["move-leader", &number, "77"], 3, "there is no node 77"),
        (["move-leader", &number, "x"], 2, "invalid value 'x'"),
    ] {
        let (exit, _, said) = cluster.run(2, &args);
        assert_eq!(exit, code, "{args:?}: {said}");
        assert!(said.contains(why), "{args:?}: {said}");
    }
    let leader = shard["leader"].as_u64().unwrap();
    let (exit, out, said) = cluster.run(3, &["move-leader", &number, &leader.to_string()]);
    assert!(exit == 0 && out.contains("SHARD"), "who leads already goes on: {said}");
    // A holder that is away cannot take it. There is no fourth node that could take its place.
    let away = leader % 3 + 1;
    let asked = usize::try_from(leader).unwrap();
    cluster.node(usize::try_from(away).unwrap()).kill();
    wait::until("a holder that is away to be refused", || {
        let (exit, _, said) = cluster.run(asked, &["move-leader", &number, &away.to_string()]);
        (exit == 6 && said.contains("is behind")).then_some(())
    });
}

#[test]
fn who_holds_nothing_of_a_shard_cannot_lead_it() {
    let mut cluster = Cluster::of_three();
    cluster.add();
    cluster.create_wide_topic(1, TOPIC, 1);
    // Copies move while the cluster comes to balance.
    wait::until("a node without a copy to be refused", || {
        let shard = cluster.led();
        let holders = shard["holders"].as_array().unwrap();
        let other = (1..=4u64).find(|node| !holders.contains(&json!(node)))?;
        let args = ["move-leader", &shard["shard"].to_string(), &other.to_string()];
        let (exit, _, said) = cluster.run(2, &args);
        (exit == 6 && said.contains("does not hold the last span")).then_some(())
    });
}
