//! Members and administrators of consumer groups who are refused.

use tidelog_proto::kafka::ErrorCode;
use tidelog_proto::kafka::delete_groups::DeleteGroupsRequest;
use tidelog_proto::kafka::find_coordinator::FindCoordinatorRequest;
use tidelog_proto::kafka::heartbeat::HeartbeatRequest;
use tidelog_proto::kafka::join_group::{JoinGroupRequest, JoinGroupRequestProtocol, JoinGroupResponse};
use tidelog_proto::kafka::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};

use crate::start;
use crate::support::kafka::{Kafka, assert_code};
use crate::support::node::Node;
use crate::support::wait;

/// Nobody waits for a second member.
const AT_ONCE: &str = "[groups]\ninitial_delay_ms = 0\n";

fn node(config: &str) -> (Node, Kafka) {
    let (node, _) = start(&format!("{AT_ONCE}{config}"));
    let kafka = Kafka::new(&node);
    (node, kafka)
}

fn request(member_id: &str) -> JoinGroupRequest {
    let protocol = JoinGroupRequestProtocol { name: "range".into(), metadata: b"me".to_vec().into() };
    JoinGroupRequest {
        group_id: "g".into(),
        session_timeout_ms: 30_000,
        rebalance_timeout_ms: 60_000,
        member_id: member_id.into(),
        protocol_type: "consumer".into(),
        protocols: vec![protocol],
        ..Default::default()
    }
}

/// A member of its own in the group.
fn join(kafka: &mut Kafka) -> JoinGroupResponse {
    let given = kafka.ask(&request(""));
    assert_code(given.error_code, ErrorCode::MemberIdRequired);
    let joined = kafka.ask(&request(&given.member_id));
    assert_eq!((joined.error_code, &joined.member_id), (0, &given.member_id));
    joined
}

fn heartbeat(kafka: &mut Kafka, member: &str, generation_id: i32, instance: Option<&str>) -> i16 {
    let request = HeartbeatRequest {
        group_id: "g".into(),
        generation_id,
        member_id: member.into(),
        group_instance_id: instance.map(str::to_owned),
    };
    kafka.ask(&request).error_code
}

#[test]
fn a_new_member_comes_back_with_the_id_that_it_is_given() {
    let (_node, mut kafka) = node("");
    let joined = join(&mut kafka);
    assert_eq!((joined.generation_id, &joined.leader), (1, &joined.member_id));
}

#[test]
fn who_is_no_member_is_told_so() {
    let (_node, mut kafka) = node("");
    assert_code(heartbeat(&mut kafka, "nobody", 1, None), ErrorCode::UnknownMemberId);
    join(&mut kafka);
    assert_code(heartbeat(&mut kafka, "nobody", 1, None), ErrorCode::UnknownMemberId);
    assert_code(kafka.ask(&request("nobody")).error_code, ErrorCode::UnknownMemberId);
}

#[test]
fn a_member_of_another_generation_is_told_so() {
    let (_node, mut kafka) = node("");
    let member = join(&mut kafka).member_id;
    for generation in [0, 2, -1] {
        assert_code(heartbeat(&mut kafka, &member, generation, None), ErrorCode::IllegalGeneration);
    }
    assert_eq!(heartbeat(&mut kafka, &member, 1, None), 0);
}

#[test]
fn a_member_of_a_group_that_rebalances_is_told_so() {
    let (node, mut kafka) = node("");
    let member = join(&mut kafka).member_id;
    let mut other = Kafka::new(&node);
    let second = other.ask(&request("")).member_id;
    // It waits until the first one joins again.
    other.begin(&request(&second));
    let code = wait::until("the rebalance to begin", || {
        Some(heartbeat(&mut kafka, &member, 1, None)).filter(|code| *code != 0)
    });
    assert_code(code, ErrorCode::RebalanceInProgress);
    let mut first = Kafka::new(&node);
    first.begin(&request(&member));
    assert_eq!(other.answer::<JoinGroupRequest>().generation_id, 2);
    assert_eq!(first.answer::<JoinGroupRequest>().generation_id, 2);
}

#[test]
fn a_static_member_whose_place_was_taken_is_fenced() {
    let (_node, mut kafka) = node("");
    let instance = JoinGroupRequest { group_instance_id: Some("i".into()), ..request("") };
    let first = kafka.ask(&instance);
    let second = kafka.ask(&instance);
    assert_eq!((first.error_code, second.error_code), (0, 0));
    let code = heartbeat(&mut kafka, &first.member_id, second.generation_id, Some("i"));
    assert_code(code, ErrorCode::FencedInstanceId);
}

#[test]
fn a_member_that_shares_no_protocol_does_not_fit() {
    let (_node, mut kafka) = node("");
    join(&mut kafka);
    let mut other = request("");
    other.protocols[0].name = "sticky".into();
    assert_code(kafka.ask(&other).error_code, ErrorCode::InconsistentGroupProtocol);
    let other = JoinGroupRequest { protocol_type: "connect".into(), ..request("") };
    assert_code(kafka.ask(&other).error_code, ErrorCode::InconsistentGroupProtocol);
    let none = JoinGroupRequest { group_id: "h".into(), protocols: Vec::new(), ..request("") };
    assert_code(kafka.ask(&none).error_code, ErrorCode::InconsistentGroupProtocol);
}

#[test]
fn a_session_shorter_or_longer_than_allowed_is_refused() {
    let (_node, mut kafka) = node("min_session_ms = 1000\nmax_session_ms = 60000\n");
    for session_timeout_ms in [999, 60_001, 0, -1] {
        let wrong = JoinGroupRequest { session_timeout_ms, ..request("") };
        assert_code(kafka.ask(&wrong).error_code, ErrorCode::InvalidSessionTimeout);
    }
}

#[test]
fn a_group_has_a_name() {
    let (_node, mut kafka) = node("");
    let unnamed = JoinGroupRequest { group_id: String::new(), ..request("") };
    assert_code(kafka.ask(&unnamed).error_code, ErrorCode::InvalidGroupId);
    let endless = JoinGroupRequest { group_id: "g".repeat(1_025), ..request("") };
    assert_code(kafka.ask(&endless).error_code, ErrorCode::InvalidGroupId);
}

#[test]
fn a_full_group_takes_no_more_members() {
    let (_node, mut kafka) = node("members = 1\n");
    join(&mut kafka);
    assert_code(kafka.ask(&request("")).error_code, ErrorCode::GroupMaxSizeReached);
}

#[test]
fn members_that_say_too_much_are_against_the_policy() {
    let (_node, mut kafka) = node("member_bytes = 1024\n");
    let mut long = request("");
    long.protocols[0].metadata = vec![0; 1_024].into();
    assert_code(kafka.ask(&long).error_code, ErrorCode::PolicyViolation);
}

#[test]
fn a_group_is_deleted_when_it_is_empty_and_known() {
    let (_node, mut kafka) = node("");
    let delete = |kafka: &mut Kafka| {
        let request = DeleteGroupsRequest { groups_names: vec!["g".into()] };
        kafka.ask(&request).results[0].error_code
    };
    assert_code(delete(&mut kafka), ErrorCode::GroupIdNotFound);
    join(&mut kafka);
    assert_code(delete(&mut kafka), ErrorCode::NonEmptyGroup);
}

#[test]
fn offsets_that_cannot_be_are_not_committed() {
    let (_node, mut kafka) = node("offset_metadata_bytes = 10\n");
    kafka.topic_id("t");
    let mut commit = |topic: &str, partition_index, committed_offset, metadata: &str, member: &str| {
        let partition = OffsetCommitRequestPartition {
            partition_index,
            committed_offset,
            committed_metadata: Some(metadata.into()),
            ..Default::default()
        };
        let topic = OffsetCommitRequestTopic { name: topic.into(), partitions: vec![partition] };
        let request = OffsetCommitRequest {
            group_id: "g".into(),
            generation_id_or_member_epoch: if member.is_empty() { -1 } else { 1 },
            member_id: member.into(),
            topics: vec![topic],
            ..Default::default()
        };
        kafka.ask(&request).topics[0].partitions[0].error_code
    };
    assert_code(commit("t", 0, 1, "12345678901", ""), ErrorCode::OffsetMetadataTooLarge);
    assert_code(commit("t", 1, 1, "", ""), ErrorCode::UnknownTopicOrPartition);
    assert_code(commit("nowhere", 0, 1, "", ""), ErrorCode::UnknownTopicOrPartition);
    assert_code(commit("t", 0, -2, "", ""), ErrorCode::InvalidRequest);
    assert_code(commit("t", 0, 1, "", "nobody"), ErrorCode::IllegalGeneration);
    assert_eq!(commit("t", 0, 1, "1234567890", ""), 0);
}

#[test]
fn only_groups_and_transactions_could_have_a_coordinator() {
    let (node, mut kafka) = node("");
    let mut find = |key_type| {
        let request =
            FindCoordinatorRequest { key_type, coordinator_keys: vec!["g".into()], ..Default::default() };
        kafka.ask(&request).coordinators[0].clone()
    };
    assert_code(find(2).error_code, ErrorCode::InvalidRequest);
    let found = find(0);
    assert_eq!((found.error_code, found.port), (0, i32::from(node.kafka().port())));
}
