//! Idempotent producers under kill -9: what a client sends again after it lost the server stands there once.

use std::collections::BTreeMap;

use serde_json::json;

use super::driver::{Client, Driver, are_installed};
use super::{create, start};
use crate::support::read;
use crate::support::wait;

/// How often the server is killed under each client.
const KILLS: usize = 3;
/// Numbers that are acknowledged between two kills.
const BETWEEN: usize = 300;

/// A client streams numbers; the server is killed under it and started again; every number that was sent is there,
/// once, in its order, and where the client was told.
fn numbers_outlive_kills(client: Client) {
    if !are_installed() {
        return;
    }
    let mut node = start();
    create(&node, "numbers", 1);
    let mut driver = Driver::start(&node, client, "stream", &json!({"topic": "numbers"}));
    for kill in 0..=KILLS {
        let wanted = driver.said("number").len() + BETWEEN;
        wait::until("more numbers to be acknowledged", || {
            driver.assert_well();
            (driver.said("number").len() >= wanted).then_some(())
        });
        if kill < KILLS {
            node.kill();
            node.restart();
        }
    }
    let driver = driver.finish();
    let sent = driver.said("sent")[0].as_u64().unwrap();
    let records = read::partition(node.address(), "numbers", 0);
    let stored: Vec<u64> =
        records.iter().map(|record| record.value.as_ref().unwrap().parse().unwrap()).collect();
    if let Some(at) = stored.iter().zip(0..).position(|(stored, sent)| *stored != sent) {
        panic!("record {at} is number {}: one is lost, doubled, or out of its order", stored[at]);
    }
    assert_eq!(stored.len() as u64, sent, "the last ones are lost");
    let told: BTreeMap<u64, u64> = driver.pairs("number", "offset");
    assert_eq!(told.len() as u64, sent, "every number is acknowledged in the end");
    for (number, offset) in told {
        assert_eq!(records[usize::try_from(offset).unwrap()].value, Some(number.to_string()));
    }
}

#[test]
fn numbers_of_confluent_outlive_kills() {
    numbers_outlive_kills(Client::Confluent);
}

#[test]
fn numbers_of_kafka_python_outlive_kills() {
    numbers_outlive_kills(Client::KafkaPython);
}

#[test]
fn numbers_of_aiokafka_outlive_kills() {
    numbers_outlive_kills(Client::Aiokafka);
}

#[test]
fn numbers_of_kafkajs_outlive_kills() {
    numbers_outlive_kills(Client::Kafkajs);
}
