//! An idempotent producer over Kafka's port that outlives whom it writes to: what was not acknowledged it sends again, as the
//! same batches with the same numbers, and goes on behind them.
//!
//! The messages are made by a crate of others, so that both sides cannot share a mistake.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{
    ApiKey, InitProducerIdRequest, InitProducerIdResponse, MetadataRequest, MetadataResponse, ProduceRequest,
    ProduceResponse, RequestHeader, ResponseHeader, TopicName,
};
use kafka_protocol::protocol::{
    Decodable, Encodable, HeaderVersion, StrBytes, encode_request_header_into_buffer,
};
use kafka_protocol::records::{Compression, Record, RecordBatchEncoder, RecordEncodeOptions, TimestampType};

use super::chance::Chance;

const PRODUCE_VERSION: i16 = 9;
const INIT_VERSION: i16 = 4;
const METADATA_VERSION: i16 = 9;
/// Kafka's own producers have at most so many requests in flight when they are idempotent.
const IN_FLIGHT: usize = 5;

/// Counts what happens, over all threads: of two events that one waited for the other, the later one has the larger number.
static EVENTS: AtomicU64 = AtomicU64::new(0);

fn event() -> u64 {
    EVENTS.fetch_add(1, Ordering::SeqCst)
}

/// A batch that is not acknowledged yet.
struct Batch {
    first: u64,
    count: u64,
    encoded: Bytes,
    /// When it was first sent.
    begun: Option<u64>,
}

/// Records that were acknowledged together.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Acknowledged {
    /// Offset of the first one.
    pub(crate) base: u64,
    /// Sequence number of the first one.
    pub(crate) first: u64,
    pub(crate) count: u64,
    /// When they were sent the first time, and when they were acknowledged, as numbers of events.
    pub(crate) begun: u64,
    pub(crate) ended: u64,
}

/// How to write, and to whom.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Manners {
    /// Whoever says nothing for so long is given up.
    pub(crate) patience: Duration,
    /// Time between an answer and the next batch.
    pub(crate) pause: Duration,
    /// Largest number of records in a batch.
    pub(crate) records: u64,
    /// Codes of errors that send it away; any other one is a defect.
    pub(crate) refusals: &'static [i16],
}

/// The producer, in and between conversations.
pub(crate) struct Idempotent {
    topic: &'static str,
    partition: u32,
    name: String,
    /// The value of a record with a number.
    value: fn(&str, u64) -> String,
    /// Id and epoch, once the server gave them.
    id: Option<(i64, i16)>,
    next: u64,
    unanswered: VecDeque<Batch>,
    chance: Chance,
    manners: Manners,
}

impl Idempotent {
    /// `name` tells its records from all others'.
    pub(crate) fn new(
        (topic, partition): (&'static str, u32),
        name: String,
        value: fn(&str, u64) -> String,
        manners: Manners,
        chance: Chance,
    ) -> Idempotent {
        let unanswered = VecDeque::new();
        Idempotent { topic, partition, name, value, id: None, next: 0, unanswered, chance, manners }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn partition(&self) -> u32 {
        self.partition
    }

    /// How many records it has made.
    pub(crate) fn made(&self) -> u64 {
        self.next
    }

    /// Whether the fate of each is known.
    pub(crate) fn is_answered(&self) -> bool {
        self.unanswered.is_empty()
    }

    /// What its next conversations are like.
    pub(crate) fn with(&mut self, refusals: &'static [i16]) {
        self.manners.refusals = refusals;
    }

    /// Writes to `address` until that ends, or refuses, or `over` is set and all that was begun is acknowledged.
    pub(crate) fn converse(
        &mut self,
        address: SocketAddr,
        over: &AtomicBool,
        told: &mut dyn FnMut(Acknowledged),
    ) -> io::Result<()> {
        let mut stream = connect(address, self.manners.patience)?;
        let (id, epoch) = match self.id {
            Some(id) => id,
            None => match introduce(&mut stream, self.manners.refusals)? {
                Some(given) => *self.id.insert(given),
                None => return Ok(()),
            },
        };
        // First, in their order, those whose fate is unknown.
        let mut sent = 0;
        loop {
            while sent < IN_FLIGHT {
                if sent == self.unanswered.len() {
                    if over.load(Ordering::SeqCst) {
                        break;
                    }
                    let batch = self.batch(id, epoch);
                    self.unanswered.push_back(batch);
                }
                self.send(&mut stream, sent)?;
                sent += 1;
            }
            if sent == 0 {
                return Ok(());
            }
            let answer = receive(&mut stream, ProduceResponse::header_version(PRODUCE_VERSION))?;
            let Some(base) = produced(&answer, self.manners.refusals) else { return Ok(()) };
            let batch = self.unanswered.pop_front().unwrap();
            sent -= 1;
            told(Acknowledged {
                base,
                first: batch.first,
                count: batch.count,
                begun: batch.begun.unwrap(),
                ended: event(),
            });
            std::thread::sleep(self.manners.pause);
        }
    }

    /// The next batch.
    fn batch(&mut self, id: i64, epoch: i16) -> Batch {
        let (first, count) = (self.next, self.chance.within(1, self.manners.records));
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
            value: Some(Bytes::from((self.value)(&self.name, n))),
            headers: kafka_protocol::indexmap::IndexMap::new(),
        };
        let records: Vec<Record> = (first..first + count).map(record).collect();
        let mut encoded = BytesMut::new();
        let options = RecordEncodeOptions { version: 2, compression: Compression::None };
        RecordBatchEncoder::encode(&mut encoded, &records, &options).unwrap();
        Batch { first, count, encoded: encoded.freeze(), begun: None }
    }

    fn send(&mut self, stream: &mut TcpStream, at: usize) -> io::Result<()> {
        let batch = &mut self.unanswered[at];
        batch.begun.get_or_insert_with(event);
        let index = i32::try_from(self.partition).unwrap();
        let data =
            PartitionProduceData::default().with_index(index).with_records(Some(batch.encoded.clone()));
        let topic =
            TopicProduceData::default().with_name(name_of(self.topic)).with_partition_data(vec![data]);
        let request = ProduceRequest::default()
            .with_transactional_id(None)
            .with_acks(-1)
            .with_timeout_ms(60_000)
            .with_topic_data(vec![topic]);
        request_with(stream, ApiKey::Produce, PRODUCE_VERSION, &request)
    }
}

/// Who leads a partition, by what the server at `address` says; `None` when it does not know.
pub(crate) fn leader(
    address: SocketAddr,
    (topic, partition): (&'static str, u32),
    patience: Duration,
) -> io::Result<Option<SocketAddr>> {
    let mut stream = connect(address, patience)?;
    let named = MetadataRequestTopic::default().with_name(Some(name_of(topic)));
    let request =
        MetadataRequest::default().with_topics(Some(vec![named])).with_allow_auto_topic_creation(false);
    request_with(&mut stream, ApiKey::Metadata, METADATA_VERSION, &request)?;
    let mut answer = receive(&mut stream, MetadataResponse::header_version(METADATA_VERSION))?;
    let known = MetadataResponse::decode(&mut answer, METADATA_VERSION).unwrap();
    let index = i32::try_from(partition).unwrap();
    let partitions = known.topics.first().map_or(&[][..], |topic| &topic.partitions[..]);
    let Some(found) = partitions.iter().find(|one| one.partition_index == index && one.error_code == 0)
    else {
        return Ok(None);
    };
    let leads = known.brokers.iter().find(|broker| broker.node_id == found.leader_id);
    Ok(leads.and_then(|broker| format!("{}:{}", &*broker.host, broker.port).parse().ok()))
}

fn name_of(topic: &'static str) -> TopicName {
    TopicName(StrBytes::from_static_str(topic))
}

fn connect(address: SocketAddr, patience: Duration) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&address, patience)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(patience))?;
    stream.set_write_timeout(Some(patience))?;
    Ok(stream)
}

/// Asks for a producer's id and epoch; `None` when that is refused for now.
fn introduce(stream: &mut TcpStream, refusals: &[i16]) -> io::Result<Option<(i64, i16)>> {
    let request =
        InitProducerIdRequest::default().with_transactional_id(None).with_transaction_timeout_ms(60_000);
    request_with(stream, ApiKey::InitProducerId, INIT_VERSION, &request)?;
    let mut answer = receive(stream, InitProducerIdResponse::header_version(INIT_VERSION))?;
    let given = InitProducerIdResponse::decode(&mut answer, INIT_VERSION).unwrap();
    if refusals.contains(&given.error_code) {
        return Ok(None);
    }
    assert_eq!(given.error_code, 0, "no producer id");
    Ok(Some((given.producer_id.0, given.producer_epoch)))
}

/// The offset of the first record; `None` when a batch was not taken as servers may refuse one.
fn produced(answer: &Bytes, refusals: &[i16]) -> Option<u64> {
    let told = ProduceResponse::decode(&mut answer.clone(), PRODUCE_VERSION).unwrap();
    let here = &told.responses[0].partition_responses[0];
    if refusals.contains(&here.error_code) {
        return None;
    }
    assert_eq!(here.error_code, 0, "{:?}", here.error_message);
    Some(u64::try_from(here.base_offset).unwrap())
}

fn request_with(stream: &mut TcpStream, api: ApiKey, version: i16, body: &impl Encodable) -> io::Result<()> {
    let header = RequestHeader::default()
        .with_request_api_key(api as i16)
        .with_request_api_version(version)
        .with_client_id(Some(StrBytes::from_static_str("audited")));
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
