//! Where reading can begin: the beginning, an offset within a batch, a time, the end.

use serde_json::json;

use super::driver::{Client, Driver, are_installed};
use super::kcat::Kcat;
use super::record::Record;
use super::{create, produce, start};

const TIME: i64 = 1_700_000_000_000;
const COUNT: i64 = 300;

fn record(partition: i32, n: i64) -> Record {
    Record::new(partition, TIME + 10 * n, format!("record {n}"))
}

/// Whether these are the records from `first` on, up to the last one.
fn assert_from(what: &str, found: &[Record], first: i64, count: i64) {
    let offsets: Vec<i64> = found.iter().map(|record| record.offset).collect();
    assert_eq!(offsets, (first..count).collect::<Vec<_>>(), "{what}");
    for (record, n) in found.iter().zip(first..) {
        assert_eq!((record.text(), record.timestamp), (format!("record {n}"), TIME + 10 * n), "{what}");
    }
}

#[test]
fn reading_begins_where_each_client_wants_it() {
    if !are_installed() {
        return;
    }
    let node = start();
    let Some(kcat) = Kcat::find(&node) else { return };
    create(&node, "positions", 4);
    let records: Vec<Record> = (0..4).flat_map(|p| (0..COUNT).map(move |n| record(p, n))).collect();
    produce(&node, Client::Confluent, "positions", &records);
    let place = |partition: i32, from: serde_json::Value, count: i64| json!({"topic": "positions", "partition": partition, "from": from, "count": count});
    let places = [
        place(0, json!("beginning"), COUNT),
        place(1, json!({"offset": 155}), COUNT - 155),
        // Between two records: the later one is the first.
        place(2, json!({"timestamp": TIME + 1_995}), COUNT - 200),
        place(3, json!("end"), 1),
    ];
    let job = json!({ "places": places });
    let mut readers: Vec<Driver> =
        Client::ALL.iter().map(|client| Driver::start(&node, *client, "consume", &job)).collect();
    readers.iter_mut().for_each(|reader| drop(reader.until("ready")));
    produce(&node, Client::Confluent, "positions", &[record(3, COUNT)]);
    for (client, reader) in Client::ALL.iter().zip(readers) {
        let all = reader.finish().said("record");
        let of = |partition: i32| -> Vec<Record> {
            let records = all.iter().map(|json| Record::of_json(json).1);
            records.filter(|record| record.partition == partition).collect()
        };
        assert_from(&format!("{client:?}, beginning"), &of(0), 0, COUNT);
        assert_from(&format!("{client:?}, an offset"), &of(1), 155, COUNT);
        assert_from(&format!("{client:?}, a time"), &of(2), 200, COUNT);
        assert_from(&format!("{client:?}, the end"), &of(3), COUNT, COUNT + 1);
    }
    assert_from("kcat, beginning", &kcat.consume("positions", 0, "beginning"), 0, COUNT);
    assert_from("kcat, an offset", &kcat.consume("positions", 1, "155"), 155, COUNT);
    assert_from("kcat, a time", &kcat.consume("positions", 2, &format!("s@{}", TIME + 1_995)), 200, COUNT);
    assert_from("kcat, the last ten", &kcat.consume("positions", 0, "-10"), COUNT - 10, COUNT);
    assert_eq!(kcat.consume("positions", 0, "end"), [], "kcat, the end");
    let behind = format!("s@{}", TIME + 1_000_000);
    assert_eq!(kcat.consume("positions", 0, &behind), [], "kcat, a time behind the last record");
}
