//! Consumer groups on the wire: from Kafka's messages to the coordinator's events, and its answers back.

use std::sync::Arc;

use tidelog_io::random;
use tidelog_proto::kafka::ErrorCode;
use tidelog_proto::kafka::delete_groups::{DeletableGroupResult, DeleteGroupsRequest, DeleteGroupsResponse};
use tidelog_proto::kafka::describe_groups::{
    DescribeGroupsRequest, DescribeGroupsResponse, DescribedGroup, DescribedGroupMember,
};
use tidelog_proto::kafka::find_coordinator::{Coordinator, FindCoordinatorRequest, FindCoordinatorResponse};
use tidelog_proto::kafka::heartbeat::{HeartbeatRequest, HeartbeatResponse};
use tidelog_proto::kafka::join_group::{JoinGroupRequest, JoinGroupResponse, JoinGroupResponseMember};
use tidelog_proto::kafka::leave_group::{LeaveGroupRequest, LeaveGroupResponse, MemberResponse};
use tidelog_proto::kafka::list_groups::{ListGroupsRequest, ListGroupsResponse, ListedGroup};
use tidelog_proto::kafka::sync_group::{SyncGroupRequest, SyncGroupResponse};

use super::admin::Refusal;
use super::metadata::number as number_of;
use crate::config::Advertised;
use crate::groups::{
    Caller, GroupDescription, GroupError, GroupState, Join, JoinRefused, Joined, Leaver, Protocol, Sync,
    coordinator,
};
use crate::node::Node;
use crate::routing::reached_by_kafka;

/// The key types of FindCoordinator: consumer groups, and transactions.
const GROUP_KEY: i8 = 0;
const TRANSACTION_KEY: i8 = 1;
/// The only kind of group there is.
const CLASSIC: &str = "classic";
/// Characters of the client's name in a member id that is made for it.
const NAME_IN_ID: usize = 100;

/// The code of a refusal.
pub(super) fn code(error: GroupError) -> ErrorCode {
    match error {
        GroupError::CoordinatorNotAvailable => ErrorCode::CoordinatorNotAvailable,
        GroupError::NotCoordinator => ErrorCode::NotCoordinator,
        GroupError::Loading => ErrorCode::CoordinatorLoadInProgress,
        GroupError::InvalidGroupId => ErrorCode::InvalidGroupId,
        GroupError::IllegalGeneration => ErrorCode::IllegalGeneration,
        GroupError::UnknownMember => ErrorCode::UnknownMemberId,
        GroupError::FencedInstance => ErrorCode::FencedInstanceId,
        GroupError::RebalanceInProgress => ErrorCode::RebalanceInProgress,
        GroupError::MemberIdRequired => ErrorCode::MemberIdRequired,
        GroupError::InconsistentProtocol => ErrorCode::InconsistentGroupProtocol,
        GroupError::InvalidSessionTimeout => ErrorCode::InvalidSessionTimeout,
        GroupError::GroupFull => ErrorCode::GroupMaxSizeReached,
        GroupError::OverLimit => ErrorCode::PolicyViolation,
        GroupError::NonEmpty => ErrorCode::NonEmptyGroup,
        GroupError::NotFound => ErrorCode::GroupIdNotFound,
        GroupError::OffsetMetadataTooLarge => ErrorCode::OffsetMetadataTooLarge,
        GroupError::UnknownPartition => ErrorCode::UnknownTopicOrPartition,
        GroupError::InvalidOffset => ErrorCode::InvalidRequest,
    }
}

/// The number of an outcome.
pub(super) fn number<T>(result: &Result<T, GroupError>) -> i16 {
    result.as_ref().err().map_or(0, |error| code(*error).number())
}

/// One node coordinates every group: the leader of the topic of offsets.
pub(super) async fn find_coordinator(
    node: &Arc<Node>,
    version: i16,
    request: FindCoordinatorRequest,
) -> FindCoordinatorResponse {
    let keys = if version < 4 { vec![request.key] } else { request.coordinator_keys };
    let found = if request.key_type == GROUP_KEY {
        of_groups(node).await
    } else {
        let message = "only consumer groups have a coordinator here: there are no transactions";
        let code = match request.key_type {
            // The one by which clients give up at once; with others some ask again for minutes.
            TRANSACTION_KEY => ErrorCode::TransactionalIdAuthorizationFailed,
            _ => ErrorCode::InvalidRequest,
        };
        Err((code, message.to_owned()))
    };
    let coordinators = keys.into_iter().map(|key| match &found {
        Ok((node, at)) => {
            let (node_id, host, port) = (number_of(*node), at.host.clone(), at.port.into());
            Coordinator { key, node_id, host, port, ..Coordinator::default() }
        }
        Err((code, message)) => Coordinator {
            key,
            node_id: -1,
            port: -1,
            error_code: (*code).into(),
            error_message: Some(message.clone()),
            ..Coordinator::default()
        },
    });
    let mut coordinators: Vec<Coordinator> = coordinators.collect();
    if version >= 4 {
        return FindCoordinatorResponse { coordinators, ..Default::default() };
    }
    let Coordinator { node_id, host, port, error_code, error_message, .. } =
        coordinators.pop().unwrap_or_default();
    FindCoordinatorResponse { node_id, host, port, error_code, error_message, ..Default::default() }
}

/// The groups' coordinator, and where clients find it.
async fn of_groups(node: &Arc<Node>) -> Result<(u64, Advertised), Refusal> {
    let refused = |why: String| (ErrorCode::CoordinatorNotAvailable, why);
    let found = coordinator(node).await.map_err(|failure| refused(failure.message))?;
    let found = found.ok_or_else(|| refused("nobody leads the topic of offsets at present".to_owned()))?;
    let at = node.metadata.read(|state| state.nodes.get(&found).and_then(reached_by_kafka));
    let at = at.ok_or_else(|| refused(format!("node {found} takes no Kafka clients")))?;
    Ok((found, at))
}

/// Waits for the other members.
pub(super) async fn join(
    node: &Arc<Node>,
    version: i16,
    client_id: &str,
    client_host: &str,
    request: JoinGroupRequest,
) -> JoinGroupResponse {
    let protocols = request.protocols.into_iter();
    let protocols = protocols.map(|one| Protocol { name: one.name, metadata: one.metadata });
    let name = request.group_instance_id.as_deref().unwrap_or(client_id);
    let join = Join {
        new_id: new_member_id(name),
        member_id: request.member_id,
        instance_id: request.group_instance_id,
        client_id: client_id.to_owned(),
        client_host: client_host.to_owned(),
        session_ms: request.session_timeout_ms,
        // The first version has one time-out for both.
        rebalance_ms: if version == 0 { request.session_timeout_ms } else { request.rebalance_timeout_ms },
        protocol_type: request.protocol_type,
        protocols: protocols.collect(),
        id_round_trip: version >= 4,
        skips_assignment: version >= 9,
    };
    match node.groups.join(&request.group_id, join).await {
        Ok(joined) => place(joined),
        Err(JoinRefused { error, member_id }) => JoinGroupResponse {
            error_code: code(error).into(),
            // Null is allowed in later versions only.
            protocol_name: (version < 7).then(String::new),
            member_id,
            ..JoinGroupResponse::default()
        },
    }
}

/// An id that nobody else has.
fn new_member_id(name: &str) -> String {
    let random = random::salt().iter().fold(String::new(), |id, byte| format!("{id}{byte:02x}"));
    let name: String = name.chars().take(NAME_IN_ID).collect();
    format!("{name}-{random}")
}

fn place(joined: Joined) -> JoinGroupResponse {
    let members = joined.members.into_iter().map(|member| JoinGroupResponseMember {
        member_id: member.member_id,
        group_instance_id: member.instance_id,
        metadata: member.metadata,
    });
    JoinGroupResponse {
        generation_id: joined.generation,
        protocol_type: Some(joined.protocol_type),
        protocol_name: Some(joined.protocol),
        leader: joined.leader,
        skip_assignment: joined.skip_assignment,
        member_id: joined.member_id,
        members: members.collect(),
        ..JoinGroupResponse::default()
    }
}

/// Waits for the leader.
pub(super) async fn sync(node: &Arc<Node>, request: SyncGroupRequest) -> SyncGroupResponse {
    let assignments = request.assignments.into_iter().map(|one| (one.member_id, one.assignment));
    let sync = Sync {
        caller: Caller {
            member_id: request.member_id,
            instance_id: request.group_instance_id,
            generation: request.generation_id,
        },
        protocol_type: request.protocol_type,
        protocol: request.protocol_name,
        assignments: assignments.collect(),
    };
    match node.groups.sync(&request.group_id, sync).await {
        Ok(synced) => SyncGroupResponse {
            protocol_type: Some(synced.protocol_type),
            protocol_name: Some(synced.protocol),
            assignment: synced.assignment,
            ..SyncGroupResponse::default()
        },
        Err(error) => SyncGroupResponse { error_code: code(error).into(), ..SyncGroupResponse::default() },
    }
}

pub(super) async fn heartbeat(node: &Arc<Node>, request: HeartbeatRequest) -> HeartbeatResponse {
    let caller = Caller {
        member_id: request.member_id,
        instance_id: request.group_instance_id,
        generation: request.generation_id,
    };
    let result = node.groups.heartbeat(&request.group_id, caller).await;
    HeartbeatResponse { error_code: number(&result), throttle_time_ms: 0 }
}

pub(super) async fn leave(node: &Arc<Node>, version: i16, request: LeaveGroupRequest) -> LeaveGroupResponse {
    let leavers: Vec<Leaver> = if version < 3 {
        vec![Leaver { member_id: request.member_id, instance_id: None }]
    } else {
        let members = request.members.into_iter();
        members.map(|one| Leaver { member_id: one.member_id, instance_id: one.group_instance_id }).collect()
    };
    let outcome = match node.groups.leave(&request.group_id, leavers.clone()).await {
        // There is no such group, so nobody is in it.
        Err(error @ GroupError::UnknownMember) => Ok(vec![Err(error); leavers.len()]),
        outcome => outcome,
    };
    let error_code = number(&outcome);
    let outcomes = outcome.unwrap_or_default();
    if version < 3 {
        let error_code = outcomes.first().map_or(error_code, number);
        return LeaveGroupResponse { error_code, ..LeaveGroupResponse::default() };
    }
    let members = leavers.into_iter().zip(outcomes).map(|(leaver, outcome)| MemberResponse {
        member_id: leaver.member_id,
        group_instance_id: leaver.instance_id,
        error_code: number(&outcome),
    });
    LeaveGroupResponse { error_code, members: members.collect(), throttle_time_ms: 0 }
}

pub(super) fn list(node: &Node, request: &ListGroupsRequest) -> ListGroupsResponse {
    let wanted = |filter: &[String], is: &str| {
        filter.is_empty() || filter.iter().any(|name| name.eq_ignore_ascii_case(is))
    };
    let groups = node.groups.list().into_iter().filter(|(_, group)| {
        wanted(&request.states_filter, group.state.name()) && wanted(&request.types_filter, CLASSIC)
    });
    let groups = groups.map(|(group_id, group)| ListedGroup {
        group_id,
        protocol_type: group.protocol_type,
        group_state: group.state.name().to_owned(),
        group_type: CLASSIC.to_owned(),
    });
    ListGroupsResponse { groups: groups.collect(), ..ListGroupsResponse::default() }
}

pub(super) fn describe(node: &Node, request: DescribeGroupsRequest) -> DescribeGroupsResponse {
    let groups = request.groups.into_iter().map(|group_id| {
        if let Err(error) = node.groups.check(&group_id) {
            let error_code = code(error).into();
            return DescribedGroup { error_code, group_id, ..DescribedGroup::default() };
        }
        match node.groups.describe(&group_id) {
            Some(group) => described(group_id, group),
            // As Kafka says that there is none.
            None => DescribedGroup {
                group_id,
                group_state: GroupState::Dead.name().to_owned(),
                ..DescribedGroup::default()
            },
        }
    });
    DescribeGroupsResponse { groups: groups.collect(), throttle_time_ms: 0 }
}

fn described(group_id: String, group: GroupDescription) -> DescribedGroup {
    // Before everyone has its assignment, what members say belongs to no generation.
    let settled = group.state == GroupState::Stable;
    let members = group.members.into_iter().map(|member| DescribedGroupMember {
        member_id: member.member_id,
        group_instance_id: member.instance_id,
        client_id: member.client_id,
        client_host: member.client_host,
        member_metadata: if settled { member.metadata } else { Default::default() },
        member_assignment: if settled { member.assignment } else { Default::default() },
    });
    DescribedGroup {
        group_id,
        group_state: group.state.name().to_owned(),
        protocol_type: group.protocol_type,
        protocol_data: if settled { group.protocol } else { String::new() },
        members: members.collect(),
        ..DescribedGroup::default()
    }
}

pub(super) async fn delete(node: &Arc<Node>, request: DeleteGroupsRequest) -> DeleteGroupsResponse {
    let mut results = Vec::new();
    for group_id in request.groups_names {
        let outcome = node.groups.delete(&group_id).await;
        results.push(DeletableGroupResult { group_id, error_code: number(&outcome) });
    }
    DeleteGroupsResponse { results, throttle_time_ms: 0 }
}
