//! A leader that others have replaced, and that does not know it yet.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tidelog_format::batch::{BatchBuilder, Codec, Record};
use tidelog_proto::kafka::ErrorCode;

use super::nodes::Cluster;
use super::support::chance::Chance;
use super::support::idempotent::{self, Idempotent, Manners};
use super::support::kafka::{Kafka, assert_code};
use super::support::wait;

const PLACE: (&str, u32) = ("t", 0);
const PATIENCE: Duration = Duration::from_secs(5);
/// Kafka's codes that send a client to look for the leader again; that its batch is out of order is none of them.
const REFUSALS: &[i16] = &[3, 5, 6, 7];

/// Has some batches acknowledged by whoever is at `address`; how many were.
fn write(producer: &mut Idempotent, address: SocketAddr, batches: u64) -> u64 {
    let (over, mut answers) = (AtomicBool::new(false), 0);
    // Whatever ends it is told by the count.
    let _ = producer.converse(address, &over, &mut |_| {
        answers += 1;
        over.store(answers >= batches, Ordering::SeqCst);
    });
    answers
}

#[test]
fn a_leader_that_was_asleep_does_not_refuse_a_producer_for_what_it_has_missed() {
    let mut cluster = Cluster::of_three();
    cluster.create_wide_topic(1, PLACE.0, 1);
    let manners = Manners { patience: PATIENCE, pause: Duration::ZERO, records: 3, refusals: REFUSALS };
    let value = |name: &str, number: u64| format!("{name} {number}");
    let mut producer = Idempotent::new(PLACE, "p".to_owned(), value, manners, Chance::new("asleep"));
    let kafka: Vec<SocketAddr> = (1..=3).map(|node| cluster.node(node).kafka()).collect();
    let led = |asked: SocketAddr| idempotent::leader(asked, PLACE, PATIENCE).ok().flatten();
    let first = wait::until("a leader to take batches", || {
        led(kafka[0]).filter(|leader| write(&mut producer, *leader, 10) > 0)
    });
    let asleep = 1 + kafka.iter().position(|at| *at == first).unwrap();
    let awake = kafka[asleep % 3];
    cluster.node(asleep).signal("-STOP");
    wait::until("another leader to take batches", || {
        led(awake).filter(|leader| *leader != first && write(&mut producer, *leader, 30) >= 30)
    });
    // What it is sent lies in its socket when it wakes up, before anything that the others tell it.
    std::thread::scope(|scope| {
        let late = scope.spawn(|| write(&mut producer, first, 1));
        cluster.node(asleep).signal("-CONT");
        late.join().unwrap();
    });
    wait::until("the batch to be taken by who leads", || {
        led(awake).filter(|leader| write(&mut producer, *leader, 1) > 0)
    });
}

/// A batch of one record that carries this sequence of a producer.
fn numbered(sequence: i32) -> Vec<u8> {
    let mut builder = BatchBuilder::new(Codec::None).producer(7, 0, sequence);
    builder.push(&Record { timestamp: 1_000, value: Some(b"x"), ..Record::default() }).unwrap();
    builder.finish().unwrap().bytes().to_vec()
}

#[test]
fn who_leads_for_sure_refuses_for_good_what_does_not_follow() {
    let mut cluster = Cluster::of_three();
    cluster.create_wide_topic(1, PLACE.0, 1);
    // Looking for the leader again would not help a producer that has left something out.
    for (sequence, code) in [(0, ErrorCode::None), (5, ErrorCode::OutOfOrderSequenceNumber)] {
        let answered = wait::until("who leads to answer", || {
            let leader = usize::try_from(cluster.leader_of_data()?).unwrap();
            let answered =
                Kafka::new(cluster.node(leader)).produce(PLACE.0, 0, &numbered(sequence)).error_code;
            (!REFUSALS.contains(&answered)).then_some(answered)
        });
        assert_code(answered, code);
    }
}
