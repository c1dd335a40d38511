//! `tidelog cluster status` tells of the whole cluster, whichever node is asked.

use serde_json::{Value, json};

use super::nodes::Cluster;
use super::support::wait;

fn status(cluster: &mut Cluster, node: usize) -> Value {
    let run = cluster.node(node).client(&["cluster", "status", "--output", "json"]).output().unwrap();
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    serde_json::from_slice(&run.stdout).unwrap()
}

#[test]
fn every_node_tells_of_all_nodes_and_shards() {
    let mut cluster = Cluster::of_three();
    cluster.create_topic(2, "t");
    for node in 1..=3 {
        let told = wait::until("the topic and all nodes to be known", || {
            let told = status(&mut cluster, node);
            let nodes = told["nodes"].as_array().unwrap();
            let heard = nodes.iter().all(|node| node["silent_ms"].is_u64() && node["lag"].is_u64());
            (heard && nodes.len() == 3 && told["partitions"] == 2).then_some(told)
        });
        assert_eq!(told["told_by"], told["metadata"]["leader"]);
        assert_eq!(told["metadata"]["voters"], json!([1, 2, 3]));
        assert_eq!(told["without_leader"], 0);
        for number in 1..=3 {
            let listed = &told["nodes"][number - 1];
            assert_eq!((&listed["node"], &listed["state"]), (&json!(number), &json!("read_write")));
            let address = cluster.node(number).address().to_string();
            assert_eq!(listed["http"], address);
        }
        let shards = told["shards"].as_array().unwrap();
        let carried: u64 = shards.iter().map(|shard| shard["partitions"].as_u64().unwrap()).sum();
        assert_eq!(carried, 2);
        assert!(shards.iter().all(|shard| shard["leader"].is_u64() && shard["epoch"].as_u64().unwrap() > 0));
    }
    let run = cluster.node(3).client(&["cluster", "status"]).output().unwrap();
    let text = String::from_utf8(run.stdout).unwrap();
    assert!(text.contains("shards without a leader: 0") && text.contains("NODE  STATE"), "{text}");
}

#[test]
fn a_node_that_is_alone_is_a_cluster_of_one() {
    let node = super::support::node::Node::start("[storage]\nsegment_bytes = 1048576\n");
    let run = node.client(&["cluster", "status", "--output", "json"]).output().unwrap();
    let told: Value = serde_json::from_slice(&run.stdout).unwrap();
    assert_eq!((&told["nodes"][0]["metadata"], &told["under_replicated"]), (&json!("alone"), &json!(0)));
    assert_eq!(told["nodes"][0]["http"], node.address().to_string());
}
