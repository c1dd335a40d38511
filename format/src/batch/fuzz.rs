//! The body of the fuzz target for batches: no input panics, and what is valid survives being built again.

use bytes::BytesMut;

use super::header::{CRC_AT, CRC_FROM, LENGTH_END};
use super::{BATCH_HEADER_LEN, Batch, BatchBuilder, BatchView, Record, varint};
use crate::compression::Codec;

/// Feeds `data` to every reader of this module, as it is and with length, magic and CRC put right. Panics
/// only when an invariant is broken.
pub fn fuzz_batch(data: &[u8]) {
    let _ = varint::read_i32(data);
    let _ = varint::read_i64(data);
    let _ = super::split(BytesMut::from(data));
    read(data);
    if data.len() >= BATCH_HEADER_LEN {
        read(&put_right(data));
    }
}

/// The same bytes with a length, a magic and a CRC that let them pass the first door.
fn put_right(data: &[u8]) -> Vec<u8> {
    let mut bytes = data.to_vec();
    let length = u32::try_from(data.len() - LENGTH_END).unwrap_or(0);
    bytes[8..12].copy_from_slice(&length.to_be_bytes());
    bytes[16] = 2;
    let crc = crc32c::crc32c(&bytes[CRC_FROM..]);
    bytes[CRC_AT..CRC_FROM].copy_from_slice(&crc.to_be_bytes());
    bytes
}

fn read(data: &[u8]) {
    let mut scratch = Vec::new();
    if let Ok(view) = BatchView::parse(data) {
        let _ = view.verify_crc();
        if let Ok(records) = view.records(&mut scratch) {
            assert!(records.count() <= usize::try_from(view.header().count).unwrap_or(usize::MAX) + 1);
        }
    }
    let Ok(batch) = Batch::validate(BytesMut::from(data)) else { return };
    assert_eq!(batch.bytes(), data);
    assert_eq!(batch.header().encode(), data[..BATCH_HEADER_LEN]);
    if batch.validate_records().is_err() {
        return;
    }
    let Ok(records) = batch.records(&mut scratch) else { return };
    let records: Result<Vec<_>, _> = records.collect();
    assert!(records.is_ok(), "the deep check passes what cannot be read");
    let records: Vec<Record<'_>> = records.into_iter().flatten().map(|(_, record)| record).collect();
    assert_eq!(Some(records.len()), usize::try_from(batch.count()).ok());
    build_again(&records, batch.max_timestamp());
}

/// Builds the records anew with every codec and reads them back.
fn build_again(records: &[Record<'_>], max_timestamp: i64) {
    for codec in Codec::ALL {
        let mut builder = BatchBuilder::new(codec);
        // Refused are more than 8 MiB before compression, and timestamps too far apart.
        if records.iter().any(|record| builder.push(record).is_err()) {
            return;
        }
        let Ok(built) = builder.finish() else { return };
        assert_eq!(built.max_timestamp(), max_timestamp);
        assert_eq!(built.validate_records(), Ok(()));
        let mut scratch = Vec::new();
        let Ok(read) = built.records(&mut scratch) else { return };
        assert!(read.map(|read| read.map(|(_, record)| record)).eq(records.iter().cloned().map(Ok)));
        let checked = Batch::validate(BytesMut::from(built.bytes()));
        assert_eq!(checked.as_ref(), Ok(&built));
    }
}
