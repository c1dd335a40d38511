//! The simulator does what it says: what is lost, what is kept, and that it does it twice.

use super::{Kind, Sim, SimFile, block_on_sim};
use crate::{Access, BLOCK, Buf, Disk, DiskFile, Fault};
use std::path::Path;
use std::pin::pin;
use std::task::{Context, Waker};

fn run<T>(sim: &Sim, body: impl AsyncFnOnce(Sim) -> T) -> T {
    block_on_sim(sim, body).unwrap()
}

fn filled(byte: u8, blocks: usize) -> Buf {
    let mut buf = Buf::heap(blocks * BLOCK);
    buf.fill(byte);
    buf
}

async fn write(file: &SimFile, byte: u8, blocks: usize, pos: usize) -> Result<(), crate::IoError> {
    file.write_at(filled(byte, blocks), blocks * BLOCK, pos as u64).await.0
}

/// A file of one durable block of ones, with a durable name.
async fn with_file(sim: &Sim, access: Access) -> SimFile {
    let file = sim.create(Path::new("f"), access).await.unwrap();
    write(&file, 1, 1, 0).await.unwrap();
    file.sync().await.unwrap();
    sim.sync_dir(Path::new(".")).await.unwrap();
    file
}

fn start<F: Future>(future: std::pin::Pin<&mut F>) -> bool {
    future.poll(&mut Context::from_waker(Waker::noop())).is_pending()
}

/// Tasks that race for the disk; the trace shows who came when.
fn races(seed: u64) -> (u64, Vec<String>, Vec<u8>) {
    let sim = Sim::new(seed);
    run(&sim, async |sim: Sim| {
        sim.create(Path::new("f"), Access::Bulk).await.unwrap();
        sim.fail_nth(40, Fault::Io);
        let work = async |sim: Sim, byte: u8| {
            let file = sim.open(Path::new("f"), Access::Bulk).await.unwrap();
            for round in 0..8 {
                let _ = write(&file, byte, 1, round * BLOCK).await;
            }
            let _ = file.sync().await;
        };
        let tasks: Vec<_> = (0..6).map(|byte| tokio::task::spawn_local(work(sim.clone(), byte))).collect();
        for task in tasks {
            task.await.unwrap();
        }
    });
    let survivor = sim.crash(seed);
    let content = survivor.read_file("f").unwrap_or_default();
    (sim.trace_digest(), sim.trace(), content)
}

#[test]
fn the_same_seed_gives_the_same_trace_and_the_same_damage_and_another_seed_others() {
    let mut digests = std::collections::HashSet::new();
    for seed in 0..20 {
        let first = races(seed);
        assert_eq!(first, races(seed), "seed {seed}");
        digests.insert(first.0);
    }
    assert!(digests.len() > 15, "only {} different runs", digests.len());
}

#[test]
fn what_was_acknowledged_survives_every_crash() {
    for seed in 0..100 {
        let sim = Sim::new(seed);
        run(&sim, async |sim: Sim| {
            let file = with_file(&sim, Access::Durable).await;
            write(&file, 2, 2, BLOCK).await.unwrap();
        });
        let left = sim.crash(seed).read_file("f").unwrap();
        assert!(left[..BLOCK].iter().all(|byte| *byte == 1) && left[BLOCK..].iter().all(|byte| *byte == 2));
        assert_eq!(left.len(), 3 * BLOCK);
    }
}

#[test]
fn a_name_without_a_synced_directory_may_vanish() {
    let found = |seed| {
        let sim = Sim::new(seed);
        run(&sim, async |sim: Sim| {
            let file = sim.create(Path::new("f"), Access::Durable).await.unwrap();
            write(&file, 1, 1, 0).await.unwrap();
        });
        sim.crash(seed).read_file("f").is_ok()
    };
    let kept = (0..100).filter(|seed| found(*seed)).count();
    assert!((20..80).contains(&kept), "{kept} of 100");
}

#[test]
fn a_write_in_flight_at_the_crash_survives_vanishes_or_tears_by_sector() {
    let (mut old, mut new, mut torn) = (0, 0, 0);
    for seed in 0..100 {
        let sim = Sim::new(seed);
        let survivor = run(&sim, async |sim: Sim| {
            let file = with_file(&sim, Access::Durable).await;
            let mut flight = pin!(file.write_at(filled(2, 1), BLOCK, 0));
            if !start(flight.as_mut()) {
                return None;
            }
            let survivor = sim.crash(seed);
            let (done, buf) = flight.await;
            assert_eq!(done.unwrap_err().kind(), Fault::Io);
            assert_eq!(buf[0], 2, "the buffer comes back from a dead machine too");
            Some(survivor)
        });
        let Some(survivor) = survivor else { continue };
        for sector in survivor.read_file("f").unwrap().chunks(512) {
            match sector.iter().filter(|byte| **byte == 2).count() {
                0 => old += 1,
                512 => new += 1,
                256 => torn += 1,
                other => panic!("{other} new bytes in a sector"),
            }
        }
    }
    assert!(old > 50 && new > 50 && torn > 50, "{old} {new} {torn}");
}

#[test]
fn a_dead_machine_answers_everything_with_an_error() {
    let sim = Sim::new(1);
    run(&sim, async |sim: Sim| {
        let file = with_file(&sim, Access::Durable).await;
        let _next = sim.crash(2);
        let path = Path::new("f");
        let errors = [
            write(&file, 2, 1, 0).await.unwrap_err(),
            file.read_at(Buf::heap(BLOCK), BLOCK, 0).await.0.unwrap_err(),
            file.sync().await.unwrap_err(),
            file.len().await.unwrap_err(),
            file.set_len(0).await.unwrap_err(),
            sim.open(path, Access::Read).await.map(|_| ()).unwrap_err(),
            sim.create(Path::new("g"), Access::Bulk).await.map(|_| ()).unwrap_err(),
            sim.rename(path, Path::new("g")).await.unwrap_err(),
            sim.remove(path).await.unwrap_err(),
            sim.sync_dir(Path::new("")).await.unwrap_err(),
            sim.create_dir_all(Path::new("d")).await.unwrap_err(),
            sim.list(Path::new("")).await.unwrap_err(),
            sim.free_space(path).await.unwrap_err(),
        ];
        for error in errors {
            assert_eq!(error.kind(), Fault::Io, "{error}");
        }
    });
}

#[test]
fn bulk_writes_are_at_risk_until_a_sync_and_safe_after_it() {
    let left_of = |seed, synced: bool| {
        let sim = Sim::new(seed);
        run(&sim, async |sim: Sim| {
            let file = with_file(&sim, Access::Bulk).await;
            write(&file, 2, 1, 0).await.unwrap();
            if synced {
                file.sync().await.unwrap();
                assert_eq!(sim.dirty_sectors(), 0);
            }
        });
        sim.crash(seed).read_file("f").unwrap()
    };
    assert!((0..20).all(|seed| left_of(seed, true).iter().all(|byte| *byte == 2)));
    assert!((0..20).any(|seed| left_of(seed, false).contains(&1)), "the old bytes were never seen again");
}

#[test]
fn the_nth_operation_fails_once_with_the_wanted_fault() {
    let faults = [
        Fault::Io,
        Fault::Full,
        Fault::NotFound,
        Fault::ShortWrite,
        Fault::ReadOnly,
        Fault::Denied,
        Fault::Invalid,
    ];
    for fault in faults {
        let sim = Sim::new(7);
        run(&sim, async |sim: Sim| {
            let file = with_file(&sim, Access::Durable).await;
            sim.fail_nth(3, fault);
            write(&file, 2, 1, 0).await.unwrap();
            file.sync().await.unwrap();
            assert_eq!(write(&file, 3, 1, 0).await.unwrap_err().kind(), fault);
            write(&file, 4, 1, 0).await.unwrap();
            assert_eq!(sim.read_file("f").unwrap(), vec![4; BLOCK]);
        });
    }
}

#[test]
fn faults_of_one_kind_leave_the_others_alone_and_may_last() {
    let sim = Sim::new(7);
    run(&sim, async |sim: Sim| {
        let file = with_file(&sim, Access::Durable).await;
        sim.fail_from(Kind::Sync, 2, Fault::Io);
        sim.fail_nth_of(Kind::Name, 1, Fault::Denied);
        sim.fail_nth_of(Kind::Read, 1, Fault::Io);
        file.sync().await.unwrap();
        assert_eq!(file.sync().await.unwrap_err().kind(), Fault::Io);
        assert_eq!(sim.sync_dir(Path::new("")).await.unwrap_err().kind(), Fault::Io);
        write(&file, 2, 1, 0).await.unwrap();
        assert_eq!(sim.remove(Path::new("f")).await.unwrap_err().kind(), Fault::Denied);
        assert_eq!(file.read_at(Buf::heap(BLOCK), BLOCK, 0).await.0.unwrap_err().kind(), Fault::Io);
        assert_eq!(file.read_at(Buf::heap(BLOCK), BLOCK, 0).await.0.unwrap(), BLOCK);
        sim.clear_faults();
        file.sync().await.unwrap();
    });
    let counters = sim.counters();
    assert_eq!((counters.reads, counters.writes, counters.syncs, counters.names), (2, 2, 6, 2));
    assert_eq!((counters.bytes_read, counters.bytes_written), (2 * BLOCK as u64, 2 * BLOCK as u64));
}

#[test]
fn a_failed_write_leaves_a_mix_and_a_short_one_a_beginning() {
    let mut mixed = 0;
    for seed in 0..50 {
        let sim = Sim::new(seed);
        let (after_io, after_short) = run(&sim, async |sim: Sim| {
            let file = with_file(&sim, Access::Durable).await;
            sim.fail_nth(1, Fault::Io);
            write(&file, 2, 1, 0).await.unwrap_err();
            let after_io = sim.read_file("f").unwrap();
            write(&file, 3, 1, 0).await.unwrap();
            sim.fail_nth(1, Fault::ShortWrite);
            write(&file, 4, 1, 0).await.unwrap_err();
            (after_io, sim.read_file("f").unwrap())
        });
        mixed += usize::from(after_io.contains(&1) && after_io.contains(&2));
        assert!(after_short.is_sorted_by(|a, b| a >= b) && after_short[BLOCK - 1] == 3, "seed {seed}");
    }
    assert!(mixed > 40, "{mixed} of 50");
}

#[test]
fn a_full_disk_refuses_new_blocks_and_takes_overwrites() {
    let sim = Sim::new(3);
    run(&sim, async |sim: Sim| {
        let file = with_file(&sim, Access::Durable).await;
        sim.limit_space(3 * BLOCK as u64);
        assert_eq!(sim.free_space(Path::new("f")).await.unwrap(), 2 * BLOCK as u64);
        file.set_len(64 * BLOCK as u64).await.unwrap();
        write(&file, 2, 2, 8 * BLOCK).await.unwrap();
        assert_eq!(write(&file, 3, 1, 16 * BLOCK).await.unwrap_err().kind(), Fault::Full);
        write(&file, 4, 2, 8 * BLOCK).await.unwrap();
        drop(file);
        sim.remove(Path::new("f")).await.unwrap();
        assert_eq!(sim.free_space(Path::new("")).await.unwrap(), 3 * BLOCK as u64);
    });
}

#[test]
fn planted_files_and_flipped_bits_are_on_the_platter() {
    let sim = Sim::new(3);
    sim.write_file("/d/e/f", b"0123456789");
    sim.flip_bit("/d/e/f", 4, 0).unwrap();
    assert_eq!(sim.flip_bit("/d/e/f", 10, 0).unwrap_err().kind(), Fault::Invalid);
    assert_eq!(sim.flip_bit("/d/e/g", 0, 0).unwrap_err().kind(), Fault::NotFound);
    for seed in 0..20 {
        let next = sim.crash(seed);
        assert_eq!(next.read_file("/d/./e/f").unwrap(), b"0123556789");
        assert_eq!(next.files(), [Path::new("/d/e/f")]);
    }
    sim.write_file("/d/e/f", b"new");
    assert_eq!(sim.crash(0).read_file("/d/e/f").unwrap(), b"new");
}

#[test]
fn a_dropped_write_still_lands() {
    let sim = Sim::new(5);
    run(&sim, async |sim: Sim| {
        let file = with_file(&sim, Access::Durable).await;
        for byte in 2..20 {
            let _ = start(pin!(file.write_at(filled(byte, 1), BLOCK, 0)));
            assert_eq!(sim.in_flight(), 0);
            assert_eq!(sim.read_file("f").unwrap()[0], byte);
        }
    });
}

#[test]
fn a_recycled_name_leads_to_the_new_content_or_the_old_and_nothing_else() {
    for seed in 0..100 {
        let sim = Sim::new(seed);
        run(&sim, async |sim: Sim| {
            drop(with_file(&sim, Access::Durable).await);
            sim.rename(Path::new("f"), Path::new("g")).await.unwrap();
            let file = sim.create(Path::new("f"), Access::Durable).await.unwrap();
            write(&file, 2, 1, 0).await.unwrap();
        });
        let next = sim.crash(seed);
        let contents: Vec<(String, u8)> = next
            .files()
            .into_iter()
            .map(|path| (path.display().to_string(), next.read_file(&path).unwrap()[0]))
            .collect();
        let named =
            |pairs: &[(&str, u8)]| pairs.iter().map(|(name, byte)| ((*name).to_owned(), *byte)).collect();
        let possible: [Vec<(String, u8)>; 3] =
            [named(&[("f", 1)]), named(&[("g", 1)]), named(&[("f", 2), ("g", 1)])];
        assert!(possible.contains(&contents), "seed {seed}: {contents:?}");
    }
}
