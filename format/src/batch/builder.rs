//! Builds batches of our own.

use bytes::{Bytes, BytesMut};

use super::checked::{Batch, check_key_and_headers, check_name};
use super::error::{Allowed, BatchError, Field};
use super::header::{BatchHeader, CRC_AT, CRC_FROM, LENGTH_END};
use super::record::Record;
use super::varint;
use super::{BATCH_HEADER_LEN, MAX_BATCH_LEN, MAX_VALUE_LEN};
use crate::compression::{self, Codec};

/// Builds a batch, record by record. Base offset 0 and leader epoch -1 until it is stamped; no producer unless
/// one is given.
#[derive(Debug, Clone, Default)]
pub struct BatchBuilder {
    codec: Codec,
    /// Room for the header, then the records; empty before the first record.
    bytes: Vec<u8>,
    count: u32,
    base_timestamp: i64,
    max_timestamp: i64,
    producer: Option<(i64, i16, i32)>,
}

impl BatchBuilder {
    /// An empty builder. Records that do not shrink under `codec` will be stored without compression.
    pub fn new(codec: Codec) -> Self {
        Self { codec, ..Self::default() }
    }

    /// An empty builder with room for `len` bytes of encoded records, at most [`MAX_BATCH_LEN`].
    pub fn with_capacity(codec: Codec, len: usize) -> Self {
        let bytes = Vec::with_capacity(len.saturating_add(BATCH_HEADER_LEN).min(MAX_BATCH_LEN));
        Self { codec, bytes, ..Self::default() }
    }

    /// Makes this the batch of an idempotent producer: its id, its epoch, the sequence of the first record.
    #[must_use]
    pub fn producer(mut self, id: i64, epoch: i16, base_sequence: i32) -> Self {
        self.producer = Some((id, epoch, base_sequence));
        self
    }

    /// Appends a record. A record that is refused leaves the builder as it was.
    ///
    /// # Errors
    /// `TooLarge` when the record is over its limits, or with [`Field::BatchLength`] when it would make the batch
    /// longer than [`MAX_BATCH_LEN`] before compression (finish this one and begin another, which always takes a
    /// record that is within its limits); `Invalid` for a header name that is not UTF-8 or a
    /// timestamp too far from the first one.
    pub fn push(&mut self, record: &Record<'_>) -> Result<(), BatchError> {
        let base_timestamp = if self.count == 0 { record.timestamp } else { self.base_timestamp };
        let delta = record.timestamp.checked_sub(base_timestamp).ok_or_else(|| {
            let rule = Allowed::Rule("a timestamp whose distance to the first one fits i64");
            BatchError::invalid(Field::Timestamp, record.timestamp, rule)
        })?;
        let body = self.body_len(record, delta)?;
        let start = self.bytes.len().max(BATCH_HEADER_LEN);
        let total = start + varint::len(wire_len(body)) + body;
        if total > MAX_BATCH_LEN {
            return Err(BatchError::too_large(Field::BatchLength, total, MAX_BATCH_LEN));
        }
        if self.bytes.is_empty() {
            self.bytes.reserve(total);
            self.bytes.resize(BATCH_HEADER_LEN, 0);
        }
        self.bytes.reserve(total - self.bytes.len());
        write_record(&mut self.bytes, record, body, delta, self.count);
        debug_assert_eq!(self.bytes.len(), total);
        self.max_timestamp =
            if self.count == 0 { record.timestamp } else { self.max_timestamp.max(record.timestamp) };
        self.base_timestamp = base_timestamp;
        self.count += 1;
        Ok(())
    }

    /// Whether no record was pushed yet.
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Bytes of the batch so far, header included, before compression; 0 when empty.
    pub const fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Records so far.
    pub const fn count(&self) -> u32 {
        self.count
    }

    /// Compresses, unless that gains nothing, and makes the batch.
    ///
    /// # Errors
    /// `Invalid` when no record was pushed.
    pub fn finish(self) -> Result<Batch, BatchError> {
        if self.count == 0 {
            return Err(BatchError::invalid(Field::Count, self.count, Allowed::AtLeast(1)));
        }
        let (codec, mut bytes) = match self.compressed() {
            Some(packed) => (self.codec, packed),
            None => (Codec::None, self.bytes),
        };
        let (producer_id, producer_epoch, base_sequence) = self.producer.unwrap_or((-1, -1, -1));
        let mut header = BatchHeader {
            base_offset: 0,
            length: stored_length(bytes.len())?,
            leader_epoch: -1,
            crc: 0,
            attributes: codec.number(),
            last_offset_delta: self.count - 1,
            base_timestamp: self.base_timestamp,
            max_timestamp: self.max_timestamp,
            producer_id,
            producer_epoch,
            base_sequence,
            count: self.count,
        };
        bytes[..BATCH_HEADER_LEN].copy_from_slice(&header.encode());
        header.crc = crc32c::crc32c(&bytes[CRC_FROM..]);
        bytes[CRC_AT..CRC_FROM].copy_from_slice(&header.crc.to_be_bytes());
        // Takes the memory over, does not copy.
        Ok(Batch::built(BytesMut::from(Bytes::from(bytes)), header, codec))
    }

    /// Room for the header and the compressed records, if that is shorter than what there is.
    fn compressed(&self) -> Option<Vec<u8>> {
        if self.codec == Codec::None {
            return None;
        }
        let mut packed = Vec::with_capacity(BATCH_HEADER_LEN + self.bytes.len() / 2);
        packed.resize(BATCH_HEADER_LEN, 0);
        // An encoder that fails (it has no memory) costs the compression, not the records.
        compression::compress(self.codec, self.bytes.get(BATCH_HEADER_LEN..)?, &mut packed).ok()?;
        (packed.len() < self.bytes.len()).then_some(packed)
    }

    /// Bytes of the record behind its length, after a look at the record's own limits.
    fn body_len(&self, record: &Record<'_>, timestamp_delta: i64) -> Result<usize, BatchError> {
        let value = record.value.map_or(0, <[u8]>::len);
        if value > MAX_VALUE_LEN {
            return Err(BatchError::too_large(Field::Value, value, MAX_VALUE_LEN));
        }
        let mut headers = 0_usize;
        for header in &record.headers {
            check_name(header.name)?;
            headers += nullable_len(Some(header.name)) + nullable_len(header.value);
        }
        check_key_and_headers(record.key.map_or(0, <[u8]>::len).saturating_add(headers))?;
        let numbers = varint::len(timestamp_delta)
            + varint::len(i64::from(self.count))
            + varint::len(wire_len(record.headers.len()));
        Ok(1 + numbers + nullable_len(record.key) + nullable_len(record.value) + headers)
    }
}

fn write_record(
    out: &mut Vec<u8>,
    record: &Record<'_>,
    body: usize,
    timestamp_delta: i64,
    offset_delta: u32,
) {
    varint::write(out, wire_len(body));
    out.push(0);
    varint::write(out, timestamp_delta);
    varint::write(out, i64::from(offset_delta));
    write_nullable(out, record.key);
    write_nullable(out, record.value);
    varint::write(out, wire_len(record.headers.len()));
    for header in &record.headers {
        write_nullable(out, Some(header.name));
        write_nullable(out, header.value);
    }
}

#[inline]
fn write_nullable(out: &mut Vec<u8>, bytes: Option<&[u8]>) {
    match bytes {
        None => varint::write(out, -1),
        Some(bytes) => {
            varint::write(out, wire_len(bytes.len()));
            out.extend_from_slice(bytes);
        }
    }
}

#[inline]
fn nullable_len(bytes: Option<&[u8]>) -> usize {
    bytes.map_or(1, |bytes| varint::len(wire_len(bytes.len())).saturating_add(bytes.len()))
}

/// A length for the wire; none here comes near i64::MAX.
#[inline]
fn wire_len(len: usize) -> i64 {
    i64::try_from(len).unwrap_or(i64::MAX)
}

/// The length field of a batch of so many bytes.
fn stored_length(total: usize) -> Result<u32, BatchError> {
    u32::try_from(total - LENGTH_END)
        .map_err(|_| BatchError::too_large(Field::BatchLength, total, MAX_BATCH_LEN))
}
