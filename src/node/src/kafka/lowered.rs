//! Limits that the operator set below what a batch may have at most. The most is checked with the batch itself.

use tidelog_format::batch::{
    Batch, BatchError, Codec, MAX_DECOMPRESSED_LEN, MAX_KEY_AND_HEADERS_LEN, MAX_VALUE_LEN, Record,
};
use tidelog_proto::kafka::ErrorCode;
use tidelog_proto::limits::Limits;

use super::failure;

/// Whether a batch keeps them. With limits that nobody lowered nothing is looked at a second time.
///
/// # Errors
/// The code and the words for the client.
pub(super) fn check(limits: &Limits, batch: &Batch) -> Result<(), (ErrorCode, String)> {
    let lowered = |limit: u64, most: usize| limit < most as u64;
    let records = lowered(limits.record_value_bytes, MAX_VALUE_LEN)
        || lowered(limits.record_key_and_headers_bytes, MAX_KEY_AND_HEADERS_LEN);
    let size = batch.codec() != Codec::None && lowered(limits.decompressed_bytes, MAX_DECOMPRESSED_LEN);
    if !records && !size {
        return Ok(());
    }
    let refused = |error: BatchError| (failure::batch(&error), error.to_string());
    let mut scratch = Vec::new();
    for record in batch.records(&mut scratch).map_err(refused)? {
        let (_, record) = record.map_err(refused)?;
        within("a value", record.value.map_or(0, <[u8]>::len), limits.record_value_bytes)?;
        within("key and headers", beside(&record), limits.record_key_and_headers_bytes)?;
    }
    within("the batch, decompressed,", scratch.len(), limits.decompressed_bytes)
}

/// Bytes of a record's key and headers.
fn beside(record: &Record<'_>) -> usize {
    let headers = record.headers.iter().map(|one| one.name.len() + one.value.map_or(0, <[u8]>::len));
    record.key.map_or(0, <[u8]>::len) + headers.sum::<usize>()
}

fn within(what: &str, len: usize, limit: u64) -> Result<(), (ErrorCode, String)> {
    if len as u64 <= limit {
        return Ok(());
    }
    Err((ErrorCode::MessageTooLarge, format!("{what} of {len} bytes, the limit is {limit}")))
}
