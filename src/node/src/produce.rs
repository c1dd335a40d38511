//! # Purpose
//! From records to durable batches: builds one batch per partition (more when a limit asks for it) and appends them.
//!
//! # Durability
//! [`append`] answers when every batch is durable. When it fails, some of the batches may be stored.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tidelog_format::batch::{Batch, BatchBuilder, BatchError, Record};
use tidelog_proto::http::answers::PartitionWritten;
use tidelog_proto::http::error::ErrorCode;
use tidelog_proto::partitioner::Partitioner;
use tidelog_wal::{AppendError, Wal};
use tokio::task::JoinSet;

use crate::failure::Failure;
use crate::node::{LiveTopic, Node};
use crate::routing;
use crate::routing::forward::{self, Hop};

/// What keeps a record from being collected.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CollectError {
    #[error("the topic has no partition {0}")]
    NoPartition(u32),
    #[error(transparent)]
    Batch(#[from] BatchError),
}

/// Batches by partition number.
pub(crate) type Batches = BTreeMap<u32, Vec<Batch>>;

/// Collects the records of one request.
pub(crate) struct Collector {
    partitioner: Partitioner,
    partitions: u32,
    /// A batch is ended when it has grown to this, bytes before compression.
    target: usize,
    open: BTreeMap<u32, Collected>,
}

#[derive(Default)]
struct Collected {
    full: Vec<BatchBuilder>,
    open: BatchBuilder,
}

impl Collector {
    /// For one request to a topic of so many partitions.
    pub(crate) fn new(node: &Node, topic: &LiveTopic) -> Collector {
        let partitions = u32::try_from(topic.partitions.len()).unwrap_or(u32::MAX);
        let limit = usize::try_from(node.config.limits.batch_bytes).unwrap_or(usize::MAX);
        Collector {
            partitioner: Partitioner::new(partitions, node.next_turn()),
            partitions,
            target: limit.min(node.config.shard_options().max_batch()),
            open: BTreeMap::new(),
        }
    }

    /// Adds a record to the partition it names, or to the one of its key.
    pub(crate) fn push(&mut self, partition: Option<u32>, record: &Record<'_>) -> Result<(), CollectError> {
        let partition = partition.unwrap_or_else(|| self.partitioner.place(record.key));
        if partition >= self.partitions {
            return Err(CollectError::NoPartition(partition));
        }
        let collected = self.open.entry(partition).or_default();
        let open = &collected.open;
        if !open.is_empty() && open.len() + at_most(record) > self.target {
            collected.next();
        }
        if let Err(error) = collected.open.push(record) {
            if collected.open.is_empty() {
                return Err(error.into());
            }
            // It does not go with the others (its timestamp is too far away); alone it does, or it is at fault.
            collected.next();
            collected.open.push(record)?;
        }
        Ok(())
    }

    /// Bytes before compression.
    pub(crate) fn len(&self) -> usize {
        let full = self.open.values().flat_map(|collected| &collected.full);
        full.chain(self.open.values().map(|collected| &collected.open)).map(BatchBuilder::len).sum()
    }

    /// Whether nothing was pushed.
    pub(crate) fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// Compresses. This is most of the work of a request.
    pub(crate) fn finish(self) -> Result<Batches, BatchError> {
        let mut batches = Batches::new();
        for (partition, Collected { full, open }) in self.open {
            let builders = full.into_iter().chain((!open.is_empty()).then_some(open));
            batches.insert(partition, builders.map(BatchBuilder::finish).collect::<Result<_, _>>()?);
        }
        Ok(batches)
    }
}

impl Collected {
    fn next(&mut self) {
        self.full.push(std::mem::take(&mut self.open));
    }
}

/// The most bytes that a record takes in a batch.
fn at_most(record: &Record<'_>) -> usize {
    let headers =
        record.headers.iter().map(|header| 16 + header.name.len() + header.value.map_or(0, <[u8]>::len));
    64 + record.key.map_or(0, <[u8]>::len) + record.value.map_or(0, <[u8]>::len) + headers.sum::<usize>()
}

/// Appends all batches and waits until they are durable; partitions at once, the batches of one in order. Those of
/// partitions that other nodes lead are handed on if `hop` allows it.
pub(crate) async fn append(
    node: &Arc<Node>,
    topic: &Arc<LiveTopic>,
    batches: Batches,
    hop: Hop,
) -> Result<Vec<PartitionWritten>, Failure> {
    let mut written = Vec::with_capacity(batches.len());
    if batches.len() <= 1 {
        for (partition, batches) in batches {
            written.push(append_to(node, topic, partition, batches, hop).await?);
        }
        return Ok(written);
    }
    let mut appending = JoinSet::new();
    for (partition, batches) in batches {
        let (node, topic) = (Arc::clone(node), Arc::clone(topic));
        appending.spawn(async move { append_to(&node, &topic, partition, batches, hop).await });
    }
    let mut failed = None;
    while let Some(done) = appending.join_next().await {
        match done {
            Ok(Ok(one)) => written.push(one),
            Ok(Err(failure)) => failed = Some(failure),
            Err(gone) => failed = Some(Failure::new(ErrorCode::Internal, gone.to_string())),
        }
    }
    written.sort_unstable_by_key(|one| one.partition);
    failed.map_or(Ok(written), Err)
}

async fn append_to(
    node: &Node,
    topic: &LiveTopic,
    partition: u32,
    batches: Vec<Batch>,
    hop: Hop,
) -> Result<PartitionWritten, Failure> {
    // Alone, nobody else can come to lead.
    if node.metadata.member().is_none() || hop == Hop::Last {
        return append_here(node, topic, partition, batches).await;
    }
    Box::pin(append_anywhere(node, topic, partition, batches)).await
}

/// Appends where the partition is led, here or elsewhere, and looks again when that changes under way: for one batch, of
/// which nothing was written then.
async fn append_anywhere(
    node: &Node,
    topic: &LiveTopic,
    partition: u32,
    batches: Vec<Batch>,
) -> Result<PartitionWritten, Failure> {
    let end = Instant::now() + forward::PATIENCE;
    let mut newer = None;
    loop {
        let topic = newer.as_deref().unwrap_or(topic);
        let written = if topic.partition(partition)?.led().is_ok() {
            append_here(node, topic, partition, batches.clone()).await.map(Some)
        } else {
            forward::append(node, topic, partition, &batches).await
        };
        match written {
            Ok(Some(written)) => return Ok(written),
            Ok(None) => {}
            Err(failure) => {
                let nothing = matches!(failure.code, ErrorCode::NotLeader | ErrorCode::ShuttingDown);
                if batches.len() > 1 || !nothing || node.is_stopping() || Instant::now() >= end {
                    return Err(failure);
                }
            }
        }
        tokio::time::sleep(forward::PAUSE).await;
        newer = Some(node.topic(&topic.name).ok_or_else(|| Failure::no_topic(&topic.name))?);
    }
}

async fn append_here(
    node: &Node,
    topic: &LiveTopic,
    partition: u32,
    batches: Vec<Batch>,
) -> Result<PartitionWritten, Failure> {
    let live = topic.partition(partition)?;
    let count = batches.iter().map(|batch| u64::from(batch.count())).sum();
    let wal = live.led()?;
    let appended = async {
        if batches.len() <= 1 {
            let _shared = live.turn.read().await;
            append_in_order(wal, live.id, batches).await
        } else {
            let _alone = live.turn.write().await;
            append_in_order(wal, live.id, batches).await
        }
    };
    let patience = Duration::from_millis(node.config.limits.produce_wait_ms);
    let base_offset = routing::within(node, live.shard, patience, appended).await.map_err(|unheld| {
        node.metrics.produce_timeouts.inc();
        Failure::new(ErrorCode::Unavailable, unheld.to_string())
    })?;
    match base_offset {
        Ok(base_offset) => Ok(PartitionWritten { partition, base_offset, count }),
        // Deleted since the request looked it up.
        Err(AppendError::UnknownPartition(_)) => Err(Failure::no_topic(&topic.name)),
        Err(error) => Err(for_sure(node, wal, error).await.into()),
    }
}

/// What a producer is told whose batch does not follow what is stored here. A leader that was cut off does not know what
/// another one has acknowledged since: it says so only where it leads for sure, and else that it does not lead.
pub(crate) async fn for_sure(node: &Node, wal: &Wal, error: AppendError) -> AppendError {
    match (&error, &node.replicated) {
        (AppendError::Sequence(_), Some(shards)) if !shards.leads_surely(wal.shard(), wal.epoch()).await => {
            AppendError::Following
        }
        _ => error,
    }
}

/// The offset of the first record.
async fn append_in_order(wal: &Wal, partition: u64, batches: Vec<Batch>) -> Result<u64, AppendError> {
    let mut first = None;
    for batch in batches {
        let durable = wal.append(partition, batch).await?;
        first.get_or_insert(durable.base_offset());
    }
    first.ok_or(AppendError::Invalid("nothing to append"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn collector(target: usize) -> Collector {
        Collector { partitioner: Partitioner::new(2, 1), partitions: 2, target, open: BTreeMap::new() }
    }

    fn value(value: &[u8]) -> Record<'_> {
        Record { timestamp: 1, value: Some(value), ..Record::default() }
    }

    #[test]
    fn batches_end_before_they_outgrow_their_limit() {
        let mut collector = collector(1000);
        for _ in 0..10 {
            collector.push(Some(0), &value(&[7; 300])).unwrap();
        }
        collector.push(Some(0), &value(&[7; 5000])).unwrap();
        let batches = collector.finish().unwrap().remove(&0).unwrap();
        let counts: Vec<u32> = batches.iter().map(Batch::count).collect();
        assert_eq!(counts, [2, 2, 2, 2, 2, 1]);
    }

    #[test]
    fn a_partition_that_is_not_there_and_a_record_over_the_limit_are_refused() {
        let mut collector = collector(1000);
        assert!(matches!(collector.push(Some(2), &value(b"x")), Err(CollectError::NoPartition(2))));
        let large = vec![0; 2 * 1024 * 1024];
        assert!(matches!(collector.push(None, &value(&large)), Err(CollectError::Batch(_))));
    }

    #[test]
    fn a_timestamp_too_far_from_the_first_begins_another_batch() {
        let mut collector = collector(1000);
        for timestamp in [i64::MIN, i64::MAX] {
            collector.push(Some(1), &Record { timestamp, ..Record::default() }).unwrap();
        }
        assert_eq!(collector.finish().unwrap()[&1].len(), 2);
    }
}
