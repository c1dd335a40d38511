//! Bytes that are no request, or one too large, and what the connection does then.

use tidelog_proto::kafka::ErrorCode;
use tidelog_proto::kafka::ask;
use tidelog_proto::kafka::list_groups::ListGroupsRequest;

use crate::start;
use crate::support::kafka::{Kafka, assert_code, batch, produce_frame};
use crate::support::wait;

/// A request without a body: API, version, correlation id 7, no client id.
fn header(api: i16, version: i16) -> Vec<u8> {
    let mut frame = vec![0, 0, 0, 10];
    frame.extend_from_slice(&api.to_be_bytes());
    frame.extend_from_slice(&version.to_be_bytes());
    frame.extend_from_slice(&[0, 0, 0, 7, 0xff, 0xff]);
    frame
}

#[test]
fn a_version_that_is_not_spoken_is_answered_with_those_that_are() {
    let (node, _) = start("");
    let mut kafka = Kafka::new(&node);
    kafka.send(&header(18, 99));
    // Version 0, which every client reads: the correlation id, the code, and the list.
    let answer = kafka.frame().unwrap();
    assert_eq!(answer[..4], 7_i32.to_be_bytes());
    assert_code(i16::from_be_bytes([answer[4], answer[5]]), ErrorCode::UnsupportedVersion);
    let count = i32::from_be_bytes([answer[6], answer[7], answer[8], answer[9]]);
    assert_eq!(answer.len(), 10 + 6 * usize::try_from(count).unwrap());
    // The connection goes on.
    assert_eq!(kafka.ask(&ListGroupsRequest::default()).error_code, 0);
}

#[test]
fn a_request_that_is_not_spoken_or_makes_no_sense_ends_the_connection() {
    let (node, _) = start("");
    for frame in [header(99, 0), header(3, 99), header(11, 0), vec![0, 0, 0, 2, 0, 0]] {
        let mut kafka = Kafka::new(&node);
        kafka.send(&frame);
        assert_eq!(kafka.frame(), None);
    }
}

#[test]
fn a_request_over_the_limit_ends_the_connection_and_what_came_before_is_answered() {
    let (node, _) =
        start("[limits]\nrequest_bytes = 65536\nbatch_bytes = 65536\nrecord_value_bytes = 1024\n");
    for announced in [65_537_i32, i32::MAX, -1] {
        let mut kafka = Kafka::new(&node);
        kafka.begin(&ListGroupsRequest::default());
        kafka.send(&announced.to_be_bytes());
        assert_eq!(kafka.answer::<ListGroupsRequest>().error_code, 0);
        assert_eq!(kafka.frame(), None);
    }
}

#[test]
fn a_produce_request_over_the_limit_is_too_large() {
    let (node, _) =
        start("[limits]\nrequest_bytes = 65536\nbatch_bytes = 65536\nrecord_value_bytes = 1024\n");
    let mut kafka = Kafka::new(&node);
    kafka.topic_id("t");
    // More than fits into the buffers between: an answer is seen only by who could send all of it.
    let value = vec![0; 1024 * 1024];
    let values: Vec<&[u8]> = (0..7).map(|_| &value[..]).collect();
    let answer = kafka.produce("t", 0, &batch(&values));
    assert_code(answer.error_code, ErrorCode::MessageTooLarge);
    assert!(answer.error_message.unwrap().contains("65536"));
    assert_eq!(kafka.frame(), None);
    // Where no answer is wanted none is given.
    let mut kafka = Kafka::new(&node);
    kafka.send(&produce_frame(None, 0, "t", 0, Some(&batch(&[&[0; 65_536]]))));
    assert_eq!(kafka.frame(), None);
}

#[test]
fn a_connection_too_many_is_closed_and_can_come_again() {
    let (node, http) = start("[limits]\nconnections = 1\n");
    drop(http);
    let mut first = wait::until("the only connection", || {
        let mut kafka = Kafka::new(&node);
        kafka.send(&header(18, 0));
        kafka.frame().map(|_| kafka)
    });
    let mut second = Kafka::new(&node);
    assert_eq!(second.frame(), None);
    assert_eq!(first.ask(&ListGroupsRequest::default()).error_code, 0);
}

#[test]
fn a_request_waits_while_others_hold_the_memory() {
    let config = "[limits]\nmemory_bytes = 16777216\nmemory_per_connection_bytes = 16777216\n";
    let (node, mut http) = start(config);
    // One request announces nearly everything, and then is slow.
    let mut greedy = Kafka::new(&node);
    greedy.send(&16_777_215_i32.to_be_bytes());
    wait::until("the slow request to hold its memory", || {
        let metrics = http.get("/metrics").unwrap().text();
        metrics.contains("tidelog_request_memory_bytes 16777215").then_some(())
    });
    let mut patient = Kafka::new(&node);
    patient.begin(&ListGroupsRequest::default());
    drop(greedy);
    assert_eq!(patient.answer::<ListGroupsRequest>().error_code, 0);
}

#[test]
fn a_failure_that_acks_0_would_hide_ends_the_connection() {
    let (node, _) = start("");
    let mut kafka = Kafka::new(&node);
    kafka.topic_id("t");
    kafka.send(&produce_frame(None, 0, "t", 0, Some(&batch(&[b"kept"]))));
    // What was taken is not answered; the next request is.
    assert_eq!(kafka.ask(&ListGroupsRequest::default()).error_code, 0);
    kafka.send(&produce_frame(None, 0, "nowhere", 0, Some(&batch(&[b"lost"]))));
    assert_eq!(kafka.frame(), None);
    assert_eq!(crate::values(&node, "t", 0), ["kept"]);
}

#[test]
fn a_request_that_arrives_in_pieces_is_one() {
    let (node, _) = start("");
    let mut kafka = Kafka::new(&node);
    for byte in ask::request(&ListGroupsRequest::default(), 7, "slow").concat() {
        kafka.send(&[byte]);
    }
    assert_eq!(kafka.answer::<ListGroupsRequest>().error_code, 0);
}
