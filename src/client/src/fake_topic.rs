//! A topic in memory behind the scripted server, for tests: takes raw batches and serves them.

use std::sync::Mutex;

use bytes::BytesMut;
use tidelog_format::batch::{Batch, BatchBuilder, BatchView, Codec, Record};
use tidelog_proto::http::admin::{PartitionDescription, TopicConfig, TopicDescription, durability};
use tidelog_proto::http::answers::{PartitionWritten, ProduceAnswer};
use tidelog_proto::http::error::ErrorCode;
use tidelog_proto::http::read_query::ReadQuery;
use tidelog_proto::limits::Limits;
use tidelog_proto::offset_spec::OffsetSpec;

use crate::scripted::{Got, Reply};

/// The topic `t`.
#[derive(Debug)]
pub(crate) struct FakeTopic {
    partitions: Mutex<Vec<Vec<Batch>>>,
    start: u64,
}

impl FakeTopic {
    pub(crate) fn new(partitions: usize) -> FakeTopic {
        FakeTopic { partitions: Mutex::new(vec![Vec::new(); partitions]), start: 0 }
    }

    /// Every partition tells that it begins at `start`, which is also the offset of the first batch.
    pub(crate) fn starting_at(self, start: u64) -> FakeTopic {
        FakeTopic { start, ..self }
    }

    /// Appends a batch of these values; the timestamps are ten times the offsets.
    pub(crate) fn append(&self, partition: usize, values: &[&str]) {
        let mut builder = BatchBuilder::new(Codec::Zstd);
        let end = self.end(partition);
        for (value, offset) in values.iter().zip(end..) {
            let timestamp = i64::try_from(offset * 10).unwrap();
            builder.push(&Record { timestamp, value: Some(value.as_bytes()), ..Record::default() }).unwrap();
        }
        self.store(partition, builder.finish().unwrap());
    }

    fn store(&self, partition: usize, mut batch: Batch) -> u64 {
        let base_offset = self.end(partition);
        batch.stamp(base_offset, 1);
        self.partitions.lock().unwrap()[partition].push(batch);
        base_offset
    }

    fn end(&self, partition: usize) -> u64 {
        self.partitions.lock().unwrap()[partition]
            .last()
            .map_or(self.start, |batch| batch.header().next_offset())
    }

    /// All values of a partition, in order.
    pub(crate) fn values(&self, partition: usize) -> Vec<String> {
        let mut values = Vec::new();
        for batch in &self.partitions.lock().unwrap()[partition] {
            for record in batch.records(&mut Vec::new()).unwrap() {
                values.push(String::from_utf8(record.unwrap().1.value.unwrap().to_vec()).unwrap());
            }
        }
        values
    }

    /// How many batches a partition has.
    pub(crate) fn batches(&self, partition: usize) -> usize {
        self.partitions.lock().unwrap()[partition].len()
    }

    pub(crate) fn describe(&self) -> TopicDescription {
        let count = self.partitions.lock().unwrap().len();
        let partitions = (0..count).map(|partition| {
            let end = self.end(partition);
            PartitionDescription {
                partition: u32::try_from(partition).unwrap(),
                shard: 0,
                start_offset: self.start,
                committed_offset: end,
                durable_offset: end,
                end_offset: end,
            }
        });
        TopicDescription {
            name: "t".to_owned(),
            id: "0".to_owned(),
            durability: durability(1, 1),
            config: TopicConfig::default(),
            partitions: partitions.collect(),
        }
    }

    /// Answers as the server does, without waiting.
    pub(crate) fn answer(&self, got: &Got) -> Reply {
        if got.line == "GET /v1/topics/t" {
            return Reply::json(&self.describe());
        }
        if let Some(partition) = got.line.strip_prefix("POST /v1/topics/t/records?partition=") {
            return self.take(partition.parse().unwrap(), &got.body);
        }
        if let Some(rest) = got.line.strip_prefix("GET /v1/topics/t/partitions/") {
            let (partition, query) = rest.split_once("/records?").unwrap();
            return self.read(partition.parse().unwrap(), query);
        }
        Reply::error(ErrorCode::NotFound)
    }

    fn take(&self, partition: u32, body: &[u8]) -> Reply {
        let batch = Batch::validate(BytesMut::from(body)).unwrap();
        batch.validate_records().unwrap();
        let count = u64::from(batch.count());
        let base_offset = self.store(usize::try_from(partition).unwrap(), batch);
        Reply::json(&ProduceAnswer { partitions: vec![PartitionWritten { partition, base_offset, count }] })
    }

    /// One batch a read, so that a reader has to go on.
    fn read(&self, partition: usize, query: &str) -> Reply {
        let query = ReadQuery::parse(query, &Limits::default()).unwrap();
        let partitions = self.partitions.lock().unwrap();
        let batch = partitions[partition].iter().find(|batch| match query.from {
            OffsetSpec::At(offset) => batch.header().next_offset() > offset,
            OffsetSpec::Timestamp(ms) => batch.max_timestamp() >= ms,
            other => panic!("{other}"),
        });
        let Some(batch) = batch else { return Reply::Answer(200, bytes::Bytes::new()) };
        assert!(BatchView::parse(batch.bytes()).is_ok());
        Reply::Answer(200, bytes::Bytes::copy_from_slice(batch.bytes()))
    }
}
