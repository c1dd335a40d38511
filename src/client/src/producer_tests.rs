use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tidelog_format::batch::{Header, MAX_VALUE_LEN};
use tidelog_proto::http::error::ErrorCode;
use tidelog_proto::partitioner::for_key;

use super::*;
use crate::fake_topic::FakeTopic;
use crate::scripted::{Reply, client};

fn record<'a>(key: Option<&'a str>, value: &'a str) -> Record<'a> {
    Record { timestamp: 5, key: key.map(str::as_bytes), value: Some(value.as_bytes()), headers: Vec::new() }
}

fn small() -> ProducerOptions {
    ProducerOptions { batch_bytes: 200, in_flight: 3, ..ProducerOptions::default() }
}

async fn on(topic: &Arc<FakeTopic>) -> Client {
    let topic = Arc::clone(topic);
    client(move |got| {
        let topic = Arc::clone(&topic);
        async move { topic.answer(&got) }
    })
    .await
}

#[tokio::test]
async fn records_arrive_in_the_order_of_their_partition_and_every_one_is_acknowledged() {
    let topic = Arc::new(FakeTopic::new(3));
    let mut producer = on(&topic).await.producer("t", small()).await.unwrap();
    let values: Vec<String> = (0..1000).map(|n| format!("value {n}")).collect();
    for (n, value) in values.iter().enumerate() {
        producer.send(&record(None, value), Some(u32::try_from(n % 3).unwrap())).await.unwrap();
    }
    producer.flush().await;
    let mut acknowledged = [0; 3];
    for delivery in producer.take_deliveries() {
        let so_far = &mut acknowledged[delivery.partition as usize];
        assert_eq!(delivery.result.unwrap(), *so_far, "offsets in order, none missing");
        *so_far += u64::from(delivery.count);
    }
    assert_eq!(acknowledged, [334, 333, 333]);
    for partition in 0..3 {
        let known: Vec<String> = values.iter().skip(partition).step_by(3).cloned().collect();
        assert_eq!(topic.values(partition), known);
        assert!(topic.batches(partition) > 10);
    }
}

#[tokio::test]
async fn a_partition_has_one_batch_on_its_way_and_all_together_not_more_than_allowed() {
    let topic = Arc::new(FakeTopic::new(5));
    let running = Arc::new([const { AtomicUsize::new(0) }; 6]);
    let most = Arc::new(AtomicUsize::new(0));
    let (served, seen, top) = (Arc::clone(&topic), Arc::clone(&running), Arc::clone(&most));
    let client = client(move |got| {
        let (topic, running, most) = (Arc::clone(&served), Arc::clone(&seen), Arc::clone(&top));
        async move {
            let Some(partition) = got.line.strip_prefix("POST /v1/topics/t/records?partition=") else {
                return topic.answer(&got);
            };
            let lane = partition.parse::<usize>().unwrap();
            assert_eq!(running[lane].fetch_add(1, Ordering::SeqCst), 0);
            most.fetch_max(running[5].fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            for _ in 0..20 {
                tokio::task::yield_now().await;
            }
            let reply = topic.answer(&got);
            running[5].fetch_sub(1, Ordering::SeqCst);
            running[lane].fetch_sub(1, Ordering::SeqCst);
            reply
        }
    })
    .await;
    let mut producer = client.producer("t", small()).await.unwrap();
    for n in 0..500 {
        producer.send(&record(None, "0123456789"), Some(n % 5)).await.unwrap();
    }
    producer.flush().await;
    let acknowledged: u32 =
        producer.take_deliveries().iter().map(|d| d.count * u32::from(d.result.is_ok())).sum();
    assert_eq!(acknowledged, 500);
    assert_eq!(most.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn keyed_records_go_by_hash_and_keyless_ones_stay_together_for_a_batch() {
    let topic = Arc::new(FakeTopic::new(4));
    let mut producer = on(&topic).await.producer("t", small()).await.unwrap();
    for key in ["a", "b", "c", "d", "e"] {
        producer.send(&record(Some(key), key), None).await.unwrap();
    }
    producer.flush().await;
    for key in ["a", "b", "c", "d", "e"] {
        let partition = usize::try_from(for_key(key.as_bytes(), 4)).unwrap();
        assert!(topic.values(partition).contains(&key.to_owned()), "{key}");
    }
    let topic = Arc::new(FakeTopic::new(4));
    let mut producer = on(&topic).await.producer("t", small()).await.unwrap();
    for _ in 0..200 {
        producer.send(&record(None, "0123456789"), None).await.unwrap();
    }
    producer.flush().await;
    let batches: Vec<usize> = (0..4).map(|partition| topic.batches(partition)).collect();
    let all: usize = batches.iter().sum();
    assert!(all > 8 && batches.iter().all(|n| n.abs_diff(all / 4) <= 1), "in turn: {batches:?}");
}

#[tokio::test]
async fn a_batch_of_unknown_outcome_is_not_sent_again_and_nothing_follows_it() {
    let posts = Arc::new(AtomicUsize::new(0));
    let topic = Arc::new(FakeTopic::new(1));
    let (served, count) = (Arc::clone(&topic), Arc::clone(&posts));
    let client = client(move |got| {
        let (topic, posts) = (Arc::clone(&served), Arc::clone(&count));
        async move {
            if got.line.starts_with("POST") && posts.fetch_add(1, Ordering::SeqCst) == 2 {
                topic.answer(&got);
                return Reply::HangUp;
            }
            topic.answer(&got)
        }
    })
    .await;
    let mut producer = client.producer("t", small()).await.unwrap();
    let mut taken = 0;
    while taken < 1000 && producer.send(&record(None, &format!("value {taken}")), None).await.is_ok() {
        taken += 1;
    }
    assert!(producer.is_stopped());
    producer.flush().await;
    assert_eq!(posts.load(Ordering::SeqCst), 3);
    let deliveries = producer.take_deliveries();
    assert_eq!(deliveries.iter().map(|d| d.count).sum::<u32>(), taken, "every record has its fate");
    let fates: Vec<&str> = deliveries
        .iter()
        .map(|delivery| match &delivery.result {
            Ok(_) => "durable",
            Err(Error::Stopped) => "not sent",
            Err(error) if error.outcome_unknown() => "unknown",
            Err(_) => "refused",
        })
        .collect();
    assert_eq!(fates[..4], ["durable", "durable", "unknown", "not sent"]);
    assert!(fates[3..].iter().all(|fate| *fate == "not sent"));
}

#[tokio::test]
async fn an_overloaded_server_gets_the_same_batch_again() {
    let posts = Arc::new(AtomicUsize::new(0));
    let topic = Arc::new(FakeTopic::new(1));
    let (served, count) = (Arc::clone(&topic), Arc::clone(&posts));
    let client = client(move |got| {
        let (topic, posts) = (Arc::clone(&served), Arc::clone(&count));
        async move {
            if got.line.starts_with("POST") && posts.fetch_add(1, Ordering::SeqCst) == 0 {
                return Reply::error(ErrorCode::Overloaded);
            }
            topic.answer(&got)
        }
    })
    .await;
    let mut producer = client.producer("t", small()).await.unwrap();
    producer.send(&record(None, "once"), None).await.unwrap();
    producer.flush().await;
    assert!(matches!(producer.take_deliveries().as_slice(), [Delivery { count: 1, result: Ok(0), .. }]));
    assert_eq!((posts.load(Ordering::SeqCst), topic.values(0)), (2, vec!["once".to_owned()]));
}

#[tokio::test]
async fn a_refused_record_leaves_the_others_alone() {
    let topic = Arc::new(FakeTopic::new(2));
    let mut producer = on(&topic).await.producer("t", small()).await.unwrap();
    producer.send(&record(None, "before"), Some(1)).await.unwrap();
    let large = "x".repeat(MAX_VALUE_LEN + 1);
    assert!(matches!(producer.send(&record(None, &large), Some(1)).await, Err(Error::Record(_))));
    let headers = vec![Header { name: b"\xff", value: None }];
    let bad_name = Record { headers, ..record(None, "x") };
    assert!(matches!(producer.send(&bad_name, Some(1)).await, Err(Error::Record(_))));
    let nowhere = producer.send(&record(None, "x"), Some(2)).await;
    assert!(matches!(nowhere, Err(Error::NoPartition { partition: 2, partitions: 2, .. })));
    producer.send(&record(None, "after"), Some(1)).await.unwrap();
    producer.flush().await;
    assert_eq!(topic.values(1), ["before", "after"]);
}

#[tokio::test]
async fn the_largest_records_make_batches_of_their_own_and_all_arrive() {
    let topic = Arc::new(FakeTopic::new(1));
    let options =
        ProducerOptions { codec: Codec::None, batch_bytes: usize::MAX, ..ProducerOptions::default() };
    let mut producer = on(&topic).await.producer("t", options).await.unwrap();
    let values: Vec<String> = (b'a'..b'j').map(|c| char::from(c).to_string().repeat(MAX_VALUE_LEN)).collect();
    for value in &values {
        producer.send(&record(None, value), None).await.unwrap();
    }
    producer.flush().await;
    assert!(topic.values(0) == values, "nine records of a MiB do not fit into one batch of 8 MiB");
    assert_eq!(topic.batches(0), 2);
}

#[tokio::test]
async fn a_topic_that_is_not_there_is_created_when_the_server_does_that() {
    let topic = Arc::new(FakeTopic::new(1));
    let asked = Arc::new(AtomicUsize::new(0));
    let (served, count) = (Arc::clone(&topic), Arc::clone(&asked));
    let client = client(move |got| {
        let (topic, asked) = (Arc::clone(&served), Arc::clone(&count));
        async move {
            match (&*got.line, asked.fetch_add(1, Ordering::SeqCst)) {
                ("GET /v1/topics/t", 0) => Reply::error(ErrorCode::UnknownTopic),
                ("POST /v1/topics/t/records", 1) => Reply::Answer(200, "{\"partitions\":[]}".into()),
                _ => topic.answer(&got),
            }
        }
    })
    .await;
    assert!(client.producer("t", small()).await.is_ok());
    assert_eq!(asked.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn a_topic_that_is_not_there_and_not_created_is_not_found() {
    let client = client(|_| async { Reply::error(ErrorCode::UnknownTopic) }).await;
    assert!(matches!(client.producer("t", small()).await, Err(Error::NotFound { .. })));
}
