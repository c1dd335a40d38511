//! What retention gives back, and what it never does.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may be blunt, its helpers too")]

mod support;

use std::time::Duration;

use support::*;
use tidelog_format::trailer::Trailer;
use tidelog_io::Fault;
use tidelog_io::clock::Clock;
use tidelog_io::sim::{Kind, Sim};
use tidelog_wal::{AppendError, Control, Retention, Stats, Status, Wal};

const START: i64 = 1_700_000_000_000;

async fn fill(wal: &Wal, partition: u64, batches: usize) {
    for n in 0..batches {
        wal.append(partition, batch(&[format!("{n} {}", "r".repeat(20_000))])).await.unwrap();
    }
}

fn by_size(max: u64) -> impl Fn(u64) -> Option<Retention> {
    move |_| Some(Retention { max_age: None, max_bytes: Some(max) })
}

#[test]
fn retention_by_size_keeps_at_least_the_bound_and_recycles_the_rest() {
    let sim = Sim::new(1);
    let next = with_shard(&sim, 1, options(), async |wal, _| {
        create(&wal, 1).await;
        fill(&wal, 1, 60).await;
        let retained = wal.retain(&by_size(400_000)).await.unwrap();
        assert!(retained.trimmed == 1 && retained.released >= 2, "{retained:?}");
        let start = wal.partition(1).unwrap().log_start;
        let kept = (60 - start) * 20_000;
        assert!((400_000..400_000 + 2 * SEGMENT).contains(&kept), "{kept} bytes kept");
        assert_eq!(read_all(&wal, 1, start).await.len() as u64, 60 - start);
        fill(&wal, 1, 30).await;
        assert!(Stats::get(&wal.stats().recycled) > 0);
        (start, wal.partition(1).unwrap().next_offset)
    })
    .unwrap();
    with_shard(&sim.crash(3), 2, options(), async |wal, _| {
        let here = wal.partition(1).unwrap();
        assert_eq!((here.log_start, here.next_offset), next, "the first wanted offset survives a crash");
        assert_eq!(read_all(&wal, 1, next.0).await.len() as u64, next.1 - next.0);
    })
    .unwrap();
}

#[test]
fn many_partitions_are_trimmed_by_few_writes() {
    with_shard(&Sim::new(1), 1, options(), async |wal, _| {
        for partition in 1..=40 {
            create(&wal, partition).await;
            wal.append(partition, batch(&[format!("first {}", "r".repeat(20_000))])).await.unwrap();
        }
        fill(&wal, 1, 20).await;
        let before = Stats::get(&wal.stats().next_lsn);
        let retained = wal.retain(&by_size(0)).await.unwrap();
        let writes = Stats::get(&wal.stats().next_lsn) - before;
        assert!(retained.trimmed >= 30 && retained.released > 0, "{retained:?}");
        assert!(writes <= 4, "{writes} writes for {retained:?}");
    })
    .unwrap();
}

#[test]
fn retention_by_age_ends_a_segment_that_is_too_old_and_a_clock_jump_suspends_it() {
    let clock = Clock::manual(START);
    let policy = |_| Some(Retention { max_age: Some(Duration::from_secs(60)), max_bytes: None });
    with_clock(&Sim::new(1), 1, options(), clock.clone(), async |wal, _| {
        create(&wal, 1).await;
        fill(&wal, 1, 3).await;
        assert_eq!(wal.retain(&policy).await.unwrap().trimmed, 0, "young");
        clock.advance(61_000);
        clock.jump_wall(2 * 60 * 60 * 1000);
        let retained = wal.retain(&policy).await.unwrap();
        assert!(retained.age_suspended && retained.trimmed == 0, "{retained:?}");
        clock.jump_wall(-2 * 60 * 60 * 1000);
        assert_eq!(wal.retain(&policy).await.unwrap().trimmed, 1);
        assert_eq!(wal.partition(1).unwrap().log_start, 3);
        fill(&wal, 1, 1).await;
        assert_eq!(read_all(&wal, 1, 3).await.len(), 1);
    })
    .unwrap();
}

#[test]
fn a_segment_that_someone_still_wants_stays_and_a_deleted_partition_wants_nothing() {
    with_shard(&Sim::new(1), 1, options(), async |wal, _| {
        for partition in [1, 2] {
            create(&wal, partition).await;
        }
        for _ in 0..15 {
            fill(&wal, 1, 1).await;
            fill(&wal, 2, 1).await;
        }
        wal.control(Control::Trim { partition: 1, offset: 15 }).await.unwrap();
        assert_eq!(wal.retain(&|_| None).await.unwrap().released, 0, "partition 2 wants them");
        assert_eq!(read_all(&wal, 2, 0).await.len(), 15);
        wal.control(Control::DeletePartition { partition: 2 }).await.unwrap();
        assert!(wal.retain(&|_| None).await.unwrap().released > 0);
    })
    .unwrap();
}

#[test]
fn what_is_wanted_of_each_span_is_known_with_where_its_partitions_end() {
    let sim = Sim::new(1);
    with_shard(&sim, 1, options(), async |wal, _| {
        for partition in [1, 2] {
            create(&wal, partition).await;
        }
        fill(&wal, 1, 30).await;
        fill(&wal, 2, 1).await;
    })
    .unwrap();
    with_shard(&sim.crash(3), 2, options(), async |wal, _| {
        fill(&wal, 1, 30).await;
        let before = wal.span_uses().await.unwrap();
        let (first, own) = (&before[&1], &before[&2]);
        assert_eq!(first.ends, [(1, 30), (2, 1)].into());
        assert!(first.segments >= 2 && first.unwanted == 0, "{first:?}");
        assert!(own.segments >= 1 && own.ends[&1] < 60, "the active segment is not among them: {own:?}");
        wal.control(Control::Trim { partition: 1, offset: 30 }).await.unwrap();
        let trimmed = wal.span_uses().await.unwrap();
        assert_eq!(trimmed[&1].unwanted, first.segments - 1, "one holds the other partition's record");
        wal.control(Control::Trim { partition: 2, offset: 1 }).await.unwrap();
        let all = wal.span_uses().await.unwrap();
        assert_eq!((all[&1].unwanted, all[&2].unwanted), (first.segments, 0));
    })
    .unwrap();
}

#[test]
fn a_full_disk_refuses_batches_and_trimming_makes_room_again() {
    let sim = Sim::new(1);
    with_shard(&sim, 1, options(), async |wal, _| {
        create(&wal, 1).await;
        // Room for a few segments, no more.
        sim.limit_space(8 * SEGMENT + 1024 * 1024);
        let mut acked = 0;
        let refused = loop {
            match wal.append(1, batch(&["f".repeat(20_000)])).await {
                Ok(_) => acked += 1,
                Err(error) => break error,
            }
            assert!(acked < 200, "the disk has no end");
        };
        assert!(matches!(refused, AppendError::Full), "{refused}");
        assert!(matches!(wal.status(), Status::Full));
        assert_eq!(read_all(&wal, 1, 0).await.len(), acked, "reads go on");
        wal.control(Control::Trim { partition: 1, offset: acked as u64 }).await.unwrap();
        assert!(wal.retain(&|_| None).await.unwrap().released > 0);
        while !matches!(wal.status(), Status::Running) {
            tokio::task::yield_now().await;
        }
        let next = wal.append(1, batch(&["again".to_owned()])).await.unwrap();
        assert_eq!(next.base_offset(), acked as u64, "refused batches took no offset");
    })
    .unwrap();
}

#[test]
fn a_released_segment_that_can_not_be_recycled_costs_space_and_no_data() {
    let sim = Sim::new(1);
    with_shard(&sim, 1, options(), async |wal, _| {
        create(&wal, 1).await;
        fill(&wal, 1, 40).await;
        sim.fail_nth_of(Kind::Name, 0, Fault::Denied);
        assert!(wal.retain(&by_size(100_000)).await.unwrap().released > 0);
        fill(&wal, 1, 5).await;
        let start = wal.partition(1).unwrap().log_start;
        assert_eq!(read_all(&wal, 1, start).await.len() as u64, 45 - start);
    })
    .unwrap();
}

/// Lets the engine go on until this holds.
async fn until(mut holds: impl FnMut() -> bool) {
    while !holds() {
        tokio::task::yield_now().await;
    }
}

#[test]
fn a_recycled_file_that_was_full_to_its_last_block_waits_for_its_turn_also_after_a_kill() {
    let sim = Sim::new(1);
    let next = spec(1).dir.join(tidelog_format::name::segment(1, 4));
    let last = with_shard(&sim, 1, options(), async |wal, _| {
        let (stats, value) = (wal.stats(), ["r".repeat(7_000)]);
        create(&wal, 1).await;
        // Frames of two blocks behind the first two blocks: the trailer is the last block of a file of full size.
        while Stats::get(&stats.seals) < 2 {
            wal.append(1, batch(&value)).await.unwrap();
        }
        let first = sim.read_file(spec(1).dir.join(tidelog_format::name::segment(1, 1))).unwrap();
        let trailer = Trailer::of_last_block(first.last_chunk().unwrap(), (SEGMENT / 4096 - 1) as u32);
        assert!(first.len() as u64 == SEGMENT && trailer.is_some());
        wal.control(Control::Trim { partition: 1, offset: 40 }).await.unwrap();
        assert_eq!(wal.retain(&|_| None).await.unwrap().released, 1);
        until(|| Stats::get(&stats.recycled) == 1).await;
        // Until the next segment's file is made ready; it is not begun.
        while !sim.files().contains(&next) {
            wal.append(1, batch(&value)).await.unwrap();
        }
        wal.partition(1).unwrap().next_offset
    })
    .unwrap();
    with_shard(&sim, 2, options(), async |wal, recovered| {
        assert!(matches!(wal.status(), Status::Running), "{recovered:?}");
        assert_eq!(wal.partition(1).unwrap().next_offset, last);
    })
    .unwrap();
}
