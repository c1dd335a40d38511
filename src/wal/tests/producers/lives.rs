//! Many lives of one disk: producers pipeline, the power goes at any moment, what was not acknowledged is sent again.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

use super::*;
use tidelog_io::random::Entropy;

/// Most batches in flight, as in Kafka's clients.
const IN_FLIGHT: usize = 5;

/// A batch that was made and not acknowledged yet.
#[derive(Clone)]
struct Made {
    sequence: i32,
    values: Vec<String>,
}

/// A producer, which outlives the server.
#[derive(Clone)]
struct Client {
    id: i64,
    partition: u64,
    next_sequence: i32,
    /// Made and not acknowledged, oldest first.
    pending: VecDeque<Made>,
    /// Every value, in the order in which it was made.
    made: Vec<String>,
}

impl Client {
    fn make(&mut self, random: &Entropy) {
        let pad = "-".repeat(random.below(3000) as usize);
        let first = self.made.len();
        let values: Vec<_> =
            (0..=random.below(3) as usize).map(|k| format!("{}.{} {pad}", self.id, first + k)).collect();
        self.made.extend(values.iter().cloned());
        let count = i32::try_from(values.len()).unwrap();
        self.pending.push_back(Made { sequence: self.next_sequence, values });
        // Over the largest sequence, behind which comes 0.
        self.next_sequence =
            i32::try_from((i64::from(self.next_sequence) + i64::from(count)) % (1 << 31)).unwrap();
    }
}

/// Sends windows of batches for as long as the server lives; everything that is not acknowledged stays pending.
async fn produce(wal: Wal, client: Rc<RefCell<Client>>, ledger: Rc<RefCell<Ledger>>, random: Entropy) {
    loop {
        let (id, partition) = (client.borrow().id, client.borrow().partition);
        while client.borrow().pending.len() < IN_FLIGHT {
            client.borrow_mut().make(&random);
        }
        let window: Vec<Made> = client.borrow().pending.iter().cloned().collect();
        let mut appending = Vec::new();
        for made in &window {
            // Now and then a client sends one twice for no reason.
            for _ in 0..1 + u32::from(random.one_in(4)) {
                match wal.begin_append(partition, by((id, 0, made.sequence), &made.values)).await {
                    Ok(begun) => appending.push((made.clone(), begun)),
                    Err(_) => return,
                }
            }
        }
        for (made, begun) in appending {
            let durable = match begun.await {
                Ok(durable) => durable,
                Err(AppendError::Sequence(error)) => panic!("{error}"),
                Err(_) => return,
            };
            let mut client = client.borrow_mut();
            if client.pending.front().is_some_and(|front| front.sequence == made.sequence) {
                client.pending.pop_front();
                ledger.borrow_mut().note(partition, durable.base_offset(), &made.values);
            } else {
                assert!(durable.is_duplicate(), "acknowledged before");
                let acked = &ledger.borrow().acked[&partition];
                assert_eq!(
                    acked.get(&durable.base_offset()),
                    made.values.first(),
                    "another offset than before"
                );
            }
        }
    }
}

/// Each producer's values are in its partition once each, in order, from the first one to at least the last that was
/// acknowledged.
async fn audit(wal: &Wal, clients: &[Rc<RefCell<Client>>], ledger: &RefCell<Ledger>) {
    let acknowledged = ledger.borrow().clone();
    acknowledged.audit(wal).await;
    for client in clients {
        let client = client.borrow().clone();
        let mine = format!("{}.", client.id);
        if wal.partition(client.partition).is_none() {
            continue;
        }
        let found = read_all(wal, client.partition, 0).await;
        let found: Vec<_> =
            found.into_iter().map(|(_, value)| value).filter(|value| value.starts_with(&mine)).collect();
        assert!(
            found[..] == client.made[..found.len()],
            "producer {}: lost, twice or out of order",
            client.id
        );
        let unacknowledged: usize = client.pending.iter().map(|made| made.values.len()).sum();
        assert!(found.len() >= client.made.len() - unacknowledged);
    }
}

fn lives(seed: u64) {
    let random = Entropy::seeded(seed);
    let mut sim = Sim::new(seed);
    let partitions = 1 + random.below(3);
    let clients: Vec<_> = (0..=random.below(5))
        .map(|number| {
            Rc::new(RefCell::new(Client {
                id: i64::try_from(number).unwrap(),
                partition: number % partitions,
                next_sequence: if random.one_in(2) { 0 } else { i32::MAX - 20 },
                pending: VecDeque::new(),
                made: Vec::new(),
            }))
        })
        .collect();
    let ledger = Rc::new(RefCell::new(Ledger::default()));
    for epoch in 1..=6u32 {
        let (options, clients, ledger) =
            (Options { spares: random.below(3) as usize, ..options() }, &clients, &ledger);
        let next = with_shard(&sim, epoch, options, async |wal, _| {
            audit(&wal, clients, ledger).await;
            for partition in 0..partitions {
                if wal.partition(partition).is_none() {
                    create(&wal, partition).await;
                }
            }
            for client in clients {
                let task =
                    produce(wal.clone(), client.clone(), ledger.clone(), Entropy::seeded(random.u64()));
                tokio::task::spawn_local(task);
            }
            for _ in 0..random.below(400) {
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
    }
    // In the last life everything that is pending is sent until it is acknowledged.
    with_shard(&sim, 7, options(), async |wal, _| {
        for partition in 0..partitions {
            if wal.partition(partition).is_none() {
                create(&wal, partition).await;
            }
        }
        for client in &clients {
            let pending: Vec<_> = client.borrow_mut().pending.drain(..).collect();
            let (id, partition) = (client.borrow().id, client.borrow().partition);
            for made in pending {
                let durable = wal.append(partition, by((id, 0, made.sequence), &made.values)).await.unwrap();
                ledger.borrow_mut().note(partition, durable.base_offset(), &made.values);
            }
        }
        audit(&wal, &clients, &ledger).await;
        let stored: usize = clients.iter().map(|client| client.borrow().made.len()).sum();
        let ends: u64 = wal.partitions().iter().map(|(_, state)| state.next_offset).sum();
        assert_eq!(ends, stored as u64, "seed {seed}: each record once");
    })
    .unwrap();
}

#[test]
fn what_is_sent_again_after_a_power_cut_at_any_moment_is_stored_once_and_in_order() {
    let seeds = std::env::var("TIDELOG_SEEDS").ok().and_then(|text| text.parse().ok()).unwrap_or(12);
    for seed in 0..seeds {
        lives(seed);
    }
}
