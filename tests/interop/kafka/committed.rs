//! Committed offsets with their metadata outlive the server, whatever it dies of.

use serde_json::{Value, json};

use super::driver::{Client, Driver, are_installed};
use super::record::Record;
use super::{create, produce, start};
use crate::support::node::Node;

/// A client writes an offset's metadata, or leaves it to the library's default.
fn offsets(client: Client) -> Vec<Value> {
    let metadata = format!("read by {} ä", client.name());
    vec![json!(["kept", 0, 7, metadata]), json!(["kept", 1, 3, ""])]
}

fn commit(node: &Node) {
    let commit = |client: &Client| {
        let job = json!({"group": format!("of-{}", client.name()), "offsets": offsets(*client)});
        Driver::start(node, *client, "commit", &job)
    };
    let committers: Vec<Driver> = Client::ALL.iter().map(commit).collect();
    committers.into_iter().for_each(|driver| drop(driver.finish()));
}

/// Every client reads what every client committed.
fn check(node: &Node) {
    let mut readers = Vec::new();
    for reader in Client::ALL {
        for writer in Client::ALL {
            let partitions = json!([["kept", 0], ["kept", 1], ["kept", 2]]);
            let group = format!("of-{}", writer.name());
            let job = json!({"group": group, "partitions": partitions, "own": reader == writer});
            readers.push((reader, writer, Driver::start(node, reader, "committed", &job)));
        }
    }
    for (reader, writer, driver) in readers {
        let mut expected = offsets(writer);
        expected.push(json!(["kept", 2, null, ""]));
        if writer == Client::Confluent && reader != Client::Confluent {
            // confluent-kafka 2.16.1 sends the NUL behind its string, and does not see it when it comes back.
            for offset in &mut expected[..2] {
                offset[3] = json!(format!("{}\0", offset[3].as_str().unwrap()));
            }
        }
        if reader == Client::Aiokafka || (reader == Client::Confluent && reader != writer) {
            // It does not tell the metadata, or cannot.
            expected.iter_mut().for_each(|offset| offset[3] = Value::Null);
        }
        assert_eq!(driver.finish().said("offset"), expected, "{writer:?} committed, {reader:?} asks");
    }
}

#[test]
fn offsets_with_metadata_outlive_kill_9() {
    if !are_installed() {
        return;
    }
    let mut node = start();
    create(&node, "kept", 3);
    let records: Vec<Record> = (0..30).map(|n| Record::new(n % 3, 1, format!("{n}"))).collect();
    produce(&node, Client::Confluent, "kept", &records);
    commit(&node);
    check(&node);
    node.kill();
    node.restart();
    check(&node);
    assert!(node.stop().success());
    node.restart();
    check(&node);
}
