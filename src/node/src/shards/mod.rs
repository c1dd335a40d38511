//! # Purpose
//! The shards that this node holds together with others: carries out what the rules of `tidelog_replica` say, on the real
//! log, real files and real connections. It decides nothing itself.
//!
//! | file | what it does |
//! |---|---|
//! | `held.rs` | one shard: its rules behind one lock, and their effects |
//! | `store.rs` | one shard's disk: which span is written by whom, where spans end |
//! | `commits.rs` | the appender of a span that is led here, as the rules meet it |
//! | `asking.rs` | what is asked of the metadata: seals, closes, next spans |
//! | `reading.rs` | frames for others, from the files |
//! | `copying.rs` | sealed spans that come from others |
//! | `files.rs` | the thread that reads and writes files beside the writers |
//! | `moving.rs` | another node leads, on purpose |
//! | `partitions.rs` | a partition leaves for another shard |
//! | `metrics.rs` | what is counted of all that |
//! | `watching.rs` | what time brings: suspicion, spans that stand still |
//! | `auditing.rs` | what the metadata's auditor wants: spans with other holders, copies, balance |
//! | `scrubbing.rs` | sealed spans are read again, to find what the disk has spoiled |
//! | `view.rs`, `words.rs` | metadata and wire, as the rules have them |
//!
//! # Invariants
//! - Every event of a shard (a message, a returned write, a tick, news of the metadata) is one step under the shard's lock,
//!   which nothing waits under. What takes time is done elsewhere and comes back as an event.
//! - The leader's frames go to the other holders before its own write begins, from one copy of their bytes.
//!
//! # Limits
//! The rules bound what waits: 16 frames and 32 MiB to each holder and in each tail, one write in flight, one read back for
//! each holder. Reads for coordinators are 16 at once, more are dropped and asked for again. A peer that does not take its
//! messages loses them (`crate::peers`), and the rules send again.

mod asking;
mod auditing;
mod commits;
mod copying;
mod files;
mod held;
mod metrics;
mod moving;
mod pace;
mod partitions;
mod reading;
mod scrubbing;
mod store;
#[cfg(test)]
mod tests;
mod view;
mod watching;
mod words;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use tidelog_meta::{
    Classes, Command, Facts, Heard, METADATA_SHARD, MetaStore, Outcome, Spread, State, StoreId, Unavailable,
};
use tidelog_proto::peer::Message;
use tidelog_replica::leader::Limits;
use tidelog_replica::span::{Replica, SpanState};
use tidelog_wal::{Options, ShardSpec, Store, Wal};
use tokio::sync::{mpsc, watch};
use tokio::time::MissedTickBehavior;

use crate::peers::{Handler, Lane, Peer, Peers, Reply};
use crate::ring::{Beside, RingError, Rings};
use crate::spans::{Me, span_of};

pub(crate) use files::Files;
pub(crate) use held::{Held, Serving};
pub(crate) use metrics::ShardsMetrics;
pub(crate) use moving::Unmoved;
pub(crate) use pace::Pace;
pub(crate) use scrubbing::WAITING;

/// A node takes new spans while its disk has room for so many segments.
const LEAST_SEGMENTS: u64 = 8;
/// Between two looks at the clock.
const TICK: Duration = Duration::from_millis(20);
/// The metadata is read this often, whatever it tells by itself.
const READ_EVERY: Duration = Duration::from_secs(1);
/// A start waits so long for the shards that nobody else holds.
const ALONE: Duration = Duration::from_secs(30);
/// A stop waits so long for others to lead what this node has led.
const LEAVE: Duration = Duration::from_secs(3);
/// Times are counted from so long before the start, so that what was before it has a time too.
const BEFORE: Duration = Duration::from_secs(3600);

/// The metadata, whatever keeps it.
pub(crate) trait Meta: Send + Sync {
    fn propose(&self, command: Command) -> BoxFuture<'_, Result<Outcome, Unavailable>>;
    fn read(&self) -> BoxFuture<'_, Result<Arc<State>, Unavailable>>;
    fn recent(&self) -> Arc<State>;
    fn watch(&self) -> watch::Receiver<u64>;
}

impl<M: MetaStore> Meta for M {
    fn propose(&self, command: Command) -> BoxFuture<'_, Result<Outcome, Unavailable>> {
        Box::pin(MetaStore::propose(self, command))
    }

    fn read(&self) -> BoxFuture<'_, Result<Arc<State>, Unavailable>> {
        Box::pin(MetaStore::read(self))
    }

    fn recent(&self) -> Arc<State> {
        MetaStore::recent(self)
    }

    fn watch(&self) -> watch::Receiver<u64> {
        MetaStore::watch(self)
    }
}

/// Where a node's shards live.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    pub(crate) dir: PathBuf,
    pub(crate) lost_and_found: PathBuf,
    pub(crate) cluster: [u8; 16],
}

impl Place {
    pub(crate) fn of(store: &Store) -> Place {
        let dir = store.dir().join(tidelog_format::name::SHARDS);
        Place { dir, lost_and_found: store.lost_and_found(), cluster: store.cluster() }
    }

    fn spec(&self, shard: u64, epoch: u32) -> ShardSpec {
        ShardSpec {
            shard,
            dir: self.dir.join(shard.to_string()),
            lost_and_found: self.lost_and_found.clone(),
            cluster: self.cluster,
            epoch,
        }
    }
}

/// Bytes that a node's disk still takes, by its number; `None` where nobody knows.
pub(crate) type Free = Box<dyn Fn(u64) -> Option<u64> + Send + Sync>;

/// What all shards of a node work with.
pub(crate) struct Around {
    pub(crate) me: Me,
    pub(crate) place: Place,
    pub(crate) options: Options,
    pub(crate) rings: Arc<Rings>,
    pub(crate) files: Files,
    pub(crate) beside: Beside,
    pub(crate) peers: Peers,
    pub(crate) meta: Arc<dyn Meta>,
    /// Of the leaders here.
    pub(crate) limits: Limits,
    pub(crate) metrics: ShardsMetrics,
    /// How many holders a new span gets, where so many nodes live.
    pub(crate) spread: usize,
    /// Over how many shards partitions are spread.
    pub(crate) classes: Classes,
    /// Bytes that a node's disk still takes, where that was heard.
    pub(crate) free: Free,
    /// How fast copies come.
    pub(crate) pace: Pace,
    /// This node is about to stop: others lead better.
    pub(crate) leaving: AtomicBool,
    /// Shards in which a reader met damage.
    pub(crate) spoiled: mpsc::Sender<u64>,
    /// Counts how often the log that serves a shard has changed.
    pub(crate) changes: watch::Sender<u64>,
    pub(crate) stopping: watch::Receiver<bool>,
    /// Of the threads that talk to others; the disks' threads have their own.
    pub(crate) runtime: tokio::runtime::Handle,
    pub(crate) since: Instant,
}

impl Around {
    fn now(&self) -> Duration {
        BEFORE + self.since.elapsed()
    }

    /// Whether a node is taken for alive: a guess, on which nothing but places and leaders depends.
    fn is_alive(&self, state: &State, node: u64) -> bool {
        let reaches = |known: &tidelog_meta::Node| self.peers.reaches(known.store, Lane::Shards);
        node == self.me.node || state.nodes.get(&node).is_some_and(reaches)
    }

    /// Who takes new copies, the best first: `turn` says who of equals is first, so that not all go to the same. Nodes that
    /// are away now come last, and only where two are there without them: else a span would wait for them.
    fn takers(&self, state: &State, turn: usize) -> Vec<Replica> {
        let (mut alive, away): (Vec<Replica>, Vec<Replica>) =
            view::takers(state, turn).into_iter().partition(|taker| self.is_alive(state, taker.node));
        // Of those that have the records the first one leads. Where there is nobody else, one without room takes it.
        let leaves = self.is_leaving();
        alive.sort_by_key(|taker| (leaves && taker.node == self.me.node, !self.has_room(taker.node)));
        if alive.len() > 1 {
            alive.extend(away);
        }
        alive
    }

    /// How spans are spread.
    fn spread(&self) -> Spread {
        let least_free = LEAST_SEGMENTS * self.options.segment_bytes;
        Spread { replicas: self.spread, least_free, ..Spread::default() }
    }

    /// Room on a node's disk, where nobody knows any.
    fn room(&self, node: u64) -> u64 {
        (self.free)(node).unwrap_or(u64::MAX)
    }

    fn has_room(&self, node: u64) -> bool {
        self.room(node) >= self.spread().least_free
    }

    /// Whether this node is about to stop.
    fn is_leaving(&self) -> bool {
        self.leaving.load(Ordering::Relaxed)
    }

    /// How many nodes would hold a new span.
    fn could_hold(&self, state: &State) -> usize {
        let alive = view::takers(state, 0).into_iter().filter(|taker| self.is_alive(state, taker.node));
        alive.count().min(self.spread)
    }

    /// Keeps a connection to every other node, also where nothing is to be said: whoever can be reached is alive.
    fn reach_all(&self, state: &State) {
        let others =
            state.nodes.iter().filter(|(node, known)| **node != self.me.node && known.state.counts());
        for (_, known) in others {
            self.peers.dial(known.store, Lane::Shards);
        }
    }

    /// Sends a message to a node. What does not go out is lost: whoever sends knows how to send again.
    fn tell(&self, state: &State, node: u64, message: &Message) {
        if let Some(known) = state.nodes.get(&node) {
            self.tell_store(known.store, message);
        }
    }

    fn tell_store(&self, store: StoreId, message: &Message) {
        if let Err(error) = self.peers.tell(store, "", message) {
            tracing::debug!(%store, %error, "a message about a shard was not sent");
        }
    }

    /// Ends when the node stops.
    async fn stopped(&self) {
        // Whoever could say so is gone when it is an error.
        let _ = self.stopping.clone().wait_for(|stopping| *stopping).await;
    }
}

/// All shards of a node. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Shards {
    around: Arc<Around>,
    held: Arc<RwLock<BTreeMap<u64, Arc<Held>>>>,
}

impl std::fmt::Debug for Shards {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shards").field("held", &self.all().len()).finish_non_exhaustive()
    }
}

impl Shards {
    /// Looks at all shards on the disk and takes part in them from now on, until the node stops. The metadata shows this
    /// process in its present life already.
    ///
    /// # Errors
    /// A disk that fails, files that are not to be believed.
    pub(crate) async fn start(around: Around, spoiled: mpsc::Receiver<u64>) -> Result<Shards, RingError> {
        let shards = Shards { around: Arc::new(around), held: Arc::default() };
        if let Ok(state) = shards.around.meta.read().await {
            shards.look(state, true).await?;
        }
        shards.around.peers.hand_shards_to(Arc::new(shards.clone()));
        tokio::spawn(shards.clone().follow_metadata());
        tokio::spawn(shards.clone().tick());
        tokio::spawn(shards.clone().audit());
        tokio::spawn(shards.clone().scrub(spoiled));
        Ok(shards)
    }

    /// Whether this process leads this span of a shard at some moment from now on, by the metadata and not by what was heard of
    /// it last. False also when the metadata cannot be read.
    pub(crate) async fn leads_surely(&self, shard: u64, epoch: u32) -> bool {
        let Ok(state) = self.around.meta.read().await else { return false };
        let last = state.last_span(shard).filter(|last| last.epoch == epoch);
        last.map(|last| span_of(shard, last))
            .is_some_and(|span| span.state == SpanState::Open && span.is_led_by(&self.around.me.process()))
    }

    /// Waits until this process leads the shards that nobody else holds, or has given up waiting: a shard whose end is
    /// doubted is not led before somebody decides.
    pub(crate) async fn until_led_alone(&self) {
        let me = self.around.me.node;
        let mut changes = self.changes();
        let all_led = async {
            loop {
                let state = self.around.meta.recent();
                let alone = |span: &tidelog_meta::Span| span.replicas.len() == 1 && span.is_on(me);
                let mut last = state.chains.iter().filter_map(|(shard, chain)| Some((*shard, chain.last()?)));
                if last
                    .all(|(shard, span)| shard == METADATA_SHARD || !alone(span) || self.led(shard).is_some())
                {
                    return;
                }
                // The sender lives as long as this.
                let _ = changes.changed().await;
            }
        };
        if tokio::time::timeout(ALONE, all_led).await.is_err() {
            tracing::warn!(
                "not all shards that this node holds alone are led yet: the node starts without them"
            );
        }
    }

    /// Has other holders lead what is led here, as far as there are any, and waits until they do. What this node was named for
    /// just before, or is meanwhile, it hands over as soon as it has begun to lead it.
    pub(crate) async fn hand_over(&self) {
        self.around.leaving.store(true, Ordering::Relaxed);
        let (mut left, mut changes) = (BTreeMap::new(), self.changes());
        let all_left = async {
            if let Ok(state) = self.around.meta.read().await
                && let Err(error) = self.look(state, true).await
            {
                tracing::warn!(%error, "a shard cannot be opened while this node stops");
            }
            loop {
                let handing_over = self.all().into_iter().filter(|held| held.hand_over());
                left.extend(handing_over.map(|held| (held.shard, held)));
                if left.values().all(|held| held.has_left()) {
                    return;
                }
                tokio::select! {
                    _ = changes.changed() => {}
                    () = tokio::time::sleep(TICK) => {}
                }
            }
        };
        if tokio::time::timeout(LEAVE, all_left).await.is_err() {
            tracing::warn!("not all shards have another leader yet: their other holders find one");
        }
    }

    /// What is known of the nodes, for the places of new spans.
    pub(crate) fn facts(&self, state: &State) -> Facts {
        let alive = state.nodes.keys().copied().filter(|node| self.around.is_alive(state, *node));
        let heard = alive.map(|node| (node, Heard { silent_ms: 0, free_bytes: self.around.room(node) }));
        Facts { nodes: heard.collect(), ..Facts::default() }
    }

    /// How spans are spread.
    pub(crate) fn spread(&self) -> Spread {
        self.around.spread()
    }

    /// The turn to change which partitions live in a shard.
    pub(crate) fn turn(&self, shard: u64) -> Option<Arc<tokio::sync::Mutex<()>>> {
        Some(Arc::clone(&self.get(shard)?.turn))
    }

    /// A partition has come to a shard that is led here.
    pub(crate) fn count_arrival(&self) {
        self.around.metrics.arrived.inc();
    }

    /// Whether all of a sealed span is on this disk.
    pub(crate) fn has_whole(&self, shard: u64, epoch: u32) -> bool {
        self.get(shard).is_some_and(|held| held.rules().follower.is_whole(epoch))
    }

    /// The span that is led here has become long: it ends as soon as another one can follow.
    pub(crate) fn end_long(&self, shard: u64, epoch: u32) {
        if let Some(held) = self.get(shard) {
            held.rules().long = Some(epoch);
        }
    }

    /// Whether a node is taken for alive.
    pub(crate) fn is_alive(&self, state: &State, node: u64) -> bool {
        self.around.is_alive(state, node)
    }

    /// Counts how often the log that serves a shard has changed.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.around.changes.subscribe()
    }

    /// For `/metrics`.
    pub(crate) fn metrics(&self) -> ShardsMetrics {
        self.around.metrics.clone()
    }

    /// The log that serves each shard now: of those that another node leads too, while this one follows.
    pub(crate) fn serving(&self) -> BTreeMap<u64, Serving> {
        let serving = |held: &Arc<Held>| Some((held.shard, held.serving().borrow().clone()?));
        self.all().iter().filter_map(serving).collect()
    }

    fn all(&self) -> Vec<Arc<Held>> {
        self.held.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// A shard, if this node has looked at it.
    pub(crate) fn get(&self, shard: u64) -> Option<Arc<Held>> {
        self.held.read().unwrap_or_else(PoisonError::into_inner).get(&shard).cloned()
    }

    /// The log of a shard's last span, if this process leads it.
    pub(crate) fn led(&self, shard: u64) -> Option<Wal> {
        let serving = self.get(shard)?.serving().borrow().clone()?;
        serving.leads.then_some(serving.wal)
    }

    /// Takes a state of the metadata.
    async fn look(&self, state: Arc<State>, current: bool) -> Result<(), RingError> {
        self.around.peers.learn(Arc::clone(&state));
        self.around.reach_all(&state);
        for shard in state.chains.keys().copied().filter(|shard| *shard != METADATA_SHARD) {
            let held = match self.get(shard) {
                Some(held) => held,
                None => {
                    let held = Held::open(Arc::clone(&self.around), shard, &state).await?;
                    self.held
                        .write()
                        .unwrap_or_else(PoisonError::into_inner)
                        .insert(shard, Arc::clone(&held));
                    held
                }
            };
            held.look(&state, current);
        }
        Ok(())
    }

    /// Looks at the metadata whenever it has changed, and from time to time.
    async fn follow_metadata(self) {
        let mut changed = self.around.meta.watch();
        // News that come all the time do not put the sure look off: only that one has files removed.
        let mut sure = tokio::time::interval(READ_EVERY);
        sure.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let read = tokio::select! {
                news = changed.changed() => {
                    if news.is_err() {
                        return;
                    }
                    Some((self.around.meta.recent(), false))
                }
                _ = sure.tick() => self.around.meta.read().await.ok().map(|state| (state, true)),
                () = self.around.stopped() => return,
            };
            let Some((state, current)) = read else { continue };
            if let Err(error) = self.look(state, current).await {
                tracing::error!(%error, "a shard cannot be opened: this node takes no part in it");
            }
        }
    }

    async fn tick(self) {
        loop {
            tokio::select! {
                () = tokio::time::sleep(TICK) => {}
                () = self.around.stopped() => return,
            }
            for held in self.all() {
                held.tick();
            }
        }
    }
}

impl Handler for Shards {
    fn take(&self, from: Peer, message: Message, reply: Reply) {
        let shard = match &message {
            Message::Request(envelope, _) => envelope.shard,
            Message::Answer(from) => from.shard,
            Message::ListFiles { shard, .. } => *shard,
            Message::FetchFile(piece) => piece.shard,
            Message::FetchFrames { shard, .. } => *shard,
            _ => return,
        };
        // A shard that is not known here yet will be when the metadata is looked at; whoever asks asks again.
        let Some(held) = self.get(shard) else { return };
        match message {
            Message::Request(envelope, request) => held.asked(from, envelope, request),
            Message::Answer(answer) => held.answered(from, answer),
            Message::ListFiles { epoch, from, .. } => held.list(epoch, from, reply),
            Message::FetchFile(piece) => held.give(piece, reply),
            Message::FetchFrames { epoch, from, to, .. } => held.give_frames(epoch, (from, to), reply),
            _ => {}
        }
    }
}
