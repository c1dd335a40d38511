//! # Purpose
//! From records to durable batches: builds one batch per partition (more when a limit asks for it) and appends them.
//!
//! # Durability
//! [`append`] answers when every batch is durable. When it fails it leaves what is not known to be durable.

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
/// partitions that other nodes lead are handed on if `hop` allows it. What is durable is taken out of `batches`: when it fails,
/// the rest can be appended again without doubling anything, unless the failure says that its outcome is unknown.
///
/// A partition has one answer; one more where its leader changed meanwhile and others wrote to it in between.
pub(crate) async fn append(
    node: &Arc<Node>,
    topic: &Arc<LiveTopic>,
    batches: &mut Batches,
    hop: Hop,
) -> Result<Vec<PartitionWritten>, Failure> {
    let mut all = std::mem::take(batches);
    if all.len() <= 1 {
        let Some((partition, all)) = all.pop_first() else { return Ok(Vec::new()) };
        let mut appending = Appending { partition, rest: all, written: Vec::new() };
        let done = appending.run(node, topic, hop).await;
        return appending.end(batches, done);
    }
    let mut running = JoinSet::new();
    for (partition, all) in all {
        let (node, topic) = (Arc::clone(node), Arc::clone(topic));
        let mut appending = Appending { partition, rest: all, written: Vec::new() };
        running.spawn(async move { (appending.run(&node, &topic, hop).await, appending) });
    }
    let (mut written, mut failed) = (Vec::new(), None);
    while let Some(done) = running.join_next().await {
        match done.map(|(done, appending)| appending.end(batches, done)) {
            Ok(Ok(one)) => written.extend(one),
            Ok(Err(failure)) => failed = Some(failure),
            Err(gone) => failed = Some(Failure::new(ErrorCode::Internal, gone.to_string())),
        }
    }
    written.sort_unstable_by_key(|one| (one.partition, one.base_offset));
    failed.map_or(Ok(written), Err)
}

/// The batches of one partition on their way.
struct Appending {
    partition: u32,
    /// Not durable yet.
    rest: Vec<Batch>,
    written: Vec<PartitionWritten>,
}

impl Appending {
    /// Appends where the partition is led, here or elsewhere, and looks again when that changes under way: what is durable is
    /// not sent again.
    async fn run(&mut self, node: &Node, topic: &LiveTopic, hop: Hop) -> Result<(), Failure> {
        // Alone, nobody else can come to lead.
        let only_here = node.metadata.member().is_none() || hop == Hop::Last;
        let mut end = Instant::now() + forward::PATIENCE;
        let mut newer = None;
        loop {
            let topic = newer.as_deref().unwrap_or(topic);
            let written = if only_here || topic.partition(self.partition)?.led().is_ok() {
                append_here(node, topic, self.partition, &self.rest).await.map(Some)
            } else {
                Box::pin(forward::append(node, topic, self.partition, &self.rest)).await
            };
            match written {
                Ok(Some(written)) => {
                    self.note(written)?;
                    // Whoever handed this on asks the next leader for the rest.
                    if self.rest.is_empty() || hop == Hop::Last {
                        return Ok(());
                    }
                    end = Instant::now() + forward::PATIENCE;
                }
                Ok(None) => tokio::time::sleep(forward::PAUSE).await,
                Err(failure) => {
                    if only_here || !wrote_nothing(&failure) || node.is_stopping() || Instant::now() >= end {
                        return Err(failure);
                    }
                    tokio::time::sleep(forward::PAUSE).await;
                }
            }
            newer = Some(node.topic(&topic.name).ok_or_else(|| Failure::no_topic(&topic.name))?);
        }
    }

    /// So many records of the first ones are durable.
    fn note(&mut self, written: PartitionWritten) -> Result<(), Failure> {
        let (mut batches, mut records) = (0, 0);
        while records < written.count && batches < self.rest.len() {
            records += u64::from(self.rest[batches].count());
            batches += 1;
        }
        if records != written.count || batches == 0 {
            return Err(Failure::new(
                ErrorCode::Internal,
                "the leader tells of other records than it was sent",
            ));
        }
        self.rest.drain(..batches);
        match self.written.last_mut() {
            Some(last) if last.base_offset + last.count == written.base_offset => last.count += written.count,
            _ => self.written.push(written),
        }
        Ok(())
    }

    fn end(self, batches: &mut Batches, done: Result<(), Failure>) -> Result<Vec<PartitionWritten>, Failure> {
        if !self.rest.is_empty() {
            batches.insert(self.partition, self.rest);
        }
        done.map(|()| self.written)
    }
}

/// Whether a failure says that nothing was written, and that another node may take it: all others end the request, for what may
/// have been stored must not be sent again.
fn wrote_nothing(failure: &Failure) -> bool {
    matches!(failure.code, ErrorCode::NotLeader | ErrorCode::ShuttingDown)
}

/// Appends to the log that is led here. When a batch is refused, those before it are what was written, and whoever asked finds
/// the reason when it asks for the rest.
async fn append_here(
    node: &Node,
    topic: &LiveTopic,
    partition: u32,
    batches: &[Batch],
) -> Result<PartitionWritten, Failure> {
    let live = topic.partition(partition)?;
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
    let appended = routing::within(node, live.shard, patience, appended).await.map_err(|unheld| {
        node.metrics.produce_timeouts.inc();
        Failure::new(ErrorCode::Unavailable, unheld.to_string())
    })?;
    match appended {
        Ok((base_offset, count)) => Ok(PartitionWritten { partition, base_offset, count }),
        Err(error) => match for_sure(node, wal, error).await {
            // Deleted since the request looked it up.
            AppendError::UnknownPartition(_) => Err(Failure::no_topic(&topic.name)),
            error => Err(error.into()),
        },
    }
}

/// What a producer is told whose batch does not follow what is stored here. A leader that was cut off does not know what
/// another one has acknowledged since: it says so only where it leads for sure, and else that it does not lead. A partition
/// that does not live here and is not deleted has left, or is on its way.
pub(crate) async fn for_sure(node: &Node, wal: &Wal, error: AppendError) -> AppendError {
    match (&error, &node.replicated) {
        (AppendError::Sequence(_), Some(shards)) if !shards.leads_surely(wal.shard(), wal.epoch()).await => {
            AppendError::Following
        }
        (AppendError::UnknownPartition(id), Some(_)) if node.has_partition(*id) => AppendError::Moving(*id),
        _ => error,
    }
}

/// The offset of the first record, and how many are durable: all, or those before a batch that was refused.
async fn append_in_order(wal: &Wal, partition: u64, batches: &[Batch]) -> Result<(u64, u64), AppendError> {
    let (mut first, mut count) = (None, 0);
    for batch in batches {
        match wal.append(partition, batch.clone()).await {
            Ok(durable) => {
                first.get_or_insert(durable.base_offset());
                count += u64::from(batch.count());
            }
            Err(error) => return before(first.map(|first| (first, count)), error),
        }
    }
    first.map(|first| (first, count)).ok_or(AppendError::Invalid("nothing to append"))
}

/// What an append that met an error has written. Behind a batch of which nobody knows whether it is stored nothing may be tried
/// again, and itself neither: that it failed is all that is said.
fn before(written: Option<(u64, u64)>, error: AppendError) -> Result<(u64, u64), AppendError> {
    match error {
        AppendError::OutcomeUnknown { .. } => Err(error),
        _ => written.ok_or(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidelog_io::IoError;

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
    fn what_is_durable_is_not_appended_again_and_offsets_that_follow_each_other_are_one_answer() {
        let batch = |records: usize| {
            let mut builder = BatchBuilder::default();
            (0..records).for_each(|_| builder.push(&value(b"x")).unwrap());
            builder.finish().unwrap()
        };
        let rest = vec![batch(2), batch(1), batch(3), batch(1)];
        let mut appending = Appending { partition: 4, rest, written: Vec::new() };
        let run = |base_offset, count| PartitionWritten { partition: 4, base_offset, count };
        appending.note(run(10, 3)).unwrap();
        assert_eq!(appending.rest.iter().map(Batch::count).collect::<Vec<_>>(), [3, 1]);
        assert!(appending.note(run(13, 2)).is_err(), "within a batch");
        assert!(appending.note(run(13, 0)).is_err() && appending.note(run(13, 5)).is_err());
        appending.note(run(13, 3)).unwrap();
        appending.note(run(20, 1)).unwrap();
        let mut left = Batches::new();
        assert_eq!(appending.end(&mut left, Ok(())), Ok(vec![run(10, 6), run(20, 1)]));
        assert!(left.is_empty());
        let rest = vec![batch(1)];
        let failed = Failure::new(ErrorCode::StorageFull, "full");
        let appending = Appending { partition: 4, rest, written: vec![run(0, 2)] };
        assert_eq!(appending.end(&mut left, Err(failed.clone())), Err(failed));
        assert_eq!(left[&4].len(), 1, "the rest can be appended again");
    }

    #[test]
    fn behind_a_batch_whose_outcome_is_unknown_nothing_is_tried_again() {
        let full = || AppendError::Full;
        let cause = std::sync::Arc::new(IoError::invalid("write", std::path::Path::new("a.seg"), "gone"));
        let unknown = || AppendError::OutcomeUnknown { cause: cause.clone() };
        assert!(
            matches!(before(Some((10, 3)), full()), Ok((10, 3))),
            "the rest may be tried where there is room"
        );
        assert!(matches!(before(None, full()), Err(AppendError::Full)));
        assert!(matches!(before(Some((10, 3)), unknown()), Err(AppendError::OutcomeUnknown { .. })));
    }

    #[test]
    fn only_a_failure_that_wrote_nothing_is_met_with_another_try() {
        let tried = |code: &&ErrorCode| wrote_nothing(&Failure::new(**code, ""));
        let again: Vec<ErrorCode> = ErrorCode::ALL.iter().filter(tried).copied().collect();
        assert_eq!(again, [ErrorCode::ShuttingDown, ErrorCode::NotLeader]);
        let cause = std::io::Error::other("cut");
        let unknown = AppendError::OutcomeUnknown {
            cause: Arc::new(tidelog_io::IoError::new("append", std::path::Path::new("x"), cause)),
        };
        assert!(!wrote_nothing(&unknown.into()) && wrote_nothing(&AppendError::Following.into()));
        assert!(wrote_nothing(&AppendError::Closed.into()));
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
