//! Consumer groups from any node: one coordinates them all, and every other one leads to it.

use std::process::Stdio;

use tidelog_proto::kafka::ErrorCode;
use tidelog_proto::kafka::find_coordinator::{Coordinator, FindCoordinatorRequest};
use tidelog_proto::kafka::heartbeat::HeartbeatRequest;
use tidelog_proto::kafka::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};

use super::nodes::Cluster;
use super::support::http::Http;
use super::support::kafka::{Kafka, assert_code};
use super::support::kcat::Kcat;
use super::support::node::Node;
use super::support::wait;

/// Who coordinates a group, by a node that knows.
fn coordinator(node: &Node) -> Coordinator {
    let request = FindCoordinatorRequest { coordinator_keys: vec!["g".into()], ..Default::default() };
    wait::until("somebody to coordinate", || {
        let found = Kafka::new(node).ask(&request).coordinators.remove(0);
        (found.error_code == 0).then_some(found)
    })
}

fn heartbeat(node: &Node) -> i16 {
    let request = HeartbeatRequest { group_id: "g".into(), member_id: "m".into(), ..Default::default() };
    Kafka::new(node).ask(&request).error_code
}

fn write(cluster: &Cluster, node: usize, value: &str) {
    for partition in 0..2 {
        let path = format!("/v1/topics/t/records?partition={partition}");
        let written = cluster.post(node, &path, "text/plain", value.as_bytes());
        assert!(written.is_success(), "{}", written.text());
    }
}

fn until_known(cluster: &Cluster) {
    for node in 1..=3 {
        wait::until("the topic to be known", || cluster.get(node, "/v1/topics/t").is_success().then_some(()));
    }
}

#[test]
fn a_node_that_does_not_coordinate_says_so_and_every_node_knows_who_does() {
    let mut cluster = Cluster::of_three();
    cluster.create_topic(1, "t");
    until_known(&cluster);
    let found = coordinator(cluster.node(3));
    for node in 1..=3 {
        assert_eq!(coordinator(cluster.node(node)), found);
        let port = i32::from(cluster.node(node).kafka().port());
        let coordinates = i32::try_from(node).unwrap() == found.node_id;
        assert_eq!(coordinates, port == found.port);
        if coordinates {
            // It is named before it has taken the groups up.
            wait::until("the coordinator to serve", || {
                (heartbeat(cluster.node(node)) == ErrorCode::UnknownMemberId.number()).then_some(())
            });
        } else {
            assert_code(heartbeat(cluster.node(node)), ErrorCode::NotCoordinator);
        }
    }
    write(&cluster, 2, "value");
    let partition = OffsetCommitRequestPartition { committed_offset: 1, ..Default::default() };
    let topic = OffsetCommitRequestTopic { name: "t".into(), partitions: vec![partition] };
    let commit = OffsetCommitRequest {
        group_id: "g".into(),
        generation_id_or_member_epoch: -1,
        topics: vec![topic],
        ..Default::default()
    };
    let coordinates = usize::try_from(found.node_id).unwrap();
    let committed = Kafka::new(cluster.node(coordinates)).ask(&commit);
    assert_eq!(committed.topics[0].partitions[0].error_code, 0);
    for node in 1..=3 {
        let told = cluster.get(node, "/v1/groups/g");
        let told: serde_json::Value = serde_json::from_slice(&told.body).unwrap();
        assert_eq!((&told["offsets"][0]["offset"], &told["offsets"][0]["lag"]), (&1.into(), &0.into()));
        assert!(cluster.get(node, "/v1/groups").text().contains("\"g\""));
    }
    // It comes back and goes on from what was committed, and the others find it again.
    cluster.node(coordinates).kill();
    cluster.node(coordinates).restart();
    for node in 1..=3 {
        wait::until("the offsets to be known again", || {
            let told = cluster.get(node, "/v1/groups/g");
            (told.is_success() && told.text().contains("\"offset\":1")).then_some(())
        });
    }
}

#[test]
fn a_group_reads_through_any_node_and_goes_on_where_it_was() {
    let mut cluster = Cluster::of_three();
    cluster.create_topic(2, "t");
    until_known(&cluster);
    for node in 1..=3 {
        write(&cluster, node, &format!("by {node}"));
        let args = ["consume", "t", "--group", "g", "--count", "2", "--retry", "60"];
        let run = cluster.node(node).client(&args).stdin(Stdio::null()).output().unwrap();
        let (read, said) = (String::from_utf8_lossy(&run.stdout), String::from_utf8_lossy(&run.stderr));
        assert!(run.status.success(), "{said}");
        assert_eq!(read, format!("by {node}\nby {node}\n"), "{said}");
    }
}

#[test]
fn kcat_reads_as_a_group_from_a_node_that_neither_leads_nor_coordinates() {
    let mut cluster = Cluster::of_three();
    cluster.create_topic(1, "t");
    until_known(&cluster);
    write(&cluster, 1, "value");
    let found = coordinator(cluster.node(1));
    let other = if found.node_id == 3 { 2 } else { 3 };
    let Some(kcat) = Kcat::find(cluster.node(other)) else { return };
    let read = kcat.run(&["-G", "k", "-c", "2", "-X", "auto.offset.reset=earliest", "t"], b"");
    assert_eq!(String::from_utf8(read).unwrap(), "value\nvalue\n");
}

#[test]
fn kcat_goes_on_where_its_group_was_when_the_coordinator_s_node_is_gone_for_good() {
    let mut cluster = Cluster::of_three();
    cluster.create_topic(1, "t");
    until_known(&cluster);
    write(&cluster, 1, "first");
    let found = usize::try_from(coordinator(cluster.node(1)).node_id).unwrap();
    let others: Vec<usize> = (1..=3).filter(|node| *node != found).collect();
    let Some(kcat) = Kcat::find(cluster.node(others[0])) else { return };
    let args = ["-G", "k", "-c", "2", "-X", "auto.offset.reset=earliest", "t"];
    assert_eq!(String::from_utf8(kcat.run(&args, b"")).unwrap(), "first\nfirst\n");
    cluster.node(found).kill();
    for partition in 0..2 {
        let path = format!("/v1/topics/t/records?partition={partition}");
        wait::until("a record to be stored", || {
            Http::post_soon(cluster.at(others[1]), &path, b"second").then_some(())
        });
    }
    let read = String::from_utf8(kcat.run(&args, b"")).unwrap();
    assert!(!read.contains("first") && read.contains("second"), "{read}");
}
