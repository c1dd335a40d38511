//! Some nodes, and what a test does with them.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tidelog_format::batch::{BatchBuilder, BatchView, Codec, Record};
use tidelog_io::BackendKind;
use tidelog_io::clock::Clock;
use tidelog_meta::{
    Command, MetaStore, NewSpan, NodeInfo, NodeState, Outcome, Retention, Span, State, StoreId, Unavailable,
};
use tidelog_replica::leader::Limits;
use tidelog_wal::{Control, Options, ReadError, Wal};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};

use crate::peers::{Identity, Peers, Settings};
use crate::ring::Rings;
use crate::shards::{Around, Files, Pace, Place, Shards, ShardsMetrics, WAITING};
use crate::spans::Me;

const CLUSTER: [u8; 16] = [7; 16];
/// Longer than anything that a test waits for.
pub(super) const LONG: Duration = Duration::from_secs(120);
pub(super) const SHARD: u64 = 1;
pub(super) const PARTITION: u64 = 1;
pub(super) const TOPIC: &str = "t";
pub(super) const TOPIC_ID: &str = "00112233445566778899aabbccddeeff";

/// Metadata that all nodes share, and that answers at once.
pub(super) struct Shared {
    state: Mutex<Arc<State>>,
    version: watch::Sender<u64>,
    /// Bytes that disks still take, as far as anybody says so.
    pub(super) free: Mutex<BTreeMap<u64, u64>>,
    /// The next question to move a partition gets no clear answer: it is carried out, or lies around.
    pub(super) unclear: Mutex<Option<Unclear>>,
}

/// What becomes of a question whose outcome is not told.
pub(super) enum Unclear {
    /// It is carried out.
    Done,
    /// It comes later.
    Late(Option<Command>),
}

impl Shared {
    pub(super) fn apply(&self, command: &Command) -> Outcome {
        let mut state = self.state.lock().unwrap();
        let mut next = State::clone(&state);
        match next.apply(command) {
            Ok(applied) => {
                next.verify().unwrap();
                let version = next.version;
                *state = Arc::new(next);
                self.version.send_replace(version);
                Outcome::Applied { applied, version }
            }
            Err(illegal) => Outcome::Illegal(illegal),
        }
    }

    pub(super) fn done(&self, command: &Command) {
        let outcome = self.apply(command);
        assert!(matches!(outcome, Outcome::Applied { .. }), "{command:?}: {outcome:?}");
    }

    pub(super) fn state(&self) -> Arc<State> {
        Arc::clone(&self.state.lock().unwrap())
    }
}

impl MetaStore for Shared {
    async fn propose(&self, command: Command) -> Result<Outcome, Unavailable> {
        if let Command::MovePartition { .. } = command {
            match &mut *self.unclear.lock().unwrap() {
                Some(Unclear::Late(late)) if late.is_none() => {
                    *late = Some(command);
                    return Ok(Outcome::Indeterminate);
                }
                unclear @ Some(Unclear::Done) => {
                    *unclear = None;
                    self.done(&command);
                    return Ok(Outcome::Indeterminate);
                }
                _ => {}
            }
        }
        Ok(self.apply(&command))
    }

    async fn read(&self) -> Result<Arc<State>, Unavailable> {
        Ok(self.state())
    }

    fn recent(&self) -> Arc<State> {
        self.state()
    }

    fn watch(&self) -> watch::Receiver<u64> {
        self.version.subscribe()
    }
}

struct Running {
    shards: Shards,
    stop: watch::Sender<bool>,
}

pub(super) struct Cluster {
    pub(super) meta: Arc<Shared>,
    dirs: BTreeMap<u64, tempfile::TempDir>,
    running: BTreeMap<u64, Running>,
    /// Directories of processes that were killed: they go on in them for a moment.
    old: Vec<tempfile::TempDir>,
}

impl Cluster {
    /// Nodes 1 to `count`, and one shard that they hold, led by node 1.
    pub(super) async fn of(count: u64) -> Cluster {
        // RUST_LOG shows what the nodes do.
        let filter = tracing_subscriber::EnvFilter::from_default_env();
        let _ = tracing_subscriber::fmt().with_env_filter(filter).with_test_writer().try_init();
        let (state, version) = (Mutex::default(), watch::Sender::new(0));
        let meta = Arc::new(Shared { state, version, unclear: Mutex::default(), free: Mutex::default() });
        let mut cluster = Cluster { meta, dirs: BTreeMap::new(), running: BTreeMap::new(), old: Vec::new() };
        for _ in 0..count {
            cluster.join().await;
        }
        let state = cluster.meta.state();
        let replicas = state.nodes.iter().map(|(node, known)| known.replica(*node)).collect();
        let leader = tidelog_meta::Leader { node: 1, incarnation: state.nodes[&1].incarnation };
        let quorum = u8::try_from(count / 2 + 1).unwrap();
        let span = NewSpan { replicas, quorum, leader, salt: [1; 16] };
        cluster.meta.done(&Command::OpenShard { shard: SHARD, class: Retention::default() });
        cluster.meta.done(&Command::OpenFirstSpan { shard: SHARD, span, base: tidelog_wal::FIRST_LSN });
        cluster.meta.done(&Command::CreateTopic {
            name: TOPIC.to_owned(),
            id: TOPIC_ID.to_owned(),
            retention: Retention::default(),
            shards: vec![SHARD],
        });
        let wal = cluster.leads(1).await;
        let name = "t/0".to_owned();
        wal.control(Control::CreatePartition { partition: PARTITION, name }).await.unwrap();
        cluster
    }

    /// A new node with an empty directory.
    pub(super) async fn join(&mut self) -> u64 {
        let node = self.meta.state().next_node();
        self.dirs.insert(node, tempfile::tempdir().unwrap());
        self.start(node).await;
        node
    }

    /// Starts the process of a node.
    pub(super) async fn start(&mut self, node: u64) {
        let clock = Clock::system();
        let rings = Rings::start(BackendKind::Posix, 1, &clock).unwrap();
        let (store, _, beside) = rings.open_store(self.dir(node).to_owned(), None).await.unwrap();
        beside.keep(beside.promised().clone()).await.unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let me = Me { node, store: store.store_id(), incarnation: store.incarnation() };
        let (id, generation) = (StoreId(store.store_id()), store.generation());
        let identity = Identity::new((CLUSTER, me.store), node, me.incarnation, generation, address.clone());
        let stop = watch::Sender::new(false);
        let peers = Peers::new(identity, settings(), stop.subscribe());
        tokio::spawn(peers.clone().listen(listener));
        let info = NodeInfo { address, ..NodeInfo::default() };
        let incarnation = me.incarnation;
        let known = self.meta.state().nodes.contains_key(&node);
        self.meta.done(&match known {
            true => Command::StartNode { node, store: id, incarnation, generation, info },
            false => Command::RegisterNode { node, store: id, incarnation, generation, info },
        });
        let options = Options {
            segment_bytes: 256 * 1024,
            gather_bytes: 64 * 1024,
            spares: 0,
            fill_pause: Duration::ZERO,
            ..Options::default()
        };
        let (spoiled, waiting) = mpsc::channel(WAITING);
        let around = Around {
            me,
            place: Place { cluster: CLUSTER, ..Place::of(&store) },
            options,
            rings: Arc::new(rings),
            files: Files::start().unwrap(),
            beside,
            peers,
            meta: Arc::clone(&self.meta) as _,
            metrics: ShardsMetrics::default(),
            // A holder that lags is soon served from the files.
            limits: Limits { memory_bytes: 128 * 1024, ..Limits::default() },
            spread: 3,
            classes: tidelog_meta::Classes::default(),
            free: Box::new({
                let meta = Arc::clone(&self.meta);
                move |node| meta.free.lock().unwrap().get(&node).copied()
            }),
            pace: Pace::new(None),
            leaving: AtomicBool::new(false),
            spoiled,
            changes: watch::Sender::new(0),
            stopping: stop.subscribe(),
            runtime: tokio::runtime::Handle::current(),
            since: Instant::now(),
        };
        let shards = Shards::start(around, waiting).await.unwrap();
        // Locks and identity of the directory live as long as this process.
        std::mem::forget(store);
        self.running.insert(node, Running { shards, stop });
    }

    /// Ends the process of a node as it is, and what it writes from now on is not seen by its next one.
    pub(super) fn kill(&mut self, node: u64) {
        let running = self.running.remove(&node).unwrap();
        let image = copy_of(self.dir(node));
        running.stop.send_replace(true);
        self.old.extend(self.dirs.insert(node, image));
    }

    pub(super) fn dir(&self, node: u64) -> &Path {
        self.dirs[&node].path()
    }

    pub(super) fn shards(&self, node: u64) -> &Shards {
        &self.running[&node].shards
    }

    pub(super) fn replica(&self, node: u64) -> tidelog_replica::span::Replica {
        crate::spans::replica_of(&self.meta.state().nodes[&node].replica(node))
    }

    pub(super) fn last_span(&self) -> Span {
        self.meta.state().last_span(SHARD).cloned().unwrap()
    }

    /// Waits until a node leads the shard's last span.
    pub(super) async fn leads(&self, node: u64) -> Wal {
        let what = format!("node {node} leads");
        until(&what, || self.shards(node).led(SHARD)).await
    }

    /// Waits until somebody leads a later span than `epoch`.
    pub(super) async fn next_leader(&self, epoch: u32) -> (u64, Wal) {
        until("somebody leads the next span", || {
            self.running.iter().find_map(|(node, running)| {
                let wal = running.shards.led(SHARD).filter(|wal| wal.epoch() > epoch)?;
                Some((*node, wal))
            })
        })
        .await
    }

    /// The log of whoever leads the newest span, if somebody does.
    pub(super) fn leader(&self) -> Option<Wal> {
        let epoch = self.last_span().epoch;
        self.running.values().find_map(|running| running.shards.led(SHARD).filter(|wal| wal.epoch() == epoch))
    }

    /// All values as the leader has them, once these are among them in their order.
    pub(super) async fn all_records(&self, acknowledged: &[String]) -> Vec<String> {
        let begun = Instant::now();
        loop {
            if let Some(wal) = self.leader()
                && let Ok(found) = read(&wal).await
            {
                let mut rest = found.iter();
                let lost = acknowledged.iter().find(|value| !rest.any(|found| found == *value));
                match lost {
                    None => return found,
                    // A leader has everything as soon as it leads.
                    Some(lost) => {
                        panic!("{}... was acknowledged and is not there", &lost[..lost.len().min(20)])
                    }
                }
            }
            assert!(begun.elapsed() < LONG, "waited in vain for a leader");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits until a span is whole on a node.
    pub(super) async fn whole(&self, node: u64, epoch: u32) {
        until(&format!("span {epoch} is whole on node {node}"), || {
            let held = self.shards(node).get(SHARD)?;
            held.rules().follower.is_whole(epoch).then_some(())
        })
        .await;
    }

    /// Waits until a node serves all of these values to readers.
    pub(super) async fn serves(&self, node: u64, values: &[String]) {
        let begun = Instant::now();
        loop {
            if let Some(serving) =
                self.shards(node).get(SHARD).and_then(|held| held.serving().borrow().clone())
                && let Ok(found) = read(&serving.wal).await
                && found == values
            {
                return;
            }
            assert!(begun.elapsed() < LONG, "waited in vain: node {node} serves {} values", values.len());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub(super) fn set_state(&self, node: u64, to: NodeState) {
        let was = self.meta.state().nodes[&node].state;
        self.meta.done(&Command::SetNodeState { node, was, state: to });
    }

    /// The segment files of a span on a node, by name.
    pub(super) fn files(&self, node: u64, epoch: u32) -> BTreeMap<String, Vec<u8>> {
        let dir = self.dir(node).join("shards").join(SHARD.to_string());
        let prefix = format!("{epoch:010}-");
        let entries = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap());
        let of_span = entries.filter(|entry| entry.file_name().to_str().unwrap().starts_with(&prefix));
        // One that is being replaced may be gone by now.
        let read = |entry: std::fs::DirEntry| {
            Some((entry.file_name().into_string().unwrap(), std::fs::read(entry.path()).ok()?))
        };
        of_span.filter_map(read).collect()
    }
}

fn settings() -> Settings {
    let ms = Duration::from_millis;
    Settings { pauses: (ms(5), ms(100)), ..Settings::default() }
}

/// What a crash leaves of a directory.
fn copy_of(dir: &Path) -> tempfile::TempDir {
    fn copy(from: &Path, to: &Path) -> std::io::Result<()> {
        std::fs::create_dir_all(to)?;
        for entry in std::fs::read_dir(from)? {
            let entry = entry?;
            let target = to.join(entry.file_name());
            match entry.file_type()?.is_dir() {
                true => copy(&entry.path(), &target)?,
                false => drop(std::fs::copy(entry.path(), target)?),
            }
        }
        Ok(())
    }
    loop {
        let image = tempfile::tempdir().unwrap();
        // Where a file got another name meanwhile it is no image of one moment.
        match copy(dir, image.path()) {
            Ok(()) => return image,
            Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::NotFound, "{error}"),
        }
    }
}

/// Waits for something.
pub(super) async fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(begun.elapsed() < LONG, "waited in vain: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Appends records, each acknowledged before the next one.
pub(super) async fn append(wal: &Wal, values: impl IntoIterator<Item = String>) -> Vec<String> {
    let mut appended = Vec::new();
    for value in values {
        let mut builder = BatchBuilder::new(Codec::None);
        builder.push(&Record { timestamp: 1, value: Some(value.as_bytes()), ..Record::default() }).unwrap();
        wal.append(PARTITION, builder.finish().unwrap()).await.unwrap();
        appended.push(value);
    }
    appended
}

/// Values of so many bytes.
pub(super) fn values(from: usize, count: usize, len: usize) -> impl Iterator<Item = String> {
    (from..from + count).map(move |n| format!("{n:0>len$}"))
}

/// All values of the partition.
pub(super) async fn read(wal: &Wal) -> Result<Vec<String>, ReadError> {
    let mut found: Vec<String> = Vec::new();
    loop {
        let fetched = wal.read(PARTITION, found.len() as u64, 1 << 20).await?;
        if fetched.batches.is_empty() {
            return Ok(found);
        }
        for bytes in fetched.batches {
            let (view, mut scratch) = (BatchView::parse(&bytes).unwrap(), Vec::new());
            for record in view.records(&mut scratch).unwrap() {
                found.push(String::from_utf8(record.unwrap().1.value.unwrap().to_vec()).unwrap());
            }
        }
    }
}
