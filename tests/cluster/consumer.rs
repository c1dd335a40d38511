//! Follows the numbers of a [`super::producer::Stream`] over Kafka's port, as they come, wherever they are led.

use std::io::{Error, Result};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use tidelog_format::batch::{BatchView, split};
use tidelog_proto::kafka::ErrorCode;
use tidelog_proto::kafka::fetch::{FetchPartition, FetchRequest, FetchTopic, PartitionData};
use tidelog_proto::kafka::metadata::{MetadataRequest, MetadataRequestTopic};

use super::producer::{BACKOFF, Client, asked};
use super::support::wait::PATIENCE;

/// Reads from a thread until it has read so many numbers as it is told.
pub(crate) struct Follower {
    /// `u64::MAX` while nobody knows how many there will be.
    wanted: Arc<AtomicU64>,
    thread: JoinHandle<Duration>,
}

impl Follower {
    /// Begins at the first number; `begin_with` are Kafka's ports of nodes.
    pub(crate) fn start(begin_with: Vec<SocketAddr>, topic: &str) -> Follower {
        let wanted = Arc::new(AtomicU64::new(u64::MAX));
        let (topic, until) = (topic.to_owned(), Arc::clone(&wanted));
        let thread = std::thread::spawn(move || run(Client::new(begin_with), &topic, &until));
        Follower { wanted, thread }
    }

    /// Waits until it has read so many; gives the longest time in which nothing came.
    pub(crate) fn finish(self, wanted: u64) -> Duration {
        self.wanted.store(wanted, Ordering::SeqCst);
        self.thread.join().unwrap()
    }
}

fn run(mut client: Client, topic: &str, wanted: &AtomicU64) -> Duration {
    let (mut next, mut pause, mut last) = (0u64, Duration::ZERO, Instant::now());
    while next < wanted.load(Ordering::SeqCst) {
        let found = fetch(&mut client, topic, next).unwrap_or_default();
        if found.is_empty() {
            assert!(last.elapsed() < PATIENCE, "nothing came behind number {next}");
            continue;
        }
        for number in found {
            assert_eq!(number, next, "one is lost, doubled, or out of its order");
            next += 1;
        }
        if next > 1 {
            pause = pause.max(last.elapsed());
        }
        last = Instant::now();
    }
    pause
}

/// The numbers from this one on; an error where the leader has to be looked for again.
fn fetch(client: &mut Client, topic: &str, from: u64) -> Result<Vec<u64>> {
    let got = fetch_once(client, topic, from);
    let code = match &got {
        Ok(data) => ErrorCode::ALL.iter().find(|known| known.number() == data.error_code).unwrap(),
        Err(_) => &ErrorCode::NotLeaderOrFollower,
    };
    match code {
        ErrorCode::None => Ok(numbers(&got?.records.0.concat(), from)),
        // The codes at which clients look for the leader again. A new leader may know of the end a moment later.
        ErrorCode::NotLeaderOrFollower
        | ErrorCode::LeaderNotAvailable
        | ErrorCode::UnknownLeaderEpoch
        | ErrorCode::FencedLeaderEpoch
        | ErrorCode::KafkaStorageError => {
            client.forget_leader();
            std::thread::sleep(BACKOFF);
            Err(Error::other("the leader is looked for again"))
        }
        other => panic!("a client would give up at {other:?}, number {from}"),
    }
}

fn fetch_once(client: &mut Client, topic: &str, from: u64) -> Result<PartitionData> {
    let stream = client.leader(topic)?;
    let named = MetadataRequestTopic { name: Some(topic.to_owned()), ..Default::default() };
    let known = asked(stream, &MetadataRequest { topics: Some(vec![named]), ..Default::default() })?;
    let fetch_offset = i64::try_from(from).map_err(Error::other)?;
    let partition = FetchPartition { fetch_offset, partition_max_bytes: 1 << 20, ..Default::default() };
    let topic =
        FetchTopic { topic_id: known.topics[0].topic_id, partitions: vec![partition], ..Default::default() };
    let request = FetchRequest { max_wait_ms: 500, min_bytes: 1, topics: vec![topic], ..Default::default() };
    let mut answer = asked(stream, &request)?;
    Ok(answer.responses.remove(0).partitions.remove(0))
}

fn numbers(records: &[u8], from: u64) -> Vec<u64> {
    if records.is_empty() {
        return Vec::new();
    }
    let mut numbers = Vec::new();
    for batch in split(BytesMut::from(records)).unwrap() {
        let (view, mut scratch) = (BatchView::parse(batch.bytes()).unwrap(), Vec::new());
        for record in view.records(&mut scratch).unwrap() {
            let value = record.unwrap().1.value.unwrap().to_vec();
            numbers.push(String::from_utf8(value).unwrap().parse().unwrap());
        }
    }
    // A batch comes whole, also where the wanted one is in the middle of it.
    numbers.retain(|number| *number >= from);
    numbers
}
