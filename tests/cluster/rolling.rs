//! All nodes are restarted one after the other, as for an upgrade, and who writes and reads fails in nothing.
//!
//! How long producers wait is printed and not judged: `TIDELOG_ROLLING_TURNS=N` restarts all nodes so often (1 if it is not set).

use super::consumer::Follower;
use super::leaders::assert_numbers;
use super::nodes::Cluster;
use super::producer::Stream;
use super::support::wait;

const TOPIC: &str = "t";

#[test]
fn three_nodes_are_restarted_one_after_the_other_and_nothing_fails_is_lost_or_doubled() {
    let turns = std::env::var("TIDELOG_ROLLING_TURNS").map_or(1, |turns| turns.parse().unwrap());
    let mut cluster = Cluster::of_three();
    cluster.create_wide_topic(1, TOPIC, 1);
    let ports = cluster.kafka_ports(3);
    let (stream, follower) = (Stream::start(ports.clone(), TOPIC), Follower::start(ports, TOPIC));
    stream.until_more(200);
    for node in (0..turns).flat_map(|_| 1..=3) {
        let led = cluster.leader_of_data();
        assert!(cluster.node(node).stop().success());
        stream.until_more(100);
        cluster.node(node).restart();
        // As the page for operators says: the next one when all copies are there again.
        wait::until("the node to be back in all that it holds", || {
            let told = cluster.told(node);
            let whole = told["under_replicated"] == 0 && told["without_leader"] == 0;
            (whole && told["metadata"]["has_quorum"] == true).then_some(())
        });
        stream.until_more(200);
        eprintln!("node {node} is back at {:?}; node {led:?} led", stream.since());
    }
    let sent = stream.finish();
    let silent = follower.finish(sent.count);
    eprintln!("{sent:#?}; the reader waited {silent:?} at most");
    let mut pauses: Vec<_> = sent.pauses.iter().map(|pause| pause.took).collect();
    pauses.sort_unstable();
    eprintln!("{} pauses: {pauses:?}", pauses.len());
    for node in 1..=3 {
        assert_numbers(&cluster, node, sent.count);
    }
}
