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
//! | `metrics.rs` | what is counted of all that |
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
mod commits;
mod copying;
mod files;
mod held;
mod metrics;
mod reading;
mod store;
#[cfg(test)]
mod tests;
mod view;
mod words;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use tidelog_meta::{Command, METADATA_SHARD, MetaStore, Outcome, State, StoreId, Unavailable};
use tidelog_proto::peer::Message;
use tidelog_replica::leader::Limits;
use tidelog_wal::{Options, ShardSpec, Store, Wal};
use tokio::sync::watch;

use crate::peers::{Handler, Peer, Peers, Reply};
use crate::ring::{Beside, RingError, Rings};
use crate::spans::Me;

pub(crate) use files::Files;
pub(crate) use held::Held;
pub(crate) use metrics::ShardsMetrics;

/// Between two looks at the clock.
const TICK: Duration = Duration::from_millis(20);
/// The metadata is read this often, whatever it tells by itself.
const READ_EVERY: Duration = Duration::from_secs(1);

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
    pub(crate) stopping: watch::Receiver<bool>,
    /// Of the threads that talk to others; the disks' threads have their own.
    pub(crate) runtime: tokio::runtime::Handle,
    pub(crate) since: Instant,
}

impl Around {
    fn now(&self) -> Duration {
        self.since.elapsed()
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
    pub(crate) async fn start(around: Around) -> Result<Shards, RingError> {
        let shards = Shards { around: Arc::new(around), held: Arc::default() };
        if let Ok(state) = shards.around.meta.read().await {
            shards.look(state, true).await?;
        }
        shards.around.peers.hand_shards_to(Arc::new(shards.clone()));
        tokio::spawn(shards.clone().follow_metadata());
        tokio::spawn(shards.clone().tick());
        Ok(shards)
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
        loop {
            let read = tokio::select! {
                news = changed.changed() => {
                    if news.is_err() {
                        return;
                    }
                    Some((self.around.meta.recent(), false))
                }
                () = tokio::time::sleep(READ_EVERY) => self.around.meta.read().await.ok().map(|state| (state, true)),
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
