//! Batches and the rows that head them in a frame.

use tidelog_format::batch::{Batch, BatchBuilder, Codec, Header, Record};
use tidelog_format::entry::{EntryKind, Row};

/// An entry to be written: its row and its body.
#[derive(Clone, Debug)]
pub(crate) struct Laid {
    pub(crate) row: Row,
    pub(crate) body: Vec<u8>,
}

/// A batch of these values at `offset` of `partition`, one ms apart from `time`.
pub(crate) fn batch(partition: u64, offset: u64, time: i64, values: &[&[u8]]) -> Laid {
    coded(Codec::None, partition, offset, time, values)
}

/// The same with a codec.
pub(crate) fn coded(codec: Codec, partition: u64, offset: u64, time: i64, values: &[&[u8]]) -> Laid {
    let mut builder = BatchBuilder::new(codec);
    for (at, value) in (time..).zip(values) {
        builder.push(&Record { timestamp: at, key: None, value: Some(value), headers: Vec::new() }).unwrap();
    }
    stamped(builder.finish().unwrap(), partition, offset)
}

/// One record with a key and a header.
pub(crate) fn keyed(partition: u64, offset: u64, time: i64, key: &[u8], value: &[u8]) -> Laid {
    let mut builder = BatchBuilder::new(Codec::None);
    let headers = vec![Header { name: b"host", value: Some(b"web-1") }];
    builder.push(&Record { timestamp: time, key: Some(key), value: Some(value), headers }).unwrap();
    stamped(builder.finish().unwrap(), partition, offset)
}

/// Records of an idempotent producer: its id, its epoch, the first sequence.
pub(crate) fn numbered(
    partition: u64,
    offset: u64,
    time: i64,
    producer: (i64, i16, i32),
    values: &[&[u8]],
) -> Laid {
    let mut builder = BatchBuilder::new(Codec::None).producer(producer.0, producer.1, producer.2);
    for (at, value) in (time..).zip(values) {
        builder.push(&Record { timestamp: at, key: None, value: Some(value), headers: Vec::new() }).unwrap();
    }
    stamped(builder.finish().unwrap(), partition, offset)
}

fn stamped(mut batch: Batch, partition: u64, offset: u64) -> Laid {
    batch.stamp(offset, 3);
    let row = Row {
        partition,
        base_offset: offset,
        length: u32::try_from(batch.len()).unwrap(),
        count: batch.count(),
        kind: EntryKind::Batch as u8,
    };
    Laid { row, body: batch.bytes().to_vec() }
}

/// A control entry.
pub(crate) fn control(kind: u8, partition: u64, base_offset: u64, body: &[u8]) -> Laid {
    let length = u32::try_from(body.len()).unwrap();
    Laid { row: Row { partition, base_offset, length, count: 0, kind }, body: body.to_vec() }
}

pub(crate) fn created(partition: u64, name: &str) -> Laid {
    control(EntryKind::PartitionCreated as u8, partition, 0, name.as_bytes())
}
