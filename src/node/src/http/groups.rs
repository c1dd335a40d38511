//! Consumer groups, for people: look at them, move them, delete them.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, Method, Uri};
use axum::response::Response;
use bytes::Bytes;
use serde_json::json as object;
use tidelog_proto::consumer_protocol::{CONSUMER, decode_assignment};
use tidelog_proto::http::admin::TopicDescription;
use tidelog_proto::http::error::ErrorCode;
use tidelog_proto::http::groups::{
    AssignedTopic, GroupDescription, GroupList, GroupMember, GroupOffset, GroupSummary, SetOffset, SetOffsets,
};

use super::answer::json;
use super::body;
use super::records::segment;
use crate::failure::Failure;
use crate::groups::{Caller, Committed, GroupError, GroupState, OFFSETS_TOPIC, Place, coordinator};
use crate::node::Node;
use crate::routing;
use crate::routing::forward::{self, Ask, Hop, Led};

/// `GET /v1/groups`.
pub(super) async fn list(
    State(node): State<Arc<Node>>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    // Without the topic of offsets there are no groups, and none is made for the question.
    if node.topic(OFFSETS_TOPIC).is_some()
        && let Some(answer) = elsewhere(&node, Method::GET, &uri, &headers, Bytes::new()).await?
    {
        return Ok(answer);
    }
    let groups = node.groups.list().into_iter().map(|(group, is)| GroupSummary {
        group,
        state: is.state.name().to_owned(),
        members: is.members.len(),
    });
    Ok(json(&GroupList { groups: groups.collect() }))
}

/// What the node answers that coordinates the groups; `None` when that is this one.
async fn elsewhere(
    node: &Node,
    method: Method,
    uri: &Uri,
    headers: &HeaderMap,
    body: Bytes,
) -> Result<Option<Response>, Failure> {
    if Hop::of(headers) == Hop::Last || coordinator(node).await? == Some(node.me.node) {
        return Ok(None);
    }
    let ask = Ask::of(method, uri, headers, body);
    match forward::to_leader(node, OFFSETS_TOPIC, 0, &ask).await? {
        Led::Here => Ok(None),
        Led::Answer(answer) => Ok(Some(answer.into_response())),
    }
}

/// `GET /v1/groups/G`.
pub(super) async fn describe(
    State(node): State<Arc<Node>>,
    path: Result<Path<String>, PathRejection>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let group = segment(path)?;
    if let Some(answer) = elsewhere(&node, Method::GET, &uri, &headers, Bytes::new()).await? {
        return Ok(answer);
    }
    let committed = node.groups.committed(&group).map_err(|error| failure(error, &group))?;
    let mut ends = Ends::default();
    let mut offsets = Vec::with_capacity(committed.len());
    for (place, committed) in committed {
        // A group is described although the leader of what it reads is not reached.
        let kept = ends.kept(&node, &place.0, u32::try_from(place.1).unwrap_or(u32::MAX)).await.ok();
        offsets.push(offset(kept.map(|kept| *kept.end()), place, committed));
    }
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
        offsets,
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

fn offset(end_offset: Option<u64>, (topic, partition): Place, committed: Committed) -> GroupOffset {
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

/// What is kept of partitions, asked of their leaders once for each topic.
#[derive(Default)]
struct Ends(BTreeMap<String, TopicDescription>);

impl Ends {
    async fn kept(
        &mut self,
        node: &Node,
        name: &str,
        partition: u32,
    ) -> Result<RangeInclusive<u64>, Failure> {
        let topic = node.topic(name).ok_or_else(|| Failure::no_topic(name))?;
        if !self.0.contains_key(name) {
            self.0.insert(name.to_owned(), routing::describe(node, &topic, Hop::First).await?);
        }
        let told = self.0.get(name).into_iter().flat_map(|topic| &topic.partitions);
        let found = told.into_iter().find(|one| one.partition == partition);
        let found = found.ok_or_else(|| Failure::no_partition(name, partition, topic.partitions.len()))?;
        Ok(found.start_offset..=found.committed_offset)
    }
}

/// `POST /v1/groups/G/offsets`.
pub(super) async fn set_offsets(
    State(node): State<Arc<Node>>,
    path: Result<Path<String>, PathRejection>,
    uri: Uri,
    headers: HeaderMap,
    request: Body,
) -> Result<Response, Failure> {
    let mut share = node.budget.share();
    let bytes = body::read(&node, &headers, request, &mut share).await?;
    let group = segment(path)?;
    let request = SetOffsets::decode(&body::decoded(&node, &headers, &bytes, &mut share)?)?;
    if let Some(answer) = elsewhere(&node, Method::POST, &uri, &headers, bytes.freeze()).await? {
        return Ok(answer);
    }
    let (mut ends, mut offsets) = (Ends::default(), Vec::with_capacity(request.offsets.len()));
    for wanted in request.offsets {
        let kept = ends.kept(&node, &wanted.topic, wanted.partition).await?;
        offsets.push(place(&node, wanted, &kept)?);
    }
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
fn place(node: &Node, wanted: SetOffset, kept: &RangeInclusive<u64>) -> Result<(Place, Committed), Failure> {
    if !kept.contains(&wanted.offset) {
        return Err(Failure::out_of_range(wanted.offset, *kept.start(), *kept.end()));
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
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let group = segment(path)?;
    if let Some(answer) = elsewhere(&node, Method::DELETE, &uri, &headers, Bytes::new()).await? {
        return Ok(answer);
    }
    node.groups.delete(&group).await.map_err(|error| failure(error, &group))?;
    Ok(json(&object!({ "group": group })))
}

fn failure(error: GroupError, group: &str) -> Failure {
    let code = match error {
        GroupError::NotFound | GroupError::UnknownMember => ErrorCode::UnknownGroup,
        GroupError::NonEmpty | GroupError::RebalanceInProgress => ErrorCode::GroupNotEmpty,
        GroupError::CoordinatorNotAvailable | GroupError::Loading => ErrorCode::Overloaded,
        GroupError::NotCoordinator => ErrorCode::NotLeader,
        GroupError::OverLimit => ErrorCode::TooLarge,
        _ => ErrorCode::InvalidParameter,
    };
    let shown: String = group.chars().filter(|c| !c.is_control()).take(100).collect();
    Failure::new(code, format!("consumer group `{shown}`: {error}"))
}
