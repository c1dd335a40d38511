//! Reading: limits, waiting, fairness, and places that are not there.

use tidelog_proto::kafka::ErrorCode;
use tidelog_proto::kafka::fetch::{FetchPartition, FetchRequest, FetchTopic, PartitionData};
use tidelog_proto::kafka::list_offsets::{ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic};

use crate::start;
use crate::support::kafka::{Kafka, assert_code, batch};
use crate::support::node::Node;

/// A node with a topic `t` of so many partitions, its id, and a connection.
fn topic(partitions: u32) -> (Node, Kafka, [u8; 16]) {
    let (node, _) = start(&format!("[topics]\npartitions = {partitions}\n"));
    let mut kafka = Kafka::new(&node);
    let id = kafka.topic_id("t");
    (node, kafka, id)
}

fn partition(partition: i32, fetch_offset: i64) -> FetchPartition {
    FetchPartition { partition, fetch_offset, partition_max_bytes: 1 << 20, ..FetchPartition::default() }
}

fn request(topic_id: [u8; 16], partitions: Vec<FetchPartition>) -> FetchRequest {
    let topic = FetchTopic { topic_id, partitions, ..FetchTopic::default() };
    FetchRequest { topics: vec![topic], max_bytes: 1 << 20, ..FetchRequest::default() }
}

fn fetch(kafka: &mut Kafka, request: &FetchRequest) -> Vec<PartitionData> {
    let answer = kafka.ask(request);
    assert_eq!(answer.error_code, 0);
    answer.responses[0].partitions.clone()
}

#[test]
fn an_offset_outside_of_what_is_stored_is_out_of_range() {
    let (_node, mut kafka, id) = topic(1);
    kafka.produce("t", 0, &batch(&[b"a", b"b"]));
    for offset in [-1, 3, i64::MAX] {
        let answer = fetch(&mut kafka, &request(id, vec![partition(0, offset)]));
        assert_code(answer[0].error_code, ErrorCode::OffsetOutOfRange);
    }
    let end = fetch(&mut kafka, &request(id, vec![partition(0, 2)]));
    assert_eq!((end[0].error_code, end[0].high_watermark, end[0].records.len()), (0, 2, 0));
}

#[test]
fn a_topic_id_that_nobody_has_is_unknown() {
    let (_node, mut kafka, mut id) = topic(1);
    let answer = fetch(&mut kafka, &request(id, vec![partition(1, 0)]));
    assert_code(answer[0].error_code, ErrorCode::UnknownTopicOrPartition);
    id[0] ^= 1;
    for id in [id, [0; 16]] {
        let answer = fetch(&mut kafka, &request(id, vec![partition(0, 0)]));
        assert_code(answer[0].error_code, ErrorCode::UnknownTopicId);
    }
}

#[test]
fn a_leader_epoch_that_is_not_the_current_one_is_told_which_way_it_differs() {
    let (mut node, _, _) = topic(1);
    node.kill();
    node.restart();
    // Each start is an epoch: this is the second one.
    let mut kafka = Kafka::new(&node);
    let id = kafka.topic_id("t");
    for (epoch, code) in [(1, ErrorCode::FencedLeaderEpoch), (1_000, ErrorCode::UnknownLeaderEpoch)] {
        let asked = FetchPartition { current_leader_epoch: epoch, ..partition(0, 0) };
        assert_code(fetch(&mut kafka, &request(id, vec![asked]))[0].error_code, code);
        let asked = ListOffsetsPartition { timestamp: -1, current_leader_epoch: epoch, ..Default::default() };
        let topic = ListOffsetsTopic { name: "t".into(), partitions: vec![asked] };
        let answer = kafka.ask(&ListOffsetsRequest { topics: vec![topic], ..Default::default() });
        assert_code(answer.topics[0].partitions[0].error_code, code);
    }
}

#[test]
fn a_fetch_session_of_another_server_is_not_known() {
    let (_node, mut kafka, id) = topic(1);
    let asked = FetchRequest { session_id: 5, session_epoch: 3, ..request(id, vec![partition(0, 0)]) };
    assert_code(kafka.ask(&asked).error_code, ErrorCode::FetchSessionIdNotFound);
}

#[test]
fn a_fetch_into_the_middle_of_a_batch_gets_the_whole_batch() {
    let (_node, mut kafka, id) = topic(1);
    let (first, second) = (batch(&[b"a", b"b", b"c"]), batch(&[b"d"]));
    kafka.produce("t", 0, &first);
    kafka.produce("t", 0, &second);
    let answer = fetch(&mut kafka, &request(id, vec![partition(0, 1)]));
    let bytes = answer[0].records.0.concat();
    assert_eq!(bytes.len(), first.len() + second.len());
    assert_eq!(bytes[..8], 0_i64.to_be_bytes());
    // Verbatim but for offset and epoch, which stand before the checksum.
    assert_eq!(bytes[16..first.len()], first[16..]);
}

#[test]
fn a_busy_partition_starves_no_other_one() {
    let (_node, mut kafka, id) = topic(3);
    for number in 0..3 {
        kafka.produce("t", number, &batch(&[&[0; 1_000]]));
    }
    let places = || (0..3).map(|number| partition(number, 0)).collect();
    let all = fetch(&mut kafka, &request(id, places()));
    assert!(all.iter().all(|one| one.records.len() > 1_000), "with room for all, all come");
    let mut served = [0; 3];
    for _ in 0..6 {
        let one = FetchRequest { max_bytes: 1, ..request(id, places()) };
        let answer = fetch(&mut kafka, &one);
        let full: Vec<usize> = (0..3).filter(|number| !answer[*number].records.is_empty()).collect();
        assert_eq!(full.len(), 1, "one batch goes out over the limit, no second one");
        served[full[0]] += 1;
    }
    assert_eq!(served, [2; 3]);
}

#[test]
fn a_fetch_waits_for_the_first_record_of_any_partition() {
    let (node, mut kafka, id) = topic(3);
    let places = (0..3).map(|number| partition(number, 0)).collect();
    kafka.begin(&FetchRequest { max_wait_ms: 60_000, min_bytes: 1, ..request(id, places) });
    let mut other = Kafka::new(&node);
    other.produce("t", 2, &batch(&[b"awaited"]));
    let answer = kafka.answer::<FetchRequest>();
    let partitions = &answer.responses[0].partitions;
    assert!(!partitions[2].records.is_empty() && partitions[0].records.is_empty());
}

#[test]
fn offsets_are_found_by_what_stands_for_a_time() {
    let (_node, mut kafka, _) = topic(1);
    kafka.produce("t", 0, &batch(&[b"a", b"b"]));
    // The end, the beginning, the largest timestamp, the first on this disk, the last elsewhere.
    for (timestamp, offset) in [(-1, 2), (-2, 0), (-3, 0), (-4, 0), (-5, -1), (0, 0), (1_000, 0), (1_001, -1)]
    {
        let asked = ListOffsetsPartition { timestamp, current_leader_epoch: -1, partition_index: 0 };
        let topic = ListOffsetsTopic { name: "t".into(), partitions: vec![asked] };
        let answer = kafka.ask(&ListOffsetsRequest { topics: vec![topic], ..Default::default() });
        let found = &answer.topics[0].partitions[0];
        assert_eq!((found.error_code, found.offset), (0, offset), "{timestamp}");
    }
}

#[test]
fn a_time_before_all_times_is_a_request_without_sense() {
    let (_node, mut kafka, _) = topic(1);
    let asked = ListOffsetsPartition { timestamp: -6, current_leader_epoch: -1, partition_index: 0 };
    let topic = ListOffsetsTopic { name: "t".into(), partitions: vec![asked] };
    let answer = kafka.ask(&ListOffsetsRequest { topics: vec![topic], ..Default::default() });
    assert_code(answer.topics[0].partitions[0].error_code, ErrorCode::InvalidRequest);
}
