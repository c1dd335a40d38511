//! Producers over native HTTP, a reader at the tail, and the ledger of what they were told.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;

use crate::support::chance::Chance;
use crate::support::http::Http;
use crate::support::node::Node;
use crate::support::{read, wait};

pub(crate) const TOPIC: &str = "crash";
/// Partitions of the topic: one shared by all producers, the others each shared by some.
pub(crate) const PARTITIONS: u32 = 4;
const PRODUCERS: u64 = 4;

/// A record that was acknowledged.
#[derive(Debug, Clone)]
pub(crate) struct Acknowledged {
    pub(crate) partition: u32,
    pub(crate) offset: u64,
    pub(crate) producer: String,
    pub(crate) sequence: u64,
}

/// What is known outside of the server.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    pub(crate) acknowledged: Vec<Acknowledged>,
    /// Records that a reader was given: partition and records.
    pub(crate) seen: (u32, Vec<read::Record>),
}

/// The value of a record: it follows from who sent it and which one it is.
pub(crate) fn value(producer: &str, sequence: u64) -> String {
    let mut chance = sequence.wrapping_mul(0x2545_f491_4f6c_dd1d) ^ producer.len() as u64;
    chance ^= chance >> 29;
    let filler = match chance % 50 {
        0 => 60_000,
        1..5 => 4_000,
        _ => chance % 300,
    };
    let letter = char::from(b'a' + u8::try_from(chance % 26).unwrap());
    let len = usize::try_from(filler).unwrap();
    format!("{producer} {sequence} {}", letter.to_string().repeat(len))
}

/// A load that runs.
pub(crate) struct Load {
    answers: Arc<AtomicU64>,
    over: Arc<AtomicBool>,
    producers: Vec<JoinHandle<Vec<Acknowledged>>>,
    reader: JoinHandle<(u32, Vec<read::Record>)>,
}

impl Load {
    /// Starts the producers. `cycle` tells their names from those of other cycles.
    pub(crate) fn start(node: &Node, chance: &mut Chance, cycle: u64) -> Load {
        let address = node.address();
        let answers = Arc::new(AtomicU64::new(0));
        let over = Arc::new(AtomicBool::new(false));
        let producers = (0..PRODUCERS).map(|n| {
            let producer = Producer {
                name: format!("c{cycle}p{n}"),
                home: u32::try_from(n).unwrap() % PARTITIONS,
                http: Http::new(address),
                chance: chance.fork(n),
                answers: Arc::clone(&answers),
                over: Arc::clone(&over),
            };
            std::thread::spawn(move || producer.run())
        });
        let producers = producers.collect();
        let stop = Arc::clone(&over);
        let reader = std::thread::spawn(move || (0, tail(address, 0, &stop)));
        Load { answers, over, producers, reader }
    }

    /// Waits until so many requests were acknowledged.
    pub(crate) fn wait_for_answers(&self, count: u64) {
        wait::until("answers to producers", || (self.answers.load(Ordering::SeqCst) >= count).then_some(()));
    }

    /// Ends the load (the server is gone by now) and gives what it was told.
    pub(crate) fn finish(self) -> Ledger {
        self.over.store(true, Ordering::SeqCst);
        let acknowledged = self.producers.into_iter().flat_map(|producer| producer.join().unwrap()).collect();
        Ledger { acknowledged, seen: self.reader.join().unwrap() }
    }
}

struct Producer {
    name: String,
    home: u32,
    http: Http,
    chance: Chance,
    answers: Arc<AtomicU64>,
    over: Arc<AtomicBool>,
}

impl Producer {
    /// Sends until the server is gone; each sequence number is sent once.
    fn run(mut self) -> Vec<Acknowledged> {
        let (mut acknowledged, mut next) = (Vec::new(), 0);
        while !self.over.load(Ordering::SeqCst) {
            let partition = if self.chance.within(0, 3) == 0 { 0 } else { self.home };
            let count = self.chance.within(1, 20);
            let Some(base) = self.send(partition, next, count) else { break };
            let records = (0..count).map(|n| Acknowledged {
                partition,
                offset: base + n,
                producer: self.name.clone(),
                sequence: next + n,
            });
            acknowledged.extend(records);
            next += count;
            self.answers.fetch_add(1, Ordering::SeqCst);
        }
        acknowledged
    }

    /// One request; the offset of its first record, or `None` when it was not acknowledged.
    fn send(&mut self, partition: u32, first: u64, count: u64) -> Option<u64> {
        let name = &self.name;
        let lines: Vec<String> = (first..first + count)
            .map(|n| serde_json::json!({"key": name, "value": value(name, n)}).to_string() + "\n")
            .collect();
        let path = format!("/v1/topics/{TOPIC}/records?partition={partition}");
        let answer = self.http.post(&path, "application/x-ndjson", lines.concat().as_bytes()).ok()?;
        // A server that stops may say so; nothing else is expected.
        if answer.status == 503 {
            return None;
        }
        assert_eq!(answer.status, 200, "{}", answer.text());
        let told: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
        let written = &told["partitions"][0];
        assert_eq!(
            (written["partition"].as_u64(), written["count"].as_u64()),
            (Some(partition.into()), Some(count))
        );
        Some(written["base_offset"].as_u64().unwrap())
    }
}

/// Reads a partition from its beginning on, at the tail as it grows, until the server is gone.
fn tail(address: SocketAddr, partition: u32, over: &AtomicBool) -> Vec<read::Record> {
    let (mut http, mut seen) = (Http::new(address), Vec::new());
    while !over.load(Ordering::SeqCst) {
        match read::page(&mut http, TOPIC, partition, seen.len() as u64, 500) {
            Ok(page) => seen.extend(page),
            Err(_) => break,
        }
    }
    seen
}
