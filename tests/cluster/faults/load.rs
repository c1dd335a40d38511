//! Producers that never give up, and readers that begin anywhere.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use super::history::{Seen, Told};
use crate::support::chance::Chance;
use crate::support::http::Http;
use crate::support::idempotent::{self, Acknowledged, Idempotent, Manners};
use crate::support::read::{self, Record};

pub(crate) const TOPIC: &str = "audited";
pub(crate) const PARTITIONS: u32 = 8;
/// For each partition.
const PRODUCERS: u32 = 2;
const READERS: u64 = 2;
/// Whoever says nothing for so long is given up.
const PATIENCE: Duration = Duration::from_secs(2);
/// Before a node is asked again.
const PAUSE: Duration = Duration::from_millis(20);
/// Kafka's codes that send a client to look for the leader again: unknown partition, leader not available, not leader, timed
/// out, broker not available, coordinator loading, not enough replicas (before and after the append), storage error.
const REFUSALS: &[i16] = &[3, 5, 6, 7, 8, 14, 19, 20, 56];

/// The value of a record: it follows from who sent it and which one it is.
pub(crate) fn value(producer: &str, sequence: u64) -> String {
    let letter = char::from(b'a' + u8::try_from(sequence % 26).unwrap());
    let len = usize::try_from(sequence % 97).unwrap();
    format!("{producer} {sequence} {}", letter.to_string().repeat(len))
}

/// Where a node listens.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Doors {
    pub(crate) http: SocketAddr,
    pub(crate) kafka: SocketAddr,
}

/// A load that runs.
pub(crate) struct Load {
    over: Arc<AtomicBool>,
    /// Answers that each producer was given.
    answers: Vec<Arc<AtomicU64>>,
    producers: Vec<JoinHandle<Told>>,
    readers: Vec<JoinHandle<Vec<Seen>>>,
}

impl Load {
    /// On so many partitions of the topic.
    pub(crate) fn start(doors: &[Doors], partitions: u32, chance: &mut Chance) -> Load {
        let over = Arc::new(AtomicBool::new(false));
        let answers: Vec<Arc<AtomicU64>> = (0..PRODUCERS * partitions).map(|_| Arc::default()).collect();
        let manners =
            Manners { patience: PATIENCE, pause: Duration::from_millis(20), records: 5, refusals: REFUSALS };
        let producers = answers.iter().zip(0..).map(|(answers, n)| {
            let place = (TOPIC, n % partitions);
            let producer = Idempotent::new(place, format!("p{n}"), value, manners, chance.fork(n.into()));
            let (doors, over, answers) = (doors.to_vec(), Arc::clone(&over), Arc::clone(answers));
            let chance = chance.fork(u64::from(n) + 100);
            std::thread::spawn(move || produce(producer, &doors, &over, &answers, chance))
        });
        let producers = producers.collect();
        let readers = (0..READERS).map(|n| {
            let (doors, over, chance) = (doors.to_vec(), Arc::clone(&over), chance.fork(n + 200));
            std::thread::spawn(move || read(&doors, partitions, &over, chance))
        });
        let readers = readers.collect();
        Load { over, answers, producers, readers }
    }

    /// How many answers each producer was given so far.
    pub(crate) fn answers(&self) -> Vec<u64> {
        self.answers.iter().map(|answers| answers.load(Ordering::SeqCst)).collect()
    }

    /// Ends the load once everything that was begun is acknowledged.
    pub(crate) fn finish(self) -> (Vec<Told>, Vec<Seen>) {
        self.over.store(true, Ordering::SeqCst);
        let told = self.producers.into_iter().map(|producer| producer.join().unwrap()).collect();
        let seen = self.readers.into_iter().flat_map(|reader| reader.join().unwrap()).collect();
        (told, seen)
    }
}

fn any(doors: &[Doors], chance: &mut Chance) -> Doors {
    doors[usize::try_from(chance.within(1, doors.len() as u64)).unwrap() - 1]
}

/// Writes to whoever leads, until it is over and each record is acknowledged.
fn produce(
    mut producer: Idempotent,
    doors: &[Doors],
    over: &AtomicBool,
    answers: &AtomicU64,
    mut chance: Chance,
) -> Told {
    let (partition, mut acknowledged) = (producer.partition(), Vec::new());
    let mut told = |batch: Acknowledged| {
        acknowledged.push(batch);
        answers.fetch_add(1, Ordering::SeqCst);
    };
    while !(over.load(Ordering::SeqCst) && producer.is_answered()) {
        let asked = any(doors, &mut chance).kafka;
        if let Ok(Some(leader)) = idempotent::leader(asked, (TOPIC, partition), PATIENCE) {
            // Whatever ends it: the leader is looked for again.
            let _ = producer.converse(leader, over, &mut told);
        }
        std::thread::sleep(PAUSE);
    }
    Told { partition, name: producer.name().to_owned(), made: producer.made(), acknowledged }
}

/// Reads pages of any partition from any node, from anywhere, until it is over.
fn read(doors: &[Doors], partitions: u32, over: &AtomicBool, mut chance: Chance) -> Vec<Seen> {
    let mut known: BTreeMap<u32, BTreeMap<u64, Record>> = BTreeMap::new();
    while !over.load(Ordering::SeqCst) {
        let partition = u32::try_from(chance.within(0, u64::from(partitions) - 1)).unwrap();
        let seen = known.entry(partition).or_default();
        let end = seen.last_key_value().map_or(0, |(offset, _)| offset + 1);
        let from = if chance.within(0, 2) == 0 { chance.within(0, end) } else { end };
        let mut http = Http::with_patience(any(doors, &mut chance).http, PATIENCE);
        let path = format!("/v1/topics/{TOPIC}/partitions/{partition}/records");
        let answer = http.get(&format!("{path}?offset={from}&max_bytes=20000&wait_ms=100"));
        if let Some(answer) = answer.ok().filter(|answer| answer.status == 200) {
            for (record, offset) in read::records(&answer.body).into_iter().zip(from..) {
                assert_eq!(record.offset, offset, "partition {partition}: a page from {from} on has a gap");
                let before = seen.insert(offset, record.clone());
                assert!(
                    before.as_ref().is_none_or(|before| *before == record),
                    "partition {partition}: {before:?} became {record:?}"
                );
            }
        }
        std::thread::sleep(PAUSE);
    }
    known
        .into_iter()
        .map(|(partition, records)| Seen { partition, records: records.into_values().collect() })
        .collect()
}
