//! Idempotent producers: what is sent twice is stored once, whatever happens in between.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may be blunt, its helpers too")]

#[path = "producers/lives.rs"]
mod lives;
#[path = "producers/snapshots.rs"]
mod snapshots;
mod support;

use support::*;
use tidelog_format::batch::{Batch, BatchBuilder, Codec, Record};
use tidelog_format::producers::SequenceError;
use tidelog_io::Fault;
use tidelog_io::sim::{Kind, Sim};
use tidelog_wal::{AppendError, Control, Options, Stats, Status, Wal};

const PRODUCER: i64 = 17;

/// A batch of producer 17 in epoch 0.
fn numbered(sequence: i32, values: &[String]) -> Batch {
    by((PRODUCER, 0, sequence), values)
}

fn by((id, epoch, sequence): (i64, i16, i32), values: &[String]) -> Batch {
    let mut builder = BatchBuilder::new(Codec::None).producer(id, epoch, sequence);
    for value in values {
        builder
            .push(&Record { timestamp: 1_000, key: None, value: Some(value.as_bytes()), headers: Vec::new() })
            .unwrap();
    }
    builder.finish().unwrap()
}

fn one(sequence: i32) -> Batch {
    numbered(sequence, &[format!("record {sequence}")])
}

/// Sends the batch again and checks that it is answered as the first time.
async fn resend(wal: &Wal, batch: Batch, first: tidelog_wal::Durable) {
    let again = wal.append(1, batch).await.unwrap();
    assert!(again.is_duplicate() && !first.is_duplicate());
    assert_eq!((again.base_offset(), again.lsn()), (first.base_offset(), first.lsn()));
}

#[test]
fn a_batch_sent_again_is_answered_with_its_original_and_stored_once() {
    with_shard(&Sim::new(1), 1, options(), async |wal, _| {
        create(&wal, 1).await;
        wal.append(1, batch(&["of nobody".to_owned()])).await.unwrap();
        let first = wal.append(1, one(0)).await.unwrap();
        assert_eq!((first.base_offset(), first.append_time().is_some()), (1, true));
        resend(&wal, one(0), first).await;
        let second = wal.append(1, one(1)).await.unwrap();
        assert_eq!(second.base_offset(), 2);
        resend(&wal, one(0), first).await;
        assert_eq!(read_all(&wal, 1, 0).await.len(), 3);
        let stats = wal.stats();
        assert_eq!((Stats::get(&stats.duplicates), Stats::get(&stats.producers)), (2, 1));
        assert_eq!(Stats::get(&stats.batches), 3, "a duplicate is not counted as stored");
    })
    .unwrap();
}

#[test]
fn pipelined_batches_and_their_duplicates_are_judged_by_what_is_framed() {
    with_shard(&Sim::new(1), 1, options(), async |wal, _| {
        create(&wal, 1).await;
        // All of it is handed in before anything is written.
        let mut appending = Vec::new();
        for sequence in [0, 1, 1, 0, 2, 4, 3, 2] {
            appending.push(wal.begin_append(1, one(sequence)).await.unwrap());
        }
        let mut answers = Vec::new();
        for one in appending {
            answers.push(one.await.map(|durable| (durable.base_offset(), durable.is_duplicate())));
        }
        let answers: Vec<_> = answers.into_iter().map(Result::ok).collect();
        let new = |offset| Some((offset, false));
        let again = |offset| Some((offset, true));
        assert_eq!(answers, [new(0), new(1), again(1), again(0), new(2), None, new(3), again(2)]);
        assert_eq!(Stats::get(&wal.stats().out_of_order), 1);
    })
    .unwrap();
}

#[test]
fn a_duplicate_is_not_answered_before_its_original_is_durable() {
    let sim = Sim::new(1);
    with_shard(&sim, 1, options(), async |wal, _| {
        create(&wal, 1).await;
        sim.fail_nth_of(Kind::Write, 0, Fault::Io);
        let original = wal.begin_append(1, one(0)).await.unwrap();
        let in_its_frame = wal.begin_append(1, one(0)).await.unwrap();
        // Once the write has begun, the next frame fills.
        while sim.in_flight() == 0 && matches!(wal.status(), Status::Running) {
            tokio::task::yield_now().await;
        }
        let in_the_next = wal.begin_append(1, one(0)).await;
        for appending in [original, in_its_frame] {
            let error = appending.await.expect_err("nothing of it is on the disk");
            assert!(matches!(error, AppendError::OutcomeUnknown { .. }), "a duplicate, too: {error}");
        }
        let later = match in_the_next {
            Ok(appending) => appending.await,
            Err(error) => Err(error),
        };
        let error = later.expect_err("its original is not durable");
        assert!(
            matches!(error, AppendError::OutcomeUnknown { .. } | AppendError::Poisoned { .. }),
            "{error}"
        );
    })
    .unwrap();
}

#[test]
fn duplicates_over_rolls_have_the_lsn_and_the_offset_of_their_originals() {
    let sim = Sim::new(3);
    let pad = "x".repeat(9_000);
    let value = |n: i32| [format!("{n} {pad}")];
    with_shard(&sim, 1, options(), async |wal, _| {
        create(&wal, 1).await;
        let mut stored = Vec::new();
        for n in 0..120i32 {
            // A duplicate in the frame of its original, which may come behind an opening frame.
            let first = wal.begin_append(1, numbered(n, &value(n))).await.unwrap();
            let second = wal.begin_append(1, numbered(n, &value(n))).await.unwrap();
            let first = first.await.unwrap();
            let second = second.await.unwrap();
            assert!(second.is_duplicate());
            assert_eq!((second.lsn(), second.base_offset()), (first.lsn(), first.base_offset()));
            stored.push(first);
            for back in 0..stored.len().min(5) {
                let sequence = n - i32::try_from(back).unwrap();
                resend(&wal, numbered(sequence, &value(sequence)), stored[stored.len() - 1 - back]).await;
            }
        }
        assert!(Stats::get(&wal.stats().rolls) > 3);
        let lsns: Vec<_> = stored.iter().map(tidelog_wal::Durable::lsn).collect();
        assert!(lsns.windows(2).any(|pair| pair[1] == pair[0] + 2), "opening frames took numbers: {lsns:?}");
    })
    .unwrap();
    // After a kill the last batches are in the frames, after a clean stop in the footer alone.
    let mut sim = sim.crash(1);
    for epoch in [2, 3] {
        with_shard(&sim, epoch, options(), async |wal, recovered| {
            assert_eq!(recovered.frames_scanned > 0, epoch == 2);
            for n in 115..120 {
                let again = wal.append(1, numbered(n, &value(n))).await.unwrap();
                assert_eq!((again.base_offset(), again.is_duplicate()), (u64::try_from(n).unwrap(), true));
            }
            assert_eq!(read_all(&wal, 1, 0).await.len(), 120);
            wal.close().await.unwrap();
        })
        .unwrap();
        sim = sim.crash(2);
    }
}

#[test]
fn each_refusal_says_what_it_is() {
    with_shard(&Sim::new(1), 1, options(), async |wal, _| {
        create(&wal, 1).await;
        for sequence in 0..7 {
            wal.append(1, by((PRODUCER, 3, sequence), &["v".to_owned()])).await.unwrap();
        }
        let send = async |epoch, sequence| match wal
            .append(1, by((PRODUCER, epoch, sequence), &["v".to_owned()]))
            .await
        {
            Err(AppendError::Sequence(error)) => error,
            other => panic!("{other:?}"),
        };
        let producer_id = PRODUCER;
        assert_eq!(send(3, 8).await, SequenceError::OutOfOrder { producer_id, expected: 7, got: 8 });
        assert_eq!(send(3, 0).await, SequenceError::Forgotten { producer_id, got: 0 });
        assert_eq!(send(2, 7).await, SequenceError::OldEpoch { producer_id, current: 3, got: 2 });
        assert_eq!(send(4, 7).await, SequenceError::OutOfOrder { producer_id, expected: 0, got: 7 });
        let stats = wal.stats();
        let counted =
            [&stats.out_of_order, &stats.forgotten, &stats.old_epochs, &stats.duplicates].map(Stats::get);
        assert_eq!(counted, [2, 1, 1, 0]);
        wal.append(1, by((PRODUCER, 4, 0), &["v".to_owned()])).await.unwrap();
        assert_eq!(read_all(&wal, 1, 0).await.len(), 8);
    })
    .unwrap();
}

#[test]
fn a_deleted_partition_takes_its_producers_along() {
    with_shard(&Sim::new(1), 1, options(), async |wal, _| {
        create(&wal, 1).await;
        create(&wal, 2).await;
        wal.append(1, one(0)).await.unwrap();
        wal.append(2, one(0)).await.unwrap();
        wal.control(Control::DeletePartition { partition: 1 }).await.unwrap();
        assert_eq!(Stats::get(&wal.stats().producers), 1);
        assert!(wal.append(2, one(0)).await.unwrap().is_duplicate());
    })
    .unwrap();
}

#[test]
fn a_frame_that_no_segment_took_takes_its_sequences_back() {
    let sim = Sim::new(1);
    with_shard(&sim, 1, Options { spares: 0, ..options() }, async |wal, _| {
        create(&wal, 1).await;
        // Each is more than half a segment: the second one needs the next, which can't be had the first time.
        let large = |sequence: i32| numbered(sequence, &["x".repeat(150_000)]);
        sim.fail_nth_of(Kind::Name, 0, Fault::Full);
        let mut appending = Vec::new();
        for sequence in [0, 1, 1] {
            appending.push(wal.begin_append(1, large(sequence)).await.unwrap());
        }
        let mut answers = Vec::new();
        for one in appending {
            answers.push(one.await);
        }
        assert_eq!(answers[0].as_ref().unwrap().base_offset(), 0);
        for refused in &answers[1..] {
            assert!(
                matches!(refused, Err(AppendError::Full)),
                "a duplicate fares as its original: {refused:?}"
            );
        }
        while !matches!(wal.status(), Status::Running) {
            tokio::task::yield_now().await;
        }
        let again = wal.begin_append(1, large(1)).await.unwrap();
        wal.append(1, batch(&["of nobody".to_owned()])).await.unwrap();
        let again = again.await.unwrap();
        assert_eq!((again.base_offset(), again.is_duplicate()), (1, false), "nothing of it was stored");
        resend(&wal, large(0), answers[0].clone().unwrap()).await;
        assert_eq!(read_all(&wal, 1, 0).await.len(), 3);
    })
    .unwrap();
}
