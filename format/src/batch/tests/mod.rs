//! Tests of the batch codec, and what they share.

mod damage;
mod example;
mod limits;
mod oracle;
mod round_trip;

use bytes::BytesMut;
use proptest::prelude::*;

use super::header::{CRC_AT, CRC_FROM, LENGTH_END};
use super::*;
use crate::compression;

/// A record that owns its bytes, for generators.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Owned {
    pub(super) timestamp: i64,
    pub(super) key: Option<Vec<u8>>,
    pub(super) value: Option<Vec<u8>>,
    pub(super) headers: Vec<(String, Option<Vec<u8>>)>,
}

impl Owned {
    pub(super) fn record(&self) -> Record<'_> {
        Record {
            timestamp: self.timestamp,
            key: self.key.as_deref(),
            value: self.value.as_deref(),
            headers: self
                .headers
                .iter()
                .map(|(name, value)| Header { name: name.as_bytes(), value: value.as_deref() })
                .collect(),
        }
    }
}

pub(super) fn some_records() -> impl Strategy<Value = Vec<Owned>> {
    let text = prop_oneof![
        3 => prop::collection::vec(any::<u8>(), 0..60),
        1 => (any::<u8>(), 0..5000_usize).prop_map(|(byte, len)| vec![byte; len]),
    ];
    let header = (".{0,6}", prop::option::of(prop::collection::vec(any::<u8>(), 0..9)));
    let timestamp = prop_oneof![0..2_000_000_000_000_i64, i64::MIN / 2..i64::MAX / 2, Just(-1)];
    let record = (
        timestamp,
        prop::option::of(prop::collection::vec(any::<u8>(), 0..20)),
        prop::option::of(text),
        prop::collection::vec(header, 0..3),
    );
    prop::collection::vec(
        record.prop_map(|(timestamp, key, value, headers)| Owned { timestamp, key, value, headers }),
        1..40,
    )
}

/// The records as our builder writes them.
pub(super) fn build(codec: Codec, records: &[Owned]) -> Batch {
    let mut builder = BatchBuilder::new(codec);
    for record in records {
        builder.push(&record.record()).unwrap();
    }
    builder.finish().unwrap()
}

/// The records in that codec, even when it makes them longer.
pub(super) fn build_packed(codec: Codec, records: &[Owned]) -> Batch {
    let plain = build(Codec::None, records);
    let mut body = Vec::new();
    compression::compress(codec, plain.view().body(), &mut body).unwrap();
    Batch::validate(wrap(BatchHeader { attributes: codec.number(), ..*plain.header() }, &body)).unwrap()
}

/// A batch with these header fields and this body; length and CRC are put right.
pub(super) fn wrap(mut header: BatchHeader, body: &[u8]) -> BytesMut {
    header.length = u32::try_from(BATCH_HEADER_LEN - LENGTH_END + body.len()).unwrap();
    let mut bytes = BytesMut::from(&header.encode()[..]);
    bytes.extend_from_slice(body);
    seal(&mut bytes);
    bytes
}

/// Puts the CRC right.
pub(super) fn seal(bytes: &mut BytesMut) {
    let crc = crc32c::crc32c(&bytes[CRC_FROM..]);
    bytes[CRC_AT..CRC_FROM].copy_from_slice(&crc.to_be_bytes());
}

/// A header for so many uncompressed records, all at time 0.
pub(super) fn plain_header(count: u32) -> BatchHeader {
    BatchHeader {
        base_offset: 0,
        length: 0,
        leader_epoch: -1,
        crc: 0,
        attributes: 0,
        last_offset_delta: count.wrapping_sub(1),
        base_timestamp: 0,
        max_timestamp: 0,
        producer_id: -1,
        producer_epoch: -1,
        base_sequence: -1,
        count,
    }
}

/// Bytes as they stand and numbers as varints, one behind the other, behind the length of it all.
pub(super) enum Part<'a> {
    Number(i64),
    Bytes(&'a [u8]),
}

pub(super) fn raw_record(parts: &[Part<'_>]) -> Vec<u8> {
    let mut body = vec![0];
    for part in parts {
        match part {
            Part::Number(number) => varint::write(&mut body, *number),
            Part::Bytes(bytes) => body.extend_from_slice(bytes),
        }
    }
    let mut record = Vec::new();
    varint::write(&mut record, i64::try_from(body.len()).unwrap());
    record.extend(body);
    record
}

/// Everything a batch gives up, or the first error.
pub(super) fn read_all(batch: &Batch) -> Result<Vec<(u64, Owned)>, BatchError> {
    let mut scratch = Vec::new();
    let records = batch.records(&mut scratch)?;
    records
        .map(|read| {
            let (offset, record) = read?;
            let headers = record.headers.iter().map(|header| {
                (String::from_utf8_lossy(header.name).into_owned(), header.value.map(<[u8]>::to_vec))
            });
            let owned = Owned {
                timestamp: record.timestamp,
                key: record.key.map(<[u8]>::to_vec),
                value: record.value.map(<[u8]>::to_vec),
                headers: headers.collect(),
            };
            Ok((offset, owned))
        })
        .collect()
}
