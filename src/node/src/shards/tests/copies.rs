//! Sealed spans come to nodes that lack them.

use tidelog_meta::NodeState;

use super::cluster::{Cluster, SHARD, append, read, until, values};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_empty_node_takes_the_place_of_a_lost_one_with_all_of_its_sealed_files() {
    let mut cluster = Cluster::of(3).await;
    let wal = cluster.leads(1).await;
    let mut all = append(&wal, values(0, 120, 9000)).await;
    let first = cluster.last_span().epoch;
    cluster.kill(3);
    cluster.set_state(3, NodeState::DataLoss);
    // Its leader ends the span that lacks a holder, and the next one has three again.
    let new = cluster.join().await;
    until("the new node holds the last span, too", || cluster.last_span().is_on(new).then_some(())).await;
    let leader = cluster.last_span().leader.node;
    let (_, wal) = cluster.next_leader(cluster.last_span().epoch - 1).await;
    all.extend(append(&wal, values(120, 10, 500)).await);
    until("the new node is a holder of the first span", || {
        let span = cluster.meta.state().span(SHARD, first).cloned()?;
        span.is_on(new).then_some(())
    })
    .await;
    cluster.whole(new, first).await;
    assert!(cluster.files(new, first) == cluster.files(leader, first));
    assert_eq!(read(&wal).await.unwrap(), all);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sealed_segment_that_rotted_is_fetched_again_and_the_damaged_one_is_kept_for_people() {
    let mut cluster = Cluster::of(3).await;
    let wal = cluster.leads(1).await;
    let all = append(&wal, values(0, 100, 9000)).await;
    let first = cluster.last_span();
    cluster.kill(1);
    let (leader, _) = cluster.next_leader(first.epoch).await;
    cluster.start(1).await;
    cluster.whole(1, first.epoch).await;
    let sound = cluster.files(leader, first.epoch);
    let (name, mut bytes) = cluster.files(leader, first.epoch).into_iter().nth(1).unwrap();
    bytes[5 * 4096 + 300] ^= 1;
    std::fs::write(cluster.dir(leader).join("shards").join(SHARD.to_string()).join(&name), &bytes).unwrap();
    let held = cluster.shards(leader).get(SHARD).unwrap();
    cluster.shards(leader).look_for_damage(SHARD);
    until("the damaged copy is whole again", || {
        (cluster.files(leader, first.epoch) == sound && held.rules().follower.is_whole(first.epoch))
            .then_some(())
    })
    .await;
    assert_eq!(read(&wal).await.unwrap(), all, "and readers find it");
    let kept: Vec<_> = std::fs::read_dir(cluster.dir(leader).join("lost+found")).unwrap().collect();
    assert!(!kept.is_empty());
}

/// Changes a byte of a frame in a segment of a span: the `nth` of its files.
fn spoil(cluster: &Cluster, node: u64, epoch: u32, nth: usize, block: usize) {
    let (name, mut bytes) = cluster.files(node, epoch).into_iter().nth(nth).unwrap();
    bytes[block * 4096 + 300] ^= 1;
    std::fs::write(cluster.dir(node).join("shards").join(SHARD.to_string()).join(&name), &bytes).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_whose_open_span_rotted_gets_a_copy_after_the_leader_has_ended_the_span() {
    let mut cluster = Cluster::of(3).await;
    let wal = cluster.leads(1).await;
    let mut all = append(&wal, values(0, 60, 9000)).await;
    let first = cluster.last_span().epoch;
    // The two others are enough to acknowledge: what is to rot must have come here first.
    cluster.serves(3, &all).await;
    cluster.kill(3);
    spoil(&cluster, 3, first, 2, 7);
    cluster.start(3).await;
    let (leader, wal) = cluster.next_leader(first).await;
    all.extend(append(&wal, values(60, 5, 500)).await);
    cluster.whole(3, first).await;
    assert!(cluster.files(3, first) == cluster.files(leader, first));
    cluster.serves(3, &all).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_span_that_rotted_on_every_holder_in_another_place_is_put_together_from_all_of_them() {
    let mut cluster = Cluster::of(3).await;
    let wal = cluster.leads(1).await;
    let all = append(&wal, values(0, 60, 9000)).await;
    let first = cluster.last_span().epoch;
    cluster.kill(1);
    cluster.next_leader(first).await;
    cluster.start(1).await;
    for node in 1..=3 {
        cluster.whole(node, first).await;
    }
    let sound = cluster.files(1, first);
    for node in 1..=3 {
        spoil(&cluster, node, first, 1, 3 * usize::try_from(node).unwrap() + 1);
    }
    let span = cluster.meta.state().span(SHARD, first).cloned().unwrap();
    for node in 1..=3 {
        let held = cluster.shards(node).get(SHARD).unwrap();
        held.frames(first, span.base, span.sealed().unwrap().0).await;
    }
    for node in 1..=3 {
        cluster.whole(node, first).await;
        assert!(cluster.files(node, first) == sound, "node {node}");
    }
    let leader = cluster.last_span().leader.node;
    cluster.serves(leader, &all).await;
}
