//! A client of Kafka's port that does what real ones do when a leader changes: it looks for the leader again, waits for a
//! moment, and sends the same again. What a real client would give to its user as a failure fails the test.

use std::collections::BTreeMap;
use std::io::{Error, Read, Result, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tidelog_format::batch::{BatchBuilder, Codec, Record};
use tidelog_proto::kafka::ErrorCode;
use tidelog_proto::kafka::ask::{self, Ask};
use tidelog_proto::kafka::init_producer_id::InitProducerIdRequest;
use tidelog_proto::kafka::metadata::{MetadataRequest, MetadataRequestTopic};
use tidelog_proto::kafka::produce::ProduceRequest;

use super::support::kafka::produce_frame;
use super::support::wait::PATIENCE;

/// As librdkafka's `retry.backoff.ms`.
pub(crate) const BACKOFF: Duration = Duration::from_millis(100);
/// Longer than an append takes where nothing happens.
const NOTICED: Duration = Duration::from_millis(60);
/// Stands in every request; there is one at a time.
const CORRELATION: i32 = 7;

/// Connections to the nodes of a cluster, by their Kafka ports.
pub(crate) struct Client {
    begin_with: Vec<SocketAddr>,
    leader: Option<TcpStream>,
}

impl Client {
    pub(crate) fn new(begin_with: Vec<SocketAddr>) -> Client {
        Client { begin_with, leader: None }
    }

    /// The connection to the leader of partition 0, found anew when there is none.
    pub(crate) fn leader(&mut self, topic: &str) -> Result<&mut TcpStream> {
        let stream = match self.leader.take() {
            Some(stream) => stream,
            None => connect(self.find(topic)?)?,
        };
        Ok(self.leader.insert(stream))
    }

    /// It is looked for again.
    pub(crate) fn forget_leader(&mut self) {
        self.leader = None;
    }

    fn find(&self, topic: &str) -> Result<SocketAddr> {
        let mut last = Error::other("no node is named");
        for address in &self.begin_with {
            match connect(*address).and_then(|mut stream| ask_leader(&mut stream, topic)) {
                Ok(leader) => return Ok(leader),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// Whatever becomes of one try.
    fn produce(&mut self, topic: &str, batch: &[u8]) -> Result<i16> {
        let frame = produce_frame(None, -1, topic, 0, Some(batch));
        let stream = self.leader(topic)?;
        let answer = exchange(stream, &frame).and_then(|answer| decode::<ProduceRequest>(&answer));
        let code = answer.map(|answer| answer.responses[0].partition_responses[0].error_code);
        if !matches!(code, Ok(0)) {
            self.forget_leader();
        }
        code
    }
}

fn connect(address: SocketAddr) -> Result<TcpStream> {
    let stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

fn exchange(stream: &mut TcpStream, frame: &[u8]) -> Result<Vec<u8>> {
    stream.write_all(frame)?;
    let mut len = [0; 4];
    stream.read_exact(&mut len)?;
    let mut answer = vec![0; usize::try_from(i32::from_be_bytes(len)).map_err(Error::other)?];
    stream.read_exact(&mut answer)?;
    Ok(answer)
}

fn decode<A: Ask>(answer: &[u8]) -> Result<A::Answer> {
    Ok(ask::response::<A>(answer).map_err(Error::other)?.1)
}

pub(crate) fn asked<A: Ask>(stream: &mut TcpStream, request: &A) -> Result<A::Answer> {
    let answer = exchange(stream, &ask::request(request, CORRELATION, "producer").concat())?;
    decode::<A>(&answer)
}

/// Where the leader of partition 0 is, by what a node says.
fn ask_leader(stream: &mut TcpStream, topic: &str) -> Result<SocketAddr> {
    let named = MetadataRequestTopic { name: Some(topic.to_owned()), ..Default::default() };
    let said = asked(stream, &MetadataRequest { topics: Some(vec![named]), ..Default::default() })?;
    let leader = said.topics[0].partitions.first().filter(|one| one.error_code == 0).map(|one| one.leader_id);
    let broker = said.brokers.iter().find(|broker| Some(broker.node_id) == leader);
    let broker = broker.ok_or_else(|| Error::other("nobody leads"))?;
    format!("{}:{}", broker.host, broker.port).parse().map_err(Error::other)
}

/// A time from one acknowledgement to the next that was longer than [`NOTICED`].
#[derive(Debug)]
pub(crate) struct Pause {
    /// When it was over, counted from the stream's beginning.
    #[expect(dead_code, reason = "for people")]
    pub(crate) at: Duration,
    pub(crate) took: Duration,
    /// How each try ended, and when, counted from the first one's beginning.
    #[expect(dead_code, reason = "for people")]
    pub(crate) tried: Vec<(Duration, String)>,
}

/// What a stream of records came to.
#[derive(Debug)]
pub(crate) struct Sent {
    /// Values `0` to `count - 1` are acknowledged.
    pub(crate) count: u64,
    pub(crate) pauses: Vec<Pause>,
    /// Tries that were not acknowledged, by what became of them.
    pub(crate) tried_again: BTreeMap<String, u32>,
}

/// Numbers as records of partition 0, one after the other, from a thread.
pub(crate) struct Stream {
    stop: Arc<AtomicBool>,
    acknowledged: Arc<AtomicU64>,
    started: Instant,
    thread: JoinHandle<Sent>,
}

impl Stream {
    /// Begins; `begin_with` are Kafka's ports of nodes.
    pub(crate) fn start(begin_with: Vec<SocketAddr>, topic: &str) -> Stream {
        let (stop, acknowledged) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (topic, stopping, counted) = (topic.to_owned(), Arc::clone(&stop), Arc::clone(&acknowledged));
        let thread = std::thread::spawn(move || run(Client::new(begin_with), &topic, &stopping, &counted));
        Stream { stop, acknowledged, started: Instant::now(), thread }
    }

    /// How long ago it began.
    pub(crate) fn since(&self) -> Duration {
        self.started.elapsed()
    }

    pub(crate) fn acknowledged(&self) -> u64 {
        assert!(!self.thread.is_finished(), "the producer has failed");
        self.acknowledged.load(Ordering::SeqCst)
    }

    /// Waits until so many more are acknowledged.
    pub(crate) fn until_more(&self, more: u64) {
        let wanted = self.acknowledged() + more;
        super::support::wait::until("more records to be acknowledged", || {
            (self.acknowledged() >= wanted).then_some(())
        });
    }

    pub(crate) fn finish(self) -> Sent {
        self.stop.store(true, Ordering::SeqCst);
        self.thread.join().unwrap()
    }
}

fn run(mut client: Client, topic: &str, stop: &AtomicBool, acknowledged: &AtomicU64) -> Sent {
    let mut sent = Sent { count: 0, pauses: Vec::new(), tried_again: BTreeMap::new() };
    let (id, started) = (wait_for_id(&client), Instant::now());
    let mut last: Option<Instant> = None;
    while !stop.load(Ordering::SeqCst) {
        let value = sent.count.to_string();
        let sequence = i32::try_from(sent.count).unwrap();
        let mut builder = BatchBuilder::new(Codec::None).producer(id, 0, sequence);
        builder
            .push(&Record { timestamp: 1_000, value: Some(value.as_bytes()), ..Record::default() })
            .unwrap();
        let batch = builder.finish().unwrap().bytes().to_vec();
        let (begun, mut tried) = (Instant::now(), Vec::new());
        while let Some(why) = refusal(client.produce(topic, &batch)) {
            tried.push((begun.elapsed(), why.clone()));
            *sent.tried_again.entry(why).or_default() += 1;
            assert!(begun.elapsed() < PATIENCE, "{sent:?}");
            std::thread::sleep(BACKOFF);
        }
        let now = Instant::now();
        if let Some(took) = last.replace(now).map(|last| now - last).filter(|took| *took > NOTICED) {
            sent.pauses.push(Pause { at: started.elapsed(), took, tried });
        }
        sent.count += 1;
        acknowledged.store(sent.count, Ordering::SeqCst);
    }
    sent
}

fn wait_for_id(client: &Client) -> i64 {
    super::support::wait::until("an id for a producer", || {
        let mut stream = client.begin_with.iter().find_map(|address| connect(*address).ok())?;
        let request = InitProducerIdRequest { transaction_timeout_ms: 1000, ..Default::default() };
        let answer = asked(&mut stream, &request).ok()?;
        (answer.error_code == 0).then_some(answer.producer_id)
    })
}

/// Why the same is sent again; none when it is acknowledged.
fn refusal(tried: Result<i16>) -> Option<String> {
    let code = match tried {
        Ok(0) => return None,
        Err(error) => return Some(format!("{:?}", error.kind())),
        Ok(code) => ErrorCode::ALL.iter().find(|known| known.number() == code).unwrap(),
    };
    // Those of Kafka's errors that its clients do not tell of while there is time.
    let passes = matches!(
        code,
        ErrorCode::NotLeaderOrFollower
            | ErrorCode::LeaderNotAvailable
            | ErrorCode::KafkaStorageError
            | ErrorCode::RequestTimedOut
    );
    assert!(passes, "a client would give up at {code:?}");
    Some(format!("{code:?}"))
}
