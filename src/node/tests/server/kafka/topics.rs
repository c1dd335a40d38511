//! Administration that is refused.

use tidelog_proto::kafka::ErrorCode;
use tidelog_proto::kafka::create_partitions::{
    CreatePartitionsAssignment, CreatePartitionsRequest, CreatePartitionsTopic,
};
use tidelog_proto::kafka::create_topics::{
    CreatableReplicaAssignment, CreatableTopic, CreatableTopicConfig, CreateTopicsRequest,
};
use tidelog_proto::kafka::delete_records::{
    DeleteRecordsPartition, DeleteRecordsRequest, DeleteRecordsTopic,
};
use tidelog_proto::kafka::delete_topics::{DeleteTopicState, DeleteTopicsRequest};

use crate::start;
use crate::support::kafka::{Kafka, assert_code, batch};

fn topic(name: &str) -> CreatableTopic {
    CreatableTopic { name: name.into(), num_partitions: 1, replication_factor: 1, ..Default::default() }
}

/// The code and the words for one topic.
fn create(kafka: &mut Kafka, topic: CreatableTopic) -> (i16, String) {
    let answer = kafka.ask(&CreateTopicsRequest { topics: vec![topic], ..Default::default() });
    (answer.topics[0].error_code, answer.topics[0].error_message.clone().unwrap_or_default())
}

#[test]
fn names_that_are_not_allowed_or_reserved_are_refused() {
    let (node, _) = start("");
    let mut kafka = Kafka::new(&node);
    for name in ["", ".", "with space", "ä", "__mine", &"x".repeat(250)] {
        let (code, message) = create(&mut kafka, topic(name));
        assert_code(code, ErrorCode::InvalidTopicException);
        assert!(!message.is_empty());
    }
    let deleted = DeleteTopicState { name: Some("__consumer_offsets".into()), ..Default::default() };
    let answer = kafka.ask(&DeleteTopicsRequest { topics: vec![deleted], ..Default::default() });
    assert_ne!(answer.responses[0].error_code, 0);
}

#[test]
fn a_topic_that_exists_is_not_made_again() {
    let (node, _) = start("");
    let mut kafka = Kafka::new(&node);
    assert_eq!(create(&mut kafka, topic("t")).0, 0);
    assert_code(create(&mut kafka, topic("t")).0, ErrorCode::TopicAlreadyExists);
}

#[test]
fn a_topic_named_twice_is_a_request_without_sense() {
    let (node, _) = start("");
    let mut kafka = Kafka::new(&node);
    let request = CreateTopicsRequest { topics: vec![topic("t"), topic("t")], ..Default::default() };
    for made in kafka.ask(&request).topics {
        assert_code(made.error_code, ErrorCode::InvalidRequest);
    }
}

#[test]
fn partitions_and_replicas_that_cannot_be_are_refused() {
    let (node, _) = start("");
    let mut kafka = Kafka::new(&node);
    for num_partitions in [0, -2, 10_001] {
        let wrong = CreatableTopic { num_partitions, ..topic("t") };
        assert_code(create(&mut kafka, wrong).0, ErrorCode::InvalidPartitions);
    }
    for replication_factor in [0, 2, 3] {
        let wrong = CreatableTopic { replication_factor, ..topic("t") };
        assert_code(create(&mut kafka, wrong).0, ErrorCode::InvalidReplicationFactor);
    }
    for numbers in [vec![(0, 99)], vec![(0, 1), (0, 1)], vec![(1, 1)]] {
        let assignment = |(partition_index, broker): (i32, i32)| CreatableReplicaAssignment {
            partition_index,
            broker_ids: vec![broker],
        };
        let assignments = numbers.into_iter().map(assignment).collect();
        let wrong = CreatableTopic { num_partitions: -1, replication_factor: -1, assignments, ..topic("t") };
        assert_code(create(&mut kafka, wrong).0, ErrorCode::InvalidReplicaAssignment);
    }
    assert_eq!(create(&mut kafka, topic("t")).0, 0, "nothing of all that was made");
}

#[test]
fn fewer_partitions_and_partitions_of_others_are_refused() {
    let (node, _) = start("");
    let mut kafka = Kafka::new(&node);
    create(&mut kafka, topic("t"));
    let mut grow = |count, assigned: Option<Vec<i32>>| {
        let assignments = assigned.map(|brokers| {
            brokers.into_iter().map(|one| CreatePartitionsAssignment { broker_ids: vec![one] }).collect()
        });
        let topic = CreatePartitionsTopic { name: "t".into(), count, assignments };
        let request = CreatePartitionsRequest { topics: vec![topic], ..Default::default() };
        kafka.ask(&request).results[0].error_code
    };
    assert_code(grow(1, None), ErrorCode::InvalidPartitions);
    assert_code(grow(-1, None), ErrorCode::InvalidPartitions);
    assert_code(grow(2, Some(vec![99])), ErrorCode::InvalidReplicaAssignment);
    assert_code(grow(3, Some(vec![1])), ErrorCode::InvalidReplicaAssignment);
    assert_eq!(grow(3, Some(vec![1, 1])), 0);
}

#[test]
fn settings_that_would_not_be_true_are_refused_with_what_is() {
    let (node, _) = start("");
    let mut kafka = Kafka::new(&node);
    let mut with = |name: &str, value: &str| {
        let config = CreatableTopicConfig { name: name.into(), value: Some(value.into()) };
        create(&mut kafka, CreatableTopic { configs: vec![config], ..topic(&format!("t{}", value.len())) })
    };
    for (name, value, allowed) in [
        ("cleanup.policy", "compact", "delete"),
        ("message.timestamp.type", "LogAppendTime", "CreateTime"),
        ("compression.type", "zstd", "producer"),
        ("min.insync.replicas", "2", "1"),
        ("retention.ms", "soon", "-1"),
        ("max.message.bytes", "99999999", "8388608"),
        ("no.such.setting", "1", "no.such.setting"),
    ] {
        let (code, message) = with(name, value);
        assert_code(code, ErrorCode::InvalidConfig);
        assert!(message.contains(allowed), "{message}");
    }
    assert_eq!(with("segment.ms", "1000").0, 0, "what promises nothing is no reason to refuse");
}

#[test]
fn more_partitions_than_the_node_may_have_are_against_its_policy() {
    let (node, _) = start("[limits]\npartitions_per_node = 3\n");
    let mut kafka = Kafka::new(&node);
    let many = CreatableTopic { num_partitions: 4, ..topic("t") };
    assert_code(create(&mut kafka, many).0, ErrorCode::PolicyViolation);
}

#[test]
fn a_topic_that_is_not_there_is_not_deleted() {
    let (node, _) = start("");
    let mut kafka = Kafka::new(&node);
    let by_name = DeleteTopicState { name: Some("t".into()), ..Default::default() };
    let by_id = DeleteTopicState { name: None, topic_id: [7; 16] };
    let answer = kafka.ask(&DeleteTopicsRequest { topics: vec![by_name, by_id], ..Default::default() });
    assert_code(answer.responses[0].error_code, ErrorCode::UnknownTopicOrPartition);
    assert_code(answer.responses[1].error_code, ErrorCode::UnknownTopicId);
}

#[test]
fn records_are_deleted_up_to_an_offset_that_there_is() {
    let (node, _) = start("");
    let mut kafka = Kafka::new(&node);
    kafka.topic_id("t");
    kafka.produce("t", 0, &batch(&[b"a", b"b", b"c"]));
    let mut delete = |offset| {
        let partition = DeleteRecordsPartition { partition_index: 0, offset };
        let topic = DeleteRecordsTopic { name: "t".into(), partitions: vec![partition] };
        let answer = kafka.ask(&DeleteRecordsRequest { topics: vec![topic], timeout_ms: 1_000 });
        let partition = &answer.topics[0].partitions[0];
        (partition.error_code, partition.low_watermark)
    };
    assert_code(delete(4).0, ErrorCode::OffsetOutOfRange);
    assert_code(delete(-2).0, ErrorCode::OffsetOutOfRange);
    assert_eq!(delete(2), (0, 2));
    assert_eq!(delete(1), (0, 2), "what is gone stays gone");
    assert_eq!(delete(-1), (0, 3), "-1 is the end");
}
