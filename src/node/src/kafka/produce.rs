//! Produce: batches as they were sent go to their shards.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Buf, BytesMut};
use tidelog_format::batch::{Batch, BatchError, Codec, split};
use tidelog_proto::kafka::ErrorCode;
use tidelog_proto::kafka::produce::{
    PartitionProduceResponse, ProduceRequest, ProduceResponse, TopicProduceResponse,
};
use tidelog_wal::{AppendError, Appending, Wal};

use super::dispatch::Answer;
use super::metadata::current_leader;
use super::{failure, lowered};
use crate::node::{LiveTopic, Node};
use crate::{produce, routing};

/// Compressed batches from this size on are looked into where it does not hold up other connections, bytes.
const HEAVY: usize = 64 * 1024;

/// The batches of one partition on their way, or why they are not.
struct Begun {
    /// The shard that takes them.
    shard: u64,
    topic: Option<Arc<LiveTopic>>,
    index: i32,
    appending: Result<Vec<Appending>, (ErrorCode, String)>,
}

type Refusal = (ErrorCode, String);

/// Hands all batches to their shards, in order.
pub(super) async fn begin(node: &Arc<Node>, request: ProduceRequest, frame: BytesMut) -> Answer {
    let acks = request.acks;
    let waits = Waits::of(node, request.timeout_ms);
    let mut cutter = Cutter { frame, at: 0 };
    let refused = refusal(&request);
    let mut begun = Vec::with_capacity(request.topic_data.len());
    for topic in request.topic_data {
        let live = node.topic(&topic.name);
        let mut partitions = Vec::with_capacity(topic.partition_data.len());
        for partition in topic.partition_data {
            let index = partition.index;
            let live = match (live.clone(), u32::try_from(index)) {
                (Some(live), Ok(number)) => Some(routing::until_led(node, live, number).await),
                (live, _) => live,
            };
            let found = live.as_deref().and_then(|live| live.partition(u32::try_from(index).ok()?).ok());
            let shard = found.map_or(0, |found| found.shard);
            let appending = match (&refused, partition.records.0) {
                (Some(refused), _) => Err(refused.clone()),
                (None, None) => Err((ErrorCode::InvalidRecord, "there are no records".to_owned())),
                (None, Some(range)) => {
                    let begun = append(node, live.as_deref(), &topic.name, index, cutter.cut(range));
                    waits.within(node, shard, begun).await.and_then(|begun| begun)
                }
            };
            partitions.push(Begun { shard, topic: live, index, appending });
        }
        begun.push((topic.name, partitions));
    }
    if acks == 0 {
        Answer::Never(Box::pin(unanswered(Arc::clone(node), waits, begun)))
    } else {
        let node = Arc::clone(node);
        Answer::Later(Box::pin(async move { finish(&node, waits, begun).await.into() }))
    }
}

/// How long a request waits for the disks of its shards' holders.
#[derive(Debug, Clone, Copy)]
struct Waits {
    end: Instant,
    patience: Duration,
}

impl Waits {
    /// As long as the client says; who says nothing waits as long as a write over HTTP.
    fn of(node: &Node, timeout_ms: i32) -> Waits {
        let said = u64::try_from(timeout_ms).ok().filter(|said| *said > 0);
        let patience = Duration::from_millis(said.unwrap_or(node.config.limits.produce_wait_ms));
        Waits { end: Instant::now() + patience, patience }
    }

    async fn within<T>(
        self,
        node: &Node,
        shard: u64,
        durable: impl Future<Output = T>,
    ) -> Result<T, Refusal> {
        let left = self.end.saturating_duration_since(Instant::now());
        routing::within(node, shard, left, durable).await.map_err(|unheld| {
            node.metrics.produce_timeouts.inc();
            (ErrorCode::RequestTimedOut, unheld.waited(self.patience).to_string())
        })
    }
}

/// Why nothing of the request is taken.
fn refusal(request: &ProduceRequest) -> Option<Refusal> {
    if !matches!(request.acks, -1..=1) {
        return Some((
            ErrorCode::InvalidRequiredAcks,
            format!("acks is {}, must be -1, 0 or 1", request.acks),
        ));
    }
    let why = "there are no transactions here".to_owned();
    request.transactional_id.as_ref().map(|_| (ErrorCode::TransactionalIdAuthorizationFailed, why))
}

/// Cuts what was sent for each partition out of the request, without copying.
struct Cutter {
    frame: BytesMut,
    /// Bytes that were cut off in front.
    at: usize,
}

impl Cutter {
    /// Ranges come in ascending order: the decoder found them one behind the other.
    fn cut(&mut self, range: std::ops::Range<usize>) -> BytesMut {
        self.frame.advance(range.start - self.at);
        self.at = range.end;
        self.frame.split_to(range.len())
    }
}

async fn append(
    node: &Node,
    topic: Option<&LiveTopic>,
    name: &str,
    index: i32,
    bytes: BytesMut,
) -> Result<Vec<Appending>, Refusal> {
    if name.starts_with("__") {
        return Err((
            ErrorCode::InvalidTopicException,
            "only the server itself writes to this topic".to_owned(),
        ));
    }
    let unknown = || (ErrorCode::UnknownTopicOrPartition, "there is no such partition".to_owned());
    let partition = topic.and_then(|topic| topic.partition(u32::try_from(index).ok()?).ok());
    let partition = partition.ok_or_else(unknown)?;
    let wal = partition.led().map_err(|error| (error.into(), error.to_string()))?;
    let batches = check(node, bytes).await?;
    // Several batches get consecutive offsets.
    let (_shared, _alone);
    if batches.len() == 1 {
        _shared = partition.turn.read().await;
    } else {
        _alone = partition.turn.write().await;
    }
    begin_all(wal, partition.id, batches).await
}

async fn begin_all(wal: &Wal, partition: u64, batches: Vec<Batch>) -> Result<Vec<Appending>, Refusal> {
    let mut appending = Vec::with_capacity(batches.len());
    for batch in batches {
        let begun = wal.begin_append(partition, batch).await;
        appending.push(begun.map_err(|error| (failure::append(&error), error.to_string()))?);
    }
    Ok(appending)
}

/// Checks what was sent: each batch once, and what compressed ones hold.
async fn check(node: &Node, bytes: BytesMut) -> Result<Vec<Batch>, Refusal> {
    let refused = |error: BatchError| (failure::batch(&error), error.to_string());
    let heavy = bytes.len() >= HEAVY;
    let limit = node.config.limits.batch_bytes;
    let batches = split(bytes).map_err(refused)?;
    if batches.is_empty() {
        return Err((ErrorCode::InvalidRecord, "there are no records".to_owned()));
    }
    for batch in &batches {
        if batch.len() as u64 > limit {
            let message = format!("a batch has {} bytes, the limit is {limit}", batch.len());
            return Err((ErrorCode::MessageTooLarge, message));
        }
        let compressed = batch.view().header().codec().map_err(refused)? != Codec::None;
        let checked = if compressed && heavy {
            // Each may need as much memory as a batch may have decompressed. It is never closed.
            let _turn = node.decompressing.acquire().await;
            tokio::task::block_in_place(|| batch.validate_records())
        } else {
            batch.validate_records()
        };
        checked.map_err(refused)?;
        lowered::check(&node.config.limits, batch)?;
    }
    Ok(batches)
}

async fn finish(node: &Node, waits: Waits, begun: Vec<(String, Vec<Begun>)>) -> ProduceResponse {
    let mut responses = Vec::with_capacity(begun.len());
    for (name, partitions) in begun {
        let mut answered = Vec::with_capacity(partitions.len());
        for partition in partitions {
            answered.push(partition.finish(node, waits).await);
        }
        responses.push(TopicProduceResponse { name, partition_responses: answered });
    }
    ProduceResponse { responses, throttle_time_ms: 0 }
}

/// Nobody is told, so a failure ends the connection.
async fn unanswered(node: Arc<Node>, waits: Waits, begun: Vec<(String, Vec<Begun>)>) -> Result<(), String> {
    for (name, partitions) in begun {
        for partition in partitions {
            let index = partition.index;
            let answer = partition.finish(&node, waits).await;
            if answer.error_code != 0 {
                let why = answer.error_message.unwrap_or_default();
                return Err(format!(
                    "records for `{name}` partition {index} sent with acks=0 are lost: {why}"
                ));
            }
        }
    }
    Ok(())
}

impl Begun {
    async fn finish(self, node: &Node, waits: Waits) -> PartitionProduceResponse {
        let Begun { shard, topic, index, appending } = self;
        let refused = |(code, message): Refusal| {
            let asked = topic.as_ref().filter(|_| code == ErrorCode::NotLeaderOrFollower);
            PartitionProduceResponse {
                index,
                error_code: code.into(),
                base_offset: -1,
                error_message: Some(message),
                current_leader: asked.map(|topic| current_leader(node, topic, index)).unwrap_or_default(),
                ..PartitionProduceResponse::default()
            }
        };
        let mut first = None;
        match appending {
            Err(refusal) => return refused(refusal),
            Ok(appending) => {
                for one in appending {
                    match waits.within(node, shard, one).await {
                        Ok(Ok(durable)) => first = first.or(Some(durable.base_offset())),
                        Ok(Err(error)) => {
                            let error = for_sure(node, topic.as_deref(), index, error).await;
                            return refused((failure::append(&error), error.to_string()));
                        }
                        Err(late) => return refused(late),
                    }
                }
            }
        }
        let start = topic.as_ref().and_then(|topic| {
            let partition = topic.partition(u32::try_from(index).ok()?).ok()?;
            Some(partition.state(partition.led().ok()?).ok()?.log_start)
        });
        PartitionProduceResponse {
            index,
            base_offset: first.map_or(-1, offset),
            log_start_offset: start.map_or(-1, offset),
            ..PartitionProduceResponse::default()
        }
    }
}

/// [`produce::for_sure`] of the log that a partition was written to.
async fn for_sure(node: &Node, topic: Option<&LiveTopic>, index: i32, error: AppendError) -> AppendError {
    let partition = topic.and_then(|topic| topic.partition(u32::try_from(index).ok()?).ok());
    match partition.and_then(|partition| partition.here.as_ref()) {
        Some(wal) => produce::for_sure(node, wal, error).await,
        None => error,
    }
}

/// Offsets on the wire are signed; ours stay below 2^63.
pub(super) fn offset(offset: u64) -> i64 {
    i64::try_from(offset).unwrap_or(i64::MAX)
}
