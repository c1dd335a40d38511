//! What a running shard does.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may be blunt, its helpers too")]

mod support;

use support::*;
use tidelog_io::sim::Sim;
use tidelog_wal::{AppendError, Control, ReadError, Stats};

fn values(from: usize, count: usize) -> Vec<String> {
    (from..from + count).map(|n| format!("value {n}")).collect()
}

#[test]
fn what_is_appended_is_read_back_by_offset() {
    with_shard(&Sim::new(1), 1, options(), async |wal, _| {
        create(&wal, 7).await;
        for n in 0..10 {
            let durable = wal.append(7, batch(&values(n * 3, 3))).await.unwrap();
            assert_eq!(durable.base_offset(), n as u64 * 3);
        }
        let found = read_all(&wal, 7, 4).await;
        assert_eq!(found.len(), 26);
        assert_eq!(found[0], (4, "value 4".to_owned()));
        assert_eq!(wal.partition(7).unwrap().next_offset, 30);
    })
    .unwrap();
}

#[test]
fn offsets_outside_the_partition_are_refused_with_its_bounds() {
    with_shard(&Sim::new(1), 1, options(), async |wal, _| {
        create(&wal, 7).await;
        wal.append(7, batch(&values(0, 5))).await.unwrap();
        wal.control(Control::Trim { partition: 7, offset: 2 }).await.unwrap();
        for offset in [0, 1, 6, u64::MAX] {
            let error = wal.read(7, offset, 1000).await.unwrap_err();
            assert!(
                matches!(error, ReadError::OutOfRange { log_start: 2, next_offset: 5 }),
                "{offset}: {error}"
            );
        }
        assert!(wal.read(7, 5, 1000).await.unwrap().batches.is_empty());
        assert!(matches!(wal.read(8, 0, 1000).await, Err(ReadError::UnknownPartition(8))));
        assert!(matches!(wal.append(8, batch(&values(0, 1))).await, Err(AppendError::UnknownPartition(8))));
    })
    .unwrap();
}

#[test]
fn everything_that_waits_shares_one_commit() {
    with_shard(&Sim::new(1), 1, options(), async |wal, _| {
        for partition in 0..50 {
            create(&wal, partition).await;
        }
        let before = Stats::get(&wal.stats().commits);
        let appends: Vec<_> = (0..50)
            .map(|partition| {
                let wal = wal.clone();
                tokio::task::spawn_local(async move { wal.append(partition, batch(&values(0, 1))).await })
            })
            .collect();
        let mut lsns = Vec::new();
        for append in appends {
            lsns.push(append.await.unwrap().unwrap().lsn());
        }
        let commits = Stats::get(&wal.stats().commits) - before;
        assert!(commits <= 2, "{commits} commits for 50 waiting appends");
        assert!(lsns.is_sorted(), "answers in LSN order");
    })
    .unwrap();
}

#[test]
fn segments_roll_and_older_ones_are_read_through_their_footers() {
    let sim = Sim::new(3);
    with_shard(&sim, 1, options(), async |wal, _| {
        create(&wal, 1).await;
        create(&wal, 2).await;
        let big = "x".repeat(3000);
        for n in 0..600usize {
            wal.append(1 + (n as u64 % 2), batch(&[format!("{n} {big}")])).await.unwrap();
        }
        assert!(Stats::get(&wal.stats().rolls) > 4);
        for partition in [1, 2] {
            let found = read_all(&wal, partition, 0).await;
            assert_eq!(found.len(), 300);
            for (offset, value) in &found {
                let n = offset * 2 + partition - 1;
                assert!(value.starts_with(&format!("{n} ")), "{offset}");
            }
        }
        assert!(Stats::get(&wal.stats().disk_reads) > 0, "not all of it can be in memory");
        wal.close().await.unwrap();
    })
    .unwrap();
}

#[test]
fn a_batch_over_the_gather_size_makes_a_frame_of_its_own() {
    with_shard(&Sim::new(1), 1, options(), async |wal, _| {
        create(&wal, 1).await;
        let big = "y".repeat(150 * 1024);
        wal.append(1, batch(std::slice::from_ref(&big))).await.unwrap();
        wal.append(1, batch(&["small".to_owned()])).await.unwrap();
        assert_eq!(read_all(&wal, 1, 0).await, [(0, big), (1, "small".to_owned())]);
        let error = wal.append(1, batch(&["z".repeat(300 * 1024)])).await.unwrap_err();
        assert!(matches!(error, AppendError::TooLarge { .. }), "{error}");
    })
    .unwrap();
}

#[test]
fn a_reader_at_the_tail_is_woken_by_the_next_record() {
    with_shard(&Sim::new(1), 1, options(), async |wal, _| {
        create(&wal, 1).await;
        let reader = {
            let wal = wal.clone();
            tokio::task::spawn_local(async move {
                wal.wait_beyond(1, 0).await.unwrap();
                read_all(&wal, 1, 0).await
            })
        };
        tokio::task::yield_now().await;
        wal.append(1, batch(&values(0, 2))).await.unwrap();
        assert_eq!(reader.await.unwrap().len(), 2);
        let waiting = {
            let wal = wal.clone();
            tokio::task::spawn_local(async move { wal.wait_beyond(1, 2).await })
        };
        tokio::task::yield_now().await;
        wal.control(Control::DeletePartition { partition: 1 }).await.unwrap();
        assert!(
            matches!(waiting.await.unwrap(), Err(ReadError::UnknownPartition(1))),
            "a deleted partition ends the wait"
        );
    })
    .unwrap();
}

#[test]
fn a_timestamp_finds_the_first_record_at_or_after_it() {
    with_shard(&Sim::new(1), 1, options(), async |wal, _| {
        create(&wal, 1).await;
        let pad = "p".repeat(20_000);
        for n in 0..40 {
            wal.append(1, batch_at(&[pad.clone(), pad.clone()], 1000 + n * 10)).await.unwrap();
        }
        assert!(Stats::get(&wal.stats().rolls) > 2);
        assert_eq!(wal.offset_at(1, 0).await.unwrap(), Some((0, 1000)));
        assert_eq!(wal.offset_at(1, 1000).await.unwrap(), Some((0, 1000)));
        assert_eq!(wal.offset_at(1, 1001).await.unwrap(), Some((2, 1010)));
        assert_eq!(wal.offset_at(1, 1385).await.unwrap(), Some((78, 1390)));
        assert_eq!(wal.offset_at(1, 1391).await.unwrap(), None);
    })
    .unwrap();
}

/// Frames of many sizes, some longer than any single read, in one segment behind the tail's memory.
async fn store_mixed(wal: &tidelog_wal::Wal) -> Vec<(u64, String)> {
    create(wal, 1).await;
    create(wal, 2).await;
    let sizes = [300, 90_000, 700_000, 4_000, 1_000_000, 30_000];
    let mut expected = Vec::new();
    for n in 0..48u64 {
        let value = format!("{n} {}", "v".repeat(sizes[n as usize % sizes.len()]));
        // The second entry of a frame: batches of others stand between those of the partition that is read.
        let beside = wal.begin_append(2, batch(&values(n as usize, 3))).await.unwrap();
        wal.append(1, batch(std::slice::from_ref(&value))).await.unwrap();
        beside.await.unwrap();
        expected.push((n, value));
    }
    expected
}

fn large_segments() -> tidelog_wal::Options {
    tidelog_wal::Options { segment_bytes: 64 << 20, queue_bytes: 8 << 20, ..options() }
}

#[test]
fn a_partition_read_in_many_calls_is_read_from_the_disk_once() {
    with_shard(&Sim::new(1), 1, large_segments(), async |wal, _| {
        let expected = store_mixed(&wal).await;
        let stored: u64 = expected.iter().map(|(_, value)| value.len() as u64).sum();
        for step in [1, 100_000, 1 << 20] {
            let before = Stats::get(&wal.stats().disk_reads);
            assert!(read_in_steps(&wal, step).await == expected, "in steps of {step}");
            let reads = Stats::get(&wal.stats().disk_reads) - before;
            // Short reads at first, 1 MiB and more when the reader is seen to go forward.
            assert!(reads < stored / (1 << 20) + 12, "{reads} reads for {stored} bytes in steps of {step}");
        }
    })
    .unwrap();
}

async fn read_in_steps(wal: &tidelog_wal::Wal, step: usize) -> Vec<(u64, String)> {
    let (mut out, mut offset) = (Vec::new(), 0);
    loop {
        let fetched = wal.read(1, offset, step).await.unwrap();
        if fetched.batches.is_empty() {
            return out;
        }
        for bytes in fetched.batches {
            let view = tidelog_format::batch::BatchView::parse(&bytes).unwrap();
            let mut scratch = Vec::new();
            for record in view.records(&mut scratch).unwrap() {
                let (at, record) = record.unwrap();
                out.push((at, String::from_utf8(record.value.unwrap().to_vec()).unwrap()));
                offset = at + 1;
            }
        }
    }
}

#[test]
fn readers_that_take_turns_each_keep_their_place_and_lose_it_without_harm() {
    let few = tidelog_wal::Options { read_ahead_bytes: 5 << 20, ..large_segments() };
    let none = tidelog_wal::Options { read_ahead_bytes: 0, ..large_segments() };
    for options in [few, none] {
        with_shard(&Sim::new(1), 1, options, async |wal, _| {
            let expected = store_mixed(&wal).await;
            let readers = (0..4).map(|_| read_in_steps(&wal, 100_000));
            let found = futures_util::future::join_all(readers).await;
            assert!(found.iter().all(|found| *found == expected));
        })
        .unwrap();
    }
}

#[test]
fn a_reader_goes_on_in_a_segment_that_grows_and_is_told_of_what_was_trimmed() {
    with_shard(&Sim::new(1), 1, large_segments(), async |wal, _| {
        create(&wal, 1).await;
        for n in 0..200 {
            wal.append(1, batch(&[format!("{n} {}", "g".repeat(2_000))])).await.unwrap();
        }
        let first = wal.read(1, 0, 20_000).await.unwrap().batches.len() as u64;
        for n in 200..400 {
            wal.append(1, batch(&[format!("{n} {}", "g".repeat(2_000))])).await.unwrap();
        }
        assert_eq!(read_all(&wal, 1, first).await.len() as u64, 400 - first);
        let second = first + wal.read(1, first, 20_000).await.unwrap().batches.len() as u64;
        wal.control(Control::Trim { partition: 1, offset: second + 1 }).await.unwrap();
        let error = wal.read(1, second, 20_000).await.unwrap_err();
        assert!(matches!(error, ReadError::OutOfRange { .. }), "{error}");
    })
    .unwrap();
}
