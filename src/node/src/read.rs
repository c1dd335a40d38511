//! # Purpose
//! Reading a partition: where to begin, waiting for the first record, and records as lines.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tidelog_format::batch::BatchView;
use tidelog_proto::http::answers::write_line;
use tidelog_proto::http::error::ErrorCode;
use tidelog_proto::http::read_query::ReadQuery;
use tidelog_proto::offset_spec::OffsetSpec;
use tidelog_wal::{Fetched, ReadError, Wal};

use crate::failure::Failure;
use crate::node::LiveTopic;

/// Lines may take so many times the bytes that were asked for as batches: JSON is larger, compressed batches much.
const LINES_TO_BATCHES: usize = 4;

/// What a read found.
pub(crate) struct Found {
    /// First offset asked for.
    pub(crate) from: u64,
    pub(crate) fetched: Fetched,
}

/// Reads from where the query says; with nothing there yet, waits as long as it says.
pub(crate) async fn read(topic: &LiveTopic, number: u32, query: &ReadQuery) -> Result<Found, Failure> {
    let live = topic.partition(number)?;
    let wal = if query.any_holder { live.held()? } else { live.led()? };
    let refused = |offset, error| match error {
        // Deleted since the request looked it up.
        ReadError::UnknownPartition(_) => Failure::no_topic(&topic.name),
        ReadError::OutOfRange { log_start, next_offset } => {
            Failure::out_of_range(offset, log_start, next_offset)
        }
        other => other.into(),
    };
    let from = begin(wal, live.id, query.from).await.map_err(|error| refused(0, error))?;
    let max = usize::try_from(query.max_bytes).unwrap_or(usize::MAX);
    let fetched = wal.read(live.id, from, max).await.map_err(|error| refused(from, error))?;
    if !fetched.batches.is_empty() || query.wait_ms == 0 {
        return Ok(Found { from, fetched });
    }
    let wait = wal.wait_beyond(live.id, from);
    match tokio::time::timeout(Duration::from_millis(query.wait_ms), wait).await {
        Err(_) => return Ok(Found { from, fetched }),
        // What came before the end of the shard is answered, an end alone is not an error of the reader.
        Ok(Err(ReadError::Closed)) => return Err(Failure::stopping()),
        Ok(Err(error)) => return Err(refused(from, error)),
        Ok(Ok(())) => {}
    }
    let fetched = wal.read(live.id, from, max).await.map_err(|error| refused(from, error))?;
    Ok(Found { from, fetched })
}

async fn begin(wal: &Wal, partition: u64, from: OffsetSpec) -> Result<u64, ReadError> {
    let state = wal.partition(partition).ok_or(ReadError::UnknownPartition(partition))?;
    if let Some(offset) = from.resolve(state.log_start, state.next_offset) {
        return Ok(offset);
    }
    let OffsetSpec::Timestamp(ms) = from else { return Ok(state.next_offset) };
    let found = wal.offset_at(partition, ms).await?;
    Ok(found.map_or(state.next_offset, |(offset, _)| offset))
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
