//! A member's place in its group: joining, assigning when it leads, heartbeats, commits, leaving.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tidelog_proto::consumer_protocol::{
    Assignment, CONSUMER, RANGE, assign_range, decode_assignment, decode_subscription, encode_assignment,
    encode_subscription,
};
use tidelog_proto::kafka::ErrorCode;
use tidelog_proto::kafka::ask::Ask;
use tidelog_proto::kafka::find_coordinator::FindCoordinatorRequest;
use tidelog_proto::kafka::heartbeat::HeartbeatRequest;
use tidelog_proto::kafka::join_group::{JoinGroupRequest, JoinGroupRequestProtocol, JoinGroupResponse};
use tidelog_proto::kafka::leave_group::{LeaveGroupRequest, MemberIdentity};
use tidelog_proto::kafka::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use tidelog_proto::kafka::offset_fetch::{
    OffsetFetchRequest, OffsetFetchRequestGroup, OffsetFetchRequestTopic,
};
use tidelog_proto::kafka::sync_group::{SyncGroupRequest, SyncGroupRequestAssignment};

use super::connection::Connection;
use crate::{Client, Error};

/// How long the others may take to join after this member, and it after them.
const REBALANCE: Duration = Duration::from_secs(60);
/// How long an answer may take that waits for nobody.
const ANSWER: Duration = Duration::from_secs(30);

/// Whether a member still has its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    Member,
    /// It has to join again, as who it is.
    Rebalance,
    /// It has to join again, as somebody new.
    Unknown,
}

/// Who this member is.
#[derive(Debug)]
pub(super) struct Membership {
    /// HOST:PORT of a node that knows who coordinates.
    bootstrap: String,
    /// To the coordinator; none until it has been looked for.
    connection: Option<Connection>,
    group: String,
    topic: String,
    session: Duration,
    /// Empty until the server has given one.
    member_id: String,
    generation: i32,
}

impl Membership {
    pub(super) fn new(kafka: String, group: &str, topic: &str, session: Duration) -> Membership {
        Membership {
            bootstrap: kafka,
            connection: None,
            group: group.to_owned(),
            topic: topic.to_owned(),
            session,
            member_id: String::new(),
            generation: -1,
        }
    }

    /// Asks the coordinator, which is looked for first when it is not known, and again after a failure.
    async fn ask<A: Ask>(&mut self, asked: &A, within: Duration) -> Result<A::Answer, Error> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.find_coordinator().await?,
        };
        let answer = connection.ask(asked, within).await?;
        self.connection = Some(connection);
        Ok(answer)
    }

    async fn find_coordinator(&mut self) -> Result<Connection, Error> {
        let coordinator_keys = vec![self.group.clone()];
        let request = FindCoordinatorRequest { coordinator_keys, ..FindCoordinatorRequest::default() };
        let answer = Connection::new(self.bootstrap.clone()).ask(&request, ANSWER).await?;
        let found = answer.coordinators.into_iter().next().unwrap_or_default();
        self.check(found.error_code)?;
        let host = if found.host.contains(':') { format!("[{}]", found.host) } else { found.host };
        Ok(Connection::new(format!("{host}:{}", found.port)))
    }

    /// Joins the next generation; answers the partitions of the topic that this member reads in it.
    pub(super) async fn join(&mut self, client: &Client) -> Result<BTreeSet<u32>, Error> {
        loop {
            let joined = self.ask_to_join().await?;
            if joined.error_code == ErrorCode::MemberIdRequired.number() {
                self.member_id = joined.member_id;
                continue;
            }
            if self.standing(joined.error_code)? != Standing::Member {
                continue;
            }
            self.generation = joined.generation_id;
            self.member_id.clone_from(&joined.member_id);
            let leads = joined.leader == joined.member_id && !joined.skip_assignment;
            let assignments = if leads { self.assign(client, &joined).await? } else { Vec::new() };
            let request = SyncGroupRequest {
                group_id: self.group.clone(),
                generation_id: self.generation,
                member_id: self.member_id.clone(),
                group_instance_id: None,
                protocol_type: Some(CONSUMER.to_owned()),
                protocol_name: Some(RANGE.to_owned()),
                assignments,
            };
            let synced = self.ask(&request, REBALANCE + ANSWER).await?;
            if self.standing(synced.error_code)? == Standing::Member {
                return self.assigned(&synced.assignment);
            }
        }
    }

    async fn ask_to_join(&mut self) -> Result<JoinGroupResponse, Error> {
        let metadata = encode_subscription([self.topic.as_str()]).into();
        let request = JoinGroupRequest {
            group_id: self.group.clone(),
            session_timeout_ms: millis(self.session),
            rebalance_timeout_ms: millis(REBALANCE),
            member_id: self.member_id.clone(),
            group_instance_id: None,
            protocol_type: CONSUMER.to_owned(),
            protocols: vec![JoinGroupRequestProtocol { name: RANGE.to_owned(), metadata }],
            reason: None,
        };
        // Everyone has until the session or the rebalance time-out to come.
        self.ask(&request, REBALANCE.max(self.session) + ANSWER).await
    }

    /// Shares the partitions out among all members.
    async fn assign(
        &self,
        client: &Client,
        joined: &JoinGroupResponse,
    ) -> Result<Vec<SyncGroupRequestAssignment>, Error> {
        let mut members = BTreeMap::new();
        for member in &joined.members {
            let topics = decode_subscription(&member.metadata);
            let topics = topics.map_err(|cause| client.not_understood("joining a group", cause))?;
            members.insert(member.member_id.clone(), topics);
        }
        let mut partitions = BTreeMap::new();
        for topic in members.values().flatten() {
            if !partitions.contains_key(topic) {
                // A topic that somebody reads and that is gone has no partitions.
                let count = match client.describe_topic(topic).await {
                    Ok(described) => u32::try_from(described.partitions.len()).unwrap_or(u32::MAX),
                    Err(Error::NotFound { .. }) => 0,
                    Err(error) => return Err(error),
                };
                partitions.insert(topic.clone(), count);
            }
        }
        let assigned = assign_range(&members, &partitions).into_iter();
        let assignment = |(member_id, assignment): (String, Assignment)| SyncGroupRequestAssignment {
            member_id,
            assignment: encode_assignment(&assignment).into(),
        };
        Ok(assigned.map(assignment).collect())
    }

    fn assigned(&self, bytes: &[u8]) -> Result<BTreeSet<u32>, Error> {
        let assignment = decode_assignment(bytes).map_err(|cause| Error::Group {
            group: self.group.clone(),
            code: 0,
            why: format!("the leader's assignment is not understood: {cause}"),
        })?;
        let ours = assignment.get(&self.topic).into_iter().flatten();
        Ok(ours.filter_map(|number| u32::try_from(*number).ok()).collect())
    }

    /// How far the group has come in these partitions; those where it has not begun are left out.
    pub(super) async fn committed(
        &mut self,
        partitions: &BTreeSet<u32>,
    ) -> Result<BTreeMap<u32, u64>, Error> {
        let wanted = OffsetFetchRequestTopic {
            name: self.topic.clone(),
            partition_indexes: partitions.iter().map(|number| signed(*number)).collect(),
        };
        let group = OffsetFetchRequestGroup {
            group_id: self.group.clone(),
            topics: Some(vec![wanted]),
            ..OffsetFetchRequestGroup::default()
        };
        let request = OffsetFetchRequest { groups: vec![group], ..OffsetFetchRequest::default() };
        let answer = self.ask(&request, ANSWER).await?;
        let mut committed = BTreeMap::new();
        for group in answer.groups {
            self.check(group.error_code)?;
            for partition in group.topics.into_iter().flat_map(|topic| topic.partitions) {
                self.check(partition.error_code)?;
                let number = u32::try_from(partition.partition_index);
                if let (Ok(number), Ok(offset)) = (number, u64::try_from(partition.committed_offset)) {
                    committed.insert(number, offset);
                }
            }
        }
        Ok(committed)
    }

    /// Commits the next offset to read of each partition.
    pub(super) async fn commit(&mut self, offsets: &BTreeMap<u32, u64>) -> Result<Standing, Error> {
        let partitions = offsets.iter().map(|(number, offset)| OffsetCommitRequestPartition {
            partition_index: signed(*number),
            committed_offset: i64::try_from(*offset).unwrap_or(i64::MAX),
            ..OffsetCommitRequestPartition::default()
        });
        let topic = OffsetCommitRequestTopic { name: self.topic.clone(), partitions: partitions.collect() };
        let request = OffsetCommitRequest {
            group_id: self.group.clone(),
            generation_id_or_member_epoch: self.generation,
            member_id: self.member_id.clone(),
            topics: vec![topic],
            ..OffsetCommitRequest::default()
        };
        let answer = self.ask(&request, ANSWER).await?;
        let mut worst = Standing::Member;
        for partition in answer.topics.into_iter().flat_map(|topic| topic.partitions) {
            match self.standing(partition.error_code)? {
                Standing::Member => {}
                lost => worst = lost,
            }
        }
        Ok(worst)
    }

    pub(super) async fn heartbeat(&mut self) -> Result<Standing, Error> {
        let request = HeartbeatRequest {
            group_id: self.group.clone(),
            generation_id: self.generation,
            member_id: self.member_id.clone(),
            group_instance_id: None,
        };
        let answer = self.ask(&request, ANSWER).await?;
        self.standing(answer.error_code)
    }

    pub(super) async fn leave(&mut self) -> Result<(), Error> {
        if self.member_id.is_empty() {
            return Ok(());
        }
        let identity = MemberIdentity { member_id: self.member_id.clone(), ..MemberIdentity::default() };
        let request = LeaveGroupRequest {
            group_id: self.group.clone(),
            members: vec![identity],
            ..LeaveGroupRequest::default()
        };
        let answer = self.ask(&request, ANSWER).await?;
        self.check(answer.error_code)
    }

    /// The last commit came too late.
    pub(super) fn lost(&self) -> Error {
        let why = "this member had lost its place, so the last records it read could not be committed; they will be read again";
        Error::Group {
            group: self.group.clone(),
            code: ErrorCode::UnknownMemberId.number(),
            why: why.to_owned(),
        }
    }

    fn check(&mut self, code: i16) -> Result<(), Error> {
        match self.standing(code)? {
            Standing::Member => Ok(()),
            _ => Err(self.refused(code)),
        }
    }

    /// What an error code says about this member.
    fn standing(&mut self, code: i16) -> Result<Standing, Error> {
        let is = |one: ErrorCode| code == one.number();
        if code == 0 {
            return Ok(Standing::Member);
        }
        if is(ErrorCode::RebalanceInProgress) || is(ErrorCode::IllegalGeneration) {
            return Ok(Standing::Rebalance);
        }
        if is(ErrorCode::UnknownMemberId) {
            self.member_id.clear();
            return Ok(Standing::Unknown);
        }
        if is(ErrorCode::NotCoordinator) || is(ErrorCode::CoordinatorNotAvailable) {
            self.connection = None;
        }
        Err(self.refused(code))
    }

    fn refused(&self, code: i16) -> Error {
        let is = |one: ErrorCode| code == one.number();
        let why = if is(ErrorCode::InconsistentGroupProtocol) {
            "its members share partitions out in a way that this one does not know; let all of them offer `range`"
        } else if is(ErrorCode::InvalidSessionTimeout) {
            "the server does not take this session time-out, see groups.min_session_ms and groups.max_session_ms"
        } else if is(ErrorCode::GroupMaxSizeReached) {
            "it has as many members as the server allows, see groups.members"
        } else if is(ErrorCode::InvalidGroupId) {
            "the name is empty or too long"
        } else if is(ErrorCode::CoordinatorNotAvailable) || is(ErrorCode::CoordinatorLoadInProgress) {
            "the coordinator is not available now"
        } else if is(ErrorCode::NotCoordinator) {
            "another node coordinates it by now"
        } else {
            return Error::Group {
                group: self.group.clone(),
                code,
                why: format!("the coordinator answers with error {code} of Kafka's protocol"),
            };
        };
        Error::Group { group: self.group.clone(), code, why: why.to_owned() }
    }
}

fn millis(time: Duration) -> i32 {
    i32::try_from(time.as_millis()).unwrap_or(i32::MAX)
}

fn signed(number: u32) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}
