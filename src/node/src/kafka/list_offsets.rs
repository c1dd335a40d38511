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
use crate::older::Named;
use crate::read;
use tidelog_wal::{ReadError, Wal};

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
            partitions.push(answer(node, live.as_deref(), &asked).await);
        }
        topics.push(ListOffsetsTopicResponse { name: topic.name, partitions });
    }
    ListOffsetsResponse { topics, throttle_time_ms: 0 }
}

async fn answer(
    node: &Node,
    topic: Option<&LiveTopic>,
    asked: &ListOffsetsPartition,
) -> ListOffsetsPartitionResponse {
    let mut answer =
        ListOffsetsPartitionResponse { partition_index: asked.partition_index, ..Default::default() };
    match find(node, topic, asked).await {
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
async fn find(
    node: &Node,
    topic: Option<&LiveTopic>,
    asked: &ListOffsetsPartition,
) -> Result<(i64, i64), ErrorCode> {
    let unknown = ErrorCode::UnknownTopicOrPartition;
    let topic = topic.ok_or(unknown)?;
    let partition = partition(Some(topic), asked).ok_or(unknown)?;
    let wal = partition.led()?;
    check_epoch(wal, asked.current_leader_epoch)?;
    let state = partition.state(wal)?;
    let by_time = match asked.timestamp {
        LATEST => return Ok((-1, offset(state.next_offset))),
        EARLIEST | EARLIEST_LOCAL => return Ok((-1, offset(state.log_start))),
        LATEST_TIERED => return Ok((-1, -1)),
        MAX_TIMESTAMP => newest(node, partition, wal).await,
        timestamp if timestamp >= 0 => Ok(Some(timestamp)),
        _ => return Err(ErrorCode::InvalidRequest),
    };
    let Some(timestamp) = by_time.map_err(|error| failure::read(&error))? else { return Ok((-1, -1)) };
    let number = u32::try_from(asked.partition_index).map_err(|_| unknown)?;
    let named = Named { topic: &topic.name, number, live: partition };
    let found = read::offset_at(node, named, wal, timestamp).await;
    let found = found.map_err(|error| failure::unread(&error))?;
    Ok(found.map_or((-1, -1), |(at, timestamp)| (timestamp, offset(at))))
}

/// The largest timestamp of a partition's records, as far as the logs of this node have them.
async fn newest(node: &Node, partition: &LivePartition, wal: &Wal) -> Result<Option<i64>, ReadError> {
    let mut newest = wal.max_timestamp(partition.id).await?;
    for older in partition.places.older(0) {
        if let Some(wal) = node.wal(older.shard) {
            newest = newest.max(wal.max_timestamp(partition.id).await.unwrap_or_default());
        }
    }
    Ok(newest)
}
