//! Batches of the simulated producers, and what a frame says about those in it.

use tidelog_format::batch::{BatchBuilder, BatchHeader, Record};
use tidelog_format::compression::Codec;
use tidelog_format::entry::{EntryKind, Row};
use tidelog_format::footer::Footer;
use tidelog_format::index::{SealedAs, SegmentIndex};
use tidelog_format::producers::Numbered;
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

/// The kind of the entry with which a span begins: what the shard's footer before it says of partitions and producers, for
/// holders that have nothing from before. One of those numbers that whoever does not know them skips.
const HEAD: u8 = 200;

/// What a frame says.
#[derive(Clone, Debug, Default)]
pub struct Content {
    /// Its batches.
    pub batches: Vec<Batch>,
    /// At the start of a span: where its partitions and producers stand.
    pub head: Option<Footer>,
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

/// How the table of producers knows a batch.
pub fn numbered(batch: &Batch) -> Numbered {
    let producer_id = i64::try_from(batch.producer).unwrap_or(0);
    Numbered { producer_id, epoch: 0, first_sequence: batch.sequence, count: batch.count }
}

/// The entry that makes a partition known.
pub fn created(partition: u64) -> (Row, Vec<u8>) {
    let kind = EntryKind::PartitionCreated as u8;
    (Row { partition, base_offset: 0, length: 0, count: 0, kind }, Vec::new())
}

/// The entry with which a span begins, at this LSN.
pub fn encode_head(index: &SegmentIndex, lsn: u64) -> (Row, Vec<u8>) {
    let id = SealedAs { salt: [1; 16], base_lsn: 0, next_lsn: lsn, chain: 0, epoch: 0, block_index: 0 };
    let body = index.clone().seal(&id).encode();
    let row = Row { partition: 0, base_offset: 0, length: body.len() as u32, count: 0, kind: HEAD };
    (row, body)
}

/// Notes a frame in an index; the head of a span says what the index is without what was before.
pub fn note(index: &mut SegmentIndex, frame: &tidelog_format::frame::Frame<'_>) {
    if let Some(head) = content_of(frame).head {
        *index = SegmentIndex::behind(&head);
    }
    index.note_frame(frame);
}

/// The same with a frame of the rules.
pub fn note_verified(index: &mut SegmentIndex, frame: &Frame) {
    let place = Expect { block_index: frame.header().block_index, ..Expect::default() };
    match scan(frame.bytes(), &place) {
        Found::Frame(frame) => note(index, &frame),
        _ => unreachable!("the frame was verified"),
    }
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
            None if entry.row.kind == HEAD => content.head = Footer::decode(entry.body).ok(),
            _ => {}
        }
    }
    content
}
