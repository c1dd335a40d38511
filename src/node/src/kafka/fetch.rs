//! Fetch: stored batches go out as they are.
//!
//! # Limits
//! The request's own limits and `limits.read_bytes`; one batch always goes out whole. Partitions are served in turn,
//! from another one on with every request, so that a busy one starves none.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt};
use tidelog_proto::kafka::ErrorCode;
use tidelog_proto::kafka::fetch::{
    FetchPartition, FetchRequest, FetchResponse, FetchableTopicResponse, PartitionData,
};
use tidelog_proto::kafka::field::Batches;
use tidelog_wal::{ReadError, Wal};
use tokio::time::Instant;

use super::failure;
use super::metadata::{current_leader, find};
use super::produce::offset;
use crate::node::{LiveTopic, Node};
use crate::older::{Named, Unread};
use crate::read;

/// One partition of the request.
struct Wanted {
    topic: Result<Arc<LiveTopic>, ErrorCode>,
    asked: FetchPartition,
    answer: PartitionData,
}

/// Reads; with less than the client wants, waits as long as it says.
pub(super) async fn fetch(node: &Arc<Node>, version: i16, request: FetchRequest) -> FetchResponse {
    if request.session_id != 0 {
        // None is ever begun here: the client brings one of another server, and asks without it from now on.
        let error_code = ErrorCode::FetchSessionIdNotFound.into();
        return FetchResponse { error_code, ..FetchResponse::default() };
    }
    let FetchRequest { max_wait_ms, min_bytes, max_bytes, topics, isolation_level, .. } = request;
    let mut shape = Vec::with_capacity(topics.len());
    let mut wanted = Vec::new();
    for topic in topics {
        let live = find(node, version >= 13, &topic.topic, topic.topic_id);
        shape.push((topic.topic, topic.topic_id, topic.partitions.len()));
        for asked in topic.partitions {
            let answer = PartitionData { partition_index: asked.partition, ..PartitionData::default() };
            wanted.push(Wanted { topic: live.clone(), asked, answer });
        }
    }
    let wait = u64::try_from(max_wait_ms).unwrap_or(0).min(node.config.limits.read_wait_ms);
    let until = Instant::now() + Duration::from_millis(wait);
    let budget = usize::try_from(node.config.limits.read_bytes).unwrap_or(usize::MAX);
    let budget = budget.min(usize::try_from(max_bytes).unwrap_or(0));
    let least = usize::try_from(min_bytes).unwrap_or(0).min(budget);
    let start = node.next_turn() as usize;
    loop {
        let found = read_all(node, &mut wanted, budget, start).await;
        if found.failed || found.bytes >= least || Instant::now() >= until {
            break;
        }
        // Whatever comes, all are read again: what was found meanwhile may be trimmed by then.
        let more = tokio::time::timeout_at(until, more(&wanted)).await;
        if more.is_err() {
            break;
        }
    }
    for one in &wanted {
        if let Ok(topic) = &one.topic
            && one.answer.error_code == ErrorCode::KafkaStorageError.number()
            && let Some(live) = u32::try_from(one.asked.partition).ok().and_then(|n| topic.partition(n).ok())
        {
            node.met_damage(live.shard);
        }
    }
    for one in &mut wanted {
        if let Ok(topic) = &one.topic
            && one.answer.error_code == ErrorCode::NotLeaderOrFollower.number()
        {
            one.answer.current_leader = current_leader(node, topic, one.asked.partition);
        }
    }
    let mut wanted = wanted.into_iter();
    let mut responses = Vec::with_capacity(shape.len());
    for (topic, topic_id, count) in shape {
        let mut partitions: Vec<_> = wanted.by_ref().take(count).map(|one| one.answer).collect();
        if isolation_level != 0 {
            partitions.iter_mut().for_each(|one| one.aborted_transactions = Some(Vec::new()));
        }
        responses.push(FetchableTopicResponse { topic, topic_id, partitions });
    }
    FetchResponse { responses, ..FetchResponse::default() }
}

#[derive(Default)]
struct Found {
    bytes: usize,
    failed: bool,
}

/// Reads what is there, from partition number `start` on, counted round.
async fn read_all(node: &Node, wanted: &mut [Wanted], budget: usize, start: usize) -> Found {
    let mut found = Found::default();
    let count = wanted.len();
    for turn in 0..count {
        let one = &mut wanted[(start + turn) % count];
        let room = budget.saturating_sub(found.bytes);
        one.answer.records = Batches::default();
        match read_one(node, one, room, found.bytes == 0).await {
            Ok(bytes) => found.bytes += bytes,
            Err(code) => {
                one.answer.error_code = code.into();
                found.failed = true;
            }
        }
    }
    found
}

/// Reads one partition into its answer; without room only its watermarks.
async fn read_one(node: &Node, one: &mut Wanted, room: usize, first: bool) -> Result<usize, ErrorCode> {
    let topic = one.topic.as_ref().map_err(|code| *code)?;
    let number = u32::try_from(one.asked.partition).map_err(|_| ErrorCode::UnknownTopicOrPartition)?;
    let partition = topic.partition(number).map_err(|_| ErrorCode::UnknownTopicOrPartition)?;
    let wal = partition.led()?;
    check_epoch(wal, one.asked.current_leader_epoch)?;
    let state = partition.state(wal)?;
    let answer = &mut one.answer;
    answer.high_watermark = offset(state.next_offset);
    answer.last_stable_offset = answer.high_watermark;
    answer.log_start_offset = offset(state.log_start);
    let from = u64::try_from(one.asked.fetch_offset).map_err(|_| ErrorCode::OffsetOutOfRange)?;
    if from < state.log_start || from > state.next_offset {
        return Err(ErrorCode::OffsetOutOfRange);
    }
    let asked = usize::try_from(one.asked.partition_max_bytes).unwrap_or(0);
    // The first one gets a batch in any case, else a batch over the limit would stop its reader for ever.
    if room == 0 && !first {
        return Ok(0);
    }
    let named = Named { topic: &topic.name, number, live: partition };
    let fetched = match read::fetch(node, named, wal, from, room.min(asked)).await {
        Ok(fetched) => fetched,
        Err(error) => {
            let passing = matches!(
                error,
                Unread::Log(ReadError::OutOfRange { .. } | ReadError::UnknownPartition(_))
                    | Unread::NotLed(_)
            );
            if !passing {
                tracing::warn!(topic = topic.name, partition = one.asked.partition, %error, "fetch");
            }
            return Err(failure::unread(&error));
        }
    };
    answer.high_watermark = offset(fetched.next_offset);
    answer.last_stable_offset = answer.high_watermark;
    answer.log_start_offset = offset(fetched.log_start);
    answer.records = Batches(fetched.batches);
    Ok(answer.records.len())
}

/// The leader epoch of a shard's partitions: the epoch of its span.
pub(super) fn epoch(wal: &Wal) -> i32 {
    i32::try_from(wal.epoch()).unwrap_or(i32::MAX)
}

/// Whether the client knows the leader that we are.
pub(super) fn check_epoch(wal: &Wal, known: i32) -> Result<(), ErrorCode> {
    let ours = epoch(wal);
    match known {
        -1 => Ok(()),
        older if older < ours => Err(ErrorCode::FencedLeaderEpoch),
        newer if newer > ours => Err(ErrorCode::UnknownLeaderEpoch),
        _ => Ok(()),
    }
}

/// Ends when any of the partitions may have more than was answered.
async fn more(wanted: &[Wanted]) {
    type Waiting<'a> = Pin<Box<dyn Future<Output = ()> + Send + 'a>>;
    let mut waiting = FuturesUnordered::<Waiting<'_>>::new();
    let mut seen = HashMap::new();
    for one in wanted {
        let Ok(topic) = &one.topic else { continue };
        let number = u32::try_from(one.asked.partition).ok();
        let Some(partition) = number.and_then(|number| topic.partition(number).ok()) else { continue };
        let Ok(wal) = partition.led() else { continue };
        let known = u64::try_from(one.answer.high_watermark).unwrap_or(0);
        if seen.insert(partition.id, ()).is_none() {
            // It also ends when the partition is gone, which the next read finds.
            waiting.push(Box::pin(async move {
                let _ = wal.wait_beyond(partition.id, known).await;
            }));
        }
    }
    if waiting.is_empty() {
        std::future::pending::<()>().await;
    }
    waiting.next().await;
}
