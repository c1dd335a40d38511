//! What administrators ask for, through the admin clients of kafka-python, confluent-kafka and kafkajs.

use std::process::Command;

use serde_json::json;

use super::driver::{self, Driver, are_installed};
use super::start;

/// A Python script among the drivers.
pub(super) fn script(name: &str) -> Command {
    let mut command = Command::new(driver::installed().join("python/bin/python"));
    command.env("PYTHONDONTWRITEBYTECODE", "1").arg("-u").arg(driver::scripts().join(name));
    command
}

fn all_checks_hold(what: &str, command: Command) {
    let node = start();
    let said = Driver::run(&node, what, command, &json!({})).finish();
    assert_eq!(said.said("done"), [json!(true)]);
    let checks = said.said("check");
    assert!(checks.len() >= 8, "{checks:?}");
}

#[test]
fn the_admin_client_of_kafka_python_is_served() {
    if are_installed() {
        all_checks_hold("admin_kafka_python", script("admin_kafka_python.py"));
    }
}

#[test]
fn the_admin_client_of_confluent_is_served() {
    if are_installed() {
        all_checks_hold("admin_confluent", script("admin_confluent.py"));
    }
}

#[test]
fn the_admin_client_of_kafkajs_is_served() {
    if are_installed() {
        let mut command = Command::new("node");
        command.env("NODE_PATH", driver::installed().join("node_modules"));
        command.arg(driver::scripts().join("admin_kafkajs.js"));
        all_checks_hold("admin_kafkajs", command);
    }
}
