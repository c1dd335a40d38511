//! What goes in comes out.

use super::*;

fn numbered(records: &[Owned]) -> Vec<(u64, Owned)> {
    (0..).zip(records.iter().cloned()).collect()
}

#[test]
fn records_that_do_not_shrink_are_stored_without_compression() {
    let small = Owned { timestamp: 1, key: None, value: Some(vec![1, 2, 3]), headers: vec![] };
    assert_eq!(build(Codec::Zstd, std::slice::from_ref(&small)).codec(), Codec::None);
    let large = Owned { value: Some(vec![b'a'; 1000]), ..small };
    for codec in Codec::ALL {
        assert_eq!(build(codec, std::slice::from_ref(&large)).codec(), codec);
    }
    assert_eq!(Codec::default(), Codec::Zstd);
}

#[test]
fn a_batch_of_thousands_comes_back_in_every_codec() {
    let record = |n: u32| Owned {
        timestamp: 1_700_000_000_000 + i64::from(n % 77),
        key: Some(n.to_be_bytes().to_vec()),
        value: Some(format!("line {n} of a larger text, {}", n.wrapping_mul(2_654_435_761)).into_bytes()),
        headers: vec![],
    };
    let records: Vec<Owned> = (0..5_000).map(record).collect();
    for codec in Codec::ALL {
        let batch = build(codec, &records);
        assert_eq!(batch.codec(), codec);
        assert_eq!(batch.validate_records(), Ok(()));
        assert_eq!(read_all(&batch).unwrap(), numbered(&records));
    }
}

#[test]
fn scratch_memory_may_be_dirty_and_is_used_again() {
    let records = [Owned { timestamp: 0, key: None, value: Some(vec![b'a'; 1000]), headers: vec![] }];
    let mut scratch = vec![0xAA; 100_000];
    for codec in Codec::ALL {
        let batch = build(codec, &records);
        let read: Vec<_> = batch.records(&mut scratch).unwrap().collect();
        assert_eq!(read, [Ok((0, records[0].record()))]);
        batch.validate_records_with(&mut scratch).unwrap();
    }
}

proptest! {
    #[test]
    fn records_come_back_from_every_codec(
        records in some_records(),
        codec in prop::sample::select(&Codec::ALL[..]),
        offset in 0..u64::MAX / 4,
        epoch in 0..u32::MAX / 2,
    ) {
        for mut batch in [build(codec, &records), build_packed(codec, &records)] {
            prop_assert_eq!(batch.validate_records(), Ok(()));
            prop_assert_eq!(read_all(&batch).unwrap(), numbered(&records));
            prop_assert_eq!(Some(batch.max_timestamp()), records.iter().map(|record| record.timestamp).max());
            prop_assert_eq!(batch.header().base_timestamp, records[0].timestamp);
            batch.stamp(offset, epoch);
            let read = Batch::validate(BytesMut::from(batch.bytes())).unwrap();
            prop_assert_eq!(&read, &batch);
            prop_assert_eq!(read_all(&read).unwrap()[0].0, offset);
            prop_assert_eq!(read.header().next_offset(), offset + u64::try_from(records.len()).unwrap());
            fuzz_batch(batch.bytes());
        }
    }

    #[test]
    fn a_header_comes_back(bytes: [u8; 32], count: u32, length in 49..8_000_000_u32) {
        let word = |at: usize| i64::from_be_bytes(bytes[at..at + 8].try_into().unwrap());
        let header = BatchHeader {
            base_offset: word(0).unsigned_abs(),
            length,
            leader_epoch: i32::try_from(word(8) >> 32).unwrap(),
            crc: count.wrapping_mul(31),
            attributes: u16::from_be_bytes([bytes[30], bytes[31]]),
            last_offset_delta: count.wrapping_sub(1),
            base_timestamp: word(8),
            max_timestamp: word(16),
            producer_id: word(24),
            producer_epoch: i16::from_be_bytes([bytes[30], bytes[31]]),
            base_sequence: i32::try_from(word(24) >> 32).unwrap(),
            count,
        };
        prop_assert_eq!(BatchHeader::parse(&header.encode()), Ok(header));
    }
}
