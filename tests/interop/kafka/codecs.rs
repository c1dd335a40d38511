//! Every client writes with every codec that it has, and every client reads all of it.

use std::collections::BTreeMap;

use serde_json::json;

use super::driver::{Client, Driver, are_installed};
use super::kcat::Kcat;
use super::record::Record;
use super::start;
use crate::support::node::{Node, scratch};

/// The largest value that is taken by default.
const MIB: usize = 1024 * 1024;
const TIME: i64 = 1_700_000_000_000;

const CODECS: [&str; 5] = ["none", "gzip", "snappy", "lz4", "zstd"];

fn records(client: Client, codec: &str) -> Vec<Record> {
    let record = |n: i64, key: Option<&[u8]>, value: Option<Vec<u8>>| Record {
        key: key.map(<[u8]>::to_vec),
        value,
        ..Record::new(0, TIME + n, "")
    };
    let text = |text: &str| Some(text.as_bytes().to_vec());
    let mut all = vec![
        record(0, Some(b"key"), text("value")),
        record(1, None, text("no key")),
        record(2, Some(b"gone"), None),
        record(3, Some(b""), Some(Vec::new())),
        record(4, Some(&[0, 255, 10]), Some((0..=255).collect())),
        record(5, Some(b"repeated"), Some(b"repeated ".repeat(500))),
    ];
    all[0].headers =
        vec![("a".into(), text("1")), ("a".into(), text("2")), ("empty".into(), Some(Vec::new()))];
    if matches!(client, Client::Confluent | Client::Aiokafka) {
        all[1].headers = vec![("null".into(), None), ("utf-8 ä".into(), text("ö"))];
    }
    if codec == "none" || codec == "zstd" {
        // Bytes that no codec makes smaller.
        let noise = (0..MIB as u64).map(|n| n.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_be_bytes()[1]);
        all.push(record(6, Some(b"one mebibyte"), Some(noise.collect())));
    }
    all
}

/// By topic, what must be there.
type Expected = BTreeMap<String, Vec<Record>>;

fn write_all(node: &Node, expected: &mut Expected) {
    let mut writers = Vec::new();
    for client in Client::ALL {
        let jobs = CODECS.iter().map(|codec| {
            let topic = format!("{}.{codec}", client.name());
            let mut records = records(client, codec);
            let job: Vec<_> = records.iter().map(Record::to_json).collect();
            (0..).zip(&mut records).for_each(|(offset, record)| record.offset = offset);
            expected.insert(topic.clone(), records);
            json!({ "topic": topic, "codec": codec, "records": job })
        });
        let jobs: Vec<_> = jobs.collect();
        writers.push(Driver::start(node, client, "produce", &json!({ "jobs": jobs })));
    }
    writers.into_iter().for_each(|writer| drop(writer.finish()));
}

/// kcat's producer: keys and values from lines, an empty value as null, a file as one value.
fn write_with_kcat(kcat: &Kcat, expected: &mut Expected) {
    let (_keep, dir) = scratch();
    let large = dir.join("large");
    std::fs::write(&large, b"large ".repeat(MIB / 6)).unwrap();
    for codec in CODECS {
        let topic = format!("kcat.{codec}");
        let args = ["-P", "-t", &topic, "-p", "0", "-z", codec, "-H", "a=1", "-H", "b="];
        kcat.run(&[&args[..], &["-Z", "-K:"]].concat(), b"key:value\ngone:\n");
        kcat.run(&[&args[..], &["-X", "message.max.bytes=2000000", large.to_str().unwrap()]].concat(), b"");
        let headers = vec![("a".to_owned(), Some(b"1".to_vec())), ("b".to_owned(), Some(Vec::new()))];
        let one = |offset, key: Option<&str>, value: Option<Vec<u8>>| Record {
            offset,
            key: key.map(|key| key.as_bytes().to_vec()),
            value,
            headers: headers.clone(),
            ..Record::new(0, 0, "")
        };
        let file = std::fs::read(&large).unwrap();
        let records = vec![
            one(0, Some("key"), Some(b"value".to_vec())),
            one(1, Some("gone"), None),
            one(2, None, Some(file)),
        ];
        expected.insert(topic, records);
    }
}

/// kcat stamps records with the time of its own.
fn without_kcats_time(topic: &str, mut records: Vec<Record>) -> Vec<Record> {
    if topic.starts_with("kcat") {
        records.iter_mut().for_each(|record| record.timestamp = 0);
    }
    records
}

#[test]
fn every_client_reads_what_every_client_wrote_with_every_codec() {
    if !are_installed() {
        return;
    }
    let node = start();
    let Some(kcat) = Kcat::find(&node) else { return };
    let mut expected = Expected::new();
    write_all(&node, &mut expected);
    write_with_kcat(&kcat, &mut expected);

    let place = |(topic, records): (&String, &Vec<Record>)| json!({"topic": topic, "partition": 0, "from": "beginning", "count": records.len()});
    let places: Vec<_> = expected.iter().map(place).collect();
    let job = json!({ "places": places });
    let readers: Vec<Driver> =
        Client::ALL.iter().map(|client| Driver::start(&node, *client, "consume", &job)).collect();
    for (topic, records) in &expected {
        let found = without_kcats_time(topic, kcat.consume(topic, 0, "beginning"));
        assert_eq!(&found, records, "{topic}, read by kcat");
    }
    for (client, reader) in Client::ALL.iter().zip(readers) {
        let mut found = Expected::new();
        for json in reader.finish().said("record") {
            let (topic, record) = Record::of_json(&json);
            found.entry(topic).or_default().push(record);
        }
        for (topic, records) in &expected {
            let found = without_kcats_time(topic, found.remove(topic).unwrap_or_default());
            assert_eq!(&found, records, "{topic}, read by {}", client.name());
        }
    }
}
