//! Processes are killed while records are written, again and again.

use std::collections::BTreeSet;
use std::time::Duration;

use tidelog_format::batch::{BatchBuilder, Codec, Record};
use tidelog_io::random::Entropy;
use tokio::time::{Instant, timeout};

use super::cluster::{Cluster, PARTITION, SHARD};

/// How long a producer waits for one answer before it turns to whoever leads then.
const PATIENCE: Duration = Duration::from_secs(3);

/// What a producer has sent, and of what it was told that it is stored.
#[derive(Default)]
struct Sent {
    next: usize,
    acknowledged: Vec<String>,
    unclear: BTreeSet<String>,
}

/// Produces for a while, at whichever node leads.
async fn produce(cluster: &Cluster, sent: &mut Sent, random: &Entropy, time: Duration) {
    let end = Instant::now() + time;
    while Instant::now() < end {
        let Some(wal) = cluster.leader() else {
            tokio::time::sleep(Duration::from_millis(5)).await;
            continue;
        };
        let value = format!("{} {}", sent.next, "-".repeat(random.below(20_000) as usize));
        sent.next += 1;
        let mut builder = BatchBuilder::new(Codec::None);
        builder.push(&Record { timestamp: 1, value: Some(value.as_bytes()), ..Record::default() }).unwrap();
        match timeout(PATIENCE, wal.append(PARTITION, builder.finish().unwrap())).await {
            Ok(Ok(_)) => sent.acknowledged.push(value),
            _ => drop(sent.unclear.insert(value)),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_is_killed_and_whenever_what_was_acknowledged_is_there_once_and_in_order() {
    let given = std::env::var("TIDELOG_SEEDS").ok().and_then(|text| text.parse::<u64>().ok());
    for seed in 0..given.unwrap_or(1) {
        let random = Entropy::seeded(seed);
        let mut cluster = Cluster::of(3).await;
        cluster.leads(1).await;
        let (mut sent, mut dead) = (Sent::default(), None);
        for round in 0..4 {
            produce(&cluster, &mut sent, &random, Duration::from_millis(300 + random.below(1500))).await;
            if let Some(node) = dead.take() {
                cluster.start(node).await;
                produce(&cluster, &mut sent, &random, Duration::from_millis(random.below(2500))).await;
            }
            let leader = cluster.last_span().leader.node;
            let node = if round == 0 || random.one_in(2) { leader } else { 1 + random.below(3) };
            cluster.kill(node);
            dead = Some(node);
        }
        if let Some(node) = dead {
            cluster.start(node).await;
        }
        produce(&cluster, &mut sent, &random, Duration::from_secs(2)).await;
        let found = cluster.all_records(&sent.acknowledged).await;
        let known: BTreeSet<&String> = sent.acknowledged.iter().chain(&sent.unclear).collect();
        assert!(found.iter().all(|value| known.contains(value)), "seed {seed}: something else is there");
        let once: BTreeSet<&String> = found.iter().collect();
        assert_eq!(once.len(), found.len(), "seed {seed}: a record is there twice");
        let spans = cluster.meta.state().chains[&SHARD].spans.len();
        assert!(spans > 1 && sent.acknowledged.len() > 10, "seed {seed}: {spans} spans");
    }
}
