//! The promise journal on a disk that loses power at any moment.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may be blunt, its helpers too")]

use std::cell::Cell;
use std::path::PathBuf;
use std::rc::Rc;

use tidelog_format::name::{NEW_PROMISES, PROMISES};
use tidelog_format::promise::Promises;
use tidelog_io::random::Entropy;
use tidelog_io::sim::{Kind, Sim, block_on_sim};
use tidelog_io::{Disk, Fault};
use tidelog_wal::{PromiseFile, PromisesFound};

const CLUSTER: [u8; 16] = [3; 16];

fn dir() -> PathBuf {
    PathBuf::from("/data")
}

async fn open(disk: &Sim, seed: u64) -> (PromiseFile<Sim>, PromisesFound) {
    PromiseFile::open(disk.clone(), dir(), CLUSTER, Entropy::seeded(seed)).await.unwrap()
}

fn one(shard: u64, epoch: u32) -> Promises {
    Promises::from([(shard, epoch)])
}

/// A disk whose directory is there.
fn disk(seed: u64) -> Sim {
    let sim = Sim::new(seed);
    block_on_sim(&sim, async |disk| disk.create_dir_all(&dir()).await.unwrap()).unwrap();
    sim
}

#[test]
fn promises_are_read_back_over_many_lives_and_rewritten_files() {
    let mut sim = disk(1);
    let mut epoch = 0;
    for life in 0..10u64 {
        block_on_sim(&sim, async |disk| {
            let (mut file, found) = open(&disk, life).await;
            let first = life == 0;
            assert_eq!(found, if first { PromisesFound::Missing } else { PromisesFound::All });
            for _ in 0..5 {
                assert_eq!(file.promises().get(&1).copied().unwrap_or(0), epoch);
                epoch += 1;
                file.keep(&one(1, epoch)).await.unwrap();
            }
            file.keep(&one(1, 1)).await.unwrap();
            assert_eq!(file.promises()[&1], epoch, "a promise never goes down");
        })
        .unwrap();
        sim = sim.crash(life);
    }
}

#[test]
fn a_new_journal_takes_the_old_ones_place_only_when_all_of_it_is_there() {
    let sim = disk(1);
    block_on_sim(&sim, async |disk| {
        let (mut file, _) = open(&disk, 1).await;
        file.keep(&one(1, 7)).await.unwrap();
    })
    .unwrap();
    let whole = sim.read_file(dir().join(PROMISES)).unwrap();
    // Its opening, the promise, the end block: without that nobody knows what is missing.
    let mut torn = whole.clone();
    torn[8192..].fill(0);
    for (bytes, expected) in [(whole, PromisesFound::All), (torn, PromisesFound::Missing)] {
        let sim = disk(2);
        sim.write_file(dir().join(NEW_PROMISES), &bytes);
        block_on_sim(&sim, async |disk| {
            let (file, found) = open(&disk, 3).await;
            assert_eq!(found, expected);
            assert_eq!(file.promises().get(&1).copied(), (expected == PromisesFound::All).then_some(7));
        })
        .unwrap();
    }
}

/// Keeps promises until the power goes somewhere within an operation, then looks at what is left, again and again.
fn lives(seed: u64) {
    let random = Entropy::seeded(seed);
    let mut sim = disk(seed);
    let answered = Rc::new(Cell::new(0));
    for life in 0..5 {
        block_on_sim(&sim, async |disk| {
            let (mut file, found) = open(&disk, seed + life).await;
            let promised = file.promises().get(&1).copied().unwrap_or(0);
            match found {
                PromisesFound::All => {
                    assert!(promised >= answered.get(), "seed {seed}: {promised} of {answered:?}")
                }
                // Only the last write is missing; the metadata knows what it said.
                PromisesFound::Unproved => assert!(promised + 1 >= answered.get(), "seed {seed}: {promised}"),
                PromisesFound::Missing => assert_eq!(answered.get(), 0, "seed {seed}"),
                PromisesFound::Damaged { what } => panic!("seed {seed}: a crash is no damage: {what}"),
            }
            let mut epoch = promised.max(answered.get());
            let answered = Rc::clone(&answered);
            tokio::task::spawn_local(async move {
                loop {
                    epoch += 1;
                    if file.keep(&one(1, epoch)).await.is_err() {
                        return;
                    }
                    answered.set(epoch);
                }
            });
            for _ in 0..random.below(150) {
                tokio::task::yield_now().await;
            }
        })
        .unwrap();
        sim = sim.crash(seed * 31 + life);
    }
}

#[test]
fn what_was_answered_survives_the_power_at_any_moment() {
    for seed in 1..400 {
        lives(seed);
    }
}

#[test]
fn damage_where_it_was_durable_is_told_and_put_aside_byte_for_byte() {
    let sim = disk(2);
    block_on_sim(&sim, async |disk| {
        let (mut file, _) = open(&disk, 1).await;
        for epoch in 1..6 {
            file.keep(&one(1, epoch)).await.unwrap();
        }
        drop(file);
        sim.flip_bit("/data/promises", 2 * 4096 + 40, 3).unwrap();
        let before = sim.read_file("/data/promises").unwrap();
        let (mut file, found) = open(&disk, 2).await;
        let PromisesFound::Damaged { what } = found else { panic!("{found:?}") };
        assert!(what.contains("8192"), "{what}");
        assert_eq!(sim.read_file("/data/promises").unwrap(), before, "a reader never repairs");
        let kept_in = file.put_aside(PathBuf::from("/data/lost+found")).await.unwrap();
        assert_eq!(sim.read_file(kept_in).unwrap(), before);
        file.keep(&one(1, 9)).await.unwrap();
        let (file, found) = open(&disk, 3).await;
        assert_eq!((found, file.promises()), (PromisesFound::All, &one(1, 9)));
    })
    .unwrap();
}

#[test]
fn a_failed_write_is_not_gone_on_behind() {
    let sim = disk(3);
    block_on_sim(&sim, async |disk| {
        let (mut file, _) = open(&disk, 1).await;
        file.keep(&one(1, 1)).await.unwrap();
        sim.fail_nth_of(Kind::Write, 1, Fault::Io);
        assert!(file.keep(&one(1, 2)).await.is_err());
        file.keep(&one(1, 3)).await.unwrap();
        let (file, found) = open(&disk, 2).await;
        assert_eq!((found, file.promises()), (PromisesFound::All, &one(1, 3)));
    })
    .unwrap();
}

#[test]
fn a_journal_of_another_cluster_is_not_ours() {
    let sim = disk(4);
    block_on_sim(&sim, async |disk| {
        let (mut file, _) = open(&disk, 1).await;
        file.keep(&one(1, 1)).await.unwrap();
        let other = PromiseFile::open(disk.clone(), dir(), [4; 16], Entropy::seeded(1)).await.unwrap();
        assert!(matches!(other.1, PromisesFound::Damaged { .. }));
    })
    .unwrap();
}
