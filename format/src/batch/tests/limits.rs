//! The limits, from both sides.

use super::Part::{Bytes, Number};
use super::*;

/// What the builder and the deep check say to one record with these lengths.
fn both(key: usize, value: usize, header_value: Option<usize>) -> [Result<(), BatchError>; 2] {
    let (key, value) = (vec![b'k'; key], vec![b'v'; value]);
    let header_value = header_value.map(|len| vec![b'h'; len]);
    let headers: Vec<Header<'_>> =
        header_value.iter().map(|value| Header { name: b"n", value: Some(value) }).collect();
    let record = Record { timestamp: 0, key: Some(&key), value: Some(&value), headers };
    let pushed = BatchBuilder::new(Codec::None).push(&record);

    let len = |bytes: &[u8]| Number(i64::try_from(bytes.len()).unwrap());
    let mut parts = vec![Number(0), Number(0), len(&key), Bytes(&key), len(&value), Bytes(&value)];
    parts.push(Number(i64::from(header_value.is_some())));
    if let Some(value) = &header_value {
        parts.extend([Number(1), Bytes(b"n"), len(value), Bytes(value)]);
    }
    let body = raw_record(&parts);
    let batch = Batch::validate(wrap(plain_header(1), &body)).unwrap();
    [pushed, batch.validate_records()]
}

/// The same, which must be the same but for the record's index.
fn verdict(key: usize, value: usize, header_value: Option<usize>) -> Result<(), BatchError> {
    let [pushed, checked] = both(key, value, header_value);
    assert_eq!(pushed.map_err(|error| error.in_record(0)), checked);
    pushed
}

#[test]
fn a_value_has_at_most_one_mebibyte() {
    assert_eq!(verdict(3, MAX_VALUE_LEN, None), Ok(()));
    let error = BatchError::too_large(Field::Value, MAX_VALUE_LEN + 1, MAX_VALUE_LEN);
    assert_eq!(verdict(3, MAX_VALUE_LEN + 1, None), Err(error));
}

#[test]
fn key_and_headers_have_at_most_64_kibibytes_together() {
    assert_eq!(verdict(MAX_KEY_AND_HEADERS_LEN, 1, None), Ok(()));
    let error =
        BatchError::too_large(Field::KeyAndHeaders, MAX_KEY_AND_HEADERS_LEN + 1, MAX_KEY_AND_HEADERS_LEN);
    assert_eq!(verdict(MAX_KEY_AND_HEADERS_LEN + 1, 1, None), Err(error));
    // The header costs its name and value with their lengths: 2 + 2 + 1000.
    assert_eq!(verdict(MAX_KEY_AND_HEADERS_LEN - 1004, 1, Some(1000)), Ok(()));
    assert_eq!(verdict(MAX_KEY_AND_HEADERS_LEN - 1003, 1, Some(1000)), Err(error));
}

#[test]
fn too_many_headers_are_refused_before_a_vec_is_made_for_them() {
    let headers = vec![0; 2 * 40_000];
    let body = raw_record(&[Number(0), Number(0), Number(-1), Number(-1), Number(40_000), Bytes(&headers)]);
    let batch = Batch::validate(wrap(plain_header(1), &body)).unwrap();
    let error = BatchError::too_large(Field::HeaderCount, 40_000_usize, 32_768).in_record(0);
    assert_eq!(read_all(&batch), Err(error));
    assert_eq!(batch.validate_records(), Err(error));
}

#[test]
fn header_names_are_utf8() {
    let name = b"na\xFFme";
    let header = Header { name, value: None };
    let record = Record { headers: vec![header], ..Record::default() };
    let error = BatchBuilder::new(Codec::None).push(&record).unwrap_err();
    assert!(matches!(error, BatchError::Invalid(Fault { field: Field::HeaderName, got: 2, .. })));
    let parts = [Number(0), Number(0), Number(-1), Number(-1), Number(1), Number(5), Bytes(name), Number(-1)];
    let batch = Batch::validate(wrap(plain_header(1), &raw_record(&parts))).unwrap();
    assert_eq!(batch.validate_records(), Err(error.in_record(0)));
}

#[test]
fn a_batch_is_full_at_8_mebibytes_and_the_builder_goes_on_unharmed() {
    let value = vec![7; MAX_VALUE_LEN];
    let record = Record { value: Some(&value), ..Record::default() };
    let mut builder = BatchBuilder::with_capacity(Codec::None, usize::MAX);
    for _ in 0..7 {
        builder.push(&record).unwrap();
    }
    let before = builder.len();
    let error = builder.push(&record).unwrap_err();
    assert!(matches!(error, BatchError::TooLarge(Fault { field: Field::BatchLength, .. })), "{error}");
    assert_eq!((builder.len(), builder.count()), (before, 7));
    // What is left, less 3 bytes for each of the two lengths, and 5 for the other fields.
    let last = &value[..MAX_BATCH_LEN - before - 3 - 3 - 5];
    builder.push(&Record { value: Some(last), ..Record::default() }).unwrap();
    assert_eq!(builder.len(), MAX_BATCH_LEN);
    let batch = builder.finish().unwrap();
    assert_eq!(batch.len(), MAX_BATCH_LEN);
    let batch = Batch::validate(BytesMut::from(batch.bytes())).unwrap();
    assert_eq!(batch.validate_records(), Ok(()));

    let mut bytes = BytesMut::from(batch.bytes());
    bytes.extend_from_slice(&[0]);
    let longer = u32::try_from(MAX_BATCH_LEN - 11).unwrap();
    bytes[8..12].copy_from_slice(&longer.to_be_bytes());
    seal(&mut bytes);
    assert!(matches!(Batch::validate(bytes), Err(BatchError::TooLarge(_))));
}

#[test]
fn a_decompression_bomb_is_too_large() {
    let zeros = vec![0; MAX_DECOMPRESSED_LEN + 1];
    for codec in [Codec::Zstd, Codec::Lz4] {
        let mut body = Vec::new();
        compression::compress(codec, &zeros, &mut body).unwrap();
        assert!(body.len() < MAX_BATCH_LEN);
        let batch =
            Batch::validate(wrap(BatchHeader { attributes: codec.number(), ..plain_header(1) }, &body));
        let error = BatchError::too_large(Field::Body, MAX_DECOMPRESSED_LEN + 1, MAX_DECOMPRESSED_LEN);
        assert_eq!(batch.unwrap().validate_records(), Err(error), "{codec}");
    }
}

#[test]
fn the_max_timestamp_is_that_of_the_records() {
    let record = raw_record(&[Number(5), Number(0), Number(-1), Number(-1), Number(0)]);
    for (max, verdict) in [
        (5, Ok(())),
        (4, Err(BatchError::invalid(Field::MaxTimestamp, 4_i64, Allowed::Exactly(5)))),
        (6, Err(BatchError::invalid(Field::MaxTimestamp, 6_i64, Allowed::Exactly(5)))),
    ] {
        let header = BatchHeader { max_timestamp: max, ..plain_header(1) };
        assert_eq!(Batch::validate(wrap(header, &record)).unwrap().validate_records(), verdict);
    }
}

#[test]
fn timestamps_that_leave_i64_are_invalid() {
    let mut builder = BatchBuilder::new(Codec::None);
    builder.push(&Record { timestamp: -2, ..Record::default() }).unwrap();
    let error = builder.push(&Record { timestamp: i64::MAX, ..Record::default() }).unwrap_err();
    assert!(matches!(error, BatchError::Invalid(Fault { field: Field::Timestamp, .. })), "{error}");
    assert_eq!(builder.count(), 1);

    let record = raw_record(&[Number(1), Number(0), Number(-1), Number(-1), Number(0)]);
    let header = BatchHeader { base_timestamp: i64::MAX, max_timestamp: i64::MAX, ..plain_header(1) };
    let batch = Batch::validate(wrap(header, &record)).unwrap();
    let error = batch.validate_records().unwrap_err();
    assert!(matches!(error, BatchError::Invalid(Fault { field: Field::Timestamp, .. })), "{error}");
    assert_eq!(read_all(&batch), Err(error));
}

#[test]
fn an_empty_builder_makes_no_batch() {
    let error = BatchError::invalid(Field::Count, 0, Allowed::AtLeast(1));
    assert_eq!(BatchBuilder::new(Codec::Zstd).finish(), Err(error));
}

#[test]
fn a_producers_id_without_its_epoch_or_sequence_is_invalid() {
    let validated = |id, epoch, sequence| {
        let mut builder = BatchBuilder::new(Codec::None).producer(id, epoch, sequence);
        builder.push(&Record { timestamp: 1, key: None, value: Some(b"v"), headers: Vec::new() }).unwrap();
        Batch::validate(BytesMut::from(builder.finish().unwrap().bytes())).map(|_| ())
    };
    assert_eq!((validated(7, 0, 0), validated(-1, -1, -1)), (Ok(()), Ok(())));
    let invalid = |field, got| Err(BatchError::invalid(field, got, Allowed::AtLeast(0)));
    assert_eq!(validated(7, -1, 0), invalid(Field::ProducerEpoch, -1));
    assert_eq!(validated(7, 0, -5), invalid(Field::BaseSequence, -5));
}
