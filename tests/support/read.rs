//! Reading a partition back, as any HTTP client would.

use std::net::SocketAddr;

use serde_json::Value;

use super::http::Http;

/// A record as it came back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) offset: u64,
    pub(crate) timestamp: i64,
    pub(crate) key: Option<String>,
    pub(crate) value: Option<String>,
}

/// Everything that a partition holds now. Checks that the offsets are dense from 0.
pub(crate) fn partition(address: SocketAddr, topic: &str, partition: u32) -> Vec<Record> {
    partition_from(address, topic, partition, 0)
}

/// The same from an offset on.
pub(crate) fn partition_from(address: SocketAddr, topic: &str, partition: u32, from: usize) -> Vec<Record> {
    let mut http = Http::new(address);
    let mut records = Vec::new();
    loop {
        let from = from + records.len();
        let page = page(&mut http, topic, partition, from as u64, 0).unwrap();
        for (n, record) in page.iter().enumerate() {
            assert_eq!(record.offset, (from + n) as u64, "{topic}/{partition}: offsets have a gap");
        }
        if page.is_empty() {
            return records;
        }
        records.extend(page);
    }
}

/// One answer to a read from `offset`, which waits up to `wait_ms` for a first record. An error when the server is gone
/// or about to go; one of the kind `InvalidData` when it cannot read what it holds.
pub(crate) fn page(
    http: &mut Http,
    topic: &str,
    partition: u32,
    offset: u64,
    wait_ms: u64,
) -> std::io::Result<Vec<Record>> {
    let page = page_at(http, topic, partition, &offset.to_string(), wait_ms)?;
    Ok(page.unwrap_or_else(|| panic!("{topic}/{partition}: offset {offset} is out of range")))
}

/// The same from a place that may be given back: `None` when it is.
fn page_at(
    http: &mut Http,
    topic: &str,
    partition: u32,
    offset: &str,
    wait_ms: u64,
) -> std::io::Result<Option<Vec<Record>>> {
    let place = format!("/v1/topics/{topic}/partitions/{partition}/records");
    let path = format!("{place}?offset={offset}&max_bytes=4194304&wait_ms={wait_ms}");
    let answer = http.get(&path)?;
    match answer.status {
        503 => return Err(std::io::Error::other(answer.text())),
        500 => return Err(std::io::Error::new(std::io::ErrorKind::InvalidData, answer.text())),
        416 => return Ok(None),
        _ => {}
    }
    assert_eq!(answer.status, 200, "{path}: {}", answer.text());
    Ok(Some(records(&answer.body)))
}

/// What a partition holds that gives back its oldest records, also while it is read. Checks that the offsets are dense.
#[allow(dead_code, reason = "most topics keep everything")]
pub(crate) fn newest(address: SocketAddr, topic: &str, partition: u32) -> Vec<Record> {
    let mut http = Http::new(address);
    'again: loop {
        let mut records: Vec<Record> = Vec::new();
        loop {
            let next = records.last().map(|last| last.offset + 1);
            let offset = next.map_or("beginning".to_owned(), |next| next.to_string());
            let Some(page) = page_at(&mut http, topic, partition, &offset, 0).unwrap() else {
                continue 'again;
            };
            let Some(first) = page.first() else { return records };
            for (record, expected) in page.iter().zip(next.unwrap_or(first.offset)..) {
                assert_eq!(record.offset, expected, "{topic}/{partition}: offsets have a gap");
            }
            records.extend(page);
        }
    }
}

/// The records of an answer.
pub(crate) fn records(body: &[u8]) -> Vec<Record> {
    body.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).map(record).collect()
}

fn record(line: &[u8]) -> Record {
    let json: Value = serde_json::from_slice(line).unwrap();
    let text = |name: &str| json[name].as_str().map(str::to_owned);
    Record {
        offset: json["offset"].as_u64().unwrap(),
        timestamp: json["timestamp"].as_i64().unwrap(),
        key: text("key"),
        value: text("value"),
    }
}
