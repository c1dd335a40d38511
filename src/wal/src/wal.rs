//! The handle to a shard.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tidelog_format::batch::Batch;
use tidelog_format::footer::POSITION_BYTES;
use tidelog_format::partition_taken;
use tokio::sync::oneshot;

use crate::control::Control;
use crate::error::{AppendError, ReadError};
use crate::queue::Work;
use crate::reply::Appending;
use crate::segments::{Segment, SegmentId};
use crate::shared::{PartitionState, Shared, Status};
use crate::span_files::SealedFile;
use crate::stats::Stats;

/// Proof that a batch or control entry is durable on this disk and committed by the shard's [`crate::Commits`]. Only this
/// crate can make one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Durable {
    pub(crate) lsn: u64,
    pub(crate) base_offset: u64,
    pub(crate) append_time: Option<i64>,
    pub(crate) duplicate: bool,
}

impl Durable {
    /// LSN of the frame that holds it.
    pub fn lsn(&self) -> u64 {
        self.lsn
    }

    /// Offset of the batch's first record.
    pub fn base_offset(&self) -> u64 {
        self.base_offset
    }

    /// When it was framed, ms since 1970; of a duplicate's original that is not remembered.
    pub fn append_time(&self) -> Option<i64> {
        self.append_time
    }

    /// Whether an idempotent producer had sent the batch before: LSN and offset are those of the one that is stored.
    pub fn is_duplicate(&self) -> bool {
        self.duplicate
    }
}

/// A handle to a shard: cheap to clone, usable from any thread and runtime.
#[derive(Clone)]
pub struct Wal {
    pub(crate) shared: Arc<Shared>,
}

impl std::fmt::Debug for Wal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Wal(shard {})", self.shared.shard)
    }
}

impl Wal {
    pub(crate) fn new(shared: Arc<Shared>) -> Wal {
        Wal { shared }
    }

    /// The shard's id.
    pub fn shard(&self) -> u64 {
        self.shared.shard
    }

    /// Whether it is the same log: the one that was opened with the other.
    pub fn is_same(&self, other: &Wal) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared)
    }

    /// Epoch of the span that is written.
    pub fn epoch(&self) -> u32 {
        self.shared.epoch
    }

    /// Tells the appender that its [`crate::Commits`] has come further.
    pub fn wake(&self) {
        self.shared.queue.wake();
    }

    /// Appends a batch to a partition and waits until it is durable. Waits for room when too many bytes are in
    /// flight. Batches handed in one after the other by one caller keep their order.
    ///
    /// # Errors
    /// With [`AppendError::OutcomeUnknown`] the batch may be on disk; with all others it was not put there by this call.
    pub async fn append(&self, partition: u64, batch: Batch) -> Result<Durable, AppendError> {
        self.begin_append(partition, batch).await?.await
    }

    /// Hands a batch in and waits for room only: batches get their offsets in the order of these calls. What is given
    /// back resolves once the batch is durable; dropping it takes nothing back.
    ///
    /// # Errors
    /// As [`Wal::append`]; with these the batch was not handed in.
    pub async fn begin_append(&self, partition: u64, batch: Batch) -> Result<Appending, AppendError> {
        let (len, max) = (batch.len(), self.shared.options.max_batch());
        if len > max {
            return Err(AppendError::TooLarge { len, max });
        }
        if let Some(refusal) = self.shared.state().status.refusal(false) {
            return Err(refusal);
        }
        self.begin(Work::Batch { partition, batch }, len).await
    }

    /// Appends a control entry and waits until it is durable.
    ///
    /// # Errors
    /// As [`Wal::append`].
    pub async fn control(&self, control: Control) -> Result<Durable, AppendError> {
        self.begin_control(control).await?.await
    }

    /// Hands a control entry in and waits for room only: entries are framed in the order of these calls. What is given
    /// back resolves once the entry is durable; dropping it takes nothing back.
    ///
    /// # Errors
    /// As [`Wal::append`]; with these the entry was not handed in.
    pub async fn begin_control(&self, control: Control) -> Result<Appending, AppendError> {
        let (kind, row, body) = control.encode()?;
        let (len, max) = (body.len(), self.shared.options.max_batch());
        if len > max {
            return Err(AppendError::TooLarge { len, max });
        }
        if let Some(refusal) = self.shared.state().status.refusal(true) {
            return Err(refusal);
        }
        self.begin(Work::Control { kind, row, body }, len).await
    }

    /// Takes no batch of a partition any more in this span: they are refused with [`AppendError::Moving`], duplicates too.
    /// Answers when all that was taken before is committed: then [`Wal::partition`] says where the partition ends, and
    /// [`Wal::producers_of`] what its producers wrote last.
    ///
    /// # Errors
    /// As [`Wal::append`]. The partition may be closed all the same.
    pub async fn close_partition(&self, partition: u64) -> Result<Durable, AppendError> {
        if let Some(refusal) = self.shared.state().status.refusal(true) {
            return Err(refusal);
        }
        self.submit(Work::Close { partition }, 0).await
    }

    /// Takes batches of a partition again that was closed and goes on here after all.
    ///
    /// # Errors
    /// As [`Wal::append`]: then nothing is taken of any partition.
    pub async fn reopen_partition(&self, partition: u64) -> Result<(), AppendError> {
        self.submit(Work::Reopen { partition }, 0).await.map(|_| ())
    }

    /// What idempotent producers wrote last to a partition, committed, for [`Control::TakePartition`] in another shard.
    ///
    /// # Errors
    /// It could not be encoded.
    pub fn producers_of(&self, partition: u64) -> Result<Vec<u8>, AppendError> {
        let rows = self.shared.state().index.producers().of_partition(partition);
        partition_taken::encode(&rows)
            .map_err(|_| AppendError::Invalid("what the partition's producers wrote could not be compressed"))
    }

    /// Ends the active segment if it holds anything, so that retention can release it.
    pub(crate) async fn roll(&self) -> Result<Durable, AppendError> {
        self.submit(Work::Roll, 0).await
    }

    async fn submit(&self, work: Work, len: usize) -> Result<Durable, AppendError> {
        self.begin(work, len).await?.await
    }

    async fn begin(&self, work: Work, len: usize) -> Result<Appending, AppendError> {
        let (reply, appending) = self.shared.replies.open();
        self.shared.queue.push(work, len, reply).await?;
        Ok(appending)
    }

    /// A live partition's watermarks; `None` when it does not live here.
    pub fn partition(&self, partition: u64) -> Option<PartitionState> {
        self.shared.state().partition(partition)
    }

    /// All live partitions with their watermarks, in no order.
    pub fn partitions(&self) -> Vec<(u64, PartitionState)> {
        let state = self.shared.state();
        state
            .index
            .partitions()
            .filter_map(|row| Some((row.partition, state.partition(row.partition)?)))
            .collect()
    }

    /// Waits until the partition has records at or behind `offset`, without polling.
    ///
    /// # Errors
    /// When the partition does not live or ends, or the shard closes.
    pub async fn wait_beyond(&self, partition: u64, offset: u64) -> Result<(), ReadError> {
        let mut closed = self.shared.closed.subscribe();
        loop {
            let woken = {
                let mut state = self.shared.state_mut();
                let here = state.partition(partition).ok_or(ReadError::UnknownPartition(partition))?;
                if here.next_offset > offset {
                    return Ok(());
                }
                let waiters = state.waiters.entry(partition).or_default();
                // Those that gave up leave their place here; the list stays as long as there are real waiters.
                waiters.retain(|waiter| !waiter.is_closed());
                let (waiter, woken) = oneshot::channel();
                waiters.push(waiter);
                woken
            };
            tokio::select! {
                _ = woken => {}
                _ = closed.wait_for(|closed| *closed) => return Err(ReadError::Closed),
            }
        }
    }

    /// Numbers of the segments behind the active one, ascending.
    pub(crate) fn segment_numbers(&self) -> Vec<u64> {
        self.shared.state().segments.numbers()
    }

    /// The sealed files of a span have come into the shard's folder, or have taken the places of others: readers find them
    /// from now on.
    pub fn adopt(&self, epoch: u32, files: &[SealedFile]) {
        let mut state = self.shared.state_mut();
        for number in state.segments.numbers() {
            if state.segments.get(number).is_some_and(|segment| segment.id.epoch == epoch) {
                state.segments.remove(number);
            }
        }
        for file in files {
            let id = SegmentId { number: file.number, epoch };
            state.segments.insert(Segment { id, len: file.len, footer: None, sealed: true });
        }
        let count = state.segments.len() + usize::from(state.active.is_some());
        self.shared.stats.segments.store(count as u64, Ordering::Relaxed);
        drop(state);
        self.shared.replaced.fetch_add(1, Ordering::Relaxed);
        self.shared.cursors.forget_all();
    }

    /// What the shard can do now.
    pub fn status(&self) -> Status {
        self.shared.state().status.clone()
    }

    /// Whether its span is written by this node: not while it takes the frames of another one.
    pub fn is_led(&self) -> bool {
        !matches!(self.shared.state().status, Status::Following)
    }

    /// The shard's counters.
    pub fn stats(&self) -> Arc<Stats> {
        Arc::clone(&self.shared.stats)
    }

    /// Refuses new work, finishes what waits, seals, and ends [`crate::Engine::run`].
    ///
    /// # Errors
    /// The reason for which the shard could not be closed cleanly; it is closed all the same.
    pub async fn close(&self) -> Result<(), AppendError> {
        let poisoned = || match self.status() {
            Status::Poisoned(cause) => Err(AppendError::Poisoned { cause }),
            _ => Ok(()),
        };
        let before = poisoned();
        self.shared.queue.close();
        let mut closed = self.shared.closed.subscribe();
        // The sender lives as long as this handle.
        let _ = closed.wait_for(|closed| *closed).await;
        before
    }

    /// How far apart positions in a segment's index are, bytes of one partition. For sizing reads.
    pub const INDEX_STEP: u64 = POSITION_BYTES;
}
