//! Producers over all front ends, a reader at the tail, and the ledger of what they were told.

use std::fs::File;
use std::io::Write;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::kept;
use crate::support::chance::Chance;
use crate::support::http::Http;
use crate::support::idempotent::{self, Idempotent, Manners};
use crate::support::node::Node;
use crate::support::{read, wait};

pub(crate) const TOPIC: &str = "crash";
/// Partitions of the topic: one shared by all producers, the others each shared by some.
pub(crate) const PARTITIONS: u32 = 4;
/// Where OpenTSDB's points go.
pub(crate) const POINTS: &str = "tsdb";
const PRODUCERS: u64 = 3;
/// Kafka's producers live as long as the directory does.
const IDEMPOTENT: u32 = 2;
/// Kafka's codes of a server that stops, and of one whose disk failed.
const NOT_LEADER: i16 = 6;
const STORAGE: i16 = 56;

/// A record that was acknowledged.
#[derive(Debug, Clone)]
pub(crate) struct Acknowledged {
    pub(crate) partition: u32,
    pub(crate) offset: u64,
    pub(crate) producer: String,
    pub(crate) sequence: u64,
}

impl Acknowledged {
    /// A line of a ledger that outlives a crash.
    fn line(&self) -> String {
        let Acknowledged { partition, offset, producer, sequence } = self;
        format!("{partition} {offset} {producer} {sequence}\n")
    }

    /// What such a line says.
    pub(crate) fn of_line(line: &str) -> Acknowledged {
        let words: Vec<&str> = line.split(' ').collect();
        let [partition, offset, producer, sequence] = words[..] else {
            panic!("{line} is no line of a ledger")
        };
        let number = |word: &str| word.parse().unwrap();
        Acknowledged {
            partition: partition.parse().unwrap(),
            offset: number(offset),
            producer: producer.to_owned(),
            sequence: number(sequence),
        }
    }
}

/// What is known outside of the server.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    pub(crate) acknowledged: Vec<Acknowledged>,
    /// A series, and how many of its points were acknowledged: they are numbered from 0.
    pub(crate) points: (String, u64),
    /// Records of partition 0 that a reader was given, from an offset on.
    pub(crate) seen: (usize, Vec<read::Record>),
    /// Acknowledged in the topic that keeps little.
    pub(crate) kept: Vec<Acknowledged>,
}

/// The value of a record: it follows from who sent it and which one it is.
pub(crate) fn value(producer: &str, sequence: u64) -> String {
    if producer.ends_with('}') {
        // A series has numbers.
        return sequence.to_string();
    }
    let mut chance = sequence.wrapping_mul(0x2545_f491_4f6c_dd1d) ^ producer.len() as u64;
    chance ^= chance >> 29;
    let filler = match chance % 50 {
        0 => 60_000,
        1..5 => 4_000,
        _ => chance % 300,
    };
    let letter = char::from(b'a' + u8::try_from(chance % 26).unwrap());
    let len = usize::try_from(filler).unwrap();
    let filler = match producer.ends_with(kept::PRODUCER) {
        true => noise(chance).take(len).collect(),
        false => letter.to_string().repeat(len),
    };
    format!("{producer} {sequence} {filler}")
}

/// Letters that compression makes little smaller.
fn noise(mut chance: u64) -> impl Iterator<Item = char> {
    std::iter::repeat_with(move || {
        chance = chance.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        char::from(b'0' + u8::try_from(chance >> 58).unwrap())
    })
}

/// The producers that go on where they were when the server was killed.
pub(crate) struct Lasting(Vec<Idempotent>);

impl Lasting {
    pub(crate) fn new(chance: &mut Chance) -> Lasting {
        let manners =
            Manners { patience: wait::PATIENCE, pause: Duration::ZERO, records: 20, refusals: &[NOT_LEADER] };
        let producer =
            |n: u32| Idempotent::new((TOPIC, n), format!("k{n}"), value, manners, chance.fork(n.into()));
        Lasting((0..IDEMPOTENT).map(producer).collect())
    }
}

/// A load that runs.
pub(crate) struct Load {
    answers: Arc<AtomicU64>,
    over: Arc<AtomicBool>,
    producers: Vec<JoinHandle<Vec<Acknowledged>>>,
    lasting: Vec<JoinHandle<(Idempotent, Vec<Acknowledged>)>>,
    points: JoinHandle<(String, u64)>,
    kept: JoinHandle<Vec<Acknowledged>>,
    reader: JoinHandle<(usize, Vec<read::Record>)>,
}

/// What a load begins with.
pub(crate) struct Begin<'a> {
    /// Tells the names of its producers from those of other loads on the same directory.
    pub(crate) cycle: u64,
    pub(crate) lasting: Lasting,
    /// Where the reader of partition 0 begins.
    pub(crate) from: usize,
    pub(crate) chance: &'a mut Chance,
    /// The disk is going to fail: the server may say so instead of acknowledging.
    pub(crate) faults: bool,
}

impl Load {
    pub(crate) fn start(node: &Node, begin: Begin<'_>) -> Load {
        let Begin { cycle, lasting, from, chance, faults } = begin;
        let (address, kafka) = (node.address(), node.kafka());
        let (answers, over) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let sender = |name: String| Sender {
            topic: TOPIC,
            name,
            http: Http::new(address),
            answers: Arc::clone(&answers),
            over: Arc::clone(&over),
            faults,
            told: None,
        };
        let producers = (0..PRODUCERS).map(|n| {
            let (sender, chance) = (sender(format!("c{cycle}p{n}")), chance.fork(n));
            let home = u32::try_from(n + 1).unwrap() % PARTITIONS;
            std::thread::spawn(move || sender.produce(home, chance))
        });
        let producers = producers.collect();
        let (series, dice) = (sender(format!("c{cycle}{{from=crash}}")), chance.fork(PRODUCERS));
        let points = std::thread::spawn(move || series.put(dice));
        let (keeper, dice) = (
            Sender { topic: kept::TOPIC, ..sender(format!("c{cycle}{}", kept::PRODUCER)) },
            chance.fork(PRODUCERS + 1),
        );
        let kept = std::thread::spawn(move || keeper.produce(0, dice));
        let lasting = lasting.0.into_iter().map(|producer| {
            let (answers, over) = (Arc::clone(&answers), Arc::clone(&over));
            std::thread::spawn(move || write_on(producer, kafka, &answers, &over, faults))
        });
        let lasting = lasting.collect();
        let stop = Arc::clone(&over);
        let reader = std::thread::spawn(move || (from, tail(address, from, &stop, faults)));
        Load { answers, over, producers, lasting, points, kept, reader }
    }

    /// How many requests were acknowledged so far.
    pub(crate) fn answers(&self) -> u64 {
        self.answers.load(Ordering::SeqCst)
    }

    /// Waits until so many requests were acknowledged.
    pub(crate) fn wait_for_answers(&self, count: u64) {
        wait::until("answers to producers", || (self.answers() >= count).then_some(()));
    }

    /// Ends the load (the server is gone by now) and gives what it was told, and who goes on.
    pub(crate) fn finish(self) -> (Ledger, Lasting) {
        self.over.store(true, Ordering::SeqCst);
        let mut acknowledged: Vec<Acknowledged> =
            self.producers.into_iter().flat_map(|producer| producer.join().unwrap()).collect();
        let lasting = self.lasting.into_iter().map(|producer| {
            let (producer, more) = producer.join().unwrap();
            acknowledged.extend(more);
            producer
        });
        let lasting = Lasting(lasting.collect());
        let (points, seen) = (self.points.join().unwrap(), self.reader.join().unwrap());
        let kept = self.kept.join().unwrap();
        (Ledger { acknowledged, points, seen, kept }, lasting)
    }
}

/// Writes until the server is gone; gives what was acknowledged.
fn write_on(
    mut producer: Idempotent,
    kafka: SocketAddr,
    answers: &AtomicU64,
    over: &AtomicBool,
    faults: bool,
) -> (Idempotent, Vec<Acknowledged>) {
    producer.with(if faults { &[NOT_LEADER, STORAGE] } else { &[NOT_LEADER] });
    let (name, partition) = (producer.name().to_owned(), producer.partition());
    let mut acknowledged = Vec::new();
    let mut told = |batch: idempotent::Acknowledged| {
        acknowledged.extend((0..batch.count).map(|n| Acknowledged {
            partition,
            offset: batch.base + n,
            producer: name.clone(),
            sequence: batch.first + n,
        }));
        answers.fetch_add(1, Ordering::SeqCst);
    };
    // The server's end is the load's end.
    let _ = producer.converse(kafka, over, &mut told);
    (producer, acknowledged)
}

/// Sends over HTTP until the server is gone; each sequence number once.
struct Sender {
    topic: &'static str,
    name: String,
    http: Http,
    answers: Arc<AtomicU64>,
    over: Arc<AtomicBool>,
    faults: bool,
    /// Where each acknowledgement is written down at once.
    told: Option<Arc<File>>,
}

/// Sends records until the server is gone or all of the machine, and writes down what is acknowledged.
pub(crate) fn produce_into(node: &Node, cycle: u64, ledger: File) {
    let (told, mut chance) = (Arc::new(ledger), Chance::new("records of a guest"));
    let producers = (0..PRODUCERS).map(|n| {
        let sender = Sender {
            topic: TOPIC,
            name: format!("c{cycle}p{n}"),
            http: Http::new(node.address()),
            answers: Arc::default(),
            over: Arc::default(),
            faults: false,
            told: Some(Arc::clone(&told)),
        };
        let (home, chance) = (u32::try_from(n + 1).unwrap() % PARTITIONS, chance.fork(n));
        std::thread::spawn(move || sender.produce(home, chance))
    });
    for producer in producers.collect::<Vec<_>>() {
        producer.join().unwrap();
    }
}

impl Sender {
    /// Records, to the home partition and to the one that all share.
    fn produce(mut self, home: u32, mut chance: Chance) -> Vec<Acknowledged> {
        let (mut acknowledged, mut next) = (Vec::new(), 0);
        while !self.over.load(Ordering::SeqCst) {
            let partition = if chance.within(0, 3) == 0 { 0 } else { home };
            let count = chance.within(1, 20);
            let Some(base) = self.send(partition, next, count) else { break };
            let records = (0..count).map(|n| Acknowledged {
                partition,
                offset: base + n,
                producer: self.name.clone(),
                sequence: next + n,
            });
            if let Some(mut told) = self.told.as_deref() {
                let lines: String = records.clone().map(|record| record.line()).collect();
                told.write_all(lines.as_bytes()).unwrap();
            }
            acknowledged.extend(records);
            next += count;
            self.answers.fetch_add(1, Ordering::SeqCst);
        }
        acknowledged
    }

    /// One request; the offset of its first record, or `None` when it was not acknowledged.
    fn send(&mut self, partition: u32, first: u64, count: u64) -> Option<u64> {
        let Sender { topic, name, .. } = &self;
        let lines: Vec<String> = (first..first + count)
            .map(|n| serde_json::json!({"key": name, "value": value(name, n)}).to_string() + "\n")
            .collect();
        let path = format!("/v1/topics/{topic}/records?partition={partition}");
        let body = self.post(&path, "application/x-ndjson", lines.concat().as_bytes(), 200)?;
        let told: serde_json::Value = serde_json::from_slice(&body).unwrap();
        let written = &told["partitions"][0];
        assert_eq!(
            (written["partition"].as_u64(), written["count"].as_u64()),
            (Some(partition.into()), Some(count))
        );
        Some(written["base_offset"].as_u64().unwrap())
    }

    /// Points of one series, numbered by their values; how many were acknowledged.
    fn put(mut self, mut chance: Chance) -> (String, u64) {
        let (metric, tag) = self.name.trim_end_matches('}').split_once("{from=").unwrap();
        let (metric, tag) = (metric.to_owned(), tag.to_owned());
        let mut next = 0;
        while !self.over.load(Ordering::SeqCst) {
            let count = chance.within(1, 30);
            let point = |n: u64| serde_json::json!({"metric": metric, "timestamp": 1_700_000_000, "value": n, "tags": {"from": tag}});
            let points: serde_json::Value = (next..next + count).map(point).collect();
            if self.post("/api/put", "application/json", points.to_string().as_bytes(), 204).is_none() {
                break;
            }
            next += count;
            self.answers.fetch_add(1, Ordering::SeqCst);
        }
        (self.name, next)
    }

    /// The body of an answer that acknowledges.
    fn post(&mut self, path: &str, kind: &str, body: &[u8], wanted: u16) -> Option<Vec<u8>> {
        let answer = self.http.post(path, kind, body).ok()?;
        // A server that stops may say so; nothing else is expected while the disk is sound.
        if answer.status == 503 || (self.faults && answer.status == 500) {
            return None;
        }
        assert_eq!(answer.status, wanted, "{}", answer.text());
        Some(answer.body)
    }
}

/// Reads partition 0 from an offset on, at the tail as it grows, until the server is gone.
fn tail(address: SocketAddr, from: usize, over: &AtomicBool, faults: bool) -> Vec<read::Record> {
    let (mut http, mut seen) = (Http::new(address), Vec::new());
    while !over.load(Ordering::SeqCst) {
        match read::page(&mut http, TOPIC, 0, (from + seen.len()) as u64, 100) {
            Ok(page) => seen.extend(page),
            Err(error) => {
                assert!(faults || error.kind() != std::io::ErrorKind::InvalidData, "{error}");
                break;
            }
        }
    }
    seen
}
