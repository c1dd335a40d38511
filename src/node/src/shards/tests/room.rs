//! Who has no room takes nothing new while others can.

use tidelog_meta::{Command, Retention};

use super::cluster::{Cluster, SHARD, append, read, until, values};

/// Nodes that hold a shard's last span.
fn holders(cluster: &Cluster, shard: u64) -> Vec<u64> {
    let state = cluster.meta.state();
    let span = state.last_span(shard);
    span.map_or(Vec::new(), |span| span.replicas.iter().map(|replica| replica.node).collect())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_whose_disk_is_short_of_room_is_given_no_new_spans() {
    let cluster = Cluster::of(4).await;
    let wal = cluster.leads(1).await;
    let mut all = append(&wal, values(0, 10, 1000)).await;
    // One is full, one has said nothing.
    cluster.meta.free.lock().unwrap().extend([(1, u64::MAX), (2, 0), (3, 1 << 40)]);
    let epoch = wal.epoch();
    cluster.shards(1).end_long(SHARD, epoch);
    let (_, wal) = cluster.next_leader(epoch).await;
    assert_eq!(holders(&cluster, SHARD), [1, 3, 4]);
    all.extend(append(&wal, values(10, 10, 1000)).await);
    assert_eq!(read(&wal).await.unwrap(), all);
    // A shard that is new, too.
    cluster.meta.done(&Command::OpenShard { shard: 2, class: Retention::default() });
    let found = until("the new shard to have a span", || {
        Some(holders(&cluster, 2)).filter(|holders| !holders.is_empty())
    });
    assert_eq!(found.await, [1, 3, 4]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_nobody_else_is_there_a_node_short_of_room_holds_on() {
    let cluster = Cluster::of(3).await;
    let wal = cluster.leads(1).await;
    cluster.meta.free.lock().unwrap().extend([(1, u64::MAX), (2, 0), (3, u64::MAX)]);
    let epoch = wal.epoch();
    cluster.shards(1).end_long(SHARD, epoch);
    let (_, wal) = cluster.next_leader(epoch).await;
    assert_eq!(holders(&cluster, SHARD), [1, 2, 3]);
    append(&wal, values(0, 3, 100)).await;
}
