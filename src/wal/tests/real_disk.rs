//! The same on the backends that this machine has.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may be blunt, its helpers too")]

mod support;

use support::*;
use tidelog_io::clock::Clock;
use tidelog_io::random::Entropy;
use tidelog_io::{Disk, IoError, block_on_posix, block_on_uring};
use tidelog_wal::{Options, ShardSpec, Stats, Store, StoreError, open_shard};

async fn two_lives<D: Disk>(disk: D, dir: &std::path::Path) {
    let clock = Clock::system();
    let mut ledger = Ledger::default();
    for life in 1..=2u64 {
        let store = Store::open(&disk, dir, &Entropy::system(), &clock).await.unwrap();
        assert_eq!(store.incarnation(), life);
        let again = Store::open(&disk, dir, &Entropy::system(), &clock).await;
        assert!(matches!(again, Err(StoreError::Lock(_))), "one process at a time");
        let spec = ShardSpec {
            shard: 1,
            dir: store.shard_dir(1),
            lost_and_found: store.lost_and_found(),
            cluster: store.cluster(),
            epoch: store.epoch(),
        };
        let options = Options { segment_bytes: 1024 * 1024, ..options() };
        let (wal, engine, recovered) =
            open_shard(disk.clone(), spec, options, clock.clone(), Entropy::system()).await.unwrap();
        assert_eq!(recovered.frames_scanned, 0, "{recovered:?}");
        let running = tokio::task::spawn_local(engine.run());
        ledger.audit(&wal).await;
        if life == 1 {
            create(&wal, 1).await;
        }
        let appends: Vec<_> = (0..200)
            .map(|n| {
                let wal = wal.clone();
                let value = vec![format!("{life}.{n} {}", "d".repeat(9000))];
                tokio::task::spawn_local(async move { (wal.append(1, batch(&value)).await.unwrap(), value) })
            })
            .collect();
        for append in appends {
            let (durable, value) = append.await.unwrap();
            ledger.note(1, durable.base_offset(), &value);
        }
        assert!(Stats::get(&wal.stats().rolls) > 1);
        ledger.audit(&wal).await;
        wal.close().await.unwrap();
        running.await.unwrap();
        assert_eq!(store.shards_on_disk(&disk).await.unwrap(), [1]);
    }
}

#[test]
fn two_lives_of_a_store_on_posix() {
    let dir = tempfile::tempdir().unwrap();
    block_on_posix(async |disk| two_lives(disk, dir.path()).await).unwrap();
}

#[test]
fn two_lives_of_a_store_on_io_uring() {
    let dir = tempfile::tempdir().unwrap();
    let ran: Result<(), IoError> = block_on_uring(async |disk| two_lives(disk, dir.path()).await);
    if let Err(error) = ran {
        println!("skipped: no ring can be made here: {error}");
    }
}

#[test]
fn a_directory_with_other_files_is_refused_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("thesis.txt"), "years of work").unwrap();
    block_on_posix(async |disk| {
        let opened = Store::open(&disk, dir.path(), &Entropy::system(), &Clock::system()).await;
        assert!(matches!(opened, Err(StoreError::NotOurs { .. })));
    })
    .unwrap();
    assert_eq!(std::fs::read(dir.path().join("thesis.txt")).unwrap(), b"years of work");
}

#[test]
fn a_first_start_that_was_killed_while_it_tried_its_disk_is_followed_by_another_one() {
    let dir = tempfile::tempdir().unwrap();
    let left = dir.path().join(format!("{}00ff", tidelog_io::TRIAL));
    std::fs::write(&left, "a trial's block").unwrap();
    block_on_posix(async |disk| {
        Store::open(&disk, dir.path(), &Entropy::system(), &Clock::system()).await.unwrap();
    })
    .unwrap();
    assert!(!left.exists(), "what a killed process left is swept away");
}

#[test]
fn a_new_directory_begins_in_the_cluster_that_it_joins_and_no_other_takes_it_then() {
    let dir = tempfile::tempdir().unwrap();
    block_on_posix(async |disk| {
        let (clock, entropy) = (Clock::system(), Entropy::system());
        let open = async |cluster| Store::open_in(&disk, dir.path(), cluster, &entropy, &clock).await;
        let store = open(Some([7; 16])).await.unwrap();
        assert_eq!((store.cluster(), store.node()), ([7; 16], 0));
        let mine = store.store_id();
        drop(store);
        let before = std::fs::read(dir.path().join("superblock")).unwrap();
        let refused = open(Some([8; 16])).await;
        assert!(matches!(refused, Err(StoreError::OtherCluster { here, there, .. }) if here == [7; 16] && there == [8; 16]));
        assert!(std::fs::read(dir.path().join("superblock")).unwrap() == before, "nothing was changed");
        for cluster in [Some([7; 16]), None] {
            let store = open(cluster).await.unwrap();
            assert_eq!((store.cluster(), store.store_id()), ([7; 16], mine));
        }
    })
    .unwrap();
}
