use super::*;
use crate::batch::{BatchBuilder, Codec, Record};
use crate::scan::{Expect, Found, scan};

const STAMP: Stamp = Stamp {
    salt: [0x5A; 16],
    lsn: 9,
    committed_lsn: 8,
    chain: 77,
    append_time: -1,
    epoch: 3,
    block_index: 6,
};

fn row(kind: u8, length: usize) -> Row {
    Row { partition: 7, base_offset: 0, length: u32::try_from(length).unwrap(), count: 1, kind }
}

fn batch(value: &[u8]) -> Vec<u8> {
    let mut builder = BatchBuilder::new(Codec::None);
    builder.push(&Record { timestamp: 1, key: None, value: Some(value), headers: Vec::new() }).unwrap();
    builder.finish().unwrap().bytes().to_vec()
}

fn closed(entries: &[(Row, &[u8])]) -> Vec<u8> {
    let mut buffer = vec![0xEE; 64 * 1024];
    let mut builder = FrameBuilder::default();
    for (row, body) in entries {
        builder.push(&mut buffer, *row, body);
    }
    let closed = builder.close(&mut buffer, &STAMP);
    buffer.truncate(closed.len);
    buffer
}

fn place() -> Expect {
    Expect { block_index: STAMP.block_index, ..Expect::default() }
}

fn resum(frame: &mut [u8]) {
    let crc = crc32c::crc32c(&frame[12..HEADER_LEN]);
    le::put(frame, 8, &crc.to_le_bytes());
}

#[test]
fn entries_of_every_size_read_back_in_order() {
    for lengths in [vec![0], vec![0, 1, 0], vec![3936], vec![3937], vec![4096, 5, 9000]] {
        let bodies: Vec<Vec<u8>> = lengths.iter().map(|length| vec![b'x'; *length]).collect();
        let entries: Vec<_> = bodies.iter().map(|body| (row(200, body.len()), body.as_slice())).collect();
        let bytes = closed(&entries);
        let Found::Frame(frame) = scan(&bytes, &place()) else { panic!("{lengths:?} is not read") };
        assert_eq!(bytes.len(), frame.header.total_len());
        assert_eq!(frame.header.end_position(), 6 * BLOCK_U64 + bytes.len() as u64);
        assert!(frame.padding_is_zero());
        let read: Vec<_> = frame.entries().map(|entry| (entry.row, entry.body)).collect();
        assert_eq!(read, entries);
        for entry in frame.entries() {
            assert_eq!(&bytes[entry.at..entry.at + entry.body.len()], entry.body);
        }
    }
}

#[test]
fn the_header_says_what_was_stamped_and_gives_the_next_chain() {
    let mut buffer = vec![0; 2 * BLOCK];
    let mut builder = FrameBuilder::default();
    assert_eq!(builder.len_with(4), BLOCK);
    builder.push(&mut buffer, row(200, 4), b"body");
    assert_eq!((builder.entries(), builder.body_len()), (1, 4));
    let closed = builder.close(&mut buffer, &STAMP);
    let Found::Frame(frame) = scan(&buffer, &place()) else { panic!("not read") };
    let header = frame.header;
    let stamped =
        (header.salt, header.lsn, header.committed_lsn, header.chain, header.append_time, header.epoch);
    assert_eq!(stamped, (STAMP.salt, 9, 8, 77, -1, 3));
    assert_eq!(frame.next_chain(), closed.next_chain);
    assert_eq!((builder.entries(), builder.body_len()), (0, 0), "ready for the next frame");
}

#[test]
fn a_batch_whose_row_says_something_else_is_damaged() {
    let body = batch(b"value");
    let sound = row(1, body.len());
    assert!(matches!(scan(&closed(&[(sound, &body)]), &place()), Found::Frame(_)));

    let longer = [body.as_slice(), b"unsummed"].concat();
    let wrong = [
        (Row { count: 2, ..sound }, body.clone()),
        (Row { base_offset: 1, ..sound }, body.clone()),
        (row(1, longer.len()), longer),
        (row(1, body.len() - 1), body[..body.len() - 1].to_vec()),
    ];
    for (row, body) in wrong {
        let bytes = closed(&[(row, &body)]);
        let found = scan(&bytes, &place());
        assert!(matches!(found, Found::DamagedBody(_, Damage::BatchCrc { entry: 0 })), "{row:?}: {found:?}");
    }
}

#[test]
fn a_batch_shorter_than_its_head_is_damaged() {
    let mut buffer = vec![0; BLOCK];
    let mut builder = FrameBuilder::default();
    builder.push(&mut buffer, row(1, BATCH_HEAD - 1), &[0; BATCH_HEAD - 1]);
    builder.close(&mut buffer, &STAMP);
    assert!(matches!(scan(&buffer, &place()), Found::DamagedBody(..)));
}

#[test]
fn unknown_kinds_are_unsupported_or_skipped_by_their_number() {
    for kind in [0, 15, 127] {
        let found = closed(&[(row(kind, 1), b"x")]);
        assert!(
            matches!(scan(&found, &place()), Found::Unsupported(Unsupported::Entry { found }) if found == kind)
        );
    }
    for kind in [128, 255] {
        let bytes = closed(&[(row(kind, 1), b"x")]);
        let Found::Frame(frame) = scan(&bytes, &place()) else { panic!("{kind} is not skipped") };
        assert!(frame.entries().all(|entry| entry.kind().is_none()));
    }
}

#[test]
fn a_damaged_entry_of_an_unknown_kind_is_damage_and_not_newer() {
    let mut bytes = closed(&[(row(127, 1), b"x")]);
    bytes[HEADER_LEN] ^= 1;
    assert!(matches!(scan(&bytes, &place()), Found::DamagedBody(_, Damage::TableCrc { .. })));
}

#[test]
fn lengths_that_lie_are_damage_whatever_their_checksum() {
    let sound = closed(&[(row(200, 10), b"0123456789")]);
    let max = u32::try_from(MAX_BODY).unwrap();
    for (at, value) in [(72, max + 1), (72, 31), (76, 0), (76, 2), (76, u32::MAX)] {
        let mut bytes = sound.clone();
        le::put(&mut bytes, at, &value.to_le_bytes());
        resum(&mut bytes);
        let found = scan(&bytes, &place());
        assert!(matches!(found, Found::DamagedHeader(Damage::Range { .. })), "{at}: {value}: {found:?}");
    }
    for length in [9u32, 11, u32::MAX] {
        let mut bytes = sound.clone();
        le::put(&mut bytes, HEADER_LEN + 10 + 16, &length.to_le_bytes());
        assert!(matches!(scan(&bytes, &place()), Found::DamagedBody(..)), "a row of {length} bytes");
    }
}

#[test]
fn a_header_asks_for_its_whole_frame_and_no_more_than_the_limit() {
    let mut bytes = closed(&[(row(200, 9000), &[1; 9000])]);
    bytes.truncate(BLOCK);
    assert!(matches!(scan(&bytes, &place()), Found::Need(needed) if needed == 3 * BLOCK));
    assert!(matches!(scan(&bytes[..BLOCK - 1], &place()), Found::Need(BLOCK)));
    le::put(&mut bytes, 72, &u32::try_from(MAX_BODY).unwrap().to_le_bytes());
    resum(&mut bytes);
    assert!(matches!(scan(&bytes, &place()), Found::Need(needed) if needed == MAX_BODY + BLOCK));
}

#[test]
fn dirt_in_the_padding_is_seen_by_who_looks_and_harms_nobody() {
    let mut bytes = closed(&[(row(200, 10), b"0123456789")]);
    bytes[BLOCK - 1] = 1;
    let Found::Frame(frame) = scan(&bytes, &place()) else { panic!("padding counts") };
    assert!(!frame.padding_is_zero());
}

#[test]
fn the_largest_batch_fits_beside_opening_frame_and_end_block() {
    for segment in [64 * 1024, 1024 * 1024, 128 * 1024 * 1024] {
        let frame = FrameBuilder::default().len_with(largest_batch(segment));
        assert!(frame as u64 + 2 * BLOCK_U64 <= segment);
        assert!(largest_batch(segment) + ROW_LEN <= MAX_BODY);
    }
    assert_eq!(largest_batch(0), 0);
}
