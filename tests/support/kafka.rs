//! A client of Kafka's port without a mind of its own: it sends what it is told, byte by byte if need be.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;

use tidelog_format::batch::{BatchBuilder, Codec, Record};
use tidelog_proto::kafka::ErrorCode;
use tidelog_proto::kafka::ask::{self, Ask};
use tidelog_proto::kafka::metadata::{MetadataRequest, MetadataRequestTopic};
use tidelog_proto::kafka::produce::{PartitionProduceResponse, ProduceRequest};

use super::node::Node;
use super::wait::PATIENCE;

/// Stands in every request; there is one at a time.
const CORRELATION: i32 = 7;

/// A connection.
pub(crate) struct Kafka(TcpStream);

impl Kafka {
    pub(crate) fn new(node: &Node) -> Kafka {
        let stream = TcpStream::connect(node.kafka()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Kafka(stream)
    }

    /// The answer to a request in the newest version.
    pub(crate) fn ask<A: Ask>(&mut self, request: &A) -> A::Answer {
        self.begin(request);
        self.answer::<A>()
    }

    /// Sends a request and does not wait.
    pub(crate) fn begin(&mut self, request: &impl Ask) {
        self.send(&ask::request(request, CORRELATION, "raw").concat());
    }

    pub(crate) fn answer<A: Ask>(&mut self) -> A::Answer {
        let frame = self.frame().expect("the server closed the connection");
        let (correlation, answer) = ask::response::<A>(&frame).unwrap();
        assert_eq!(correlation, CORRELATION);
        answer
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).unwrap();
    }

    /// The next answer without its length; `None` when the server closed the connection.
    pub(crate) fn frame(&mut self) -> Option<Vec<u8>> {
        let mut len = [0; 4];
        match self.0.read_exact(&mut len) {
            Ok(()) => {}
            Err(error) if matches!(error.kind(), ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset) => {
                return None;
            }
            Err(error) => panic!("neither an answer nor an end: {error}"),
        }
        let mut frame = vec![0; usize::try_from(i32::from_be_bytes(len)).unwrap()];
        self.0.read_exact(&mut frame).unwrap();
        Some(frame)
    }

    /// Produces bytes as one partition's batches.
    pub(crate) fn produce(
        &mut self,
        topic: &str,
        partition: i32,
        batches: &[u8],
    ) -> PartitionProduceResponse {
        self.produce_as(None, -1, topic, partition, Some(batches))
    }

    pub(crate) fn produce_as(
        &mut self,
        transaction: Option<&str>,
        acks: i16,
        topic: &str,
        partition: i32,
        batches: Option<&[u8]>,
    ) -> PartitionProduceResponse {
        self.send(&produce_frame(transaction, acks, topic, partition, batches));
        let answer = self.answer::<ProduceRequest>();
        answer.responses[0].partition_responses[0].clone()
    }

    /// A topic's id, by its name; made on the way when it is not there.
    pub(crate) fn topic_id(&mut self, topic: &str) -> [u8; 16] {
        let named = MetadataRequestTopic { name: Some(topic.to_owned()), ..Default::default() };
        let request = MetadataRequest {
            topics: Some(vec![named]),
            allow_auto_topic_creation: true,
            ..Default::default()
        };
        let answer = self.ask(&request);
        assert_eq!(answer.topics[0].error_code, 0);
        answer.topics[0].topic_id
    }
}

/// A produce request of the newest version. Ours cannot be written by the codec of a server.
pub(crate) fn produce_frame(
    transaction: Option<&str>,
    acks: i16,
    topic: &str,
    partition: i32,
    batches: Option<&[u8]>,
) -> Vec<u8> {
    let mut body = vec![0, 0, 0, 11, 0, 0, 0, 7, 0, 3, b'r', b'a', b'w', 0];
    compact(&mut body, transaction.map(str::as_bytes));
    body.extend_from_slice(&acks.to_be_bytes());
    body.extend_from_slice(&1_000_i32.to_be_bytes());
    body.push(2);
    compact(&mut body, Some(topic.as_bytes()));
    body.push(2);
    body.extend_from_slice(&partition.to_be_bytes());
    compact(&mut body, batches);
    body.extend_from_slice(&[0, 0, 0]);
    [&u32::try_from(body.len()).unwrap().to_be_bytes()[..], &body].concat()
}

/// Bytes in the compact encoding: their length and one more in base 128, 0 for null.
fn compact(out: &mut Vec<u8>, bytes: Option<&[u8]>) {
    let mut size = bytes.map_or(0, |bytes| bytes.len() + 1);
    while size >= 0x80 {
        out.push(u8::try_from(size & 0x7f).unwrap() | 0x80);
        size >>= 7;
    }
    out.push(u8::try_from(size).unwrap());
    out.extend_from_slice(bytes.unwrap_or_default());
}

/// A batch of values.
pub(crate) fn batch(values: &[&[u8]]) -> Vec<u8> {
    let mut builder = BatchBuilder::new(Codec::None);
    for value in values {
        builder.push(&Record { timestamp: 1_000, value: Some(value), ..Record::default() }).unwrap();
    }
    builder.finish().unwrap().bytes().to_vec()
}

/// A batch in which one thing is changed, under a checksum that is right.
pub(crate) fn changed(change: impl FnOnce(&mut [u8])) -> Vec<u8> {
    let mut bytes = batch(&[b"value"]);
    change(&mut bytes);
    let crc = crc32c::crc32c(&bytes[21..]);
    bytes[17..21].copy_from_slice(&crc.to_be_bytes());
    bytes
}

/// Fails unless the number is that of the code.
#[track_caller]
pub(crate) fn assert_code(number: i16, code: ErrorCode) {
    let found = ErrorCode::ALL.iter().find(|known| known.number() == number);
    assert_eq!(found, Some(&code), "{number}");
}
