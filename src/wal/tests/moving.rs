//! A partition that goes on in another shard: closed in one, taken in the next, and back.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may be blunt, its helpers too")]

mod support;

use std::collections::BTreeMap;

use bytes::Bytes;
use support::*;
use tidelog_format::batch::{Batch, BatchBuilder, Codec, Record};
use tidelog_io::clock::Clock;
use tidelog_io::random::Entropy;
use tidelog_io::sim::{Sim, block_on_sim};
use tidelog_wal::{AppendError, Control, OpenSpan, OwnDisk, Wal, find_shard};

/// A batch of producer 17.
fn numbered(sequence: i32, value: &str) -> Batch {
    let mut builder = BatchBuilder::new(Codec::None).producer(17, 0, sequence);
    let value = Some(value.as_bytes());
    builder.push(&Record { timestamp: 1_000, key: None, value, headers: Vec::new() }).unwrap();
    builder.finish().unwrap()
}

async fn take(wal: &Wal, offset: u64, producers: Vec<u8>) -> Result<(), AppendError> {
    let producers = Bytes::from(producers);
    wal.control(Control::TakePartition { partition: 1, offset, producers }).await.map(|_| ())
}

/// A shard on another disk, where partition 1 ends at offset 3 with the batches 0 to 2 of producer 17.
fn elsewhere() -> Vec<u8> {
    let mut carried = Vec::new();
    with_shard(&Sim::new(9), 1, options(), async |wal, _| {
        create(&wal, 1).await;
        for sequence in 0..3 {
            wal.append(1, numbered(sequence, "there")).await.unwrap();
        }
        wal.close_partition(1).await.unwrap();
        carried = wal.producers_of(1).unwrap();
    })
    .unwrap();
    carried
}

#[test]
fn a_closed_partition_takes_nothing_and_all_that_it_took_is_committed() {
    with_shard(&Sim::new(1), 1, options(), async |wal, _| {
        create(&wal, 1).await;
        create(&wal, 2).await;
        let mut before = Vec::new();
        for sequence in 0..5 {
            before.push(wal.begin_append(1, numbered(sequence, "before")).await.unwrap());
        }
        let (closed, late, other) = tokio::join!(
            biased;
            wal.close_partition(1),
            wal.append(1, numbered(5, "late")),
            wal.append(2, batch(&["of another partition".to_owned()])),
        );
        closed.unwrap();
        assert_eq!(wal.partition(1).unwrap().next_offset, 5);
        assert!(matches!(late, Err(AppendError::Moving(1))));
        other.unwrap();
        for appending in before {
            appending.await.unwrap();
        }
        let again = wal.append(1, numbered(4, "before")).await;
        assert!(matches!(again, Err(AppendError::Moving(1))), "who goes on with it knows its producers");
        wal.control(Control::Trim { partition: 1, offset: 2 }).await.unwrap();
        assert_eq!(read_all(&wal, 1, 2).await.len(), 3, "what is there is there");
        wal.close_partition(1).await.unwrap();
        wal.reopen_partition(1).await.unwrap();
        assert_eq!(wal.append(1, numbered(5, "late")).await.unwrap().base_offset(), 5);
        assert!(matches!(wal.close_partition(7).await, Err(AppendError::UnknownPartition(7))));
    })
    .unwrap();
}

#[test]
fn a_partition_goes_on_in_another_shard_at_its_offset_and_its_producers_are_known_there() {
    let carried = elsewhere();
    let sim = Sim::new(1);
    with_shard(&sim, 1, options(), async |wal, _| {
        take(&wal, 3, carried.clone()).await.unwrap();
        // Once more, as when nobody heard that it was taken.
        take(&wal, 3, carried.clone()).await.unwrap();
        let here = wal.partition(1).unwrap();
        assert_eq!((here.log_start, here.next_offset), (3, 3));
        let again = wal.append(1, numbered(2, "there")).await.unwrap();
        assert_eq!((again.base_offset(), again.is_duplicate()), (2, true));
    })
    .unwrap();
    // Before its first record, and behind it.
    for epoch in 2..4 {
        with_shard(&sim, epoch, options(), async |wal, _| {
            let again = wal.append(1, numbered(1, "there")).await.unwrap();
            assert_eq!((again.base_offset(), again.is_duplicate()), (1, true));
            assert!(matches!(wal.append(1, numbered(7, "a gap")).await, Err(AppendError::Sequence(_))));
            let next = wal.append(1, numbered(3, "here")).await.unwrap();
            assert_eq!((next.base_offset(), next.is_duplicate()), (3, epoch == 3));
            assert!(take(&wal, 3, Vec::new()).await.is_err(), "it takes batches already");
            assert_eq!(read_all(&wal, 1, 3).await, [(3, "here".to_owned())]);
        })
        .unwrap();
    }
}

#[test]
fn a_partition_that_comes_back_goes_on_behind_what_it_wrote_elsewhere() {
    let sim = Sim::new(1);
    with_shard(&sim, 1, options(), async |wal, _| {
        create(&wal, 1).await;
        for n in 0..40 {
            wal.append(1, batch(&[format!("first stay {n} {}", "-".repeat(20_000))])).await.unwrap();
        }
        wal.close_partition(1).await.unwrap();
        assert!(take(&wal, 39, Vec::new()).await.is_err(), "offsets do not fall");
        take(&wal, 100, Vec::new()).await.unwrap();
        for n in 0..40 {
            let durable = wal.append(1, batch(&[format!("back {n} {}", "-".repeat(20_000))])).await.unwrap();
            assert_eq!(durable.base_offset(), 100 + n);
        }
    })
    .unwrap();
    with_shard(&sim, 2, options(), async |wal, _| {
        assert_eq!(wal.partition(1).unwrap().next_offset, 140);
        assert_eq!(read_all(&wal, 1, 100).await.len(), 40);
        for offset in 0..40 {
            let fetched = wal.read(1, offset, 1).await.unwrap();
            let first = tidelog_format::batch::BatchView::parse(&fetched.batches[0]).unwrap();
            assert_eq!(first.header().base_offset, offset);
        }
        wal.control(Control::Trim { partition: 1, offset: 120 }).await.unwrap();
        assert_eq!(read_all(&wal, 1, 120).await.len(), 20);
    })
    .unwrap();
}

#[test]
fn a_span_begins_with_those_partitions_closed_that_go_on_elsewhere() {
    let sim = Sim::new(1);
    with_shard(&sim, 1, options(), async |wal, _| {
        for partition in 1..=3 {
            create(&wal, partition).await;
            wal.append(partition, batch(&["a record".to_owned()])).await.unwrap();
        }
    })
    .unwrap();
    block_on_sim(&sim, async |disk| {
        let found = find_shard(disk, spec(2), None, options()).await.unwrap();
        let commits = Box::new(OwnDisk::from(found.ended().lsn));
        // Partition 1 is elsewhere; 2 is to come back at offset 1, 3 has come back at 0 and written since.
        let writable = Some(BTreeMap::from([(2, 2), (3, 1)]));
        let span = OpenSpan { salt: None, start: None, state: false, writable, commits };
        let (wal, engine, _) =
            found.open(span, Clock::manual(1_700_000_000_000), Entropy::seeded(1)).await.unwrap();
        let running = tokio::task::spawn_local(engine.run());
        for partition in [1, 2] {
            let refused = wal.append(partition, batch(&["late".to_owned()])).await;
            assert!(matches!(refused, Err(AppendError::Moving(_))), "{partition}");
        }
        assert_eq!(wal.append(3, batch(&["on".to_owned()])).await.unwrap().base_offset(), 1);
        wal.control(Control::TakePartition { partition: 2, offset: 1, producers: Bytes::new() })
            .await
            .unwrap();
        assert_eq!(wal.append(2, batch(&["on".to_owned()])).await.unwrap().base_offset(), 1);
        running.abort();
    })
    .unwrap();
}

#[test]
fn a_frame_that_was_refused_takes_no_partition() {
    let sim = Sim::new(1);
    with_shard(&sim, 1, options(), async |wal, _| {
        create(&wal, 1).await;
        wal.append(1, batch(&["a record".to_owned()])).await.unwrap();
        wal.close_partition(1).await.unwrap();
        let garbage = take(&wal, 5, vec![1, 2, 3]).await;
        assert!(matches!(garbage, Err(AppendError::Invalid(_))));
        assert!(matches!(wal.append(1, numbered(0, "x")).await, Err(AppendError::Moving(1))));
    })
    .unwrap();
}
