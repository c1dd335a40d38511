//! Real connections to a real node, with good requests, changed ones, and bytes that are none.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tidelog_io::random::Entropy;
use tidelog_proto::kafka::ask::{self, Ask};
use tidelog_proto::kafka::create_topics::{CreatableTopic, CreateTopicsRequest};
use tidelog_proto::kafka::fetch::{FetchPartition, FetchRequest, FetchTopic};
use tidelog_proto::kafka::find_coordinator::FindCoordinatorRequest;
use tidelog_proto::kafka::heartbeat::HeartbeatRequest;
use tidelog_proto::kafka::init_producer_id::InitProducerIdRequest;
use tidelog_proto::kafka::join_group::{JoinGroupRequest, JoinGroupRequestProtocol};
use tidelog_proto::kafka::list_groups::ListGroupsRequest;
use tidelog_proto::kafka::list_offsets::{ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic};
use tidelog_proto::kafka::metadata::{MetadataRequest, MetadataRequestTopic};
use tidelog_proto::kafka::offset_fetch::{OffsetFetchRequest, OffsetFetchRequestGroup};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use crate::config::{Config, Io, ServeArgs};
use crate::node::Node;
use crate::open;

const DEADLINE: Duration = Duration::from_secs(60);

/// Good requests of several APIs, each as a frame.
fn good() -> Vec<Vec<u8>> {
    let named =
        |name: &str| Some(vec![MetadataRequestTopic { name: Some(name.into()), ..Default::default() }]);
    let metadata =
        MetadataRequest { topics: named("t"), allow_auto_topic_creation: true, ..Default::default() };
    let topic =
        CreatableTopic { name: "u".into(), num_partitions: 2, replication_factor: 1, ..Default::default() };
    let partition = FetchPartition { partition: 0, partition_max_bytes: 1 << 20, ..Default::default() };
    let fetched = FetchTopic { topic: "t".into(), partitions: vec![partition], ..Default::default() };
    let listed = ListOffsetsPartition { partition_index: 0, timestamp: -1, ..Default::default() };
    let listed = ListOffsetsTopic { name: "t".into(), partitions: vec![listed] };
    let protocol =
        JoinGroupRequestProtocol { name: "range".into(), metadata: b"\0\0\0\0\0\0".to_vec().into() };
    let join = JoinGroupRequest {
        group_id: "g".into(),
        session_timeout_ms: 10_000,
        protocol_type: "consumer".into(),
        protocols: vec![protocol],
        ..Default::default()
    };
    let offsets = OffsetFetchRequestGroup { group_id: "g".into(), ..Default::default() };
    vec![
        frame(&metadata),
        frame(&CreateTopicsRequest { topics: vec![topic], timeout_ms: 1_000, ..Default::default() }),
        frame(&FetchRequest { max_bytes: 1 << 20, topics: vec![fetched], ..Default::default() }),
        frame(&ListOffsetsRequest { replica_id: -1, topics: vec![listed], ..Default::default() }),
        frame(&FindCoordinatorRequest { coordinator_keys: vec!["g".into()], ..Default::default() }),
        frame(&join),
        frame(&HeartbeatRequest { group_id: "g".into(), ..Default::default() }),
        frame(&OffsetFetchRequest { groups: vec![offsets], ..Default::default() }),
        frame(&ListGroupsRequest::default()),
        frame(&InitProducerIdRequest { transaction_timeout_ms: 1, ..Default::default() }),
    ]
}

fn frame(request: &impl Ask) -> Vec<u8> {
    ask::request(request, 7, "hostile").concat()
}

/// Chances that are the same in every run.
struct Dice(Entropy);

impl Dice {
    fn below(&self, limit: usize) -> usize {
        let [a, b, c, d, ..] = self.0.salt();
        u32::from_le_bytes([a, b, c, d]) as usize % limit
    }

    /// A request in which something is wrong, most likely.
    fn damaged(&self, good: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = good[self.below(good.len())].clone();
        for _ in 0..1 + self.below(3) {
            let at = self.below(bytes.len());
            match self.below(4) {
                0 => bytes[at] ^= 1 << self.below(8),
                1 => bytes[at] = [0, 0x7f, 0x80, 0xff][self.below(4)],
                2 => bytes.truncate(at.max(1)),
                // Keeps the length right, so that what is behind it is looked at.
                _ => {
                    let from = 4 + at % (bytes.len() - 4);
                    bytes[from..].rotate_left(1);
                }
            }
            if bytes.len() < 8 {
                break;
            }
        }
        bytes
    }
}

/// Sends bytes in pieces and reads until the server closes, or says nothing more.
async fn attack(address: SocketAddr, bytes: &[u8], piece: usize) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    for piece in bytes.chunks(piece) {
        // The server may have closed by now.
        if stream.write_all(piece).await.is_err() {
            break;
        }
    }
    let _ = stream.shutdown().await;
    let mut answers = Vec::new();
    // A reset is an end too.
    let _ = timeout(DEADLINE, stream.read_to_end(&mut answers)).await.unwrap();
}

async fn is_served(address: SocketAddr, good: &[Vec<u8>]) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    for request in [&good[0], &good[3], &good[8]] {
        stream.write_all(request).await.unwrap();
        let answer = timeout(DEADLINE, async {
            let len = stream.read_i32().await.unwrap();
            let mut answer = vec![0; usize::try_from(len).unwrap()];
            stream.read_exact(&mut answer).await.unwrap();
            answer
        });
        assert_eq!(answer.await.unwrap()[..4], 7_i32.to_be_bytes());
    }
}

#[test]
fn whatever_is_sent_to_a_connection_others_are_served_and_nothing_is_held() {
    let dir = tempfile::tempdir().unwrap();
    let args = ServeArgs { data: Some(dir.path().to_owned()), io: Some(Io::Posix), ..ServeArgs::default() };
    let mut config = Config::load(&args).unwrap();
    config.storage.segment_bytes = 4 * 1024 * 1024;
    config.storage.spares = 0;
    let rounds = std::env::var("TIDELOG_HOSTILE_ROUNDS").map_or(2_000, |rounds| rounds.parse().unwrap());
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let node = Arc::new(open::open(config).await.unwrap());
        crate::groups::start(&node);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let ended = Arc::new(AtomicU64::new(0));
        tokio::spawn(accept(Arc::clone(&node), listener, Arc::clone(&ended)));
        let (good, dice) = (good(), Dice(Entropy::seeded(7)));
        is_served(address, &good).await;
        for _ in 0..rounds {
            let mut bytes = Vec::new();
            for _ in 0..dice.below(4) {
                bytes.extend_from_slice(&good[dice.below(good.len())]);
            }
            bytes.extend_from_slice(&dice.damaged(&good));
            attack(address, &bytes, 1 + dice.below(100)).await;
        }
        is_served(address, &good).await;
        let all = rounds + 2;
        let counted = timeout(DEADLINE, async {
            while ended.load(Ordering::SeqCst) < all {
                tokio::task::yield_now().await;
            }
        });
        // A connection that panicked does not count.
        assert!(counted.await.is_ok(), "{} of {all} connections ended well", ended.load(Ordering::SeqCst));
        assert_eq!(node.budget.used(), 0);
        for (_, shard) in node.shards() {
            shard.wal.close().await.unwrap();
        }
    });
    runtime.shutdown_timeout(Duration::from_secs(10));
}

async fn accept(node: Arc<Node>, listener: TcpListener, ended: Arc<AtomicU64>) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let (node, ended) = (Arc::clone(&node), Arc::clone(&ended));
        tokio::spawn(async move {
            super::serve(&node, stream).await;
            ended.fetch_add(1, Ordering::SeqCst);
        });
    }
}
