//! What a restart finds after a stop, a crash, damage.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may be blunt, its helpers too")]

mod support;

use support::*;
use tidelog_format::trailer::Trailer;
use tidelog_format::verdict::{Grade, Verdict};
use tidelog_io::Fault;
use tidelog_io::random::Entropy;
use tidelog_io::sim::{Kind, Sim};
use tidelog_wal::{AppendError, Options, Stats, Status};

async fn fill(wal: &tidelog_wal::Wal, ledger: &mut Ledger, records: usize) {
    for n in 0..records {
        let value = [format!("record {n}")];
        let durable = wal.append(1, batch(&value)).await.unwrap();
        ledger.note(1, durable.base_offset(), &value);
    }
}

#[test]
fn a_clean_stop_leaves_nothing_to_scan() {
    let sim = Sim::new(1);
    let mut ledger = Ledger::default();
    with_shard(&sim, 1, options(), async |wal, _| {
        create(&wal, 1).await;
        fill(&wal, &mut ledger, 50).await;
        wal.close().await.unwrap();
        assert!(matches!(wal.append(1, batch(&["late".to_owned()])).await, Err(AppendError::Closed)));
    })
    .unwrap();
    with_shard(&sim.crash(1), 2, options(), async |wal, recovered| {
        assert_eq!(recovered.frames_scanned, 0);
        assert!(recovered.cut.is_empty());
        ledger.audit(&wal).await;
        assert_eq!(wal.append(1, batch(&["next".to_owned()])).await.unwrap().base_offset(), 50);
    })
    .unwrap();
}

#[test]
fn a_shard_that_is_opened_again_serves_before_another_file_is_filled() {
    let sim = Sim::new(1);
    // Without spares nothing is at hand at the restart.
    let without = || Options { spares: 0, ..options() };
    with_shard(&sim, 1, without(), async |wal, _| {
        assert_eq!(Stats::get(&wal.stats().filled_bytes), SEGMENT, "nobody waits for a new shard");
        create(&wal, 1).await;
    })
    .unwrap();
    let sim = sim.crash(1);
    with_shard(&sim, 2, without(), async |wal, _| {
        assert_eq!(Stats::get(&wal.stats().filled_bytes), 0);
        assert_eq!(wal.append(1, batch(&["at once".to_owned()])).await.unwrap().base_offset(), 0);
    })
    .unwrap();
}

#[test]
fn a_kill_between_writes_is_a_proved_end() {
    let sim = Sim::new(1);
    let mut ledger = Ledger::default();
    with_shard(&sim, 1, options(), async |wal, _| {
        create(&wal, 1).await;
        fill(&wal, &mut ledger, 50).await;
    })
    .unwrap();
    with_shard(&sim.crash(1), 2, options(), async |wal, recovered| {
        assert!(
            recovered.verdicts.iter().any(|found| found.verdict == Verdict::End(Grade::Proved)),
            "{recovered:?}"
        );
        assert!(recovered.cut.is_empty());
        ledger.audit(&wal).await;
    })
    .unwrap();
}

/// Many lives of one disk: appends from several tasks, power cut at a random moment, restart, audit.
fn lives(seed: u64) {
    let random = Entropy::seeded(seed);
    let mut sim = Sim::new(seed);
    let mut ledger = Ledger::default();
    let partitions = 1 + random.below(5);
    for epoch in 1..=6u32 {
        let shared = std::rc::Rc::new(std::cell::RefCell::new(ledger));
        let options = Options {
            sync_mark_after: std::time::Duration::from_millis(random.below(3)),
            spares: random.below(3) as usize,
            ..options()
        };
        let next = with_shard(&sim, epoch, options, async |wal, _| {
            let known = shared.borrow().clone();
            known.audit(&wal).await;
            for partition in 0..partitions {
                if wal.partition(partition).is_none() {
                    create(&wal, partition).await;
                }
            }
            for task in 0..random.below(6) + 1 {
                let (wal, shared, random) = (wal.clone(), shared.clone(), Entropy::seeded(random.u64()));
                tokio::task::spawn_local(async move {
                    for n in 0.. {
                        let partition = random.below(partitions);
                        let pad = "-".repeat(random.below(4000) as usize);
                        let value: Vec<_> =
                            (0..=random.below(3)).map(|k| format!("{epoch}.{task}.{n}.{k} {pad}")).collect();
                        let Ok(durable) = wal.append(partition, batch(&value)).await else { return };
                        shared.borrow_mut().note(partition, durable.base_offset(), &value);
                    }
                });
            }
            for _ in 0..random.below(600) {
                tokio::task::yield_now().await;
            }
            if random.one_in(5) {
                wal.close().await.unwrap();
            }
            // The power goes: everything still in flight ends as the seed says.
            sim.crash(random.u64())
        })
        .unwrap_or_else(|error| panic!("seed {seed}, epoch {epoch}: {error}"));
        sim = next;
        ledger = std::rc::Rc::try_unwrap(shared)
            .map_or_else(|shared| shared.borrow().clone(), std::cell::RefCell::into_inner);
    }
    with_shard(&sim, 7, options(), async |wal, _| ledger.audit(&wal).await).unwrap();
}

#[test]
fn a_power_cut_at_any_moment_loses_nothing_acknowledged() {
    let given = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let first = given("TIDELOG_FIRST_SEED").unwrap_or(0);
    for seed in first..first + given("TIDELOG_SEEDS").unwrap_or(25) {
        // Shown when it fails: six cuts each.
        println!("seed {seed}");
        lives(seed);
    }
}

#[test]
fn prepared_files_that_were_never_used_are_put_away_beside_earlier_ones() {
    // Their names met those of other spares, and the shard could not be opened any more.
    for seed in [108, 1056] {
        lives(seed);
    }
}

fn segment_of(sim: &Sim) -> String {
    let files = sim.files();
    let mut segments: Vec<_> = files
        .iter()
        .map(|path| path.display().to_string())
        .filter(|path| path.starts_with("/data/shards/1/0") && path.ends_with(".seg"))
        .collect();
    segments.sort();
    segments.swap_remove(0)
}

#[test]
fn rot_before_the_last_write_makes_the_shard_read_only_and_changes_nothing() {
    let sim = Sim::new(1);
    let mut ledger = Ledger::default();
    with_shard(&sim, 1, options(), async |wal, _| {
        create(&wal, 1).await;
        fill(&wal, &mut ledger, 20).await;
    })
    .unwrap();
    let sim = sim.crash(1);
    let file = segment_of(&sim);
    // Opening frame, partition created, then a block for each record: record 10 rots.
    sim.flip_bit(&file, 4096 * 12 + 150, 3).unwrap();
    let before = sim.read_file(&file).unwrap();
    let reopened = |epoch, options: Options| {
        with_shard(&sim, epoch, options, async |wal, recovered| {
            assert_eq!(recovered.verdicts[0].verdict, Verdict::Corrupt, "{recovered:?}");
            let found = read_all(&wal, 1, 0).await;
            (wal.status(), found, wal.append(1, batch(&["x".to_owned()])).await)
        })
    };
    let (status, found, refused) = reopened(2, options()).unwrap();
    assert!(matches!(status, Status::ReadOnly(_)));
    assert_eq!(found.len(), 10, "what is before the damage can be read");
    assert!(matches!(refused, Err(AppendError::ReadOnly(_))));
    assert!(sim.read_file(&file).unwrap() == before, "a damaged file is left as it is");
    let (status, found, appended) = reopened(3, Options { accept_loss: true, ..options() }).unwrap();
    assert!(matches!(status, Status::Running));
    assert_eq!(found.len(), 10);
    assert_eq!(appended.unwrap().base_offset(), 10);
    let kept = sim.files().into_iter().find(|path| path.starts_with("/data/lost+found")).expect("kept");
    assert!(sim.read_file(kept).unwrap().starts_with(&before[4096 * 12..4096 * 20]), "what was cut is kept");
}

#[test]
fn rot_in_the_last_write_after_its_sync_mark_is_corrupt_not_torn() {
    let sim = Sim::new(1);
    let mut ledger = Ledger::default();
    let mark = Options { sync_mark_after: std::time::Duration::ZERO, ..options() };
    with_shard(&sim, 1, mark, async |wal, _| {
        create(&wal, 1).await;
        fill(&wal, &mut ledger, 5).await;
        while Stats::get(&wal.stats().sync_marks) == 0 || wal.partition(1).unwrap().next_offset < 5 {
            tokio::task::yield_now().await;
        }
        // The last record's mark, too.
        let marks = Stats::get(&wal.stats().sync_marks);
        wal.append(1, batch(&["last".to_owned()])).await.unwrap();
        while Stats::get(&wal.stats().sync_marks) == marks {
            tokio::task::yield_now().await;
        }
    })
    .unwrap();
    let sim = sim.crash(1);
    sim.flip_bit(segment_of(&sim), 4096 * 7 + 150, 3).unwrap();
    with_shard(&sim, 2, options(), async |wal, recovered| {
        assert_eq!(recovered.verdicts[0].verdict, Verdict::Corrupt, "{recovered:?}");
        assert!(matches!(wal.status(), Status::ReadOnly(_)));
    })
    .unwrap();
}

#[test]
fn an_end_that_nothing_proves_is_kept_aside_before_it_is_cut() {
    let sim = Sim::new(1);
    let mut ledger = Ledger::default();
    with_shard(&sim, 1, options(), async |wal, _| {
        create(&wal, 1).await;
        fill(&wal, &mut ledger, 5).await;
    })
    .unwrap();
    let file = segment_of(&sim);
    let mut bytes = sim.read_file(&file).unwrap();
    // Opening frame, partition created, five records: where the end block stood is what no writer leaves, and so behind it.
    bytes[4096 * 7..4096 * 9].fill(0xAB);
    let later = Sim::new(2);
    for path in sim.files().iter().filter(|path| path.display().to_string() != file) {
        later.write_file(path, &sim.read_file(path).unwrap());
    }
    later.write_file(&file, &bytes);
    with_shard(&later, 2, options(), async |wal, recovered| {
        assert_eq!(recovered.verdicts[0].verdict, Verdict::End(Grade::Weak), "{recovered:?}");
        let [cut] = &recovered.cut[..] else { panic!("{recovered:?}") };
        assert_eq!(cut.from, 4096 * 7);
        assert!(later.read_file(&cut.kept_in).is_ok());
        ledger.audit(&wal).await;
    })
    .unwrap();
}

/// Whether a file has its footer and trailer.
fn is_sealed(bytes: &[u8]) -> bool {
    let Some(last) = bytes.len().checked_sub(4096) else { return false };
    let block = bytes[last..].first_chunk().unwrap();
    bytes.len() as u64 != SEGMENT && Trailer::of_last_block(block, (last / 4096) as u32).is_some()
}

#[test]
fn segments_are_sealed_in_their_order_whenever_a_start_ends() {
    let sim = Sim::new(1);
    let first = with_shard(&sim, 1, options(), async |wal, _| {
        create(&wal, 1).await;
        fill(&wal, &mut Ledger::default(), 5).await;
        let file = segment_of(&sim);
        (file.clone(), sim.read_file(file).unwrap())
    })
    .unwrap();
    with_shard(&sim, 2, options(), async |wal, _| fill(&wal, &mut Ledger::default(), 5).await).unwrap();
    let second = first.0.replace("0000000001-00000000000000000001", "0000000002-00000000000000000002");
    let mut between = 0;
    for nth in 0..12 {
        // Two segments that are open.
        let later = Sim::new(2);
        for path in sim.files().iter().filter(|path| path.display().to_string() != first.0) {
            later.write_file(path, &sim.read_file(path).unwrap());
        }
        later.write_file(&first.0, &first.1);
        later.fail_nth_of(Kind::Write, nth, Fault::Io);
        let opened = with_shard(&later, 3, options(), async |_, _| ());
        let sealed = [&first.0, &second].map(|file| is_sealed(&later.read_file(file).unwrap()));
        assert_ne!(sealed, [false, true], "after {nth} writes");
        between += u32::from(sealed == [true, false] && opened.is_err());
        if opened.is_err() {
            with_shard(&later, 4, options(), async |wal, _| assert_eq!(read_all(&wal, 1, 0).await.len(), 10))
                .unwrap();
        }
    }
    assert!(between > 0, "a start has ended between the two");
}

#[test]
fn a_missing_segment_is_named_and_nothing_behind_it_is_served() {
    let sim = Sim::new(1);
    for epoch in 1..=3 {
        with_shard(&sim, epoch, options(), async |wal, _| {
            if epoch == 1 {
                create(&wal, 1).await;
            }
            fill(&wal, &mut Ledger::default(), 5).await;
        })
        .unwrap();
    }
    // Segment 2 goes, segment 3 is still open.
    let files = sim.files();
    let second = files.iter().find(|path| path.display().to_string().contains("0000000002-")).unwrap();
    let third = files.iter().find(|path| path.display().to_string().contains("0000000003-")).unwrap();
    let later = Sim::new(2);
    for path in &files {
        if path != second {
            later.write_file(path, &sim.read_file(path).unwrap());
        }
    }
    with_shard(&later, 4, options(), async |wal, _| {
        let Status::ReadOnly(hole) = wal.status() else { panic!("{:?}", wal.status()) };
        assert!(hole.to_string().contains("segments 2 to 2"), "{hole}");
        assert_eq!(read_all(&wal, 1, 0).await.len(), 5);
    })
    .unwrap();
    assert!(later.read_file(third).unwrap() == sim.read_file(third).unwrap());
}

#[test]
fn a_failed_write_poisons_the_shard_and_a_restart_heals_it() {
    let sim = Sim::new(1);
    let mut ledger = Ledger::default();
    with_shard(&sim, 1, options(), async |wal, _| {
        create(&wal, 1).await;
        fill(&wal, &mut ledger, 5).await;
        sim.fail_nth_of(Kind::Write, 0, Fault::Io);
        let error = wal.append(1, batch(&["lost?".to_owned()])).await.unwrap_err();
        assert!(matches!(error, AppendError::OutcomeUnknown { .. }), "{error}");
        for _ in 0..3 {
            let error = wal.append(1, batch(&["refused".to_owned()])).await.unwrap_err();
            assert!(matches!(error, AppendError::Poisoned { .. }), "nothing is tried again: {error}");
        }
        assert!(matches!(wal.status(), Status::Poisoned(_)));
        ledger.audit(&wal).await;
        assert!(wal.close().await.is_err());
    })
    .unwrap();
    let sim = sim.crash(9);
    with_shard(&sim, 2, options(), async |wal, _| {
        ledger.audit(&wal).await;
        wal.append(1, batch(&["again".to_owned()])).await.unwrap();
    })
    .unwrap();
}

#[test]
fn every_nth_operation_may_fail_and_nothing_acknowledged_is_lost() {
    for fault in [Fault::Io, Fault::Full, Fault::ShortWrite] {
        for kind in [Kind::Write, Kind::Sync, Kind::Name] {
            for n in 0..40 {
                let sim = Sim::new(n);
                let mut ledger = Ledger::default();
                sim.fail_nth_of(kind, n, fault);
                // Opening may fail by the fault itself; what matters is what was acknowledged.
                let _ = with_shard(&sim, 1, options(), async |wal, _| {
                    let name = "t/0".to_owned();
                    let _ = wal.control(tidelog_wal::Control::CreatePartition { partition: 1, name }).await;
                    let pad = "x".repeat(9000);
                    for n in 0..60 {
                        let value = [format!("{n} {pad}")];
                        if let Ok(durable) = wal.append(1, batch(&value)).await {
                            ledger.note(1, durable.base_offset(), &value);
                        }
                    }
                    let _ = wal.close().await;
                });
                let sim = sim.crash(n + 1);
                with_shard(&sim, 2, options(), async |wal, _| {
                    if wal.partition(1).is_some() {
                        ledger.audit(&wal).await;
                    } else {
                        assert!(ledger.acked.is_empty(), "{kind:?} {n} {fault:?}: the partition is gone");
                    }
                })
                .unwrap_or_else(|error| panic!("{kind:?} {n} {fault:?}: {error}"));
            }
        }
    }
}
