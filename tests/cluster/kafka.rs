//! Kafka's clients find their way in a cluster, whichever node they begin with.

use tidelog_proto::kafka::ErrorCode;
use tidelog_proto::kafka::create_topics::{CreatableTopic, CreateTopicsRequest};
use tidelog_proto::kafka::delete_topics::{DeleteTopicState, DeleteTopicsRequest};
use tidelog_proto::kafka::describe_cluster::DescribeClusterRequest;
use tidelog_proto::kafka::fetch::{FetchPartition, FetchRequest, FetchTopic};
use tidelog_proto::kafka::list_offsets::{ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic};
use tidelog_proto::kafka::metadata::{
    MetadataRequest, MetadataRequestTopic, MetadataResponse, MetadataResponsePartition,
};

use super::nodes::Cluster;
use super::support::kafka::{Kafka, assert_code, batch};
use super::support::kcat::Kcat;
use super::support::node::Node;
use super::support::wait;

/// What a node says about a topic, without making it.
fn metadata(node: &Node, topic: &str) -> MetadataResponse {
    let named = MetadataRequestTopic { name: Some(topic.to_owned()), ..Default::default() };
    let allow_auto_topic_creation = false;
    Kafka::new(node).ask(&MetadataRequest {
        topics: Some(vec![named]),
        allow_auto_topic_creation,
        ..Default::default()
    })
}

/// The topic's partitions, once a node knows who leads them.
fn partitions(node: &Node, topic: &str) -> Vec<MetadataResponsePartition> {
    wait::until("a topic's leaders to be known", || {
        let found = metadata(node, topic).topics.remove(0);
        let led = !found.partitions.is_empty() && found.partitions.iter().all(|one| one.error_code == 0);
        (found.error_code == 0 && led).then_some(found.partitions)
    })
}

/// The number of a node that does not lead a partition.
fn other_than(leader: i32) -> usize {
    if leader == 1 { 2 } else { 1 }
}

#[test]
fn every_node_knows_all_brokers_and_who_leads_what() {
    let mut cluster = Cluster::of_three();
    cluster.create_topic(1, "t");
    let ports: Vec<i32> = (1..=3).map(|node| cluster.node(node).kafka().port().into()).collect();
    let known: Vec<_> = (1..=3).map(|node| partitions(cluster.node(node), "t")).collect();
    assert_eq!(known[0], known[1]);
    assert_eq!(known[0], known[2]);
    for partition in &known[0] {
        assert!(partition.leader_epoch > 0 && partition.replica_nodes.contains(&partition.leader_id));
        assert_eq!(partition.isr_nodes, partition.replica_nodes);
    }
    for node in 1..=3 {
        let said = metadata(cluster.node(node), "t");
        let brokers: Vec<_> = said.brokers.iter().map(|one| (one.node_id, one.port)).collect();
        assert_eq!(brokers, [(1, ports[0]), (2, ports[1]), (3, ports[2])]);
        let described = Kafka::new(cluster.node(node)).ask(&DescribeClusterRequest::default());
        assert_eq!(described.cluster_id, said.cluster_id.unwrap());
        assert_eq!(described.brokers.iter().map(|one| one.port).collect::<Vec<_>>(), ports);
        assert!((1..=3).contains(&described.controller_id));
    }
    // It comes back at another port, and the others hear of it.
    let moved = cluster.node(3);
    assert!(moved.stop().success());
    moved.forget_ports();
    moved.restart();
    let port = i32::from(moved.kafka().port());
    wait::until("the others to hear of the new port", || {
        (metadata(cluster.node(1), "t").brokers[2].port == port).then_some(())
    });
}

#[test]
fn a_node_that_does_not_lead_says_so_and_names_who_does() {
    let mut cluster = Cluster::of_three();
    cluster.create_topic(2, "t");
    let led = partitions(cluster.node(1), "t")[0].clone();
    let other = other_than(led.leader_id);
    partitions(cluster.node(other), "t");
    let mut kafka = Kafka::new(cluster.node(other));
    let refused = kafka.produce("t", 0, &batch(&[b"lost?"]));
    assert_code(refused.error_code, ErrorCode::NotLeaderOrFollower);
    let named = (refused.current_leader.leader_id, refused.current_leader.leader_epoch);
    assert_eq!(named, (led.leader_id, led.leader_epoch));

    let topic_id = kafka.topic_id("t");
    let asked = FetchPartition { partition: 0, partition_max_bytes: 1000, ..Default::default() };
    let topic = FetchTopic { topic_id, partitions: vec![asked], ..Default::default() };
    let fetched = kafka.ask(&FetchRequest { topics: vec![topic], ..Default::default() });
    let answer = &fetched.responses[0].partitions[0];
    assert_code(answer.error_code, ErrorCode::NotLeaderOrFollower);
    assert_eq!(answer.current_leader, refused.current_leader);

    let asked = ListOffsetsPartition { timestamp: -1, ..Default::default() };
    let topic = ListOffsetsTopic { name: "t".into(), partitions: vec![asked] };
    let listed = kafka.ask(&ListOffsetsRequest { topics: vec![topic], ..Default::default() });
    assert_code(listed.topics[0].partitions[0].error_code, ErrorCode::NotLeaderOrFollower);

    let mut leader = Kafka::new(cluster.node(usize::try_from(led.leader_id).unwrap()));
    assert_eq!(leader.produce("t", 0, &batch(&[b"stored"])).error_code, 0);
}

#[test]
fn topics_are_made_and_deleted_on_any_node_and_known_on_all() {
    let mut cluster = Cluster::of_three();
    let topic =
        CreatableTopic { name: "t".into(), num_partitions: 3, replication_factor: -1, ..Default::default() };
    let request = CreateTopicsRequest { topics: vec![topic], timeout_ms: 1000, ..Default::default() };
    let made = Kafka::new(cluster.node(2)).ask(&request);
    assert_eq!(made.topics[0].error_code, 0);
    for node in 1..=3 {
        assert_eq!(partitions(cluster.node(node), "t").len(), 3);
    }
    let again = Kafka::new(cluster.node(3)).ask(&request);
    assert_code(again.topics[0].error_code, ErrorCode::TopicAlreadyExists);
    let named = DeleteTopicState { name: Some("t".into()), ..Default::default() };
    let delete = DeleteTopicsRequest { topics: vec![named], ..Default::default() };
    assert_eq!(Kafka::new(cluster.node(3)).ask(&delete).responses[0].error_code, 0);
    for node in 1..=3 {
        wait::until("the topic to be gone", || {
            let code = metadata(cluster.node(node), "t").topics[0].error_code;
            (code == ErrorCode::UnknownTopicOrPartition.number()).then_some(())
        });
    }
}

#[test]
fn kcat_writes_through_one_node_and_reads_through_another() {
    let mut cluster = Cluster::of_three();
    cluster.create_topic(1, "t");
    for node in 1..=3 {
        partitions(cluster.node(node), "t");
        let Some(kcat) = Kcat::find(cluster.node(node)) else { return };
        kcat.run(&["-P", "-t", "t", "-p", "0"], format!("by {node}\n").as_bytes());
    }
    for node in 1..=3 {
        let Some(kcat) = Kcat::find(cluster.node(node)) else { return };
        let read = kcat.run(&["-C", "-t", "t", "-p", "0", "-o", "beginning", "-e"], b"");
        assert_eq!(String::from_utf8(read).unwrap(), "by 1\nby 2\nby 3\n");
    }
}
