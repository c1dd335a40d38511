//! # Purpose
//! Records that this node cannot read from the log of the shard that it was asked for: those of the places that a partition
//! was in before, and those of spans of which it holds no copy. They are read from another log of this node's, or from any
//! node that holds them.
//!
//! # Invariants
//! Only offsets below which everything is committed are asked for in this way, so that it does not matter who answers: who
//! knows less says so, and the next one is asked. A question is not handed on.

use axum::http::HeaderName;
use bytes::{Bytes, BytesMut};
use tidelog_format::batch::{BatchHeader, BatchView, split};
use tidelog_meta::State;
use tidelog_proto::http::body::RAW_BATCH;
use tidelog_proto::http::error::ErrorCode;
use tidelog_proto::http::read_query::ReadQuery;
use tidelog_proto::offset_spec::OffsetSpec;
use tidelog_wal::{Fetched, ReadError};

use crate::failure::Failure;
use crate::node::{LivePartition, Node, NotLed};
use crate::places::Older;
use crate::routing::forward::{self, Ask};
use crate::routing::seat;

/// Names the shard in which an offset is to be looked for, and no other.
pub(crate) const PLACE: HeaderName = HeaderName::from_static("tidelog-place");

/// Why records cannot be had now.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum Unread {
    /// The log says so.
    #[error(transparent)]
    Log(#[from] ReadError),
    /// The partition is not served here, or not yet.
    #[error(transparent)]
    NotLed(#[from] NotLed),
    /// Nobody who holds them answers.
    #[error("the records are in shard {shard}, and no node that holds them answers: {why}")]
    Away { shard: u64, why: String },
}

impl From<Unread> for Failure {
    fn from(error: Unread) -> Failure {
        match error {
            Unread::Log(error) => error.into(),
            Unread::NotLed(error) => error.into(),
            away @ Unread::Away { .. } => Failure::new(ErrorCode::Unavailable, away.to_string()),
        }
    }
}

/// A partition by the names that other nodes know it by.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Named<'a> {
    pub(crate) topic: &'a str,
    pub(crate) number: u32,
    pub(crate) live: &'a LivePartition,
}

/// Batches of a place from an offset of it on, and none of what stands behind the place in its shard.
///
/// # Errors
/// Nobody gives them.
pub(crate) async fn read(
    node: &Node,
    named: Named<'_>,
    older: &Older,
    max_bytes: usize,
) -> Result<Vec<Bytes>, Unread> {
    let from = older.offsets.start;
    let mut batches = match node.wal(older.shard) {
        Some(wal) => match wal.read(named.live.id, from, max_bytes).await {
            Ok(Fetched { batches, .. }) => batches,
            Err(error) => {
                if matches!(error, ReadError::Corrupt { .. } | ReadError::Misplaced { .. }) {
                    node.met_damage(older.shard);
                }
                tracing::debug!(shard = older.shard, from, %error, "another holder is asked for older records");
                Vec::new()
            }
        },
        None => Vec::new(),
    };
    if batches.is_empty() {
        batches = ask(node, named, older.shard, OffsetSpec::At(from), max_bytes).await?;
    }
    let until = older.offsets.end;
    batches.retain(|batch| BatchHeader::parse(batch).is_ok_and(|header| header.base_offset < until));
    Ok(batches)
}

/// The first record of a place whose timestamp is at least `ms`: its offset and timestamp.
///
/// # Errors
/// Nobody says so.
pub(crate) async fn offset_at(
    node: &Node,
    named: Named<'_>,
    older: &Older,
    ms: i64,
) -> Result<Option<(u64, i64)>, Unread> {
    let here = match node.wal(older.shard) {
        Some(wal) => wal.offset_at(named.live.id, ms).await.ok(),
        None => None,
    };
    let found = match here {
        Some(found) => found,
        None => {
            let batches = ask(node, named, older.shard, OffsetSpec::Timestamp(ms), 1).await?;
            batches.first().and_then(|batch| first_at(batch, ms))
        }
    };
    // What was let go of and is still there does not count; what is behind the place belongs to another one.
    let (first, end) = (older.offsets.start, older.offsets.end);
    Ok(found.filter(|(offset, _)| *offset < end).map(|(offset, timestamp)| (offset.max(first), timestamp)))
}

/// The first record of a batch whose timestamp is at least `ms`.
fn first_at(batch: &[u8], ms: i64) -> Option<(u64, i64)> {
    let (view, mut scratch) = (BatchView::parse(batch).ok()?, Vec::new());
    let mut records = view.records(&mut scratch).ok()?.filter_map(Result::ok);
    records.find(|(_, record)| record.timestamp >= ms).map(|(offset, record)| (offset, record.timestamp))
}

/// Has a node that holds a shard read in it, one after the other until one has the records.
///
/// # Errors
/// None of them does.
pub(crate) async fn ask(
    node: &Node,
    named: Named<'_>,
    shard: u64,
    from: OffsetSpec,
    max_bytes: usize,
) -> Result<Vec<Bytes>, Unread> {
    let Named { topic, number, .. } = named;
    let max_bytes = (max_bytes as u64).clamp(1, node.config.limits.read_bytes);
    let query = ReadQuery { from, max_bytes, wait_ms: 0, any_holder: true };
    let path = format!("/v1/topics/{topic}/partitions/{number}/records?{}", query.to_query());
    let mut question = Ask::get(path);
    question.accept(RAW_BATCH);
    question.in_place(shard);
    let mut why = "this node is alone".to_owned();
    for holder in node.metadata.read(|state| holders(state, shard)) {
        if holder == node.me.node {
            continue;
        }
        node.metrics.older_reads.inc();
        match forward::to_node(node, holder, &question).await.and_then(forward::Answer::into_raw) {
            Ok(raw) => match split(BytesMut::from(raw)) {
                Ok(batches) => return Ok(batches.into_iter().map(|batch| batch.freeze()).collect()),
                Err(error) => why = format!("node {holder}: {error}"),
            },
            Err(failure) => why = format!("node {holder}: {}", failure.message),
        }
    }
    node.metrics.older_reads_failed.inc();
    Err(Unread::Away { shard, why })
}

/// Who holds spans of a shard: its leader first, then those who hold the last one.
fn holders(state: &State, shard: u64) -> Vec<u64> {
    let last = seat(state, shard);
    let spans = state.chains.get(&shard).map_or(&[][..], |chain| &chain.spans);
    let before = spans.iter().rev().flat_map(|span| &span.replicas).map(|replica| replica.node);
    let mut holders: Vec<u64> = Vec::new();
    for one in last.leader.into_iter().chain(last.holders).chain(before) {
        let counts = state.nodes.get(&one).is_some_and(|known| known.state.counts());
        if counts && !holders.contains(&one) {
            holders.push(one);
        }
    }
    holders
}

/// What another node has asked for: reads in this shard alone.
///
/// # Errors
/// This node has not got it, and another one may be asked.
pub(crate) async fn give(
    node: &Node,
    live: &LivePartition,
    shard: u64,
    query: &ReadQuery,
) -> Result<Fetched, Failure> {
    let elsewhere = || Failure::from(NotLed { shard });
    let wal = node.wal(shard).ok_or_else(elsewhere)?;
    let from = match query.from {
        OffsetSpec::At(offset) => offset,
        OffsetSpec::Timestamp(ms) => match wal.offset_at(live.id, ms).await.map_err(|_| elsewhere())? {
            Some((offset, _)) => offset,
            None => wal.partition(live.id).ok_or_else(elsewhere)?.next_offset,
        },
        _ => return Err(Failure::new(ErrorCode::InvalidParameter, "a place is read at an offset or a time")),
    };
    let max = usize::try_from(query.max_bytes).unwrap_or(usize::MAX);
    match wal.read(live.id, from, max).await {
        // Who follows may not have heard yet that what is asked for is committed.
        Ok(fetched) if fetched.batches.is_empty() && matches!(query.from, OffsetSpec::At(_)) => {
            Err(elsewhere())
        }
        Ok(fetched) => Ok(fetched),
        Err(error) => {
            if matches!(error, ReadError::Corrupt { .. } | ReadError::Misplaced { .. }) {
                node.met_damage(shard);
            }
            Err(elsewhere())
        }
    }
}
