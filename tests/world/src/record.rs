//! Batches of the simulated producers, and what a frame says about those in it.

use tidelog_format::batch::{BatchBuilder, BatchHeader, Record};
use tidelog_format::compression::Codec;
use tidelog_format::entry::{EntryKind, Row};
use tidelog_format::scan::{Expect, Found, scan};
use tidelog_replica::frame::Frame;

/// A batch in a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Batch {
    /// The partition.
    pub partition: u64,
    /// Offset of its first record.
    pub offset: u64,
    /// Records.
    pub count: u32,
    /// Who made it.
    pub producer: u64,
    /// Number of its first record at its producer.
    pub sequence: u32,
}

/// The producers of a partition as a new leader must know them: the first entry of a span says it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Known {
    /// The partition.
    pub partition: u64,
    /// Offset of its next record.
    pub next_offset: u64,
    /// The last batch of each producer.
    pub last: Vec<Batch>,
}

/// What a frame says.
#[derive(Clone, Debug, Default)]
pub struct Content {
    /// Its batches.
    pub batches: Vec<Batch>,
    /// State at the start of a span.
    pub known: Vec<Known>,
}

/// Bytes of a batch, to be stamped with offset and epoch.
pub fn encode(batch: &Batch, epoch: u32) -> (Row, Vec<u8>) {
    let producer = i64::try_from(batch.producer).unwrap_or(0);
    let sequence = i32::try_from(batch.sequence).unwrap_or(0);
    let mut builder = BatchBuilder::new(Codec::None).producer(producer, 0, sequence);
    for record in 0..batch.count {
        let value = (u64::from(batch.sequence) + u64::from(record)).to_le_bytes();
        let record = Record { timestamp: 0, key: None, value: Some(&value), headers: Vec::new() };
        if builder.push(&record).is_err() {
            unreachable!("small records fit");
        }
    }
    let Ok(mut made) = builder.finish() else { unreachable!("a batch has records") };
    made.stamp(batch.offset, epoch);
    let row = Row {
        partition: batch.partition,
        base_offset: batch.offset,
        length: made.len() as u32,
        count: batch.count,
        kind: EntryKind::Batch as u8,
    };
    (row, made.bytes().to_vec())
}

/// The entry that tells the next leader about a partition.
pub fn encode_known(known: &Known) -> (Row, Vec<u8>) {
    let mut body = Vec::new();
    for batch in &known.last {
        body.extend_from_slice(&batch.offset.to_le_bytes());
        body.extend_from_slice(&batch.producer.to_le_bytes());
        body.extend_from_slice(&batch.count.to_le_bytes());
        body.extend_from_slice(&batch.sequence.to_le_bytes());
    }
    let row = Row {
        partition: known.partition,
        base_offset: known.next_offset,
        length: body.len() as u32,
        count: 0,
        kind: EntryKind::SpanStart as u8,
    };
    (row, body)
}

fn decode_known(row: &Row, body: &[u8]) -> Known {
    let last = body.chunks_exact(24).map(|bytes| {
        let eight = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap_or_default());
        let four = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap_or_default());
        let (offset, producer, count, sequence) = (eight(0), eight(8), four(16), four(20));
        Batch { partition: row.partition, offset, count, producer, sequence }
    });
    Known { partition: row.partition, next_offset: row.base_offset, last: last.collect() }
}

/// What is in a frame, read from its bytes.
pub fn content(frame: &Frame) -> Content {
    let place = Expect { block_index: frame.header().block_index, ..Expect::default() };
    match scan(frame.bytes(), &place) {
        Found::Frame(frame) => content_of(&frame),
        _ => unreachable!("the frame was verified"),
    }
}

/// The same of a frame that the parser gave.
pub fn content_of(frame: &tidelog_format::frame::Frame<'_>) -> Content {
    let mut content = Content::default();
    for entry in frame.entries() {
        match entry.kind() {
            Some(EntryKind::Batch) => {
                let Ok(header) = BatchHeader::parse(entry.body) else { continue };
                content.batches.push(Batch {
                    partition: entry.row.partition,
                    offset: entry.row.base_offset,
                    count: entry.row.count,
                    producer: u64::try_from(header.producer_id).unwrap_or(0),
                    sequence: u32::try_from(header.base_sequence).unwrap_or(0),
                });
            }
            Some(EntryKind::SpanStart) => content.known.push(decode_known(&entry.row, entry.body)),
            _ => {}
        }
    }
    content
}
