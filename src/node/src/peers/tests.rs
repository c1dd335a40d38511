//! Nodes in one process, over real connections.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tidelog_meta::{Command, NodeInfo, NodeState, State, StoreId};
use tidelog_proto::peer::{Envelope, HEAD_LEN, Message, PROTOCOL, Process, Request};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::*;

const CLUSTER: [u8; 16] = [1; 16];
const LONG: Duration = Duration::from_secs(120);

fn store(node: u8) -> StoreId {
    StoreId([node + 100; 16])
}

/// Answers what the metadata's messages ask with their own bytes, and keeps what came for shards.
#[derive(Default)]
struct Echo {
    kept: Mutex<Vec<(Peer, Message)>>,
    /// Replies are held back while this is above 0.
    hold: AtomicU64,
    held: Mutex<Vec<Reply>>,
}

impl Handler for Echo {
    fn take(&self, from: Peer, message: Message, reply: Reply) {
        match message {
            Message::Group(body) => reply.send(&Message::GroupAnswer(body)),
            other => {
                self.kept.lock().unwrap().push((from, other));
                if self.hold.load(Ordering::SeqCst) > 0 {
                    self.held.lock().unwrap().push(reply);
                }
            }
        }
    }
}

struct TestNode {
    peers: Peers,
    echo: Arc<Echo>,
    address: SocketAddr,
    stop: watch::Sender<bool>,
}

impl TestNode {
    fn store(&self) -> StoreId {
        self.peers.me().store()
    }

    fn address(&self) -> String {
        self.address.to_string()
    }
}

fn settings() -> Settings {
    let ms = Duration::from_millis;
    Settings { pauses: (ms(1), ms(20)), hello: LONG, alive: ms(50), silence: LONG, ..Settings::default() }
}

async fn node(number: u8, settings: Settings) -> TestNode {
    node_of(CLUSTER, number, 5, 50, settings).await
}

async fn node_of(cluster: [u8; 16], number: u8, life: u64, generation: u64, settings: Settings) -> TestNode {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let ids = (cluster, store(number).0);
    let me = Identity::new(ids, number.into(), life, generation, address.to_string());
    let stop = watch::Sender::new(false);
    let (peers, echo) = (Peers::new(me, settings, stop.subscribe()), Arc::new(Echo::default()));
    peers.hand_metadata_to(echo.clone());
    peers.hand_shards_to(echo.clone());
    tokio::spawn(peers.clone().listen(listener));
    TestNode { peers, echo, address, stop }
}

/// A state that knows nodes in their lives, at their generations.
fn known(nodes: &[(u8, u64, u64)]) -> Arc<State> {
    let mut state = State::default();
    for (node, incarnation, generation) in nodes.iter().copied() {
        let (store, info) = (store(node), NodeInfo { address: "nowhere:1".into(), ..NodeInfo::default() });
        let command = Command::RegisterNode { node: node.into(), store, incarnation, generation, info };
        state.apply(&command).unwrap();
    }
    Arc::new(state)
}

fn group(n: u64) -> Message {
    Message::Group(Bytes::copy_from_slice(&n.to_le_bytes()))
}

fn request(len: usize, version: u64) -> Message {
    let envelope = Envelope { shard: 1, epoch: 1, from: Process { node: 1, incarnation: 1 }, version };
    Message::Request(
        envelope,
        Request::Append { base: 1, committed: 1, frames: vec![Bytes::from(vec![0; len])] },
    )
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !holds() {
        assert!(begin.elapsed() < LONG, "waited in vain: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Asks until there is an answer.
async fn reach(from: &TestNode, to: StoreId, address: &str) -> Message {
    let begin = Instant::now();
    loop {
        match from.peers.ask(to, address, &group(7), LONG).await {
            Ok(answer) => return answer,
            Err(error) => assert!(begin.elapsed() < LONG, "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// What the first refusal between two nodes says.
async fn refusal(from: &TestNode, to: StoreId, address: &str) -> String {
    let begin = Instant::now();
    loop {
        let error = from.peers.ask(to, address, &group(7), LONG).await.unwrap_err().to_string();
        if error.contains("refused") {
            return error;
        }
        assert!(begin.elapsed() < LONG, "{error}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

#[tokio::test]
async fn many_questions_are_under_way_at_once_and_each_gets_its_own_answer() {
    let (one, two) = (node(1, settings()).await, node(2, settings()).await);
    let asking = (0..500).map(|n| {
        let (peers, to, address) = (one.peers.clone(), two.store(), two.address());
        tokio::spawn(async move { (n, peers.ask(to, &address, &group(n), LONG).await.unwrap()) })
    });
    for asked in asking.collect::<Vec<_>>() {
        let (n, answer) = asked.await.unwrap();
        assert_eq!(answer, Message::GroupAnswer(Bytes::copy_from_slice(&n.to_le_bytes())));
    }
    assert!(one.peers.reaches(two.store(), Lane::Metadata));
    assert!(!one.peers.reaches(two.store(), Lane::Shards), "nothing was said about shards");
}

#[tokio::test]
async fn what_is_told_arrives_in_order_with_who_told_it() {
    let (one, two) = (node(1, settings()).await, node(2, settings()).await);
    for version in 0..300 {
        one.peers.tell(two.store(), &two.address(), &request(10, version)).unwrap();
    }
    until("all have come", || two.echo.kept.lock().unwrap().len() == 300).await;
    let kept = two.echo.kept.lock().unwrap();
    for ((from, message), version) in kept.iter().zip(0..) {
        assert_eq!((from.replica.node, from.process.incarnation), (1, 5));
        assert_eq!(*message, request(10, version));
    }
}

#[tokio::test]
async fn a_node_that_comes_back_is_reached_again_and_one_that_is_away_is_said_to_be() {
    let one = node(1, settings()).await;
    let two = node(2, settings()).await;
    reach(&one, two.store(), &two.address()).await;
    two.stop.send_replace(true);
    until("the connection is gone", || !one.peers.reaches(two.store(), Lane::Metadata)).await;
    let listener = {
        let begin = Instant::now();
        loop {
            match TcpListener::bind(two.address).await {
                Ok(listener) => break listener,
                Err(error) => assert!(begin.elapsed() < LONG, "{error}"),
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    let me = Identity::new((CLUSTER, two.store().0), 2, 6, 60, two.address());
    let stop = watch::Sender::new(false);
    let again = Peers::new(me, settings(), stop.subscribe());
    again.hand_metadata_to(two.echo.clone());
    tokio::spawn(again.listen(listener));
    reach(&one, two.store(), &two.address()).await;
}

#[tokio::test]
async fn who_is_not_who_was_meant_or_who_it_was_is_refused_with_a_sentence() {
    let two = node(2, settings()).await;
    two.peers.learn(known(&[(1, 4, 40), (2, 5, 50)]));
    let stranger = node_of([9; 16], 1, 5, 50, settings()).await;
    let why = refusal(&stranger, two.store(), &two.address()).await;
    assert!(why.contains("another cluster"), "{why}");
    let one = node(1, settings()).await;
    let why = refusal(&one, store(3), &two.address()).await;
    assert!(why.contains("a directory that was emptied is another node"), "{why}");
    for (life, generation, sentence) in
        [(3, 60, "in life 4, and its life 3"), (5, 39, "at generation 39, and 40 was seen")]
    {
        let old = node_of(CLUSTER, 1, life, generation, settings()).await;
        let why = refusal(&old, two.store(), &two.address()).await;
        assert!(why.contains(sentence), "{why}");
    }
    let mut state = (*known(&[(1, 4, 40), (2, 5, 50)])).clone();
    let lost = Command::SetNodeState { node: 1, was: NodeState::ReadWrite, state: NodeState::DataLoss };
    state.apply(&lost).unwrap();
    two.peers.learn(Arc::new(state));
    let why = refusal(&one, two.store(), &two.address()).await;
    assert!(why.contains("was removed from the cluster"), "{why}");
    assert!(two.echo.kept.lock().unwrap().is_empty(), "nothing was taken from any of them");
}

#[tokio::test]
async fn a_program_of_another_protocol_is_refused_before_anything_else_and_told_why() {
    let two = node(2, settings()).await;
    let mut hello = two.peers.me().hello(None, 0);
    assert!(two.peers.me().judge(&hello, &State::default()).is_ok());
    // Nothing else of it would be understood either.
    (hello.protocol, hello.cluster) = (PROTOCOL - 1, [9; 16]);
    let why = two.peers.me().judge(&hello, &State::default()).unwrap_err().to_string();
    let versions = format!(
        "version {} of the protocol between nodes is spoken there, and {PROTOCOL} here",
        PROTOCOL - 1
    );
    assert!(why.contains(&versions) && why.contains("finish the upgrade"), "{why}");
}

#[tokio::test]
async fn a_node_that_fell_back_in_time_hears_it_from_those_it_is_called_by() {
    let (one, two) = (node(1, settings()).await, node(2, settings()).await);
    let mut state = (*known(&[(1, 5, 50), (2, 5, 51)])).clone();
    for (node, address) in [(1, one.address()), (2, two.address())] {
        let known = state.nodes[&node].clone();
        let (incarnation, generation) = (known.incarnation + 1, known.generation + 1);
        let info = NodeInfo { address, ..NodeInfo::default() };
        let start = Command::StartNode { node, store: known.store, incarnation, generation, info };
        state.apply(&start).unwrap();
    }
    one.peers.learn(Arc::new(state));
    let why = refusal(&one, two.store(), "").await;
    assert!(why.contains("it went back in time"), "{why}");
}

#[tokio::test]
async fn who_belongs_to_no_cluster_is_told_who_is_here_and_nothing_else() {
    let two = node(2, settings()).await;
    let hello = Peers::introduce(&two.address(), LONG).await.unwrap();
    assert_eq!((hello.cluster, hello.replica.node), (CLUSTER, 2));
    let one = node(1, settings()).await;
    let answer = one.peers.ask_at(&two.address(), &group(3), LONG).await.unwrap();
    assert_eq!(answer, Message::GroupAnswer(Bytes::copy_from_slice(&3u64.to_le_bytes())));
    two.stop.send_replace(true);
    assert!(Peers::introduce("127.0.0.1:1", LONG).await.is_err());
}

#[tokio::test]
async fn a_node_that_takes_nothing_is_given_no_more_than_the_bound() {
    let bounds = Settings { outbox: 100_000, unanswered: 50_000, ..settings() };
    let (one, two) = (node(1, bounds.clone()).await, node(2, bounds).await);
    two.echo.hold.store(1, Ordering::SeqCst);
    let begin = Instant::now();
    let full = loop {
        match one.peers.tell(two.store(), &two.address(), &request(10_000, 1)) {
            Ok(()) => {}
            Err(error @ TellError::Send(SendError::Full)) => break error,
            Err(error) => panic!("{error}"),
        }
        assert!(begin.elapsed() < LONG, "it takes everything");
        tokio::task::yield_now().await;
    };
    assert!(full.to_string().contains("does not keep up"));
    until("so many came as may be unanswered", || two.echo.held.lock().unwrap().len() >= 4).await;
    assert!(two.echo.held.lock().unwrap().len() <= 5, "no more than the bound of unanswered ones");
    two.echo.hold.store(0, Ordering::SeqCst);
    until("what waited goes out once it is relieved", || {
        two.echo.held.lock().unwrap().clear();
        one.peers.0.links.lock().unwrap().values().all(|link| link.waiting() == 0)
    })
    .await;
}

#[tokio::test]
async fn strangers_get_nothing_but_the_end_of_their_connection() {
    let two = node(2, Settings { hello: Duration::from_millis(100), ..settings() }).await;
    let early = group(1).encode(1).unwrap();
    let mut long = vec![0; HEAD_LEN];
    long.copy_from_slice(&Message::Refused { why: "x".repeat(5000) }.encode(1).unwrap().head[..HEAD_LEN]);
    for said in
        [b"GET / HTTP/1.1\r\nHost: tidelog-node-2\r\n\r\n".to_vec(), early.head.to_vec(), long, vec![]]
    {
        let mut stream = TcpStream::connect(two.address).await.unwrap();
        stream.write_all(&said).await.unwrap();
        let mut answer = Vec::new();
        // Reset or ended in order: both are an end.
        let _ = stream.read_to_end(&mut answer).await;
        assert!(answer.is_empty(), "{said:?}");
    }
    assert!(two.echo.kept.lock().unwrap().is_empty());
}

#[tokio::test]
async fn connections_too_many_are_closed_and_those_that_stand_go_on() {
    let two = node(2, Settings { connections: 1, ..settings() }).await;
    let one = node(1, settings()).await;
    reach(&one, two.store(), &two.address()).await;
    let mut stream = TcpStream::connect(two.address).await.unwrap();
    let ended = stream.read(&mut [0; 10]).await;
    assert!(matches!(ended, Ok(0) | Err(_)));
    reach(&one, two.store(), &two.address()).await;
}

#[tokio::test]
async fn a_connection_on_which_nothing_comes_is_given_up() {
    let one = node(1, Settings { silence: Duration::from_millis(200), ..settings() }).await;
    // Says hello and then nothing: it is asked the way an own node would be.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (mute, calls) = (store(2), address.clone());
    tokio::spawn(async move {
        let me = Identity::new((CLUSTER, mute.0), 2, 5, 50, calls);
        let (mut stream, _) = listener.accept().await.unwrap();
        let hello = Message::Hello(me.hello(None, 0)).encode(0).unwrap();
        stream.write_all(&hello.head).await.unwrap();
        let mut sink = Vec::new();
        let _ = stream.read_to_end(&mut sink).await;
    });
    let error = one.peers.ask(mute, &address, &group(1), LONG).await.unwrap_err();
    assert!(matches!(error, AskError::Lost), "{error}");
}
