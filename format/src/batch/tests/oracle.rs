//! Against the crate `kafka-protocol`, in both directions and all codecs.

use kafka_protocol::indexmap::IndexMap;
use kafka_protocol::protocol::StrBytes;
use kafka_protocol::records::{
    Compression, Record as Theirs, RecordBatchDecoder, RecordBatchEncoder, RecordEncodeOptions, TimestampType,
};

use super::*;

fn compression(codec: Codec) -> Compression {
    match codec {
        Codec::None => Compression::None,
        Codec::Gzip => Compression::Gzip,
        Codec::Snappy => Compression::Snappy,
        Codec::Lz4 => Compression::Lz4,
        Codec::Zstd => Compression::Zstd,
    }
}

fn theirs(offset: i64, record: &Owned) -> Theirs {
    let bytes = |bytes: &Option<Vec<u8>>| bytes.clone().map(bytes::Bytes::from);
    Theirs {
        transactional: false,
        control: false,
        delete_horizon: false,
        partition_leader_epoch: -1,
        producer_id: 9,
        producer_epoch: 1,
        timestamp_type: TimestampType::Creation,
        offset,
        sequence: i32::try_from(offset).unwrap(),
        timestamp: record.timestamp,
        key: bytes(&record.key),
        value: bytes(&record.value),
        headers: record
            .headers
            .iter()
            .map(|(name, value)| (StrBytes::from_string(name.clone()), bytes(value)))
            .collect::<IndexMap<_, _>>(),
    }
}

/// Their type has one value per header name, and their arithmetic no room for wild timestamps.
fn tamed() -> impl Strategy<Value = Vec<Owned>> {
    some_records().prop_map(|mut records| {
        for record in &mut records {
            record.timestamp %= 4_000_000_000_000;
            record.headers.sort();
            record.headers.dedup_by(|a, b| a.0 == b.0);
        }
        records
    })
}

proptest! {
    #[test]
    fn they_read_what_we_write(records in tamed(), codec in prop::sample::select(&Codec::ALL[..])) {
        for batch in [build(codec, &records), build_packed(codec, &records)] {
            let decoded = RecordBatchDecoder::decode(&mut batch.clone().freeze()).unwrap();
            prop_assert_eq!(decoded.compression, compression(batch.codec()));
            let expected: Vec<Theirs> = (0..)
                .zip(&records)
                .map(|(offset, record)| Theirs {
                    producer_id: -1,
                    producer_epoch: -1,
                    sequence: i32::try_from(offset - 1).unwrap(),
                    ..theirs(offset, record)
                })
                .collect();
            prop_assert_eq!(decoded.records, expected);
        }
    }

    #[test]
    fn we_read_what_they_write(records in tamed(), codec in prop::sample::select(&Codec::ALL[..])) {
        let all: Vec<Theirs> = (0..).zip(&records).map(|(offset, record)| theirs(offset, record)).collect();
        let mut bytes = BytesMut::new();
        let options = RecordEncodeOptions { version: 2, compression: compression(codec) };
        RecordBatchEncoder::encode(&mut bytes, &all, &options).unwrap();
        let batch = Batch::validate(bytes).unwrap();
        prop_assert_eq!(batch.validate_records(), Ok(()));
        prop_assert_eq!(batch.codec(), codec);
        prop_assert_eq!((batch.header().producer_id, batch.header().producer_epoch), (9, 1));
        prop_assert_eq!(batch.header().last_sequence(), i32::try_from(records.len()).unwrap() - 1);
        let expected: Vec<(u64, Owned)> = (0..).zip(records).collect();
        prop_assert_eq!(read_all(&batch).unwrap(), expected);
    }
}
