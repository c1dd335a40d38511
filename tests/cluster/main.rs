//! Several real servers that are one cluster: they join one after the other, lose one of them, and find each other again.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may be blunt")]

#[path = "../support/mod.rs"]
mod support;

mod batches;
mod consumer;
mod disks;
mod draining;
mod faults;
mod groups;
mod http;
mod joining;
mod kafka;
mod leaders;
mod moves;
mod nodes;
mod producer;
mod replicas;
mod retention;
mod rolling;
mod stale;
mod status;

use nodes::Cluster;

#[test]
fn three_nodes_join_one_after_the_other_and_then_vote() {
    let mut cluster = Cluster::default();
    cluster.add();
    cluster.create_topic(1, "before");
    cluster.add();
    let status = cluster.status(1);
    assert_eq!(
        status["metadata"]["group"]["voters"],
        serde_json::json!([1]),
        "two would stop at the loss of either"
    );
    cluster.add();
    cluster.until_voters(&[1, 2, 3]);
    for node in 1..=3 {
        let status = cluster.status(node);
        assert_eq!(status["node"], node);
        assert_eq!(status["cluster"], cluster.status(1)["cluster"]);
        assert_eq!(status["metadata"]["topics"], 1, "what the first one had alone is the cluster's");
    }
    support::wait::until("whoever leads to hear from all", || {
        (1..=3).find(|node| {
            let nodes = cluster.status(*node)["metadata"]["nodes"].clone();
            nodes.as_array().unwrap().iter().all(|node| node["silent_ms"].is_u64())
        })
    });
}

#[test]
fn once_three_are_said_to_vote_the_first_one_is_not_needed_any_more() {
    for _ in 0..3 {
        // While the vote goes from one to three nothing is decided without the one, and nobody must be told otherwise.
        let mut cluster = Cluster::of_three();
        cluster.node(1).kill();
        cluster.create_topic(2, "without-the-first");
    }
}

#[test]
fn the_metadata_outlives_the_kill_of_any_one_node_and_goes_on_without_it() {
    let mut cluster = Cluster::of_three();
    for node in 1..=3 {
        let survivors: Vec<usize> = (1..=3).filter(|other| *other != node).collect();
        let before = cluster.newest_version();
        cluster.node(node).kill();
        for (n, survivor) in survivors.iter().enumerate() {
            cluster.create_topic(*survivor, &format!("without-{node}-{n}"));
        }
        assert!(cluster.newest_version() > before);
        cluster.node(node).restart();
        cluster.until_all_agree();
        assert_eq!(cluster.status(node)["metadata"]["topics"], node * 2);
    }
}

#[test]
fn a_cluster_that_was_killed_as_a_whole_comes_back_with_all_that_was_decided() {
    let mut cluster = Cluster::of_three();
    cluster.create_topic(2, "decided");
    let (before, version) = (cluster.status(1)["cluster"].clone(), cluster.newest_version());
    for node in 1..=3 {
        cluster.node(node).kill();
    }
    // None of them starts before two are there.
    for node in 1..=3 {
        cluster.node(node).spawn();
    }
    for node in 1..=3 {
        cluster.node(node).until_it_listens();
    }
    cluster.until_all_agree();
    assert!(cluster.newest_version() > version);
    assert_eq!(cluster.status(3)["cluster"], before);
    assert_eq!(cluster.status(3)["metadata"]["topics"], 1);
}

#[test]
fn without_a_quorum_topics_wait_records_go_on_and_people_are_told() {
    let mut cluster = Cluster::of_three();
    // Two more that hold records and have no vote.
    cluster.add();
    cluster.add();
    cluster.create_wide_topic(1, "t", 10);
    cluster.node(2).kill();
    cluster.node(3).kill();
    support::wait::until("node 1 says that it has no quorum", || {
        let said = cluster.get(1, "/healthz");
        (said.is_success() && said.text().contains("no quorum")).then_some(())
    });
    assert_eq!(cluster.status(1)["metadata"]["group"]["has_quorum"], false);
    assert!(cluster.get(1, "/metrics").text().contains("tidelog_metadata_quorum 0"));
    support::wait::until("a shard whose holders are mostly there to take a record", || {
        let posted = |node, partition| {
            let path = format!("/v1/topics/t/records?partition={partition}");
            support::http::Http::post_soon(cluster.at(node), &path, b"goes on")
        };
        [1, 4, 5].into_iter().find(|node| (0..10).any(|partition| posted(*node, partition)))
    });
    let refused = cluster.post(1, "/v1/topics", "application/json", br#"{"name":"waits","partitions":1}"#);
    assert_eq!(refused.status, 503, "{}", refused.text());
    cluster.node(2).restart();
    support::wait::until("there is a quorum again", || {
        (cluster.status(1)["metadata"]["group"]["has_quorum"] == true).then_some(())
    });
}
