//! A leader dies, and nothing that was acknowledged is lost.

use super::cluster::{Cluster, append, read, until, values};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_dead_leader_acknowledged_is_read_on_the_next_one_which_goes_on_behind_it() {
    let mut cluster = Cluster::of(3).await;
    let wal = cluster.leads(1).await;
    let mut all = append(&wal, values(0, 40, 9000)).await;
    let first = cluster.last_span().epoch;
    cluster.kill(1);
    let (node, wal) = cluster.next_leader(first).await;
    assert_ne!(node, 1);
    assert_eq!(read(&wal).await.unwrap(), all);
    all.extend(append(&wal, values(40, 20, 9000)).await);
    assert_eq!(read(&wal).await.unwrap(), all);
    // The old leader comes back as a follower, with its part of the first span ended where it was decided.
    cluster.start(1).await;
    cluster.whole(1, first).await;
    assert!(cluster.files(1, first) == cluster.files(node, first));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leaders_die_one_after_the_other_and_all_holders_end_with_the_same_files() {
    let mut cluster = Cluster::of(3).await;
    let mut all = Vec::new();
    let mut dead = None;
    let (mut node, mut wal) = (1, cluster.leads(1).await);
    for round in 0..4 {
        all.extend(append(&wal, values(round * 10, 10, 4000 * (1 + round))).await);
        let epoch = wal.epoch();
        cluster.kill(node);
        if let Some(dead) = dead.replace(node) {
            cluster.start(dead).await;
        }
        (node, wal) = cluster.next_leader(epoch).await;
        assert_eq!(read(&wal).await.unwrap(), all, "round {round}");
    }
    cluster.start(dead.unwrap()).await;
    for span in
        cluster.meta.state().chains[&super::cluster::SHARD].spans.iter().filter(|span| !span.is_unsealed())
    {
        let nodes: Vec<u64> = span.replicas.iter().map(|replica| replica.node).collect();
        for node in &nodes {
            cluster.whole(*node, span.epoch).await;
        }
        let first = cluster.files(nodes[0], span.epoch);
        for node in &nodes[1..] {
            assert!(cluster.files(*node, span.epoch) == first, "span {} on {node}", span.epoch);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_nodes_both_must_have_a_record_and_the_one_that_is_left_reads_all() {
    let mut cluster = Cluster::of(2).await;
    let wal = cluster.leads(1).await;
    let all = append(&wal, values(0, 12, 3000)).await;
    let first = cluster.last_span().epoch;
    cluster.kill(1);
    cluster.start(1).await;
    let (node, wal) = cluster.next_leader(first).await;
    assert_eq!(read(&wal).await.unwrap(), all);
    append(&wal, values(12, 3, 100)).await;
    cluster.whole(3 - node, first).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_that_was_away_gets_what_it_lacks_from_the_leaders_files() {
    let mut cluster = Cluster::of(3).await;
    let wal = cluster.leads(1).await;
    let mut all = append(&wal, values(0, 5, 1000)).await;
    cluster.kill(3);
    // More than the leader keeps in memory, over several segments.
    all.extend(append(&wal, values(5, 150, 9000)).await);
    cluster.start(3).await;
    cluster.serves(3, &all).await;
    all.extend(append(&wal, values(155, 5, 1000)).await);
    cluster.serves(3, &all).await;
    cluster.serves(2, &all).await;
    assert_eq!(cluster.last_span().epoch, wal.epoch(), "nobody ended the span because of it");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_joins_holds_the_next_span_and_the_ones_before_and_a_leader_that_leaves_hands_over() {
    let mut cluster = Cluster::of(2).await;
    let wal = cluster.leads(1).await;
    let mut all = append(&wal, values(0, 60, 9000)).await;
    let first = cluster.last_span().epoch;
    let new = cluster.join().await;
    until("the new node holds the last span", || cluster.last_span().is_on(new).then_some(())).await;
    // That one ends before a frame of it has come: the new node has not even a folder.
    let second = cluster.last_span().epoch;
    let (leader, _) = cluster.next_leader(second - 1).await;
    cluster.shards(leader).hand_over().await;
    let (node, wal) = cluster.next_leader(second).await;
    assert_ne!(node, leader);
    all.extend(append(&wal, values(60, 5, 100)).await);
    assert_eq!(read(&wal).await.unwrap(), all);
    for epoch in [first, second] {
        cluster.whole(new, epoch).await;
    }
    assert!(cluster.files(new, first) == cluster.files(leader, first));
    cluster.serves(new, &all).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_waits_until_another_node_leads_and_not_only_until_it_is_named() {
    let cluster = Cluster::of(3).await;
    let wal = cluster.leads(1).await;
    let all = append(&wal, values(0, 40, 9000)).await;
    cluster.shards(1).hand_over().await;
    // At this very moment, without waiting for anything.
    let leader = cluster.leader().expect("somebody leads as soon as the old one may go");
    assert_eq!(read(&leader).await.unwrap(), all);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_was_named_just_before_it_stops_hands_that_over_too() {
    let cluster = Cluster::of(3).await;
    let wal = cluster.leads(1).await;
    let all = append(&wal, values(0, 40, 9000)).await;
    let held = cluster.shards(1).get(super::cluster::SHARD).unwrap();
    until("node 2 has all of it", || {
        let has_all = held.rules().leader.as_ref()?.lacks(&cluster.replica(2))? == 0;
        has_all.then_some(())
    })
    .await;
    let mut versions = tidelog_meta::MetaStore::watch(&*cluster.meta);
    let named = async {
        while cluster.last_span().leader.node != 2 {
            versions.changed().await.unwrap();
        }
        // It is named, and has not begun to lead.
        cluster.shards(2).hand_over().await;
    };
    let (moved, ()) = tokio::join!(held.move_leader(2), named);
    assert!(matches!(moved, Ok(()) | Err(crate::shards::Unmoved::Elsewhere { .. })), "{moved:?}");
    assert_ne!(cluster.last_span().leader.node, 2);
    let leader = cluster.leader().expect("somebody leads as soon as node 2 may go");
    assert_eq!(read(&leader).await.unwrap(), all);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_takes_nothing_new_is_not_made_a_leader() {
    use crate::shards::Unmoved;
    let cluster = Cluster::of(3).await;
    let wal = cluster.leads(1).await;
    append(&wal, values(0, 5, 900)).await;
    let held = cluster.shards(1).get(super::cluster::SHARD).unwrap();
    cluster.set_state(3, tidelog_meta::NodeState::Draining);
    until("the leader knows", || {
        (held.rules().state.nodes[&3].state == tidelog_meta::NodeState::Draining).then_some(())
    })
    .await;
    let refused = held.move_leader(3).await.unwrap_err();
    // The span may have gone on without it by then, or be about to.
    let is_right = matches!(
        refused,
        Unmoved::TakesNothing { to: 3, .. } | Unmoved::NotAHolder { .. } | Unmoved::NotLed(_)
    );
    assert!(is_right, "{refused}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_while_a_shard_is_handed_over_in_vain_goes_on_under_the_leader_it_had() {
    let mut cluster = Cluster::of(3).await;
    let wal = cluster.leads(1).await;
    let mut all = append(&wal, values(0, 5, 900)).await;
    let (held, gone) = (cluster.shards(1).get(super::cluster::SHARD).unwrap(), cluster.replica(3));
    cluster.kill(3);
    // It lacks this one, and will for ever.
    all.extend(append(&wal, values(5, 1, 900)).await);
    held.begin_hand_over(&mut held.rules(), Some(gone), Some(vec![3, 1, 2]));
    assert!(held.rules().is_handing_over());
    let waits = append(&wal, values(6, 1, 900));
    all.extend(
        tokio::time::timeout(super::cluster::LONG, waits)
            .await
            .expect("it is framed once nobody is waited for"),
    );
    assert_eq!(held.rules().onward, None, "the next span is not for whoever this one was for");
    assert_eq!((cluster.last_span().epoch, read(&wal).await.unwrap()), (wal.epoch(), all));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_that_all_stop_at_once_do_not_pass_a_shard_around() {
    let cluster = Cluster::of(3).await;
    let wal = cluster.leads(1).await;
    append(&wal, values(0, 5, 900)).await;
    let spans = || cluster.meta.state().chains[&super::cluster::SHARD].spans.len();
    let before = spans();
    tokio::join!(cluster.shards(1).hand_over(), cluster.shards(2).hand_over(), cluster.shards(3).hand_over());
    assert!(spans() <= before + 3, "{} spans more", spans() - before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_moves_where_it_is_asked_to_and_only_to_who_holds_the_span() {
    let mut cluster = Cluster::of(3).await;
    let other = cluster.join().await;
    let wal = cluster.leads(1).await;
    let mut all = append(&wal, values(0, 40, 9000)).await;
    let held = cluster.shards(1).get(super::cluster::SHARD).unwrap();
    let refused = held.move_leader(other).await.unwrap_err();
    assert!(matches!(refused, crate::shards::Unmoved::NotAHolder { .. }), "{refused}");
    until("node 3 has all of it", || {
        let has_all = held.rules().leader.as_ref()?.lacks(&cluster.replica(3))? == 0;
        has_all.then_some(())
    })
    .await;
    held.move_leader(3).await.unwrap();
    let wal = cluster.leads(3).await;
    all.extend(append(&wal, values(40, 5, 500)).await);
    assert_eq!(read(&wal).await.unwrap(), all);
    let refused = held.move_leader(2).await.unwrap_err();
    assert!(matches!(refused, crate::shards::Unmoved::NotLed(_)), "{refused}");
}
