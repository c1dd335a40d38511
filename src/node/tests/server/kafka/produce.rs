//! What is not stored, and what the producer is told.

use tidelog_format::batch::{BatchBuilder, Codec, Record};
use tidelog_proto::kafka::ErrorCode;
use tidelog_proto::kafka::find_coordinator::FindCoordinatorRequest;
use tidelog_proto::kafka::init_producer_id::InitProducerIdRequest;

use crate::start;
use crate::support::kafka::{Kafka, assert_code, batch, changed};
use crate::support::node::Node;

/// Bits of a batch's attributes, by their value in the last byte of the field.
const ATTRIBUTES: usize = 22;

#[test]
fn a_topic_or_partition_that_is_not_there_is_unknown() {
    let (node, _) = start("");
    let mut kafka = Kafka::new(&node);
    let unknown = ErrorCode::UnknownTopicOrPartition;
    assert_code(kafka.produce("nowhere", 0, &batch(&[b"x"])).error_code, unknown);
    kafka.topic_id("t");
    assert_code(kafka.produce("t", 1, &batch(&[b"x"])).error_code, unknown);
    assert_code(kafka.produce("t", -1, &batch(&[b"x"])).error_code, unknown);
    let stored = kafka.produce("t", 0, &batch(&[b"x"]));
    assert_eq!((stored.error_code, stored.base_offset), (0, 0));
}

#[test]
fn the_servers_own_topics_are_written_by_itself_alone() {
    let (node, _) = start("");
    let answer = Kafka::new(&node).produce("__consumer_offsets", 0, &batch(&[b"x"]));
    assert_code(answer.error_code, ErrorCode::InvalidTopicException);
}

#[test]
fn acks_are_all_one_or_none() {
    let (node, _) = start("");
    let mut kafka = Kafka::new(&node);
    kafka.topic_id("t");
    let batch = batch(&[b"x"]);
    for acks in [2, -2] {
        let answer = kafka.produce_as(None, acks, "t", 0, Some(&batch));
        assert_code(answer.error_code, ErrorCode::InvalidRequiredAcks);
    }
    for (acks, offset) in [(1, 0), (-1, 1)] {
        let answer = kafka.produce_as(None, acks, "t", 0, Some(&batch));
        assert_eq!((answer.error_code, answer.base_offset), (0, offset));
    }
}

#[test]
fn transactions_are_refused_for_good() {
    let (node, _) = start("");
    let mut kafka = Kafka::new(&node);
    kafka.topic_id("t");
    let refused = ErrorCode::TransactionalIdAuthorizationFailed;
    let answer = kafka.produce_as(Some("me"), -1, "t", 0, Some(&batch(&[b"x"])));
    assert_code(answer.error_code, refused);
    let request = InitProducerIdRequest { transactional_id: Some("me".into()), ..Default::default() };
    assert_code(kafka.ask(&request).error_code, refused);
    let keys = vec!["me".to_owned()];
    let request = FindCoordinatorRequest { key_type: 1, coordinator_keys: keys, ..Default::default() };
    assert_code(kafka.ask(&request).coordinators[0].error_code, refused);
}

#[test]
fn a_damaged_batch_is_corrupt() {
    let (node, _) = start("");
    let mut kafka = Kafka::new(&node);
    kafka.topic_id("t");
    let mut damaged = batch(&[b"value"]);
    *damaged.last_mut().unwrap() ^= 1;
    assert_code(kafka.produce("t", 0, &damaged).error_code, ErrorCode::CorruptMessage);
    let short = &batch(&[b"value"])[..70];
    assert_code(kafka.produce("t", 0, short).error_code, ErrorCode::CorruptMessage);
}

#[test]
fn a_batch_or_a_value_over_its_limit_is_too_large() {
    // A segment holds more than the largest batch.
    let node = Node::start("[storage]\nsegment_bytes = 8388608\n[limits]\nbatch_bytes = 2097152\n");
    let mut kafka = Kafka::new(&node);
    kafka.topic_id("t");
    let value = vec![0; 1024 * 1024];
    let answer = kafka.produce("t", 0, &batch(&[&value, &value]));
    assert_code(answer.error_code, ErrorCode::MessageTooLarge);
    let stored = kafka.produce("t", 0, &batch(&[&value]));
    assert_eq!((stored.error_code, stored.base_offset), (0, 0), "one mebibyte is not too large");
}

#[test]
fn limits_that_the_operator_lowered_hold() {
    let limits =
        "record_value_bytes = 1024\nrecord_key_and_headers_bytes = 1024\ndecompressed_bytes = 65536\n";
    let (node, _) = start(&format!("[limits]\n{limits}"));
    let mut kafka = Kafka::new(&node);
    kafka.topic_id("t");
    let batch = |codec, count, key: usize, value: usize| {
        let (key, value) = (vec![0; key], vec![0; value]);
        let mut builder = BatchBuilder::new(codec);
        for _ in 0..count {
            let record = Record { key: Some(&key), value: Some(&value), ..Record::default() };
            builder.push(&record).unwrap();
        }
        builder.finish().unwrap().bytes().to_vec()
    };
    for (what, sent) in [
        ("a value", batch(Codec::None, 1, 1, 1_025)),
        ("key and headers", batch(Codec::None, 1, 1_025, 1)),
        ("decompressed", batch(Codec::Gzip, 100, 1, 1_000)),
    ] {
        let answer = kafka.produce("t", 0, &sent);
        assert_code(answer.error_code, ErrorCode::MessageTooLarge);
        let message = answer.error_message.unwrap();
        assert!(message.contains(what), "{message}");
    }
    for sent in [batch(Codec::None, 1, 1_024, 1_024), batch(Codec::Gzip, 60, 1, 1_000)] {
        assert_eq!(kafka.produce("t", 0, &sent).error_code, 0);
    }
}

#[test]
fn an_old_message_format_is_not_stored() {
    let (node, _) = start("");
    let mut kafka = Kafka::new(&node);
    kafka.topic_id("t");
    for magic in [0, 1, 3] {
        let answer = kafka.produce("t", 0, &changed(|bytes| bytes[16] = magic));
        assert_code(answer.error_code, ErrorCode::UnsupportedForMessageFormat);
    }
}

#[test]
fn an_unknown_codec_is_not_stored() {
    let (node, _) = start("");
    let mut kafka = Kafka::new(&node);
    kafka.topic_id("t");
    let answer = kafka.produce("t", 0, &changed(|bytes| bytes[ATTRIBUTES] = 5));
    assert_code(answer.error_code, ErrorCode::UnsupportedCompressionType);
}

#[test]
fn transactional_control_and_self_stamped_batches_are_not_stored() {
    let (node, _) = start("");
    let mut kafka = Kafka::new(&node);
    kafka.topic_id("t");
    for bit in [0x08, 0x10, 0x20] {
        let answer = kafka.produce("t", 0, &changed(|bytes| bytes[ATTRIBUTES] = bit));
        assert_code(answer.error_code, ErrorCode::InvalidRecord);
    }
}

#[test]
fn a_request_without_records_is_refused() {
    let (node, _) = start("");
    let mut kafka = Kafka::new(&node);
    kafka.topic_id("t");
    for nothing in [None, Some(&b""[..])] {
        let answer = kafka.produce_as(None, -1, "t", 0, nothing);
        assert_code(answer.error_code, ErrorCode::InvalidRecord);
    }
}
