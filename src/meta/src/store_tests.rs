//! What every metadata store does, written once against the trait.

use crate::local::Metadata;
use crate::model::{Faults, Model, ModelStore};
use crate::raft::group_tests::alone;
use crate::test_wal::TestWal;
use crate::{Applied, Command, Illegal, MetaStore, Outcome, Retention, State, Unavailable};

fn open(shard: u64) -> Command {
    Command::OpenShard { shard, class: Retention::default() }
}

/// Proposes until the outcome is clear, the way a proposer has to.
async fn surely(store: &impl MetaStore, shard: u64) -> Option<Outcome> {
    for _ in 0..100 {
        match store.propose(open(shard)).await {
            Ok(Outcome::Indeterminate) => {
                if store.read().await.is_ok_and(|state| state.shards.contains_key(&shard)) {
                    return None;
                }
            }
            Ok(outcome) => return Some(outcome),
            Err(Unavailable::NoAnswer | Unavailable::NotLeader { .. }) => tokio::task::yield_now().await,
            Err(other) => panic!("{other}"),
        }
    }
    panic!("no clear outcome");
}

async fn conforms(store: &impl MetaStore) {
    let mut watch = store.watch();
    watch.mark_unchanged();
    let before = store.recent().version;
    let outcome = surely(store, 1).await;
    assert_eq!(outcome, Some(Outcome::Applied { applied: Applied::Changed, version: before + 1 }));
    assert!(store.read().await.unwrap().shards.contains_key(&1), "a read shows what was answered");
    assert!(store.recent().version > before);
    // The model's time goes on only while it is asked.
    while !watch.has_changed().unwrap() {
        store.read().await.unwrap();
    }
    let why = Illegal::ShardNumber { given: 1, next: 2 };
    assert_eq!(surely(store, 1).await, Some(Outcome::Illegal(why)));
    assert_eq!(store.read().await.unwrap().version, before + 1, "an illegal command changes nothing");
}

#[tokio::test]
async fn the_store_of_a_lone_node_conforms() {
    let dir = tempfile::tempdir().unwrap();
    let wal = TestWal::open(dir.path(), 1, 4 << 20);
    let metadata = Metadata::replay(wal.wal.clone()).await.unwrap();
    conforms(&metadata).await;
}

#[tokio::test]
async fn the_model_conforms() {
    conforms(&ModelStore::new(Model::new(State::default(), 1, Faults::default()))).await;
}

#[tokio::test]
async fn with_faults_the_model_still_gives_each_shard_to_one() {
    for seed in 0..50 {
        let faults = Faults { delay: 9, lost: 5, unclear: 3, unread: 4, unhinted: 2, ..Faults::default() };
        let store = ModelStore::new(Model::new(State::default(), seed, faults));
        for shard in 1..20 {
            surely(&store, shard).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_store_of_a_group_conforms() {
    let dir = tempfile::tempdir().unwrap();
    let wal = TestWal::open(dir.path(), 1, 4 << 20);
    let group = alone(&wal).await;
    conforms(&group).await;
    group.stop().await;
    assert!(matches!(group.propose(open(2)).await, Err(Unavailable::Broken(_))));
}
