//! One record: as it is handed in or read out, and as bytes.

use super::MAX_KEY_AND_HEADERS_LEN;
use super::cursor::Cursor;
use super::error::{Allowed, BatchError, Field};

/// One record as it is handed in or read out. Borrowed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Record<'a> {
    /// Milliseconds since 1970, by the producer; -1 when it has none.
    pub timestamp: i64,
    /// The key, if there is one.
    pub key: Option<&'a [u8]>,
    /// The value; null is Kafka's way to say "deleted".
    pub value: Option<&'a [u8]>,
    /// The headers, in order; names may repeat.
    pub headers: Vec<Header<'a>>,
}

/// One header of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header<'a> {
    /// The name, valid UTF-8 in a batch that passed [`Batch::validate_records`](super::Batch::validate_records).
    pub name: &'a [u8],
    /// The value, if there is one.
    pub value: Option<&'a [u8]>,
}

/// Least bytes of an encoded header: the lengths of an empty name and of a value.
const MIN_HEADER_LEN: usize = 2;

/// A record as decoded, without its headers' Vec.
#[derive(Debug, Clone, Copy)]
pub(super) struct RawRecord<'a> {
    pub(super) timestamp_delta: i64,
    pub(super) offset_delta: i32,
    pub(super) key: Option<&'a [u8]>,
    pub(super) value: Option<&'a [u8]>,
    /// Not more than could stand in the bytes of `headers`.
    header_count: usize,
    headers: Cursor<'a>,
}

impl<'a> RawRecord<'a> {
    /// Takes the next record off `from`.
    #[inline]
    pub(super) fn decode(from: &mut Cursor<'a>) -> Result<Self, BatchError> {
        let mut body = Cursor(from.bytes(Field::RecordLength)?);
        // Kafka defines no attribute bits for records; what stands there is ignored.
        let _attributes: [u8; 1] = body.array(Field::RecordLength)?;
        let timestamp_delta = body.varint_i64(Field::Timestamp)?;
        let offset_delta = body.varint_i32(Field::OffsetDelta)?;
        let key = body.nullable(Field::Key)?;
        let value = body.nullable(Field::Value)?;
        let header_count = header_count(body.varint_i32(Field::HeaderCount)?, body.remaining())?;
        let raw = Self { timestamp_delta, offset_delta, key, value, header_count, headers: body };
        if header_count == 0 && !body.is_empty() {
            return Err(trailing(body.remaining()));
        }
        Ok(raw)
    }

    /// The bytes the headers take, encoded.
    pub(super) fn headers_len(&self) -> usize {
        self.headers.remaining()
    }

    /// Calls `each` with every header, then makes sure that nothing is left over.
    #[inline]
    pub(super) fn each_header(
        &self,
        mut each: impl FnMut(Header<'a>) -> Result<(), BatchError>,
    ) -> Result<(), BatchError> {
        let mut from = self.headers;
        for _ in 0..self.header_count {
            let name = from.bytes(Field::HeaderName)?;
            let value = from.nullable(Field::HeaderValue)?;
            each(Header { name, value })?;
        }
        if from.is_empty() { Ok(()) } else { Err(trailing(from.remaining())) }
    }

    /// The record with its headers, given the batch's base timestamp.
    #[inline]
    pub(super) fn resolve(&self, base_timestamp: i64) -> Result<Record<'a>, BatchError> {
        let timestamp = self.timestamp(base_timestamp)?;
        let mut headers = Vec::with_capacity(self.header_count);
        self.each_header(|header| {
            headers.push(header);
            Ok(())
        })?;
        Ok(Record { timestamp, key: self.key, value: self.value, headers })
    }

    /// The timestamp in ms, given the batch's base timestamp.
    #[inline]
    pub(super) fn timestamp(&self, base_timestamp: i64) -> Result<i64, BatchError> {
        base_timestamp.checked_add(self.timestamp_delta).ok_or_else(|| {
            let rule = Allowed::Rule("a delta that fits i64 when added to the base timestamp");
            BatchError::invalid(Field::Timestamp, self.timestamp_delta, rule)
        })
    }
}

/// Checks a header count against the bytes left and against what the limit of key and headers can hold, so
/// that a Vec of so many headers may be allocated.
fn header_count(wire: i32, remaining: usize) -> Result<usize, BatchError> {
    let Ok(count) = usize::try_from(wire) else {
        return Err(BatchError::corrupt(Field::HeaderCount, wire, Allowed::AtLeast(0)));
    };
    let most = remaining / MIN_HEADER_LEN;
    if count > most {
        let most = i64::try_from(most).unwrap_or(i64::MAX);
        return Err(BatchError::corrupt(Field::HeaderCount, wire, Allowed::AtMost(most)));
    }
    if count > MAX_KEY_AND_HEADERS_LEN / MIN_HEADER_LEN {
        return Err(BatchError::too_large(
            Field::HeaderCount,
            count,
            MAX_KEY_AND_HEADERS_LEN / MIN_HEADER_LEN,
        ));
    }
    Ok(count)
}

fn trailing(bytes: usize) -> BatchError {
    BatchError::corrupt(Field::RecordLength, bytes, Allowed::Rule("no bytes left behind the last header"))
}
