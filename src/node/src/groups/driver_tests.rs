//! Groups in a real node: waiting, time-outs by the clock, offsets through the shard and back.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tidelog_proto::http::admin::{CreateTopic, TopicConfig};

use super::*;
use crate::config::{Config, Io, ServeArgs};
use crate::groups::journal::OFFSETS_TOPIC;
use crate::node::Node;
use crate::open;

/// Runs `work` in a node of its own over this directory.
fn with_node(dir: &Path, settings: GroupSettings, work: impl AsyncFnOnce(&Arc<Node>)) {
    let args = ServeArgs { data: Some(dir.to_owned()), io: Some(Io::Posix), ..ServeArgs::default() };
    let mut config = Config::load(&args).unwrap();
    config.groups = settings;
    config.storage.segment_bytes = 4 * 1024 * 1024;
    config.storage.spares = 0;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let node = Arc::new(open::open(config).await.unwrap());
        start(&node);
        if node.topic("t").is_none() {
            let config = TopicConfig::default();
            node.create_topic(&CreateTopic { name: "t".into(), partitions: 4, config }).await.unwrap();
        }
        work(&node).await;
        for (_, shard) in node.shards() {
            shard.wal.close().await.unwrap();
        }
    });
    runtime.shutdown_timeout(Duration::from_secs(10));
}

fn quick() -> GroupSettings {
    GroupSettings { initial_delay_ms: 20, min_session_ms: 100, ..GroupSettings::default() }
}

fn join(new_id: &str, session_ms: i32) -> Join {
    Join {
        member_id: String::new(),
        instance_id: None,
        client_id: "c".into(),
        client_host: "h".into(),
        session_ms,
        rebalance_ms: 60_000,
        protocol_type: "consumer".into(),
        protocols: vec![Protocol { name: "range".into(), metadata: Bytes::new() }],
        id_round_trip: false,
        skips_assignment: false,
        new_id: new_id.into(),
    }
}

fn caller(id: &str, generation: i32) -> Caller {
    Caller { member_id: id.into(), instance_id: None, generation }
}

fn at(partition: i32, offset: i64) -> (Place, Committed) {
    (("t".into(), partition), Committed { offset, leader_epoch: 1, metadata: format!("m{offset}"), at: 5 })
}

/// Waits until something is so; the deadline is far beyond what it takes.
async fn until(mut is_so: impl FnMut() -> bool) {
    for _ in 0..3_000 {
        if is_so() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("it never came to be");
}

#[test]
fn offsets_with_their_metadata_outlive_the_node_and_members_do_not() {
    let dir = tempfile::tempdir().unwrap();
    with_node(dir.path(), quick(), async |node| {
        let groups = &node.groups;
        let joined = groups.join("g", join("a", 60_000)).await.unwrap();
        let me = caller("a", joined.generation);
        let sync = Sync { caller: me.clone(), protocol_type: None, protocol: None, assignments: Vec::new() };
        groups.sync("g", sync).await.unwrap();
        groups.commit("g", me, vec![at(0, 7), at(1, 8)]).await.unwrap();
        groups.commit("simple", caller("", -1), vec![at(0, 3)]).await.unwrap();
        assert_eq!(groups.committed("g").unwrap(), [at(0, 7), at(1, 8)].into());
        assert!(groups.commit("g", caller("", -1), vec![at(0, 9)]).await.is_err(), "the group has members");
        assert_eq!(groups.delete("g").await, Err(GroupError::NonEmpty));
    });
    with_node(dir.path(), quick(), async |node| {
        let groups = &node.groups;
        assert_eq!(groups.committed("g").unwrap(), [at(0, 7), at(1, 8)].into());
        assert_eq!(groups.describe("g").unwrap().state, GroupState::Empty);
        assert_eq!(groups.heartbeat("g", caller("a", 1)).await, Err(GroupError::UnknownMember));
        groups.delete("g").await.unwrap();
        assert_eq!(groups.delete("g").await, Err(GroupError::NotFound));
        node.delete_topic("t").await.unwrap();
        assert!(groups.committed("simple").unwrap().is_empty(), "a topic's offsets end with it");
    });
    with_node(dir.path(), quick(), async |node| {
        assert!(node.groups.list().is_empty());
    });
}

#[test]
fn the_topic_of_offsets_is_trimmed_behind_snapshots_that_hold_everything() {
    let dir = tempfile::tempdir().unwrap();
    let settings = GroupSettings { snapshot_bytes: 10_000, ..quick() };
    let mut before = Vec::new();
    with_node(dir.path(), settings.clone(), async |node| {
        for n in 0..500 {
            let group = format!("g{}", n % 7);
            node.groups.commit(&group, caller("", -1), vec![at(n % 3, n.into())]).await.unwrap();
        }
        let topic = node.topic(OFFSETS_TOPIC).unwrap();
        let live = topic.partition(0).unwrap();
        // The last snapshot is written behind the answer of the commit that made it necessary.
        until(|| live.led().unwrap().partition(live.id).unwrap().log_start > 300).await;
        before = (0..7).map(|n| node.groups.committed(&format!("g{n}")).unwrap()).collect();
    });
    with_node(dir.path(), settings, async |node| {
        let after: Vec<_> = (0..7).map(|n| node.groups.committed(&format!("g{n}")).unwrap()).collect();
        assert_eq!(after, before);
        assert_eq!(after.iter().map(|places| places.len()).sum::<usize>(), 21);
    });
}

#[test]
fn a_silent_member_is_taken_out_by_the_clock_and_its_group_forgotten() {
    let dir = tempfile::tempdir().unwrap();
    with_node(dir.path(), quick(), async |node| {
        node.groups.join("g", join("a", 100)).await.unwrap();
        assert_eq!(node.groups.describe("g").unwrap().members.len(), 1);
        until(|| node.groups.describe("g").is_none()).await;
        assert_eq!(node.groups.sizes(), (0, 0, 0));
    });
}

#[test]
fn a_client_that_hangs_up_while_it_waits_leaves_nothing_behind() {
    let dir = tempfile::tempdir().unwrap();
    let settings = GroupSettings { initial_delay_ms: 60_000, ..quick() };
    with_node(dir.path(), settings, async |node| {
        let waiting = tokio::time::timeout(Duration::from_millis(50), node.groups.join("g", join("a", 100)));
        assert!(waiting.await.is_err());
        until(|| node.groups.sizes() == (0, 0, 0)).await;
    });
}

#[test]
fn those_who_wait_are_let_go_when_the_node_stops() {
    let dir = tempfile::tempdir().unwrap();
    let settings = GroupSettings { initial_delay_ms: 60_000, ..quick() };
    with_node(dir.path(), settings, async |node| {
        let other = Arc::clone(node);
        let waiting = tokio::spawn(async move { other.groups.join("g", join("a", 60_000)).await });
        until(|| node.groups.sizes().1 == 1).await;
        node.stopping.send_replace(true);
        let refused = waiting.await.unwrap().unwrap_err();
        assert_eq!(refused.error, GroupError::CoordinatorNotAvailable);
    });
}

#[test]
fn limits_of_the_node_are_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let settings = GroupSettings { groups: 1, offsets: 2, ..quick() };
    with_node(dir.path(), settings, async |node| {
        let groups = &node.groups;
        groups.join("g", join("a", 60_000)).await.unwrap();
        assert_eq!(groups.join("h", join("a", 60_000)).await.unwrap_err().error, GroupError::OverLimit);
        for id in ["", &"x".repeat(2_000)] {
            assert_eq!(
                groups.join(id, join("a", 60_000)).await.unwrap_err().error,
                GroupError::InvalidGroupId
            );
        }
        groups.commit("s", caller("", -1), vec![at(0, 1), at(1, 1)]).await.unwrap();
        assert_eq!(groups.commit("s", caller("", -1), vec![at(2, 1)]).await, Err(GroupError::OverLimit));
        groups.commit("s", caller("", -1), vec![at(1, 2)]).await.unwrap();
    });
}

#[test]
fn a_coordinator_that_could_not_read_its_offsets_answers_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    with_node(dir.path(), quick(), async |node| {
        node.groups.stand(crate::groups::coordinator::Standing::Unreadable(None));
        let error = GroupError::CoordinatorNotAvailable;
        assert_eq!(node.groups.committed("g"), Err(error));
        assert_eq!(node.groups.heartbeat("g", caller("a", 1)).await, Err(error));
        let refused = node.groups.join("g", join("a", 10_000)).await.unwrap_err();
        assert_eq!(refused.error, error);
    });
}
