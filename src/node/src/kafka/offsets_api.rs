//! Committed offsets on the wire.

use std::collections::BTreeMap;
use std::sync::Arc;

use tidelog_proto::kafka::offset_commit::{
    OffsetCommitRequest, OffsetCommitResponse, OffsetCommitResponsePartition, OffsetCommitResponseTopic,
};
use tidelog_proto::kafka::offset_fetch::{
    OffsetFetchRequest, OffsetFetchRequestTopic, OffsetFetchResponse, OffsetFetchResponseGroup,
    OffsetFetchResponsePartition, OffsetFetchResponseTopic,
};

use super::groups_api::{code, number};
use crate::groups::{Caller, Committed, GroupError, Place};
use crate::node::Node;

/// Answered when all that could be committed is durable.
pub(super) async fn commit(node: &Arc<Node>, request: OffsetCommitRequest) -> OffsetCommitResponse {
    let caller = Caller {
        member_id: request.member_id,
        instance_id: request.group_instance_id,
        generation: request.generation_id_or_member_epoch,
    };
    let (mut offsets, mut topics) = (Vec::new(), Vec::new());
    for topic in request.topics {
        let mut partitions = Vec::new();
        for one in topic.partitions {
            let metadata = one.committed_metadata.unwrap_or_default();
            let place = (topic.name.clone(), one.partition_index);
            let checked = check(node, &place, one.committed_offset, metadata.len());
            partitions.push((one.partition_index, checked));
            if checked.is_ok() {
                offsets.push((
                    place,
                    Committed {
                        offset: one.committed_offset,
                        leader_epoch: one.committed_leader_epoch,
                        metadata,
                        at: node.clock.now_ms(),
                    },
                ));
            }
        }
        topics.push((topic.name, partitions));
    }
    let result = node.groups.commit(&request.group_id, caller, offsets).await;
    let topics = topics.into_iter().map(|(name, partitions)| {
        let partitions = partitions.into_iter().map(|(partition_index, checked)| {
            // Who may not commit at all learns that first.
            let error_code = number(&result.and(checked));
            OffsetCommitResponsePartition { partition_index, error_code }
        });
        OffsetCommitResponseTopic { name, partitions: partitions.collect() }
    });
    OffsetCommitResponse { topics: topics.collect(), throttle_time_ms: 0 }
}

fn check(node: &Node, place: &Place, offset: i64, metadata: usize) -> Result<(), GroupError> {
    let topic = node.topic(&place.0).ok_or(GroupError::UnknownPartition)?;
    let partitions = i32::try_from(topic.partitions.len()).unwrap_or(i32::MAX);
    if !(0..partitions).contains(&place.1) {
        return Err(GroupError::UnknownPartition);
    }
    if metadata > node.config.groups.offset_metadata_bytes {
        return Err(GroupError::OffsetMetadataTooLarge);
    }
    if offset < 0 { Err(GroupError::InvalidOffset) } else { Ok(()) }
}

/// What was committed; for a partition where nothing was, offset -1.
pub(super) fn fetch(node: &Node, version: i16, request: OffsetFetchRequest) -> OffsetFetchResponse {
    if version >= 8 {
        let groups = request.groups.into_iter();
        let groups = groups.map(|group| fetch_one(node, group.group_id, group.topics, false));
        return OffsetFetchResponse { groups: groups.collect(), ..OffsetFetchResponse::default() };
    }
    // The first version has no place for an error but the partitions.
    let group = fetch_one(node, request.group_id, request.topics, version < 2);
    OffsetFetchResponse { topics: group.topics, error_code: group.error_code, ..Default::default() }
}

fn fetch_one(
    node: &Node,
    group_id: String,
    topics: Option<Vec<OffsetFetchRequestTopic>>,
    errors_in_partitions: bool,
) -> OffsetFetchResponseGroup {
    let (committed, error_code) = match node.groups.committed(&group_id) {
        Ok(committed) => (committed, 0),
        Err(error) => (BTreeMap::new(), code(error).number()),
    };
    let in_partitions = if errors_in_partitions { error_code } else { 0 };
    let topics = match topics {
        Some(named) => named
            .into_iter()
            .map(|topic| {
                let partitions = topic.partition_indexes.into_iter().map(|number| {
                    let found = committed.get(&(topic.name.clone(), number));
                    OffsetFetchResponsePartition { error_code: in_partitions, ..shown(number, found) }
                });
                let partitions = partitions.collect();
                OffsetFetchResponseTopic { name: topic.name, partitions }
            })
            .collect(),
        None => all(committed),
    };
    OffsetFetchResponseGroup { group_id, topics, error_code }
}

fn all(committed: BTreeMap<Place, Committed>) -> Vec<OffsetFetchResponseTopic> {
    let mut topics: Vec<OffsetFetchResponseTopic> = Vec::new();
    for ((name, number), committed) in committed {
        let partition = shown(number, Some(&committed));
        match topics.last_mut().filter(|topic| topic.name == name) {
            Some(topic) => topic.partitions.push(partition),
            None => topics.push(OffsetFetchResponseTopic { name, partitions: vec![partition] }),
        }
    }
    topics
}

fn shown(partition_index: i32, committed: Option<&Committed>) -> OffsetFetchResponsePartition {
    OffsetFetchResponsePartition {
        partition_index,
        committed_offset: committed.map_or(-1, |one| one.offset),
        committed_leader_epoch: committed.map_or(-1, |one| one.leader_epoch),
        metadata: Some(committed.map(|one| one.metadata.clone()).unwrap_or_default()),
        error_code: 0,
    }
}
