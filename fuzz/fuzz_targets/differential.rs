//! Our batch decoder against the crate kafka-protocol: whatever we take as a batch with records the other one reads as the
//! same records. (It takes more: it has no limits and looks at less.)
#![no_main]

use bytes::{Bytes, BytesMut};
use kafka_protocol::records::RecordBatchDecoder;
use tidelog_format::batch::Batch;

/// Bytes of the base offset. It stands under no checksum and is stamped over before a batch is stored: what a client puts
/// there, for instance a negative number, is nobody's.
const BASE_OFFSET: usize = 8;

fn differ(data: &[u8]) {
    let mut data = data.to_vec();
    data.iter_mut().take(BASE_OFFSET).for_each(|byte| *byte = 0);
    let Ok(batch) = Batch::validate(BytesMut::from(&*data)) else { return };
    if batch.validate_records().is_err() {
        return;
    }
    let mut scratch = Vec::new();
    let ours: Vec<_> = batch.records(&mut scratch).expect("validated").map(|record| record.expect("validated")).collect();
    let mut bytes = Bytes::from(data);
    let theirs = RecordBatchDecoder::decode(&mut bytes).expect("the other one takes it").records;
    assert_eq!(ours.len(), theirs.len());
    for ((offset, ours), theirs) in ours.iter().zip(&theirs) {
        assert_eq!(i64::try_from(*offset), Ok(theirs.offset));
        assert_eq!(ours.timestamp, theirs.timestamp);
        assert_eq!(ours.key, theirs.key.as_deref());
        assert_eq!(ours.value, theirs.value.as_deref());
    }
}

libfuzzer_sys::fuzz_target!(|data: &[u8]| differ(data));
