//! An idempotent producer over Kafka's port that outlives kills: what was not acknowledged it sends again, as the same
//! batches with the same numbers, and goes on behind them.
//!
//! The messages are made by a crate of others, so that both sides cannot share a mistake.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{
    ApiKey, InitProducerIdRequest, InitProducerIdResponse, ProduceRequest, ProduceResponse, RequestHeader,
    ResponseHeader, TopicName,
};
use kafka_protocol::protocol::{
    Decodable, Encodable, HeaderVersion, StrBytes, encode_request_header_into_buffer,
};
use kafka_protocol::records::{Compression, Record, RecordBatchEncoder, RecordEncodeOptions, TimestampType};

use crate::load::{Acknowledged, TOPIC, value};
use crate::support::chance::Chance;

const PRODUCE_VERSION: i16 = 9;
const INIT_VERSION: i16 = 4;
/// Kafka's own producers have at most so many requests in flight when they are idempotent.
const IN_FLIGHT: usize = 5;

/// A batch that is not acknowledged yet.
struct Batch {
    first: u64,
    count: u64,
    encoded: Bytes,
}

/// The producer, in and between the server's lives.
pub(crate) struct Idempotent {
    name: String,
    partition: u32,
    /// Id and epoch, once the server gave them.
    id: Option<(i64, i16)>,
    next: u64,
    unanswered: VecDeque<Batch>,
    chance: Chance,
    /// The disk is going to fail.
    faults: bool,
}

impl Idempotent {
    /// `name` tells its records from all others'.
    pub(crate) fn new(name: String, partition: u32, chance: Chance) -> Idempotent {
        Idempotent { name, partition, id: None, next: 0, unanswered: VecDeque::new(), chance, faults: false }
    }

    /// Sends until the server is gone; gives what was acknowledged.
    pub(crate) fn run(
        mut self,
        address: SocketAddr,
        answers: &Arc<AtomicU64>,
        over: &AtomicBool,
        faults: bool,
    ) -> (Idempotent, Vec<Acknowledged>) {
        self.faults = faults;
        let mut acknowledged = Vec::new();
        // The server's end is the load's end.
        let _ = self.converse(address, answers, over, &mut acknowledged);
        (self, acknowledged)
    }

    fn converse(
        &mut self,
        address: SocketAddr,
        answers: &AtomicU64,
        over: &AtomicBool,
        acknowledged: &mut Vec<Acknowledged>,
    ) -> io::Result<()> {
        let mut stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(90)))?;
        let (id, epoch) = match self.id {
            Some(id) => id,
            None => *self.id.insert(introduce(&mut stream)?),
        };
        // First, in their order, those whose fate is unknown.
        let mut sent = 0;
        while !over.load(Ordering::SeqCst) {
            while sent < IN_FLIGHT {
                if sent == self.unanswered.len() {
                    let batch = self.batch(id, epoch);
                    self.unanswered.push_back(batch);
                }
                self.send(&mut stream, sent)?;
                sent += 1;
            }
            let answer = receive(&mut stream, ProduceResponse::header_version(PRODUCE_VERSION))?;
            let Some(base) = produced(&answer, self.faults) else { return Ok(()) };
            let batch = self.unanswered.pop_front().unwrap();
            sent -= 1;
            acknowledged.extend((0..batch.count).map(|n| Acknowledged {
                partition: self.partition,
                offset: base + n,
                producer: self.name.clone(),
                sequence: batch.first + n,
            }));
            answers.fetch_add(1, Ordering::SeqCst);
        }
        Ok(())
    }

    /// The next batch.
    fn batch(&mut self, id: i64, epoch: i16) -> Batch {
        let (first, count) = (self.next, self.chance.within(1, 20));
        self.next += count;
        let record = |n: u64| Record {
            transactional: false,
            control: false,
            delete_horizon: false,
            partition_leader_epoch: -1,
            producer_id: id,
            producer_epoch: epoch,
            timestamp_type: TimestampType::Creation,
            offset: i64::try_from(n - first).unwrap(),
            sequence: i32::try_from(n).unwrap(),
            timestamp: 1_700_000_000_000,
            key: Some(Bytes::from(self.name.clone())),
            value: Some(Bytes::from(value(&self.name, n))),
            headers: kafka_protocol::indexmap::IndexMap::new(),
        };
        let records: Vec<Record> = (first..first + count).map(record).collect();
        let mut encoded = BytesMut::new();
        let options = RecordEncodeOptions { version: 2, compression: Compression::None };
        RecordBatchEncoder::encode(&mut encoded, &records, &options).unwrap();
        Batch { first, count, encoded: encoded.freeze() }
    }

    fn send(&self, stream: &mut TcpStream, at: usize) -> io::Result<()> {
        let index = i32::try_from(self.partition).unwrap();
        let records = Some(self.unanswered[at].encoded.clone());
        let data = PartitionProduceData::default().with_index(index).with_records(records);
        let topic = TopicProduceData::default()
            .with_name(TopicName(StrBytes::from_static_str(TOPIC)))
            .with_partition_data(vec![data]);
        let request = ProduceRequest::default()
            .with_transactional_id(None)
            .with_acks(-1)
            .with_timeout_ms(60_000)
            .with_topic_data(vec![topic]);
        request_with(stream, ApiKey::Produce, PRODUCE_VERSION, &request)
    }
}

/// Asks for a producer's id and epoch.
fn introduce(stream: &mut TcpStream) -> io::Result<(i64, i16)> {
    let request =
        InitProducerIdRequest::default().with_transactional_id(None).with_transaction_timeout_ms(60_000);
    request_with(stream, ApiKey::InitProducerId, INIT_VERSION, &request)?;
    let mut answer = receive(stream, InitProducerIdResponse::header_version(INIT_VERSION))?;
    let given = InitProducerIdResponse::decode(&mut answer, INIT_VERSION).unwrap();
    assert_eq!(given.error_code, 0, "no producer id");
    Ok((given.producer_id.0, given.producer_epoch))
}

/// The offset of the first record; `None` when a server that stops, or whose disk failed, did not take the batch.
fn produced(answer: &Bytes, faults: bool) -> Option<u64> {
    const NOT_LEADER: i16 = 6;
    const STORAGE: i16 = 56;
    let told = ProduceResponse::decode(&mut answer.clone(), PRODUCE_VERSION).unwrap();
    let here = &told.responses[0].partition_responses[0];
    if here.error_code == NOT_LEADER || (faults && here.error_code == STORAGE) {
        return None;
    }
    assert_eq!(here.error_code, 0, "{:?}", here.error_message);
    Some(u64::try_from(here.base_offset).unwrap())
}

fn request_with(stream: &mut TcpStream, api: ApiKey, version: i16, body: &impl Encodable) -> io::Result<()> {
    let header = RequestHeader::default()
        .with_request_api_key(api as i16)
        .with_request_api_version(version)
        .with_client_id(Some(StrBytes::from_static_str("crash")));
    let mut bytes = BytesMut::new();
    encode_request_header_into_buffer(&mut bytes, &header).unwrap();
    body.encode(&mut bytes, version).unwrap();
    stream.write_all(&u32::try_from(bytes.len()).unwrap().to_be_bytes())?;
    stream.write_all(&bytes)
}

/// An answer without its header.
fn receive(stream: &mut TcpStream, header_version: i16) -> io::Result<Bytes> {
    let mut len = [0; 4];
    stream.read_exact(&mut len)?;
    let mut bytes = vec![0; usize::try_from(u32::from_be_bytes(len)).unwrap()];
    stream.read_exact(&mut bytes)?;
    let mut bytes = Bytes::from(bytes);
    ResponseHeader::decode(&mut bytes, header_version).unwrap();
    assert!(bytes.has_remaining());
    Ok(bytes)
}
