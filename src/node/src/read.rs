//! # Purpose
//! Reading a partition: where to begin, waiting for the first record, and records as lines.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tidelog_format::batch::BatchView;
use tidelog_proto::http::answers::write_line;
use tidelog_proto::http::error::ErrorCode;
use tidelog_proto::http::read_query::ReadQuery;
use tidelog_proto::offset_spec::OffsetSpec;
use tidelog_wal::{Fetched, PartitionState, ReadError, Wal};

use crate::failure::Failure;
use crate::node::{LiveTopic, Node, NotLed};
use crate::older::{self, Named, Unread};

/// Lines may take so many times the bytes that were asked for as batches: JSON is larger, compressed batches much.
const LINES_TO_BATCHES: usize = 4;

/// What a read found.
pub(crate) struct Found {
    /// First offset asked for.
    pub(crate) from: u64,
    pub(crate) fetched: Fetched,
}

/// Reads from where the query says; with nothing there yet, waits as long as it says.
pub(crate) async fn read(
    node: &Node,
    topic: &LiveTopic,
    number: u32,
    query: &ReadQuery,
) -> Result<Found, Failure> {
    let live = topic.partition(number)?;
    let named = Named { topic: &topic.name, number, live };
    let wal = if query.any_holder { live.held()? } else { live.led()? };
    let refused = |offset, error| match error {
        // Deleted since the request looked it up.
        Unread::Log(ReadError::UnknownPartition(_)) | Unread::NotLed(_) if !node.has_partition(live.id) => {
            Failure::no_topic(&topic.name)
        }
        Unread::Log(ReadError::UnknownPartition(_)) => NotLed { shard: live.shard }.into(),
        Unread::Log(ReadError::OutOfRange { log_start, next_offset }) => {
            Failure::out_of_range(offset, log_start, next_offset)
        }
        other => other.into(),
    };
    let from = begin(node, named, wal, query.from).await.map_err(|error| refused(0, error))?;
    let max = usize::try_from(query.max_bytes).unwrap_or(usize::MAX);
    let fetched = fetch(node, named, wal, from, max).await.map_err(|error| refused(from, error))?;
    if !fetched.batches.is_empty() || query.wait_ms == 0 {
        return Ok(Found { from, fetched });
    }
    let wait = wal.wait_beyond(live.id, from);
    match tokio::time::timeout(Duration::from_millis(query.wait_ms), wait).await {
        Err(_) => return Ok(Found { from, fetched }),
        // What came before the end of the shard is answered, an end alone is not an error of the reader.
        Ok(Err(ReadError::Closed)) => return Err(Failure::stopping()),
        Ok(Err(error)) => return Err(refused(from, error.into())),
        Ok(Ok(())) => {}
    }
    let fetched = fetch(node, named, wal, from, max).await.map_err(|error| refused(from, error))?;
    Ok(Found { from, fetched })
}

async fn begin(node: &Node, named: Named<'_>, wal: &Wal, from: OffsetSpec) -> Result<u64, Unread> {
    let state = named.live.state(wal)?;
    if let Some(offset) = from.resolve(state.log_start, state.next_offset) {
        return Ok(offset);
    }
    let OffsetSpec::Timestamp(ms) = from else { return Ok(state.next_offset) };
    let found = offset_at(node, named, wal, ms).await?;
    Ok(found.map_or(state.next_offset, |(offset, _)| offset))
}

/// Reads whole batches of a partition that is served by this log, from the one that holds `offset` on, wherever they are: at
/// least one if there is one, then as many as fit into `max_bytes`.
///
/// # Errors
/// As [`Wal::read`]; nobody gives what this node has not got; the partition is not here yet.
pub(crate) async fn fetch(
    node: &Node,
    named: Named<'_>,
    wal: &Wal,
    offset: u64,
    max_bytes: usize,
) -> Result<Fetched, Unread> {
    let live = named.live;
    if !live.places.are_several() && !live.places.arrives() {
        return match wal.read(live.id, offset, max_bytes).await {
            Err(ReadError::Missing { .. }) if node.replicated.is_some() => {
                let PartitionState { log_start, next_offset, .. } = live.state(wal)?;
                let batches = through(node, named, offset, max_bytes).await?;
                Ok(Fetched { batches, log_start, next_offset })
            }
            read => Ok(read?),
        };
    }
    let PartitionState { log_start, next_offset, .. } = live.state(wal)?;
    if offset < log_start || offset > next_offset {
        return Err(ReadError::OutOfRange { log_start, next_offset }.into());
    }
    let batches = match live.places.before_last(offset) {
        Some(older) => older::read(node, named, &older, max_bytes).await?,
        None => match wal.read(live.id, offset, max_bytes).await {
            Ok(fetched) => fetched.batches,
            Err(ReadError::Missing { .. }) => through(node, named, offset, max_bytes).await?,
            Err(error) => return Err(error.into()),
        },
    };
    Ok(Fetched { batches, log_start, next_offset })
}

/// Reads through to another holder of the shard: spans are missing here.
async fn through(node: &Node, named: Named<'_>, offset: u64, max_bytes: usize) -> Result<Vec<Bytes>, Unread> {
    older::ask(node, named, named.live.shard, OffsetSpec::At(offset), max_bytes).await
}

/// The first record of a partition, in offset order, whose timestamp is at least `ms`, with its own; `None` when there is
/// none.
///
/// # Errors
/// As [`fetch`].
pub(crate) async fn offset_at(
    node: &Node,
    named: Named<'_>,
    wal: &Wal,
    ms: i64,
) -> Result<Option<(u64, i64)>, Unread> {
    let live = named.live;
    let state = live.state(wal)?;
    for older in live.places.older(state.log_start) {
        if let Some(found) = older::offset_at(node, named, &older, ms).await? {
            return Ok(Some(found));
        }
    }
    let found = wal.offset_at(live.id, ms).await?;
    Ok(found.map(|(offset, timestamp)| (offset.max(state.log_start), timestamp)))
}

impl Found {
    /// The batches as they are stored, one behind the other.
    pub(crate) fn into_raw(self) -> Bytes {
        let mut batches = self.fetched.batches;
        if batches.len() <= 1 {
            return batches.pop().unwrap_or_default();
        }
        let mut raw = BytesMut::with_capacity(batches.iter().map(Bytes::len).sum());
        for batch in batches {
            raw.extend_from_slice(&batch);
        }
        raw.freeze()
    }

    /// One line per record from the offset asked for on; ends early rather than grow far beyond `max_bytes`, but not
    /// before the first record.
    pub(crate) fn lines(&self, max_bytes: u64) -> Result<Vec<u8>, Failure> {
        let cap = usize::try_from(max_bytes).unwrap_or(usize::MAX).saturating_mul(LINES_TO_BATCHES);
        let (mut out, mut scratch) = (Vec::new(), Vec::new());
        for batch in &self.fetched.batches {
            let damaged = |error| Failure::new(ErrorCode::CorruptStorage, format!("a stored batch: {error}"));
            let view = BatchView::parse(batch).map_err(damaged)?;
            for record in view.records(&mut scratch).map_err(damaged)? {
                let (offset, record) = record.map_err(damaged)?;
                if offset < self.from {
                    continue;
                }
                if out.len() >= cap {
                    return Ok(out);
                }
                write_line(&mut out, offset, &record);
            }
        }
        Ok(out)
    }
}
