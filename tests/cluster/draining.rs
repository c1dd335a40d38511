//! Nodes come, are emptied, leave and are lost, under somebody who writes.

use serde_json::{Value, json};

use super::leaders::assert_numbers;
use super::nodes::Cluster;
use super::producer::Stream;
use super::support::node::Node;
use super::support::wait;

const TOPIC: &str = "t";

impl Cluster {
    /// A node, as another one tells it.
    fn listed(&self, by: usize, node: usize) -> Value {
        self.told(by)["nodes"][node - 1].clone()
    }

    /// Waits until the cluster is balanced and lacks nothing.
    fn until_even(&self, by: usize) -> Value {
        wait::until("the cluster to be balanced and whole", || {
            let told = self.told(by);
            let even = ["leaders", "copies"].iter().all(|of| told["skew"][of].as_u64().unwrap() <= 20);
            (even && told["under_replicated"] == 0 && told["without_leader"] == 0).then_some(told)
        })
    }

    /// `tidelog cluster ARGS`, which goes well.
    fn ok(&mut self, by: usize, args: &[&str]) -> String {
        let (exit, out, said) = self.run(by, args);
        assert_eq!(exit, 0, "{args:?}: {said}");
        out
    }
}

/// Numbers of files of segments in the folders of data shards.
fn segments(node: &Node) -> usize {
    let shards = std::fs::read_dir(node.data().join("shards")).unwrap().map(Result::unwrap);
    let data = shards.filter(|shard| shard.file_name() != "0");
    let files = data.flat_map(|shard| std::fs::read_dir(shard.path()).unwrap().map(Result::unwrap));
    files.filter(|file| file.path().extension().is_some_and(|end| end == "seg")).count()
}

#[test]
fn a_fourth_node_takes_its_share_and_another_one_is_emptied_and_leaves() {
    let mut cluster = Cluster::of_three();
    cluster.create_wide_topic(1, TOPIC, 1);
    let stream = Stream::start(cluster.kafka_ports(3), TOPIC);
    stream.until_more(500);
    let (exit, _, said) = cluster.run(1, &["drain", "2"]);
    assert!(exit == 6 && said.contains("add a node first"), "three copies on two nodes: {said}");
    assert!(cluster.ok(1, &["add"]).contains(&format!("--join {}", cluster.first())));

    cluster.add();
    let told = cluster.until_even(1);
    eprintln!("with a fourth node: {}", told["skew"]);
    let fourth = cluster.listed(1, 4);
    assert!(fourth["spans"].as_u64() > Some(0) && fourth["leads"].as_u64() > Some(0), "{fourth}");

    let (exit, _, said) = cluster.run(3, &["remove", "2", "--yes"]);
    assert!(exit == 6 && said.contains("drain it first"), "{said}");
    let (exit, _, said) = cluster.run(3, &["remove", "2", "--yes", "--force"]);
    assert!(exit == 6 && said.contains("it is there"), "{said}");
    cluster.ok(3, &["drain", "2"]);
    assert_eq!(cluster.listed(1, 2)["state"], "draining");
    cluster.ok(3, &["drain", "2", "--cancel"]);
    assert_eq!(cluster.listed(3, 2)["state"], "read_write");

    // It may lead anything, and the metadata too: it has all of that taken from it.
    cluster.ok(3, &["drain", "2", "--wait"]);
    let empty = cluster.listed(3, 2);
    assert_eq!(
        (&empty["spans"], &empty["leads"], &empty["metadata"]),
        (&json!(0), &json!(0), &json!("learner"))
    );
    assert!(cluster.ok(3, &["status"]).contains("node 2 is empty"));
    cluster.until_voters(&[1, 3, 4]);
    wait::until("its files to be gone", || (segments(cluster.node(2)) == 0).then_some(()));
    let removed: Value =
        serde_json::from_str(&cluster.ok(4, &["remove", "2", "--yes", "--output", "json"])).unwrap();
    assert_eq!(removed["state"], "gone");
    wait::until("it to hear that it was removed", || {
        let said = cluster.get(2, "/healthz");
        (said.status == 503 && said.text().contains("was removed from its cluster")).then_some(())
    });
    stream.until_more(500);
    let sent = stream.finish();
    eprintln!("{sent:?}");
    for node in [1, 3, 4] {
        assert_numbers(&cluster, node, sent.count);
    }

    let removed = cluster.node(2);
    removed.kill();
    removed.spawn();
    let (exit, said) = wait::until("it to be refused", || Some((removed.ended()?, removed.output())));
    assert_eq!(exit.code(), Some(6), "{said}");
    assert!(said.contains("was removed from the cluster") && said.contains("a new, empty one"), "{said}");
}

#[test]
fn a_dead_node_is_given_up_and_a_new_one_takes_its_place() {
    let mut cluster = Cluster::of_three();
    cluster.create_wide_topic(1, TOPIC, 1);
    let stream = Stream::start(cluster.kafka_ports(3), TOPIC);
    stream.until_more(500);
    cluster.node(3).kill();
    stream.until_more(100);
    cluster.add();
    let args = ["remove", "3", "--force", "--yes", "--output", "json"];
    let given_up = wait::until("the loss to be noticed", || {
        let (exit, out, said) = cluster.run(1, &args);
        assert!(exit == 0 || said.contains("it is there"), "{exit}: {said}");
        (exit == 0).then_some(out)
    });
    let given_up: Value = serde_json::from_str(&given_up).unwrap();
    assert!(["data_loss", "gone"].contains(&given_up["state"].as_str().unwrap()), "{given_up}");
    cluster.until_even(1);
    wait::until("the lost one to be let go, and the new one to vote", || {
        let told = cluster.told(1);
        (told["nodes"][2]["state"] == "gone" && told["metadata"]["voters"] == json!([1, 2, 4])).then_some(())
    });
    let new = cluster.listed(1, 4);
    assert!(new["spans"].as_u64() > Some(0), "{new}");
    // All that was written before is on it, too: another one can be lost.
    cluster.node(1).kill();
    stream.until_more(500);
    let sent = stream.finish();
    eprintln!("{sent:?}");
    for node in [2, 4] {
        assert_numbers(&cluster, node, sent.count);
    }
    // Its directory does not come back.
    let lost = cluster.node(3);
    lost.spawn();
    let (exit, said) = wait::until("it to be refused", || Some((lost.ended()?, lost.output())));
    assert_eq!(exit.code(), Some(6), "{said}");
    assert!(said.contains("was removed from the cluster"), "{said}");
}

#[test]
fn what_is_not_there_or_may_be_the_last_copy_is_not_given_up() {
    let mut cluster = Cluster::default();
    cluster.add();
    cluster.create_wide_topic(1, TOPIC, 1);
    let (exit, _, said) = cluster.run(1, &["remove", "9", "--yes"]);
    assert!(exit == 3 && said.contains("there is no node 9"), "{said}");
    let (exit, _, said) = cluster.run(1, &["remove", "1"]);
    assert!(exit == 6 && said.contains("give --yes"), "{said}");
    let (exit, _, said) = cluster.run(1, &["drain", "1"]);
    assert!(exit == 6 && said.contains("add a node first"), "{said}");
    // What one node has for itself alone goes with it.
    cluster.add();
    cluster.add();
    cluster.until_voters(&[1, 2, 3]);
    cluster.until_even(2);
    cluster.node(1).kill();
    wait::until("one of three to be given up", || {
        let (exit, _, said) = cluster.run(2, &["remove", "1", "--force", "--yes"]);
        assert!(exit == 0 || said.contains("it is there"), "{exit}: {said}");
        (exit == 0).then_some(())
    });
    cluster.node(3).kill();
    let said = wait::until("the last but one to be needed", || {
        let (exit, _, said) = cluster.run(2, &["remove", "3", "--force", "--yes", "--retry", "0"]);
        (exit == 6 && !said.contains("it is there")).then_some(said)
    });
    assert!(said.contains("records may be lost with node 3"), "{said}");
}
