//! Damaged and hostile batches.

use super::Part::{Bytes, Number};
use super::*;

fn small(codec: Codec) -> Batch {
    let record = |timestamp, value: &str| Owned {
        timestamp,
        key: Some(b"key".to_vec()),
        value: Some(value.as_bytes().to_vec()),
        headers: vec![("name".to_owned(), None)],
    };
    build_packed(codec, &[record(5, "aaaaaaaaaaaaaaaaaaaa"), record(7, ""), record(6, "b")])
}

#[test]
fn every_flipped_bit_is_refused_except_in_what_is_stamped() {
    for codec in Codec::ALL {
        let good = small(codec);
        for at in 0..good.len() {
            for bit in 0..8 {
                let mut bytes = BytesMut::from(good.bytes());
                bytes[at] ^= 1 << bit;
                let stamped = at < 8 || (12..16).contains(&at);
                assert_eq!(Batch::validate(bytes).is_ok(), stamped, "{codec}, byte {at}, bit {bit}");
            }
        }
    }
}

#[test]
fn every_byte_behind_the_magic_changed_is_called_corrupt() {
    for codec in Codec::ALL {
        let good = small(codec);
        for at in 17..good.len() {
            let mut bytes = BytesMut::from(good.bytes());
            bytes[at] = !bytes[at];
            let error = Batch::validate(bytes).unwrap_err();
            assert!(matches!(error, BatchError::Corrupt(Fault { field: Field::Crc, .. })), "{at}: {error}");
        }
    }
}

#[test]
fn every_truncation_and_any_extra_byte_is_refused() {
    for codec in Codec::ALL {
        let good = small(codec);
        for len in 0..good.len() {
            let cut = BytesMut::from(&good.bytes()[..len]);
            assert!(BatchView::parse(&cut).is_err(), "{codec}, {len} bytes");
            assert!(matches!(Batch::validate(cut), Err(BatchError::Corrupt(_))), "{codec}, {len} bytes");
        }
        let mut longer = BytesMut::from(good.bytes());
        longer.extend_from_slice(&[0]);
        assert!(BatchView::parse(&longer).is_ok_and(|view| view.bytes() == good.bytes()));
        assert!(matches!(Batch::validate(longer), Err(BatchError::Corrupt(_))));
    }
}

#[test]
fn a_body_changed_under_a_good_crc_never_panics() {
    for codec in Codec::ALL {
        let good = small(codec);
        for at in BATCH_HEADER_LEN..good.len() {
            for byte in [0, 1, 2, 3, 7, 0x3F, 0x40, 0x7F, 0x80, 0x81, 0xFE, 0xFF, !good.bytes()[at]] {
                let mut bytes = BytesMut::from(good.bytes());
                bytes[at] = byte;
                seal(&mut bytes);
                fuzz_batch(&bytes);
            }
        }
    }
}

#[test]
fn header_fields_that_are_not_served_or_do_not_fit_are_told_apart() {
    type Change = fn(&mut BatchHeader);
    let cases: [(Change, BatchError); 12] = [
        (|h| h.attributes = 5, BatchError::unsupported(Field::Codec, 5, Allowed::Between(0, 4))),
        (|h| h.attributes = 7, BatchError::unsupported(Field::Codec, 7, Allowed::Between(0, 4))),
        (
            |h| h.attributes = 8,
            BatchError::unsupported(Field::Attributes, 8, Allowed::Rule("create time, not log-append time")),
        ),
        (
            |h| h.attributes = 16,
            BatchError::unsupported(Field::Attributes, 16, Allowed::Rule("no transaction")),
        ),
        (
            |h| h.attributes = 0x38,
            BatchError::unsupported(
                Field::Attributes,
                0x38,
                Allowed::Rule("no control batch from a producer"),
            ),
        ),
        (
            |h| h.attributes = 0x8000,
            BatchError::unsupported(Field::Attributes, 0x8000, Allowed::Rule("a codec and no other bits")),
        ),
        (|h| h.count = 0, BatchError::invalid(Field::Count, 0, Allowed::AtLeast(1))),
        (|h| h.count = 4, BatchError::invalid(Field::LastOffsetDelta, 2, Allowed::Exactly(3))),
        (|h| h.last_offset_delta = 0, BatchError::invalid(Field::LastOffsetDelta, 0, Allowed::Exactly(2))),
        (
            |h| (h.count, h.last_offset_delta) = (u32::MAX, u32::MAX - 1),
            BatchError::invalid(Field::Count, u32::MAX, Allowed::AtMost(9)),
        ),
        (
            |h| (h.count, h.last_offset_delta) = (10, 9),
            BatchError::invalid(Field::Count, 10, Allowed::AtMost(9)),
        ),
        (
            |h| (h.attributes, h.count, h.last_offset_delta) = (4, 10_000_000, 9_999_999),
            BatchError::invalid(Field::Count, 10_000_000, Allowed::AtMost(9_586_980)),
        ),
    ];
    let good = small(Codec::None);
    assert_eq!(good.view().body().len() / 7, 9, "the table counts on this");
    for (index, (change, error)) in cases.into_iter().enumerate() {
        let mut header = *good.header();
        change(&mut header);
        assert_eq!(Batch::validate(wrap(header, good.view().body())), Err(error), "case {index}");
    }
}

#[test]
fn older_message_sets_are_unsupported_even_when_shorter_than_our_header() {
    for magic in [0, 1] {
        let mut bytes = BytesMut::zeroed(26);
        bytes[11] = 14;
        bytes[16] = magic;
        let error = BatchError::unsupported(Field::Magic, i32::from(magic), Allowed::Exactly(2));
        assert_eq!(Batch::validate(bytes), Err(error));
    }
}

#[test]
fn a_length_field_is_never_trusted() {
    for (length, corrupt) in [
        (i32::MIN, true),
        (-1, true),
        (0, true),
        (48, true),
        (i32::MAX, false),
        (8 * 1024 * 1024 - 11, false),
    ] {
        let mut bytes = BytesMut::from(small(Codec::None).bytes());
        bytes[8..12].copy_from_slice(&length.to_be_bytes());
        let error = Batch::validate(bytes).unwrap_err();
        assert_eq!(error.fault().field, Field::BatchLength);
        assert_eq!(matches!(error, BatchError::Corrupt(_)), corrupt, "{length}: {error}");
        assert_eq!(matches!(error, BatchError::TooLarge(_)), !corrupt, "{length}: {error}");
    }
}

/// The error of the deep check for one record of these bytes.
fn deep(body: &[u8]) -> BatchError {
    let batch = Batch::validate(wrap(plain_header(1), body)).unwrap();
    let error = batch.validate_records().unwrap_err();
    // Reading stops as well, unless the fault is a limit or a rule that only the deep check knows.
    if matches!(error, BatchError::Corrupt(_)) {
        assert_eq!(read_all(&batch).unwrap_err(), error);
    }
    error
}

#[test]
fn hostile_lengths_in_a_record_are_corrupt() {
    let number = |number| {
        let mut bytes = Vec::new();
        varint::write(&mut bytes, number);
        bytes
    };
    let max = i64::from(i32::MAX);
    let min = i64::from(i32::MIN);
    for (field, parts) in [
        (Field::Timestamp, vec![Bytes(&[0xFF; 11])]),
        (Field::OffsetDelta, vec![Number(0), Bytes(&[0x80, 0x80, 0x80, 0x80, 0x80, 1])]),
        (Field::Key, vec![Number(0), Number(0), Number(-2), Bytes(&[0; 9])]),
        (Field::Key, vec![Number(0), Number(0), Number(min), Bytes(&[0; 9])]),
        (Field::Key, vec![Number(0), Number(0), Number(max), Bytes(&[0; 9])]),
        (Field::Key, vec![Number(0), Number(0), Number(i64::MAX), Bytes(&[0; 9])]),
        (Field::Value, vec![Number(0), Number(0), Number(-1), Number(10), Bytes(&[0; 9])]),
        (Field::HeaderCount, vec![Number(0), Number(0), Number(-1), Number(-1), Number(-1)]),
        (Field::HeaderCount, vec![Number(0), Number(0), Number(-1), Number(-1), Number(max)]),
        (Field::HeaderCount, vec![Number(0), Number(0), Number(-1), Number(-1), Number(2), Bytes(&[0; 3])]),
        (Field::HeaderCount, vec![Number(0), Number(0), Number(-1), Number(-1)]),
        (
            Field::HeaderName,
            vec![Number(0), Number(0), Number(-1), Number(-1), Number(1), Number(-1), Number(-1)],
        ),
        (
            Field::HeaderName,
            vec![Number(0), Number(0), Number(-1), Number(-1), Number(1), Number(9), Bytes(&[0; 3])],
        ),
        (
            Field::HeaderValue,
            vec![Number(0), Number(0), Number(-1), Number(-1), Number(1), Number(0), Number(-2)],
        ),
        (Field::RecordLength, vec![Number(0), Number(0), Number(-1), Number(-1), Number(0), Number(0)]),
        (
            Field::RecordLength,
            vec![Number(0), Number(0), Number(-1), Number(-1), Number(1), Number(0), Number(-1), Number(0)],
        ),
    ] {
        let mut body = raw_record(&parts);
        body.resize(body.len().max(MIN_RECORD_LEN), 0);
        let error = deep(&body);
        assert!(matches!(error, BatchError::Corrupt(_)), "{error}");
        assert_eq!(error.fault().record, Some(0), "{error}");
        assert_eq!(error.fault().field, field, "{error}");
    }
    for length in [-1, min, 0, 7, max, i64::MAX] {
        let mut body = number(length);
        body.resize(7, 0);
        let error = deep(&body);
        assert!(
            matches!(error, BatchError::Corrupt(Fault { field: Field::RecordLength, .. })),
            "{length}: {error}"
        );
    }
}

#[test]
fn records_must_be_as_many_as_counted_and_densely_numbered() {
    let record = |delta| raw_record(&[Number(0), Number(delta), Number(-1), Number(-1), Number(0)]);
    let check = |deltas: &[i64], count| {
        let body: Vec<u8> = deltas.iter().flat_map(|&delta| record(delta)).collect();
        Batch::validate(wrap(plain_header(count), &body)).unwrap().validate_records()
    };
    assert_eq!(check(&[0, 1, 2], 3), Ok(()));
    let left_over = Allowed::Rule("no bytes left behind the last record");
    assert_eq!(check(&[0, 1, 2], 2), Err(BatchError::corrupt(Field::Body, 7, left_over)));
    let dense = |got, index| {
        let allowed = Allowed::Exactly(i64::from(index));
        Err(BatchError::invalid(Field::OffsetDelta, got, allowed).in_record(index))
    };
    assert_eq!(check(&[0, 2, 1], 3), dense(2, 1));
    assert_eq!(check(&[0, 0], 2), dense(0, 1));
    assert_eq!(check(&[-1], 1), dense(-1, 0));
    // Fewer than counted shows when bytes run out, here behind a record that could have been two.
    let long = raw_record(&[Number(0), Number(0), Number(-1), Number(9), Bytes(&[0; 9]), Number(0)]);
    let error = Batch::validate(wrap(plain_header(2), &long)).unwrap().validate_records().unwrap_err();
    assert!(matches!(error, BatchError::Corrupt(Fault { record: Some(1), .. })), "{error}");
}

#[test]
fn a_body_that_its_codec_did_not_write_is_corrupt() {
    for codec in Codec::ALL.into_iter().skip(1) {
        let good = small(codec);
        let body = good.view().body();
        for wrong in [&[][..], &[0; 40], &body[..body.len() - 1], &body[1..]] {
            let batch = Batch::validate(wrap(*good.header(), wrong)).unwrap();
            let error = batch.validate_records();
            // A cut lz4 end mark leaves the records whole; every other cut is seen.
            let tolerated = codec == Codec::Lz4 && wrong.len() == body.len() - 1;
            assert!(tolerated || matches!(error, Err(BatchError::Corrupt(_))), "{codec}: {error:?}");
        }
    }
}

proptest! {
    #[test]
    fn random_bytes_never_panic(data: Vec<u8>) {
        fuzz_batch(&data);
    }

    #[test]
    fn a_good_batch_with_random_changes_never_panics(
        records in some_records(),
        codec in prop::sample::select(&Codec::ALL[..]),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
    ) {
        let mut bytes = build_packed(codec, &records).bytes().to_vec();
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        fuzz_batch(&bytes);
    }
}
