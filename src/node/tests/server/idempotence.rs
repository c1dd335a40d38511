//! Idempotent producers on Kafka's port, byte by byte: pipelined, killed in between, sent again.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use tidelog_format::batch::{BatchBuilder, Codec, Record};
use tidelog_proto::kafka::ask::{request, response};
use tidelog_proto::kafka::init_producer_id::InitProducerIdRequest;

use crate::support::chance::Chance;
use crate::support::http::Http;
use crate::support::node::Node;
use crate::{ok, start, values};

/// The last version of Produce that is not flexible, which is easily written by hand.
const PRODUCE_VERSION: i16 = 8;

/// A connection that may have several requests in flight.
struct Kafka {
    stream: TcpStream,
    sent: i32,
    answered: i32,
}

impl Kafka {
    fn connect(address: SocketAddr) -> Kafka {
        Kafka { stream: TcpStream::connect(address).unwrap(), sent: 0, answered: 0 }
    }

    fn send(&mut self, frame: &[u8]) {
        self.sent += 1;
        self.stream.write_all(frame).unwrap();
    }

    /// The next answer, from its correlation id on. Answers come in the order of the requests.
    fn answer(&mut self) -> Vec<u8> {
        let mut len = [0; 4];
        self.stream.read_exact(&mut len).unwrap();
        let mut answer = vec![0; usize::try_from(i32::from_be_bytes(len)).unwrap()];
        self.stream.read_exact(&mut answer).unwrap();
        self.answered += 1;
        assert_eq!(answer[..4], self.answered.to_be_bytes());
        answer
    }

    /// Error, id and epoch that InitProducerId gives for the producer that asks.
    fn init(&mut self, producer_id: i64, producer_epoch: i16) -> (i16, i64, i16) {
        let asked = InitProducerIdRequest { producer_id, producer_epoch, ..Default::default() };
        let frame = request(&asked, self.sent + 1, "test").concat();
        self.send(&frame);
        let (_, answer) = response::<InitProducerIdRequest>(&self.answer()).unwrap();
        (answer.error_code, answer.producer_id, answer.producer_epoch)
    }

    /// Sends a batch to partition 0 of `t`.
    fn produce(&mut self, batch: &[u8]) {
        let mut body = Vec::new();
        body.extend(0i16.to_be_bytes());
        body.extend(PRODUCE_VERSION.to_be_bytes());
        body.extend((self.sent + 1).to_be_bytes());
        // No client id, no transaction, acks of all, 30 s; one topic with one partition.
        body.extend([0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF]);
        body.extend(30_000i32.to_be_bytes());
        body.extend([0, 0, 0, 1, 0, 1, b't', 0, 0, 0, 1, 0, 0, 0, 0]);
        body.extend(u32::try_from(batch.len()).unwrap().to_be_bytes());
        body.extend(batch);
        let mut frame = u32::try_from(body.len()).unwrap().to_be_bytes().to_vec();
        frame.extend(body);
        self.send(&frame);
    }

    /// Error and base offset of the next answer to a produce.
    fn produced(&mut self) -> (i16, i64) {
        let answer = self.answer();
        // Behind correlation id, number of topics, name, number of partitions, index.
        let at = 4 + 4 + 3 + 4 + 4;
        let error = i16::from_be_bytes(answer[at..at + 2].try_into().unwrap());
        (error, i64::from_be_bytes(answer[at + 2..at + 10].try_into().unwrap()))
    }

    fn produce_one(&mut self, batch: &[u8]) -> (i16, i64) {
        self.produce(batch);
        self.produced()
    }
}

fn batch((id, epoch, sequence): (i64, i16, i32), values: &[String]) -> Vec<u8> {
    let mut builder = BatchBuilder::new(Codec::None).producer(id, epoch, sequence);
    for value in values {
        let record = Record { timestamp: 5, key: None, value: Some(value.as_bytes()), headers: Vec::new() };
        builder.push(&record).unwrap();
    }
    builder.finish().unwrap().bytes().to_vec()
}

fn one(id: i64, epoch: i16, sequence: i32) -> Vec<u8> {
    batch((id, epoch, sequence), &[format!("{epoch}.{sequence}")])
}

/// A server with a topic, a connection, and a producer that wrote so many batches of one record to its partition.
fn written(batches: i32) -> (Node, Http, Kafka, i64) {
    let (node, mut http) = start("");
    ok(http.post("/v1/topics/t/records", "text/plain", b"of nobody"));
    let mut kafka = Kafka::connect(node.kafka());
    let (error, id, epoch) = kafka.init(-1, -1);
    assert_eq!((error, epoch), (0, 0));
    for sequence in 0..batches {
        assert_eq!(kafka.produce_one(&one(id, 0, sequence)), (0, i64::from(sequence) + 1));
    }
    (node, http, kafka, id)
}

fn sum(http: &mut Http, name: &str) -> u64 {
    let metrics = http.get("/metrics").unwrap().text();
    let lines = metrics.lines().filter(|line| line.starts_with(&format!("tidelog_{name}{{")));
    lines.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum()
}

#[test]
fn a_batch_sent_again_is_stored_once_and_answered_with_its_offset() {
    let (node, mut http, mut kafka, id) = written(6);
    for sequence in 1..6 {
        assert_eq!(kafka.produce_one(&one(id, 0, sequence)), (0, i64::from(sequence) + 1));
    }
    assert_eq!(kafka.produce_one(&one(id + 1, 0, 99)), (0, 7), "an unknown producer begins anywhere");
    assert_eq!(values(&node, "t", 0).len(), 8);
    assert_eq!((sum(&mut http, "wal_duplicates_total"), sum(&mut http, "wal_producers")), (5, 2));
}

#[test]
fn a_batch_behind_a_missing_one_is_out_of_order() {
    let (node, mut http, mut kafka, id) = written(3);
    assert_eq!(kafka.produce_one(&one(id, 0, 4)), (45, -1));
    assert_eq!(kafka.produce_one(&one(id, 1, 3)), (45, -1), "a new epoch begins with 0");
    let two = batch((id, 0, 2), &["0.2".to_owned(), "0.3".to_owned()]);
    assert_eq!(kafka.produce_one(&two), (45, -1), "cut otherwise than before");
    // The rest of a pipeline is refused with the first of it.
    for sequence in [4, 5, 6] {
        kafka.produce(&one(id, 0, sequence));
    }
    assert_eq!([0; 3].map(|_| kafka.produced()), [(45, -1); 3]);
    assert_eq!(kafka.produce_one(&one(id, 0, 3)), (0, 4), "the missing one");
    assert_eq!((values(&node, "t", 0).len(), sum(&mut http, "wal_out_of_order_total")), (5, 6));
}

#[test]
fn a_batch_sent_again_too_late_is_a_duplicate_without_an_offset() {
    let (node, mut http, mut kafka, id) = written(7);
    assert_eq!(kafka.produce_one(&one(id, 0, 1)), (46, -1));
    assert_eq!(kafka.produce_one(&one(id, 0, 2)), (0, 3));
    assert_eq!((values(&node, "t", 0).len(), sum(&mut http, "wal_duplicates_forgotten_total")), (8, 1));
    // What began in the middle was not stored from the beginning: nobody may take that for success.
    assert_eq!(kafka.produce_one(&one(id + 1, 0, 5)), (0, 8));
    assert_eq!(kafka.produce_one(&one(id + 1, 0, 4)), (45, -1));
}

#[test]
fn a_producer_whose_epoch_is_over_is_told_so() {
    let (node, mut http, mut kafka, id) = written(2);
    assert_eq!(kafka.init(id, 0), (0, id, 1));
    assert_eq!(kafka.produce_one(&one(id, 1, 0)), (0, 3));
    assert_eq!(kafka.produce_one(&one(id, 0, 2)), (47, -1));
    assert_eq!((values(&node, "t", 0).len(), sum(&mut http, "wal_old_epochs_total")), (4, 1));
}

#[test]
fn a_producer_id_without_its_epoch_or_sequence_is_not_stored() {
    let (node, _, mut kafka, id) = written(0);
    assert_eq!(kafka.produce_one(&one(id, -1, 0)), (87, -1));
    assert_eq!(kafka.produce_one(&one(id, 0, -1)), (87, -1));
    assert_eq!(values(&node, "t", 0).len(), 1);
}

#[test]
fn half_a_producer_is_a_request_without_sense() {
    let (_node, _, mut kafka, id) = written(0);
    assert_eq!((kafka.init(id, -1).0, kafka.init(-1, 0).0), (42, 42));
}

#[test]
fn producer_ids_are_never_given_twice_and_an_epoch_is_raised_only_for_its_owner() {
    let (mut node, _) = start("");
    let mut given = Vec::new();
    for _ in 0..3 {
        let mut kafka = Kafka::connect(node.kafka());
        for _ in 0..3 {
            let (error, id, epoch) = kafka.init(-1, -1);
            assert_eq!((error, epoch), (0, 0));
            given.push(id);
        }
        let own = given[given.len() - 1];
        assert_eq!(kafka.init(own, 0), (0, own, 1), "the next epoch");
        assert_eq!(kafka.init(own, i16::MAX - 2), (0, own, i16::MAX - 1));
        for (asked, epoch, why) in [
            (own, i16::MAX - 1, "no epoch is left"),
            (own + 20, 0, "reserved, and not given to anybody yet"),
            (i64::MAX, 0, "of another cluster"),
        ] {
            let (error, id, epoch) = kafka.init(asked, epoch);
            assert_eq!((error, epoch), (0, 0), "{why}");
            assert_ne!(id, asked, "{why}");
            given.push(id);
        }
        node.kill();
        node.restart();
    }
    let all = given.len();
    given.sort_unstable();
    given.dedup();
    assert_eq!(given.len(), all, "{given:?}");
}

/// Batches of 1 to 4 records, as a client with five requests in flight sends them.
#[test]
fn what_is_pipelined_and_sent_again_after_a_kill_is_stored_once_and_in_order() {
    let (mut node, mut http) = start("");
    ok(http.post("/v1/topics/t/records", "text/plain", b"of nobody"));
    let mut chance = Chance::new("idempotence");
    let (_, id, _) = Kafka::connect(node.kafka()).init(-1, -1);
    let mut sequence = i32::MAX - 40;
    let mut made = vec!["of nobody".to_owned()];
    // Made and not acknowledged: the batch, and where its first record is when nothing is lost.
    let mut pending: VecDeque<(Vec<u8>, usize)> = VecDeque::new();
    for round in 0..12 {
        let mut kafka = Kafka::connect(node.kafka());
        // What the last process did not acknowledge is sent again, in order.
        for _ in 0..chance.within(1, 10) {
            while pending.len() < 5 {
                let count = usize::try_from(chance.within(1, 4)).unwrap();
                let own: Vec<_> = (0..count).map(|n| format!("value {}", made.len() + n)).collect();
                pending.push_back((batch((id, 0, sequence), &own), made.len()));
                made.extend(own);
                let next = i64::from(sequence) + i64::try_from(count).unwrap();
                sequence = i32::try_from(next % (1 << 31)).unwrap();
            }
            pending.iter().for_each(|(batch, _)| kafka.produce(batch));
            for _ in 0..5 {
                let answer = kafka.produced();
                let (_, at) = pending.pop_front().unwrap();
                assert_eq!(answer, (0, i64::try_from(at).unwrap()), "round {round}");
            }
        }
        // Five are on their way, and some of their answers are read; the kill comes in between.
        while pending.len() < 5 {
            let own = vec![format!("value {}", made.len())];
            let bytes = batch((id, 0, sequence), &own);
            kafka.produce(&bytes);
            pending.push_back((bytes, made.len()));
            made.extend(own);
            sequence = i32::try_from((i64::from(sequence) + 1) % (1 << 31)).unwrap();
        }
        for _ in 0..chance.within(0, 4) {
            let (_, at) = pending.pop_front().unwrap();
            assert_eq!(kafka.produced(), (0, i64::try_from(at).unwrap()), "round {round}");
        }
        node.kill();
        node.restart();
    }
    let mut kafka = Kafka::connect(node.kafka());
    for (batch, at) in pending {
        assert_eq!(kafka.produce_one(&batch), (0, i64::try_from(at).unwrap()));
        // And once more, for no reason.
        assert_eq!(kafka.produce_one(&batch), (0, i64::try_from(at).unwrap()));
    }
    assert!(values(&node, "t", 0) == made, "lost, twice or out of order");
}
