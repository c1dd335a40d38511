//! One tiny batch, written down byte by byte from Kafka's description of the format.

use super::*;

/// Two records at 2020-09-13 12:26:40 UTC and one millisecond later. The CRC was computed bit by bit with the
/// polynomial, apart from this crate.
const EXAMPLE: &[&[u8]] = &[
    &[0, 0, 0, 0, 0, 0, 0, 0],                         // base offset
    &[0, 0, 0, 69],                                    // length: 81 bytes less 12
    &[0xFF, 0xFF, 0xFF, 0xFF],                         // leader epoch: none
    &[2],                                              // magic
    &[0x99, 0x75, 0xCE, 0xE5],                         // CRC
    &[0, 0],                                           // attributes
    &[0, 0, 0, 1],                                     // last offset delta
    &[0, 0, 0x01, 0x74, 0x87, 0x6E, 0x80, 0x00],       // base timestamp 1,600,000,000,000
    &[0, 0, 0x01, 0x74, 0x87, 0x6E, 0x80, 0x01],       // max timestamp
    &[0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF], // producer id: none
    &[0xFF, 0xFF],                                     // producer epoch: none
    &[0xFF, 0xFF, 0xFF, 0xFF],                         // base sequence: none
    &[0, 0, 0, 2],                                     // count
    &[24, 0, 0, 0],                                    // record of 12 bytes, attributes, time +0, offset +0
    &[2, b'k', 2, b'v', 2, 2, b'h', 2, b'x'],          // key, value, one header
    &[12, 0, 2, 2, 1, 1, 0],                           // 6 bytes, attributes, +1, +1, null, null, no header
];

fn example() -> BytesMut {
    BytesMut::from(&EXAMPLE.concat()[..])
}

fn records() -> [Record<'static>; 2] {
    let headers = vec![Header { name: b"h", value: Some(b"x") }];
    [
        Record { timestamp: 1_600_000_000_000, key: Some(b"k"), value: Some(b"v"), headers },
        Record { timestamp: 1_600_000_000_001, key: None, value: None, headers: vec![] },
    ]
}

#[test]
fn the_example_is_read_as_it_was_meant() {
    let batch = Batch::validate(example()).unwrap();
    assert_eq!(batch.validate_records(), Ok(()));
    assert_eq!((batch.count(), batch.len()), (2, 81));
    assert_eq!(batch.max_timestamp(), 1_600_000_000_001);
    assert_eq!(batch.codec(), Codec::None);
    let header = *batch.header();
    assert_eq!(header.next_offset(), 2);
    assert_eq!((header.has_producer(), header.last_sequence()), (false, -1));
    let mut scratch = Vec::new();
    let read: Vec<_> = batch.records(&mut scratch).unwrap().map(Result::unwrap).collect();
    let [first, second] = records();
    assert_eq!(read, [(0, first), (1, second)]);
}

#[test]
fn the_builder_writes_the_example() {
    let mut builder = BatchBuilder::new(Codec::None);
    assert!(builder.is_empty());
    for record in records() {
        builder.push(&record).unwrap();
    }
    assert_eq!((builder.len(), builder.count()), (81, 2));
    assert_eq!(builder.finish().unwrap().freeze(), example());
}

#[test]
fn stamping_patches_offset_and_epoch_and_nothing_else() {
    let mut batch = Batch::validate(example()).unwrap();
    batch.stamp(0x0102_0304_0506_0708, 0x0A0B_0C0D);
    assert_eq!(batch.header().base_offset, 0x0102_0304_0506_0708);
    assert_eq!(batch.header().leader_epoch, 0x0A0B_0C0D);
    let mut expected = example();
    expected[..8].copy_from_slice(&[1, 2, 3, 4, 5, 6, 7, 8]);
    expected[12..16].copy_from_slice(&[10, 11, 12, 13]);
    assert_eq!(batch.bytes(), expected);
    // Still valid, and the records have moved along.
    let again = Batch::validate(expected).unwrap();
    assert_eq!(again, batch);
    let mut scratch = Vec::new();
    let offsets: Vec<u64> = batch.records(&mut scratch).unwrap().map(|read| read.unwrap().0).collect();
    assert_eq!(offsets, [0x0102_0304_0506_0708, 0x0102_0304_0506_0709]);
}

#[test]
fn a_producer_is_written_and_its_sequence_wraps_to_zero() {
    let mut builder = BatchBuilder::new(Codec::None).producer(77, 3, i32::MAX);
    for record in records() {
        builder.push(&record).unwrap();
    }
    let batch = Batch::validate(BytesMut::from(&builder.finish().unwrap().freeze()[..])).unwrap();
    let header = batch.header();
    assert_eq!((header.producer_id, header.producer_epoch, header.base_sequence), (77, 3, i32::MAX));
    assert_eq!((header.has_producer(), header.last_sequence()), (true, 0));
}

#[test]
fn several_batches_are_cut_apart_and_walked_without_copying() {
    let mut second = Batch::validate(example()).unwrap();
    second.stamp(2, 1);
    let mut bytes = example();
    bytes.extend_from_slice(second.bytes());
    let first = Batch::validate(example()).unwrap();
    let views: Vec<_> = BatchViews::new(&bytes).map(|view| view.unwrap().header().base_offset).collect();
    assert_eq!(views, [0, 2]);
    let start = bytes.as_ptr();
    let batches = split(bytes).unwrap();
    assert_eq!(batches, [first, second]);
    assert_eq!(batches[0].bytes().as_ptr(), start);
    assert_eq!(split(BytesMut::new()), Ok(vec![]));
}

#[test]
fn a_cut_last_batch_spoils_the_split_and_ends_the_walk() {
    let mut bytes = example();
    bytes.extend_from_slice(&example()[..80]);
    let walked: Vec<bool> = BatchViews::new(&bytes).map(|view| view.is_ok()).collect();
    assert_eq!(walked, [true, false]);
    assert!(matches!(split(bytes), Err(BatchError::Corrupt(Fault { field: Field::BatchLength, .. }))));
}

#[test]
fn an_error_says_where_what_and_what_to_do() {
    let mut bytes = example();
    bytes[16] = 1;
    assert_eq!(
        Batch::validate(bytes).unwrap_err().to_string(),
        "unsupported batch: magic is 1, allowed is 2; change the producer's settings"
    );
    let mut bytes = example();
    let at = bytes.len() - 1;
    bytes[at] = 1;
    seal(&mut bytes);
    assert_eq!(
        Batch::validate(bytes).unwrap().validate_records().unwrap_err().to_string(),
        "corrupt batch: record 1: the header count is -1, allowed is 0 or more; send it again"
    );
}
