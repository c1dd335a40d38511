//! A real node whose partition went from shard to shard and back, read over all its places.

use std::sync::Arc;

use tidelog_format::batch::{BatchBuilder, BatchView, Codec, Record};
use tidelog_meta::{Carried, Command, NewSpan};
use tidelog_proto::http::admin::{CreateTopic, TopicConfig};
use tidelog_wal::{AppendError, ReadError, Wal};

use crate::config::{Config, Io, ServeArgs};
use crate::node::{LiveTopic, Node};
use crate::older::{Named, Unread};
use crate::{open, read, reconcile};

const TOPIC: &str = "t";

fn topic(node: &Node) -> Arc<LiveTopic> {
    node.topic(TOPIC).unwrap()
}

/// Record `n` is at offset `n` and has a time of its own.
async fn write(node: &Node, from: u64, count: u64) {
    let topic = topic(node);
    let (id, wal) = (topic.partitions[0].id, topic.partitions[0].led().unwrap().clone());
    for n in from..from + count {
        let (value, timestamp) = (n.to_string(), time(n));
        let mut builder = BatchBuilder::new(Codec::None);
        builder.push(&Record { timestamp, value: Some(value.as_bytes()), ..Record::default() }).unwrap();
        assert_eq!(wal.append(id, builder.finish().unwrap()).await.unwrap().base_offset(), n);
    }
}

fn time(n: u64) -> i64 {
    1000 + i64::try_from(n).unwrap()
}

/// Moves partition 0 to a shard, as the shards of several nodes do it.
async fn go(node: &Arc<Node>, to: u64) {
    let topic = topic(node);
    let live = &topic.partitions[0];
    let (wal, from) = (live.led().unwrap(), live.shard);
    // As if the other shard had begun a new span: here only a start begins one.
    let last = node.metadata.read(|state| state.last_span(to).cloned().unwrap());
    let (leader, replicas, quorum) = (last.leader, last.replicas, last.quorum);
    let next = NewSpan { replicas, quorum, leader, salt: tidelog_io::random::salt() };
    let close = Command::LeaderClose {
        shard: to,
        epoch: last.epoch,
        leader,
        end: last.base,
        chain: last.base_chain,
        next,
    };
    node.metadata.propose(close).await.unwrap();
    wal.close_partition(live.id).await.unwrap();
    let here = live.state(wal).unwrap();
    let (name, id) = (TOPIC.to_owned(), topic.id.clone());
    let epoch = node.metadata.read(|state| state.last_span(from).unwrap().epoch);
    let producers = Carried::from(wal.producers_of(live.id).unwrap());
    let (at, start) = (here.next_offset, here.log_start);
    let go = Command::MovePartition { name, id, partition: 0, from, epoch, to, at, start, producers };
    node.metadata.propose(go).await.unwrap();
    node.route_all();
    let on_its_way = self::topic(node);
    assert!(!on_its_way.partitions[0].is_served(), "it has not come yet");
    reconcile::reconcile(node).await.unwrap();
    node.route_all();
    assert!(self::topic(node).partitions[0].is_served());
}

/// The offsets of everything from one on, read in small steps.
async fn offsets(node: &Node, from: u64) -> Result<Vec<u64>, Unread> {
    let topic = topic(node);
    let live = &topic.partitions[0];
    let (wal, mut next, mut found): (&Wal, u64, Vec<u64>) = (live.led()?, from, Vec::new());
    loop {
        let fetched = read::fetch(node, Named { topic: TOPIC, number: 0, live }, wal, next, 200).await?;
        for bytes in &fetched.batches {
            let header = *BatchView::parse(bytes).unwrap().header();
            next = header.next_offset();
            found.extend(header.base_offset.max(from)..next);
        }
        if fetched.batches.is_empty() {
            return Ok(found);
        }
    }
}

async fn at_time(node: &Node, ms: i64) -> Option<u64> {
    let topic = topic(node);
    let live = &topic.partitions[0];
    let named = Named { topic: TOPIC, number: 0, live };
    read::offset_at(node, named, live.led().unwrap(), ms).await.unwrap().map(|(offset, _)| offset)
}

#[test]
fn a_partition_that_went_away_and_came_back_is_read_without_a_gap_by_offset_and_by_time() {
    let dir = tempfile::tempdir().unwrap();
    let args = ServeArgs { data: Some(dir.path().to_owned()), io: Some(Io::Posix), ..ServeArgs::default() };
    let mut config = Config::load(&args).unwrap();
    config.storage.segment_bytes = 4 * 1024 * 1024;
    config.storage.spares = 0;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let node = Arc::new(open::open(config).await.unwrap());
        let config = TopicConfig::default();
        node.create_topic(&CreateTopic { name: TOPIC.into(), partitions: 2, config }).await.unwrap();
        let home = topic(&node).partitions[0].shard;
        let other = topic(&node).partitions[1].shard;
        assert_ne!(home, other);
        write(&node, 0, 10).await;
        let before = topic(&node);
        go(&node, other).await;
        // Who has not heard of it writes nothing where it was.
        let late = &before.partitions[0];
        let mut builder = BatchBuilder::new(Codec::None);
        builder.push(&Record { timestamp: 1, value: Some(b"late"), ..Record::default() }).unwrap();
        let refused = late.led().unwrap().append(late.id, builder.finish().unwrap()).await;
        assert!(matches!(refused, Err(AppendError::Moving(_))));
        write(&node, 10, 10).await;
        go(&node, home).await;
        write(&node, 20, 10).await;

        for from in [0, 5, 9, 10, 15, 19, 20, 25, 30] {
            assert_eq!(offsets(&node, from).await.unwrap(), (from..30).collect::<Vec<_>>(), "from {from}");
        }
        for n in 0..30 {
            assert_eq!(at_time(&node, time(n)).await, Some(n));
        }
        assert_eq!(at_time(&node, time(30)).await, None);

        for keep in [5, 12, 25] {
            assert_eq!(node.trim(TOPIC, 0, keep).await.unwrap(), keep);
            reconcile::reconcile(&node).await.unwrap();
            node.route_all();
            let below = offsets(&node, keep - 1).await;
            let start = match below {
                Err(Unread::Log(ReadError::OutOfRange { log_start, .. })) => log_start,
                other => panic!("{other:?}"),
            };
            assert_eq!(start, keep);
            assert_eq!(offsets(&node, keep).await.unwrap(), (keep..30).collect::<Vec<_>>());
            assert_eq!(at_time(&node, time(0)).await, Some(keep));
        }
        // Nothing of it is in the other shard any more.
        let id = topic(&node).partitions[0].id;
        assert!(node.wal(other).unwrap().partition(id).is_none());
        for (_, shard) in node.shards() {
            shard.wal.close().await.unwrap();
        }
    });
    runtime.shutdown_timeout(std::time::Duration::from_secs(10));
}
