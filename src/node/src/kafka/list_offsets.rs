//! ListOffsets: the first, the last, and by time.

use std::sync::Arc;

use tidelog_proto::kafka::ErrorCode;
use tidelog_proto::kafka::list_offsets::{
    ListOffsetsPartition, ListOffsetsPartitionResponse, ListOffsetsRequest, ListOffsetsResponse,
    ListOffsetsTopicResponse,
};

use super::failure;
use super::fetch::{check_epoch, epoch};
use super::produce::offset;
use crate::node::{LivePartition, LiveTopic, Node};

/// Behind the last record.
const LATEST: i64 = -1;
/// The first record that is kept.
const EARLIEST: i64 = -2;
/// The record with the largest timestamp.
const MAX_TIMESTAMP: i64 = -3;
/// The first one on this disk: all are.
const EARLIEST_LOCAL: i64 = -4;
/// The last one in remote storage: there is none.
const LATEST_TIERED: i64 = -5;

pub(super) async fn list_offsets(node: &Arc<Node>, request: ListOffsetsRequest) -> ListOffsetsResponse {
    let mut topics = Vec::with_capacity(request.topics.len());
    for topic in request.topics {
        let live = node.topic(&topic.name);
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for asked in topic.partitions {
            partitions.push(answer(live.as_deref(), &asked).await);
        }
        topics.push(ListOffsetsTopicResponse { name: topic.name, partitions });
    }
    ListOffsetsResponse { topics, throttle_time_ms: 0 }
}

async fn answer(topic: Option<&LiveTopic>, asked: &ListOffsetsPartition) -> ListOffsetsPartitionResponse {
    let mut answer =
        ListOffsetsPartitionResponse { partition_index: asked.partition_index, ..Default::default() };
    match find(topic, asked).await {
        Ok((timestamp, at)) => {
            (answer.timestamp, answer.offset) = (timestamp, at);
            answer.leader_epoch = partition(topic, asked).and_then(|one| one.led().ok()).map_or(-1, epoch);
        }
        Err(code) => answer.error_code = code.into(),
    }
    answer
}

fn partition<'a>(topic: Option<&'a LiveTopic>, asked: &ListOffsetsPartition) -> Option<&'a LivePartition> {
    topic?.partition(u32::try_from(asked.partition_index).ok()?).ok()
}

/// Timestamp and offset; -1 where there is none.
async fn find(topic: Option<&LiveTopic>, asked: &ListOffsetsPartition) -> Result<(i64, i64), ErrorCode> {
    let unknown = ErrorCode::UnknownTopicOrPartition;
    let partition = partition(topic, asked).ok_or(unknown)?;
    let wal = partition.led()?;
    check_epoch(wal, asked.current_leader_epoch)?;
    let state = wal.partition(partition.id).ok_or(unknown)?;
    let by_time = match asked.timestamp {
        LATEST => return Ok((-1, offset(state.next_offset))),
        EARLIEST | EARLIEST_LOCAL => return Ok((-1, offset(state.log_start))),
        LATEST_TIERED => return Ok((-1, -1)),
        MAX_TIMESTAMP => wal.max_timestamp(partition.id).await,
        timestamp if timestamp >= 0 => Ok(Some(timestamp)),
        _ => return Err(ErrorCode::InvalidRequest),
    };
    let Some(timestamp) = by_time.map_err(|error| failure::read(&error))? else { return Ok((-1, -1)) };
    let found = wal.offset_at(partition.id, timestamp).await;
    let found = found.map_err(|error| failure::read(&error))?;
    Ok(found.map_or((-1, -1), |(at, timestamp)| (timestamp, offset(at))))
}
