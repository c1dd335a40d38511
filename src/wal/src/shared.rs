//! What the engine and the handles share: durable state only, so that a reader can't see what may be lost.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use rustc_hash::FxHashMap;
use tidelog_format::index::SegmentIndex;
use tidelog_io::IoError;
use tidelog_io::clock::Clock;
use tokio::sync::{mpsc, oneshot, watch};

use crate::cursors::Cursors;
use crate::error::{AppendError, Hole};
use crate::options::Options;
use crate::queue::{ENTRIES, Queue};
use crate::read_buffers::ReadBuffers;
use crate::reads::ReadJob;
use crate::reply::Replies;
use crate::segments::{Active, SegmentId, Segments};
use crate::stats::Stats;
use crate::tail::Tail;

/// What a shard can do now.
#[derive(Debug, Clone)]
pub enum Status {
    /// Everything.
    Running,
    /// Reads; it takes the frames of the node that leads its span.
    Following,
    /// Reads and control entries; no room for another segment.
    Full,
    /// Reads only: acknowledged data is damaged.
    ReadOnly(Arc<Hole>),
    /// Reads only: a write failed. The first cause is kept.
    Poisoned(Arc<IoError>),
    /// Nothing.
    Closed,
}

/// A live partition's watermarks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartitionState {
    /// First wanted offset.
    pub log_start: u64,
    /// Offset behind the last durable record (on one node: the high watermark).
    pub next_offset: u64,
    /// Stored bytes of the partition in the active segment.
    pub active_bytes: u64,
}

#[derive(Debug)]
pub(crate) enum KeeperJob {
    /// Nobody wants this segment any more.
    Release(SegmentId),
}

pub(crate) struct State {
    pub(crate) index: SegmentIndex,
    pub(crate) tail: Tail,
    pub(crate) waiters: FxHashMap<u64, Vec<oneshot::Sender<()>>>,
    pub(crate) segments: Segments,
    pub(crate) active: Option<Active>,
    pub(crate) status: Status,
}

pub(crate) struct Shared {
    pub(crate) shard: u64,
    pub(crate) epoch: u32,
    pub(crate) dir: PathBuf,
    pub(crate) options: Options,
    pub(crate) clock: Clock,
    pub(crate) queue: Queue,
    pub(crate) replies: Arc<Replies>,
    pub(crate) stats: Arc<Stats>,
    pub(crate) reads: mpsc::Sender<ReadJob>,
    pub(crate) read_buffers: Arc<ReadBuffers>,
    pub(crate) cursors: Cursors,
    /// Those who read keep their reads short, see [`crate::reads`].
    pub(crate) is_written: AtomicBool,
    /// How often files were put in the places of others: what is open of before is not read any more.
    pub(crate) replaced: AtomicU64,
    pub(crate) keeper: mpsc::UnboundedSender<KeeperJob>,
    pub(crate) closed: watch::Sender<bool>,
    state: RwLock<State>,
}

/// The engine's ends of the handles' channels.
pub(crate) struct Ends {
    /// Until somebody takes them.
    pub(crate) reads: Option<mpsc::Receiver<ReadJob>>,
    pub(crate) keeper: mpsc::UnboundedReceiver<KeeperJob>,
}

/// Read operations that may wait for the thread that reads.
const READS: usize = 256;

impl Shared {
    pub(crate) fn new(
        (shard, epoch): (u64, u32),
        dir: PathBuf,
        options: Options,
        clock: Clock,
        state: State,
    ) -> (Arc<Shared>, Ends) {
        let (reads, reads_end) = mpsc::channel(READS);
        let (keeper, keeper_end) = mpsc::unbounded_channel();
        let shared = Shared {
            shard,
            epoch,
            dir,
            queue: Queue::new(options.queue_bytes),
            replies: Replies::keeping(ENTRIES),
            cursors: Cursors::within(options.read_ahead_bytes),
            read_buffers: Arc::default(),
            is_written: AtomicBool::new(false),
            replaced: AtomicU64::new(0),
            options,
            clock,
            stats: Arc::new(Stats::default()),
            reads,
            keeper,
            closed: watch::Sender::new(false),
            state: RwLock::new(state),
        };
        (Arc::new(shared), Ends { reads: Some(reads_end), keeper: keeper_end })
    }

    /// The state for reading. A panic elsewhere can't leave it half-changed for long: it aborts the process.
    pub(crate) fn state(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn state_mut(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps the first cause and stops acknowledging.
    pub(crate) fn poison(&self, cause: Arc<IoError>) {
        let mut state = self.state_mut();
        if matches!(state.status, Status::Running | Status::Following | Status::Full) {
            tracing::error!(shard = self.shard, %cause, "shard poisoned: nothing is acknowledged any more");
            state.status = Status::Poisoned(cause);
        }
    }

    pub(crate) fn set_full(&self, full: bool) {
        let mut state = self.state_mut();
        match (&state.status, full) {
            (Status::Running, true) => {
                tracing::error!(shard = self.shard, "no room for another segment: batches are refused");
                state.status = Status::Full;
            }
            (Status::Full, false) => {
                tracing::info!(shard = self.shard, "there is room again");
                state.status = Status::Running;
            }
            _ => {}
        }
    }
}

impl State {
    pub(crate) fn partition(&self, partition: u64) -> Option<PartitionState> {
        self.index.partition(partition).map(|row| PartitionState {
            log_start: row.log_start,
            next_offset: row.next_offset,
            active_bytes: row.bytes,
        })
    }

    /// Wakes those who wait for the partition to grow or to end.
    pub(crate) fn wake(&mut self, partition: u64) {
        for waiter in self.waiters.remove(&partition).into_iter().flatten() {
            // A waiter that is gone needs no wake.
            let _ = waiter.send(());
        }
    }
}

impl Status {
    /// Why a batch (or, with `control`, a control entry) is refused now, if it is.
    pub(crate) fn refusal(&self, control: bool) -> Option<AppendError> {
        match self {
            Status::Running => None,
            Status::Following => Some(AppendError::Following),
            Status::Full if control => None,
            Status::Full => Some(AppendError::Full),
            Status::ReadOnly(hole) => Some(AppendError::ReadOnly(Arc::clone(hole))),
            Status::Poisoned(cause) => Some(AppendError::Poisoned { cause: Arc::clone(cause) }),
            Status::Closed => Some(AppendError::Closed),
        }
    }
}
