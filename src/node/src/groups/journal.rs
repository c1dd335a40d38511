//! # Purpose
//! Makes committed offsets durable in the internal topic `__consumer_offsets`, and reads them back at start.
//!
//! # Invariants
//! One task writes, one batch after the other, so that memory and topic change in the same order. What waits
//! meanwhile goes into the next batch.
//!
//! # Durability
//! A commit is answered when its batch is durable, and seen by others from then on.
//!
//! # Limits
//! The topic does not grow for ever: after so many bytes of changes all offsets are written anew, and only when those
//! are durable what stands before them is let go. A crash in between costs nothing: the same offsets are read twice.

use std::sync::{Arc, PoisonError};

use tidelog_format::batch::{Batch, BatchBuilder, BatchError, BatchView, Codec, Record};
use tidelog_proto::http::admin::{CreateTopic, TopicConfig};
use tidelog_proto::http::error::ErrorCode;
use tidelog_wal::Control;
use tokio::sync::{mpsc, oneshot};

use super::coordinator::Groups;
use super::error::GroupError;
use super::offset_record::{decode, encode_key, encode_value};
use super::offsets::{Change, Offsets};
use crate::failure::Failure;
use crate::node::{LiveTopic, Node};

/// The internal topic of committed offsets. It has one partition: one node, one coordinator.
pub(crate) const OFFSETS_TOPIC: &str = "__consumer_offsets";
/// Bytes of one batch, about.
const BATCH_BYTES: usize = 1024 * 1024;
/// Changes that are taken together before others get their turn.
const GATHER: usize = 10_000;
/// Its retention never lets go of anything before a snapshot does; that nobody else uses this number gives the topic a
/// shard of its own, whose segments no other topic keeps from being released.
const RETENTION_BYTES: u64 = 1 << 40;

/// Changes that somebody waits for.
#[derive(Debug)]
pub(crate) struct Job {
    pub(super) changes: Vec<Change>,
    pub(super) reply: oneshot::Sender<Result<(), GroupError>>,
}

/// Reads all offsets; called before anybody is served.
pub(crate) async fn restore(node: &Node) -> Result<(), Failure> {
    let Some(topic) = node.topic(OFFSETS_TOPIC) else { return Ok(()) };
    let live = topic.partition(0)?;
    // Another node coordinates.
    let Ok(wal) = live.led() else { return Ok(()) };
    let Some(state) = wal.partition(live.id) else { return Ok(()) };
    let (mut next, mut offsets, mut bytes) = (state.log_start, Offsets::default(), 0);
    while next < state.next_offset {
        let fetched = wal.read(live.id, next, BATCH_BYTES).await?;
        let before = next;
        for batch in &fetched.batches {
            bytes += batch.len() as u64;
            next = read_batch(batch, next, &mut offsets)?;
        }
        if next == before {
            break;
        }
    }
    // Their topics were deleted; a crash kept that from this topic.
    for gone in offsets.removals(|_, place| node.topic(&place.0).is_none()) {
        offsets.apply(gone);
    }
    tracing::info!(offsets = offsets.len(), bytes, "committed offsets of consumer groups read");
    node.groups.restored(offsets, bytes);
    Ok(())
}

/// Applies the records of a batch from `from` on; answers the offset behind it.
fn read_batch(batch: &[u8], from: u64, offsets: &mut Offsets) -> Result<u64, Failure> {
    let mut scratch = Vec::new();
    let mut next = from;
    let view = BatchView::parse(batch)?;
    for record in view.records(&mut scratch)? {
        let (offset, record) = record?;
        if offset < from {
            continue;
        }
        let change = decode(record.key, record.value).map_err(|error| {
            let message = format!("{OFFSETS_TOPIC}, offset {offset}: {error}");
            Failure::new(ErrorCode::CorruptStorage, message)
        })?;
        offsets.apply(change);
        next = offset + 1;
    }
    Ok(next)
}

/// Writes what is committed until nobody can commit any more.
pub(super) async fn run(node: Arc<Node>, mut jobs: mpsc::Receiver<Job>, read_bytes: u64) {
    let mut journal = Journal { node, since: read_bytes, snapshot: 0 };
    while let Some(first) = jobs.recv().await {
        let (mut count, mut gathered) = (first.changes.len(), vec![first]);
        while count < GATHER
            && let Ok(job) = jobs.try_recv()
        {
            count += job.changes.len();
            gathered.push(job);
        }
        journal.write(gathered).await;
    }
}

struct Journal {
    node: Arc<Node>,
    /// Bytes since the last snapshot.
    since: u64,
    /// Bytes of the last snapshot.
    snapshot: u64,
}

impl Journal {
    fn groups(&self) -> &Groups {
        &self.node.groups
    }

    async fn write(&mut self, jobs: Vec<Job>) {
        let (changes, replies): (Vec<_>, Vec<_>) =
            jobs.into_iter().map(|job| (job.changes, job.reply)).unzip();
        let result = self.append(changes.into_iter().flatten(), true).await;
        if let Err(error) = &result {
            tracing::error!(cause = error.message, "offsets of consumer groups could not be committed");
        }
        let result = result.map(|_| ()).map_err(|_| GroupError::CoordinatorNotAvailable);
        for reply in replies {
            // Who does not wait any more needs no answer.
            let _ = reply.send(result);
        }
        let enough = self.node.config.groups.snapshot_bytes.max(2 * self.snapshot);
        if result.is_ok() && self.since > enough {
            self.since = 0;
            // The offsets hold without it; the next one tries again.
            if let Err(error) = self.write_snapshot().await {
                tracing::error!(
                    cause = error.message,
                    "no snapshot of the committed offsets could be written"
                );
            }
        }
    }

    async fn write_snapshot(&mut self) -> Result<(), Failure> {
        let all: Vec<Change> =
            self.groups().offsets.read().unwrap_or_else(PoisonError::into_inner).all().collect();
        let before = self.since;
        let count = all.len();
        let first = self.append(all.into_iter(), false).await?;
        self.snapshot = self.since - before;
        self.since = 0;
        let topic = self.topic().await?;
        let live = topic.partition(0)?;
        let wal = live.led()?;
        let end = wal.partition(live.id).map_or(0, |state| state.next_offset);
        let offset = first.unwrap_or(end);
        wal.control(Control::Trim { partition: live.id, offset }).await?;
        tracing::info!(offsets = count, bytes = self.snapshot, "snapshot of the committed offsets written");
        Ok(())
    }

    /// Appends changes, applying each batch's when it is durable. Answers the offset of the first.
    async fn append(
        &mut self,
        changes: impl Iterator<Item = Change>,
        apply: bool,
    ) -> Result<Option<u64>, Failure> {
        let topic = self.topic().await?;
        let live = topic.partition(0)?;
        let wal = live.led()?;
        let now = self.node.clock.now_ms();
        let (mut changes, mut first) = (changes.peekable(), None);
        while changes.peek().is_some() {
            let (batch, applied) = next_batch(&mut changes, now)?;
            let bytes = batch.len() as u64;
            let durable = wal.append(live.id, batch).await?;
            self.since += bytes;
            first.get_or_insert(durable.base_offset());
            if apply {
                self.groups().apply(applied);
            }
        }
        Ok(first)
    }

    async fn topic(&self) -> Result<Arc<LiveTopic>, Failure> {
        match self.node.topic(OFFSETS_TOPIC) {
            Some(topic) => Ok(topic),
            None => make_topic(&self.node).await,
        }
    }
}

/// Makes the topic of offsets; gives the one that there is when another node is faster.
pub(super) async fn make_topic(node: &Node) -> Result<Arc<LiveTopic>, Failure> {
    let config = TopicConfig { retention_ms: None, retention_bytes: Some(RETENTION_BYTES) };
    let name = OFFSETS_TOPIC.to_owned();
    match node.create_topic(&CreateTopic { name, partitions: 1, config }).await {
        Err(failure) if failure.code == ErrorCode::TopicExists => node.topic_heard_of(OFFSETS_TOPIC).await,
        made => made,
    }
}

/// One batch of the next changes.
fn next_batch(
    changes: &mut impl Iterator<Item = Change>,
    now: i64,
) -> Result<(Batch, Vec<Change>), BatchError> {
    let mut builder = BatchBuilder::new(Codec::None);
    let mut taken = Vec::new();
    while builder.len() < BATCH_BYTES
        && let Some(change) = changes.next()
    {
        let (key, value) = (encode_key(&change), encode_value(change.committed.as_ref()));
        let record = Record { timestamp: now, key: Some(&key), value: value.as_deref(), ..Record::default() };
        builder.push(&record)?;
        taken.push(change);
    }
    Ok((builder.finish()?, taken))
}
