use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::BytesMut;

use super::*;
use crate::fake_topic::FakeTopic;
use crate::scripted::{Reply, client};

async fn on(topic: FakeTopic) -> Client {
    let topic = Arc::new(topic);
    client(move |got| {
        let topic = Arc::clone(&topic);
        async move { topic.answer(&got) }
    })
    .await
}

fn to_the_end(from: OffsetSpec) -> ConsumerOptions {
    ConsumerOptions { from, until_end: true, ..ConsumerOptions::default() }
}

/// Everything up to the end, as partition, offset and value.
async fn read_all(consumer: &mut Consumer) -> Vec<(u32, u64, String)> {
    let mut all = Vec::new();
    while let Some(chunk) = consumer.next().await.unwrap() {
        all.extend(records(&chunk));
    }
    all
}

fn records(chunk: &Chunk) -> Vec<(u32, u64, String)> {
    let mut all = Vec::new();
    let end = chunk.for_each(&mut Vec::new(), |offset, record| {
        all.push((chunk.partition(), offset, String::from_utf8(record.value.unwrap().to_vec()).unwrap()));
        ControlFlow::<()>::Continue(())
    });
    assert!(end.unwrap().is_continue());
    all
}

/// Offsets 100 to 105, the batches begin at 100, 103 and 105.
fn short_topic() -> FakeTopic {
    let topic = FakeTopic::new(1).starting_at(100);
    topic.append(0, &["a", "b", "c"]);
    topic.append(0, &["d", "e"]);
    topic.append(0, &["f"]);
    topic
}

#[tokio::test]
async fn every_form_of_an_offset_begins_where_it_says_even_inside_a_batch() {
    let cases = [
        (OffsetSpec::Beginning, "abcdef"),
        (OffsetSpec::End, ""),
        (OffsetSpec::At(100), "abcdef"),
        (OffsetSpec::At(102), "cdef"),
        (OffsetSpec::At(104), "ef"),
        (OffsetSpec::At(106), ""),
        (OffsetSpec::FromEnd(1), "f"),
        (OffsetSpec::FromEnd(4), "cdef"),
        (OffsetSpec::FromEnd(1000), "abcdef"),
        (OffsetSpec::Timestamp(0), "abcdef"),
        (OffsetSpec::Timestamp(1011), "cdef"),
        (OffsetSpec::Timestamp(1020), "cdef"),
        (OffsetSpec::Timestamp(1050), "f"),
        (OffsetSpec::Timestamp(1051), ""),
    ];
    let client = on(short_topic()).await;
    for (from, known) in cases {
        let mut consumer = client.consumer("t", &[], to_the_end(from)).await.unwrap();
        let all = read_all(&mut consumer).await;
        let values: String = all.iter().map(|(_, _, value)| value.as_str()).collect();
        assert_eq!(values, known, "{from}");
        let ends_at = all.last().map(|(_, offset, _)| *offset);
        assert!(ends_at.is_none_or(|offset| offset == 105), "{from}");
    }
}

#[tokio::test]
async fn partitions_are_read_one_after_the_other_up_to_their_ends() {
    let topic = FakeTopic::new(4);
    for partition in [0, 1, 3] {
        topic.append(partition, &["x", "y"]);
        topic.append(partition, &["z"]);
    }
    let client = on(topic).await;
    let places = |all: Vec<(u32, u64, String)>| -> Vec<(u32, u64)> {
        all.into_iter().map(|(partition, offset, _)| (partition, offset)).collect()
    };
    let mut all = client.consumer("t", &[], to_the_end(OffsetSpec::Beginning)).await.unwrap();
    let known = [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2), (3, 0), (3, 1), (3, 2)];
    assert_eq!(places(read_all(&mut all).await), known);
    let mut some = client.consumer("t", &[3, 1, 3], to_the_end(OffsetSpec::FromEnd(1))).await.unwrap();
    assert_eq!(places(read_all(&mut some).await), [(1, 2), (3, 2)]);
    let missing = client.consumer("t", &[4], ConsumerOptions::default()).await;
    assert!(matches!(missing, Err(Error::NoPartition { partition: 4, partitions: 4, .. })));
}

#[tokio::test]
async fn what_is_appended_after_the_start_is_left_out_with_until_end_and_followed_without() {
    let topic = Arc::new(FakeTopic::new(1));
    topic.append(0, &["a", "b"]);
    let served = Arc::clone(&topic);
    let client = client(move |got| {
        let topic = Arc::clone(&served);
        async move { topic.answer(&got) }
    })
    .await;
    let mut ending = client.consumer("t", &[], to_the_end(OffsetSpec::Beginning)).await.unwrap();
    let mut following = client.consumer("t", &[], ConsumerOptions::default()).await.unwrap();
    topic.append(0, &["c"]);
    assert_eq!(read_all(&mut ending).await.len(), 2);
    let mut seen = Vec::new();
    while seen.len() < 3 {
        seen.extend(records(&following.next().await.unwrap().unwrap()));
    }
    topic.append(0, &["d"]);
    let next = following.next().await.unwrap().unwrap();
    assert_eq!(records(&next), [(0, 3, "d".to_owned())]);
    assert_eq!(next.next_offset(), 4);
}

#[tokio::test]
async fn more_partitions_than_reads_at_once_are_all_followed() {
    let topic = FakeTopic::new(MAX_READS + 10);
    for partition in 0..MAX_READS + 10 {
        topic.append(partition, &["x"]);
    }
    let mut consumer = on(topic).await.consumer("t", &[], ConsumerOptions::default()).await.unwrap();
    let mut seen = std::collections::BTreeSet::new();
    while seen.len() < MAX_READS + 10 {
        assert!(seen.insert(consumer.next().await.unwrap().unwrap().partition()), "each once");
    }
}

/// What a reader says when the answer to its read is `bytes`.
async fn refused(bytes: Vec<u8>) -> Error {
    let topic = Arc::new(short_topic());
    let client = client(move |got| {
        let reply = match got.line.contains("/records?") {
            true => Reply::Answer(200, bytes.clone().into()),
            false => topic.answer(&got),
        };
        async move { reply }
    })
    .await;
    let mut consumer = client.consumer("t", &[], to_the_end(OffsetSpec::At(102))).await.unwrap();
    consumer.next().await.unwrap_err()
}

async fn stored() -> Vec<u8> {
    let client = on(short_topic()).await;
    let mut consumer = client.consumer("t", &[], to_the_end(OffsetSpec::Beginning)).await.unwrap();
    let mut bytes = BytesMut::new();
    while let Some(chunk) = consumer.next().await.unwrap() {
        bytes.extend_from_slice(chunk.bytes());
    }
    bytes.to_vec()
}

#[tokio::test]
async fn a_damaged_batch_is_an_error_and_not_a_record() {
    let good = stored().await;
    for at in [20, 40, good.len() - 1] {
        let mut bad = good.clone();
        bad[at] ^= 1;
        let error = refused(bad).await;
        assert!(matches!(error, Error::Batch { partition: 0, offset: 102, .. }), "{at}: {error}");
    }
    let error = refused(good[..good.len() - 3].to_vec()).await;
    assert!(matches!(error, Error::Batch { .. }), "{error}");
}

#[tokio::test]
async fn batches_that_come_again_or_out_of_order_do_not_make_a_reader_run_in_circles() {
    let good = stored().await;
    let twice = [good.clone(), good.clone()].concat();
    for bytes in [twice, b"{\"error\":1}".to_vec()] {
        let error = refused(bytes).await;
        assert!(matches!(error, Error::Decode { .. } | Error::Batch { .. }), "{error}");
    }
    let old = FakeTopic::new(1);
    old.append(0, &["a"]);
    let mut consumer = on(old).await.consumer("t", &[], to_the_end(OffsetSpec::Beginning)).await.unwrap();
    let bytes = consumer.next().await.unwrap().unwrap().bytes().to_vec();
    assert!(matches!(refused(bytes).await, Error::Decode { .. }));
}

#[tokio::test]
async fn a_read_whose_answer_was_lost_is_simply_made_again() {
    let topic = Arc::new(short_topic());
    let reads = Arc::new(AtomicUsize::new(0));
    let (served, count) = (Arc::clone(&topic), Arc::clone(&reads));
    let client = client(move |got| {
        let (topic, reads) = (Arc::clone(&served), Arc::clone(&count));
        async move {
            match got.line.contains("/records?") && reads.fetch_add(1, Ordering::SeqCst) == 0 {
                true => Reply::HangUp,
                false => topic.answer(&got),
            }
        }
    })
    .await;
    let mut consumer = client.consumer("t", &[], to_the_end(OffsetSpec::Beginning)).await.unwrap();
    assert_eq!(read_all(&mut consumer).await.len(), 6);
    assert_eq!(client.offset_at("t", 0, 1030).await.unwrap(), Some(103));
    assert_eq!(client.offset_at("t", 0, 9999).await.unwrap(), None);
}
