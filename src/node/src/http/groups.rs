//! Consumer groups, for people: look at them, move them, delete them.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::response::Response;
use serde_json::json as object;
use tidelog_proto::consumer_protocol::{CONSUMER, decode_assignment};
use tidelog_proto::http::error::ErrorCode;
use tidelog_proto::http::groups::{
    AssignedTopic, GroupDescription, GroupList, GroupMember, GroupOffset, GroupSummary, SetOffset, SetOffsets,
};

use super::answer::json;
use super::body;
use super::records::segment;
use crate::failure::Failure;
use crate::groups::{Caller, Committed, GroupError, GroupState, Place};
use crate::node::Node;

/// `GET /v1/groups`.
pub(super) async fn list(State(node): State<Arc<Node>>) -> Response {
    let groups = node.groups.list().into_iter().map(|(group, is)| GroupSummary {
        group,
        state: is.state.name().to_owned(),
        members: is.members.len(),
    });
    json(&GroupList { groups: groups.collect() })
}

/// `GET /v1/groups/G`.
pub(super) async fn describe(
    State(node): State<Arc<Node>>,
    path: Result<Path<String>, PathRejection>,
) -> Result<Response, Failure> {
    let group = segment(path)?;
    let committed = node.groups.committed(&group).map_err(|error| failure(error, &group))?;
    let is = node.groups.describe(&group).ok_or_else(|| failure(GroupError::NotFound, &group))?;
    // Before everyone has its assignment, what members have belongs to no generation.
    let assigned = is.state == GroupState::Stable && is.protocol_type == CONSUMER;
    let members = is.members.into_iter().map(|member| GroupMember {
        member_id: member.member_id,
        instance_id: member.instance_id,
        client_id: member.client_id,
        client_host: member.client_host,
        assignment: if assigned { assignment(&member.assignment) } else { Vec::new() },
    });
    Ok(json(&GroupDescription {
        state: is.state.name().to_owned(),
        generation: is.generation,
        protocol: is.protocol,
        leader: is.leader,
        members: members.collect(),
        offsets: committed.into_iter().map(|(place, committed)| offset(&node, place, committed)).collect(),
        group,
    }))
}

/// What a member reads; nothing if its leader wrote what no consumer understands.
fn assignment(bytes: &[u8]) -> Vec<AssignedTopic> {
    let assigned = decode_assignment(bytes).unwrap_or_default().into_iter();
    assigned
        .map(|(topic, partitions)| AssignedTopic { topic, partitions: partitions.into_iter().collect() })
        .collect()
}

fn offset(node: &Node, (topic, partition): Place, committed: Committed) -> GroupOffset {
    let end_offset = end_of(node, &topic, partition);
    let lag = end_offset.map(|end| end.saturating_sub(committed.offset.unsigned_abs()));
    GroupOffset {
        topic,
        partition,
        offset: committed.offset,
        end_offset,
        lag,
        metadata: committed.metadata,
        committed_at: committed.at,
    }
}

fn end_of(node: &Node, topic: &str, partition: i32) -> Option<u64> {
    let topic = node.topic(topic)?;
    let live = topic.partition(u32::try_from(partition).ok()?).ok()?;
    Some(live.led().ok()?.partition(live.id)?.next_offset)
}

/// `POST /v1/groups/G/offsets`.
pub(super) async fn set_offsets(
    State(node): State<Arc<Node>>,
    path: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
    request: Body,
) -> Result<Response, Failure> {
    let mut share = node.budget.share();
    let bytes = body::read(&node, &headers, request, &mut share).await?;
    let group = segment(path)?;
    let request = SetOffsets::decode(&body::decoded(&node, &headers, &bytes, &mut share)?)?;
    let offsets = request.offsets.into_iter().map(|one| place(&node, one));
    let offsets = offsets.collect::<Result<Vec<_>, Failure>>()?;
    let set = offsets.len();
    // As a client that is no member: refused while there are any.
    let nobody = Caller { member_id: String::new(), instance_id: None, generation: -1 };
    match node.groups.commit(&group, nobody, offsets).await {
        Ok(()) => Ok(json(&object!({ "offsets": set }))),
        Err(GroupError::UnknownMember) => Err(failure(GroupError::NonEmpty, &group)),
        Err(error) => Err(failure(error, &group)),
    }
}

/// The change that was asked for; only to where there are, or will be, records.
fn place(node: &Node, wanted: SetOffset) -> Result<(Place, Committed), Failure> {
    let topic = node.topic(&wanted.topic).ok_or_else(|| Failure::no_topic(&wanted.topic))?;
    let live = topic.partition(wanted.partition)?;
    let gone = || Failure::no_topic(&wanted.topic);
    let state = live.led()?.partition(live.id).ok_or_else(gone)?;
    if !(state.log_start..=state.next_offset).contains(&wanted.offset) {
        return Err(Failure::out_of_range(wanted.offset, state.log_start, state.next_offset));
    }
    let committed = Committed {
        offset: i64::try_from(wanted.offset).unwrap_or(i64::MAX),
        leader_epoch: -1,
        metadata: String::new(),
        at: node.clock.now_ms(),
    };
    Ok(((wanted.topic, i32::try_from(wanted.partition).unwrap_or(i32::MAX)), committed))
}

/// `DELETE /v1/groups/G`.
pub(super) async fn delete(
    State(node): State<Arc<Node>>,
    path: Result<Path<String>, PathRejection>,
) -> Result<Response, Failure> {
    let group = segment(path)?;
    node.groups.delete(&group).await.map_err(|error| failure(error, &group))?;
    Ok(json(&object!({ "group": group })))
}

fn failure(error: GroupError, group: &str) -> Failure {
    let code = match error {
        GroupError::NotFound | GroupError::UnknownMember => ErrorCode::UnknownGroup,
        GroupError::NonEmpty | GroupError::RebalanceInProgress => ErrorCode::GroupNotEmpty,
        GroupError::CoordinatorNotAvailable => ErrorCode::Overloaded,
        GroupError::OverLimit => ErrorCode::TooLarge,
        _ => ErrorCode::InvalidParameter,
    };
    let shown: String = group.chars().filter(|c| !c.is_control()).take(100).collect();
    Failure::new(code, format!("consumer group `{shown}`: {error}"))
}
