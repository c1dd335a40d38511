//! A partition leaves its shard, and what the metadata says of it comes late, or not at all.

use tidelog_format::batch::{Batch, BatchBuilder, Codec, Record};
use tidelog_meta::{Command, Illegal, NewSpan, Outcome, Partition, Retention};
use tidelog_wal::{AppendError, Control, Wal};

use super::cluster::{Cluster, PARTITION, SHARD, TOPIC, TOPIC_ID, Unclear, append, read, until, values};
use crate::shards::partitions::Leaving;

const OTHER: u64 = 2;

impl Cluster {
    /// A second shard, on the same nodes as the first one and led by node 1.
    async fn second_shard(&self) -> Wal {
        let last = self.last_span();
        let span = NewSpan {
            replicas: last.replicas.clone(),
            quorum: last.quorum,
            leader: last.leader,
            salt: [2; 16],
        };
        self.meta.done(&Command::OpenShard { shard: OTHER, class: Retention::default() });
        self.meta.done(&Command::OpenFirstSpan { shard: OTHER, span, base: tidelog_wal::FIRST_LSN });
        until("node 1 leads the other shard", || self.shards(1).led(OTHER)).await
    }

    /// Has the partition leave for the second shard.
    async fn leave(&self) {
        let held = self.shards(1).get(SHARD).unwrap();
        held.let_leave(Leaving { name: TOPIC.into(), id: TOPIC_ID.into(), number: 0, to: OTHER }).await;
    }

    fn listed(&self) -> Partition {
        self.meta.state().partition(TOPIC, 0).cloned().unwrap()
    }
}

/// A batch of an idempotent producer.
fn numbered() -> Batch {
    let mut builder = BatchBuilder::new(Codec::None).producer(17, 0, 0);
    builder.push(&Record { timestamp: 1, value: Some(b"numbered"), ..Record::default() }).unwrap();
    builder.finish().unwrap()
}

async fn try_append(wal: &Wal) -> Result<(), AppendError> {
    let mut builder = BatchBuilder::new(Codec::None);
    builder.push(&Record { timestamp: 1, value: Some(b"more"), ..Record::default() }).unwrap();
    wal.append(PARTITION, builder.finish().unwrap()).await.map(|_| ())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_partition_leaves_at_the_offset_behind_all_that_was_acknowledged_and_goes_on_there() {
    let cluster = Cluster::of(3).await;
    let (wal, other) = (cluster.leads(1).await, cluster.second_shard().await);
    let all = append(&wal, values(0, 30, 2000)).await;
    assert_eq!(wal.append(PARTITION, numbered()).await.unwrap().base_offset(), 30);
    cluster.leave().await;
    let listed = cluster.listed();
    assert_eq!((listed.shard(), listed.handed().map(|handed| handed.at)), (OTHER, Some(31)));
    assert!(matches!(try_append(&wal).await, Err(AppendError::Moving(PARTITION))));
    assert_eq!(read(&wal).await.unwrap()[..30], all, "what was there is read there");
    assert!(matches!(try_append(&other).await, Err(AppendError::UnknownPartition(_))), "not before it came");
    let producers = listed.handed().unwrap().producers.bytes().to_vec().into();
    other.control(Control::TakePartition { partition: PARTITION, offset: 31, producers }).await.unwrap();
    let again = other.append(PARTITION, numbered()).await.unwrap();
    assert_eq!((again.base_offset(), again.is_duplicate()), (30, true), "its answer may have been lost");
    try_append(&other).await.unwrap();
    assert_eq!(other.partition(PARTITION).unwrap().next_offset, 32);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_next_leader_of_the_shard_that_was_left_takes_nothing_of_the_partition() {
    let mut cluster = Cluster::of(3).await;
    let wal = cluster.leads(1).await;
    cluster.second_shard().await;
    let all = append(&wal, values(0, 10, 2000)).await;
    cluster.leave().await;
    let epoch = wal.epoch();
    cluster.kill(1);
    let (_, wal) = cluster.next_leader(epoch).await;
    assert!(matches!(try_append(&wal).await, Err(AppendError::Moving(PARTITION))));
    assert_eq!(read(&wal).await.unwrap(), all);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_move_whose_answer_is_lost_is_found_in_the_metadata() {
    let cluster = Cluster::of(3).await;
    let wal = cluster.leads(1).await;
    cluster.second_shard().await;
    append(&wal, values(0, 10, 100)).await;
    *cluster.meta.unclear.lock().unwrap() = Some(Unclear::Done);
    cluster.leave().await;
    assert_eq!(cluster.listed().shard(), OTHER);
    assert!(matches!(try_append(&wal).await, Err(AppendError::Moving(PARTITION))));
    let held = cluster.shards(1).get(SHARD).unwrap();
    assert_eq!(held.rules().long, None, "and the span goes on");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_move_that_lies_around_comes_too_late_for_what_was_acknowledged_since() {
    let cluster = Cluster::of(3).await;
    let wal = cluster.leads(1).await;
    cluster.second_shard().await;
    let mut all = append(&wal, values(0, 10, 100)).await;
    *cluster.meta.unclear.lock().unwrap() = Some(Unclear::Late(None));
    cluster.leave().await;
    assert_eq!(cluster.listed().shard(), SHARD);
    let first = wal.epoch();
    assert!(try_append(&wal).await.is_err(), "in this span the partition stays closed");
    // Another span takes its records again.
    let (_, wal) = cluster.next_leader(first).await;
    all.extend(append(&wal, values(10, 10, 100)).await);
    let Some(Unclear::Late(Some(late))) = cluster.meta.unclear.lock().unwrap().take() else {
        panic!("nobody asked")
    };
    let late = cluster.meta.apply(&late);
    assert!(matches!(late, Outcome::Illegal(Illegal::NotLast { epoch, .. }) if epoch == first), "{late:?}");
    assert_eq!(read(&wal).await.unwrap(), all);
    assert_eq!(cluster.listed().shard(), SHARD);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_partition_that_may_not_leave_goes_on_where_it_is() {
    let cluster = Cluster::of(3).await;
    let wal = cluster.leads(1).await;
    append(&wal, values(0, 10, 100)).await;
    // There is no such shard.
    cluster.leave().await;
    try_append(&wal).await.unwrap();
    cluster.second_shard().await;
    cluster.leave().await;
    assert_eq!(cluster.listed().shard(), OTHER, "once there is, it leaves");
}
