//! HTTP and OpenTSDB clients may be given any node: it has the leader answer.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};

use serde_json::{Value, json};

use super::nodes::Cluster;
use super::support::http::{Answer, Http};
use super::support::{read, wait};

const JSON: &str = "application/json";

fn ok(answer: &Answer) -> Value {
    assert!(answer.is_success(), "{}: {}", answer.status, answer.text());
    serde_json::from_slice(&answer.body).unwrap_or(Value::Null)
}

/// What a node tells of a topic, once it has heard of it.
fn described(cluster: &Cluster, node: usize, topic: &str) -> Value {
    wait::until("a node to hear of a topic", || {
        let answer = cluster.get(node, &format!("/v1/topics/{topic}"));
        (answer.status != 404).then(|| ok(&answer))
    })
}

/// Values of a partition, as a node answers them.
fn values(cluster: &mut Cluster, node: usize, topic: &str, partition: u32) -> Vec<String> {
    described(cluster, node, topic);
    let records = read::partition(cluster.node(node).address(), topic, partition);
    records.into_iter().map(|record| record.value.unwrap_or_default()).collect()
}

#[test]
fn records_are_written_and_read_through_every_node() {
    let mut cluster = Cluster::of_three();
    cluster.create_topic(1, "t");
    for node in 1..=3 {
        described(&cluster, node, "t");
        let records: Vec<Value> =
            (0..2).map(|partition| json!({"partition": partition, "value": format!("by {node}")})).collect();
        let body = json!({"records": records}).to_string();
        let written = ok(&cluster.post(node, "/v1/topics/t/records", JSON, body.as_bytes()));
        let offset = node - 1;
        let expected =
            [0, 1].map(|partition| json!({"partition": partition, "base_offset": offset, "count": 1}));
        assert_eq!(written["partitions"], json!(expected));
    }
    let told = described(&cluster, 1, "t");
    assert_eq!(told["partitions"][1]["end_offset"], 3);
    for node in 1..=3 {
        assert_eq!(described(&cluster, node, "t"), told);
        for partition in 0..2 {
            assert_eq!(values(&mut cluster, node, "t", partition), ["by 1", "by 2", "by 3"]);
        }
    }
    for node in 1..=3 {
        let body = json!({"offset": node}).to_string();
        let trimmed = cluster.post(node, "/v1/topics/t/partitions/0/trim", JSON, body.as_bytes());
        assert_eq!(ok(&trimmed)["start_offset"], node);
    }
    // A reader at the end waits at the leader, whichever node it asked.
    let waits: Vec<_> = (1..=3)
        .map(|node| {
            let address = cluster.node(node).address();
            std::thread::spawn(move || {
                let path = "/v1/topics/t/partitions/1/records?offset=3&wait_ms=30000";
                Http::new(address).get(path).unwrap().text()
            })
        })
        .collect();
    ok(&cluster.post(2, "/v1/topics/t/records?partition=1", "text/plain", b"at last"));
    for waiting in waits {
        assert!(waiting.join().unwrap().contains("at last"));
    }
}

#[test]
fn points_reach_the_leader_through_every_node_by_http_and_by_telnet() {
    let mut cluster = Cluster::of_three();
    for node in 1..=3 {
        let point =
            json!({"metric": "http", "timestamp": node, "value": node, "tags": {"a": "b"}}).to_string();
        let stored = cluster.post(node, "/api/put", JSON, point.as_bytes());
        assert_eq!(stored.status, 204, "{}", stored.text());
        let mut telnet = TcpStream::connect(cluster.node(node).address()).unwrap();
        telnet.write_all(format!("put telnet {node} {node} a=b\n").as_bytes()).unwrap();
        telnet.shutdown(Shutdown::Write).unwrap();
        let mut said = String::new();
        // An end without a reset: what was read is durable.
        telnet.read_to_string(&mut said).unwrap();
        assert_eq!(said, "");
    }
    for node in 1..=3 {
        assert_eq!(values(&mut cluster, node, "tsdb", 0), ["1", "1", "2", "2", "3", "3"]);
    }
}

#[test]
fn a_request_is_handed_on_once_and_a_leader_that_is_gone_is_named() {
    let mut cluster = Cluster::of_three();
    let topic = json!({"name": "t", "partitions": 1}).to_string();
    ok(&cluster.post(3, "/v1/topics", JSON, topic.as_bytes()));
    described(&cluster, 1, "t");
    let mut leads = |node: usize| {
        let headers = "Content-Type: text/plain\r\nTidelog-Forwarded: 9\r\n";
        let mut http = Http::new(cluster.node(node).address());
        let answer = http.request_with("POST", "/v1/topics/t/records", headers, b"x").unwrap();
        if !answer.is_success() {
            assert_eq!(answer.status, 503);
            assert!(answer.text().contains("not_leader"), "{}", answer.text());
        }
        answer.is_success()
    };
    let leaders: Vec<usize> = (1..=3).filter(|node| leads(*node)).collect();
    let [leader] = leaders[..] else { panic!("{leaders:?} lead") };
    let other = if leader == 1 { 2 } else { 1 };
    ok(&cluster.post(other, "/v1/topics/t/records", "text/plain", b"y"));
    assert!(cluster.get(other, "/metrics").text().contains("tidelog_forwarded_requests_total"));
    cluster.node(leader).kill();
    let told = cluster.post(other, "/v1/topics/t/records", "text/plain", b"z");
    // Another holder may lead by then.
    assert!(told.is_success() || told.status == 503, "{}: {}", told.status, told.text());
    assert!(told.is_success() || told.text().contains("unavailable"), "{}", told.text());
}
