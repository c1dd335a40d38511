//! OffsetForLeaderEpoch: where an epoch ended, by which a client finds out whether what it has read still stands.

use std::sync::Arc;

use tidelog_format::batch::BatchView;
use tidelog_proto::kafka::ErrorCode;
use tidelog_proto::kafka::offset_for_leader_epoch::{
    EpochEndOffset, OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse, OffsetForLeaderPartition,
    OffsetForLeaderTopicResult,
};

use tidelog_wal::Wal;

use super::failure;
use super::fetch::{check_epoch, epoch};
use super::produce::offset;
use crate::node::{LiveTopic, Node};
use crate::older::Named;
use crate::read;

pub(super) async fn ends(
    node: &Arc<Node>,
    request: OffsetForLeaderEpochRequest,
) -> OffsetForLeaderEpochResponse {
    let mut topics = Vec::with_capacity(request.topics.len());
    for topic in request.topics {
        let live = node.topic(&topic.topic);
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for asked in topic.partitions {
            let mut answer = EpochEndOffset { partition: asked.partition, ..EpochEndOffset::default() };
            match end(node, live.as_deref(), &asked).await {
                Ok(Some((epoch, end))) => (answer.leader_epoch, answer.end_offset) = (epoch, end),
                Ok(None) => {}
                Err(code) => answer.error_code = code.into(),
            }
            partitions.push(answer);
        }
        topics.push(OffsetForLeaderTopicResult { topic: topic.topic, partitions });
    }
    OffsetForLeaderEpochResponse { topics, throttle_time_ms: 0 }
}

/// The last epoch up to the one asked for that has records, and the offset behind its last one; `None` for an epoch
/// that is not known.
async fn end(
    node: &Node,
    topic: Option<&LiveTopic>,
    asked: &OffsetForLeaderPartition,
) -> Result<Option<(i32, i64)>, ErrorCode> {
    let unknown = ErrorCode::UnknownTopicOrPartition;
    let number = u32::try_from(asked.partition).map_err(|_| unknown)?;
    let topic = topic.ok_or(unknown)?;
    let partition = topic.partition(number).map_err(|_| unknown)?;
    let wal = partition.led()?;
    check_epoch(wal, asked.current_leader_epoch)?;
    let state = partition.state(wal)?;
    let named = Named { topic: &topic.name, number, live: partition };
    let ours = epoch(wal);
    if asked.leader_epoch == ours {
        return Ok(Some((ours, offset(state.next_offset))));
    }
    if asked.leader_epoch > ours || asked.leader_epoch < 0 {
        return Ok(None);
    }
    // Epochs grow with offsets: the first record of a later epoch is found by halving.
    let (mut low, mut high) = (state.log_start, state.next_offset);
    let mut last = None;
    while low < high {
        let middle = low + (high - low) / 2;
        let Some((epoch, next)) = epoch_at(node, named, wal, middle).await? else { break };
        if epoch <= asked.leader_epoch {
            last = Some(epoch);
            low = next;
        } else {
            high = middle;
        }
    }
    Ok(last.map(|epoch| (epoch, offset(low))))
}

/// The epoch of the batch that holds an offset, and the offset behind it.
async fn epoch_at(
    node: &Node,
    named: Named<'_>,
    wal: &Wal,
    at: u64,
) -> Result<Option<(i32, u64)>, ErrorCode> {
    let fetched = read::fetch(node, named, wal, at, 1).await.map_err(|error| failure::unread(&error))?;
    let Some(batch) = fetched.batches.first() else { return Ok(None) };
    let view = BatchView::parse(batch).map_err(|_| ErrorCode::KafkaStorageError)?;
    Ok(Some((view.header().leader_epoch, view.header().next_offset())))
}
