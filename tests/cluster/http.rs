//! HTTP and OpenTSDB clients may be given any node: it has the leader answer.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};

use serde_json::{Value, json};

use tidelog_proto::kafka::ErrorCode;

use super::nodes::Cluster;
use super::support::http::{Answer, Http};
use super::support::kafka::{Kafka, assert_code, batch};
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
    for node in 1..=3 {
        described(&cluster, node, "t");
    }
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
    // Leaders are spread meanwhile.
    let leader = wait::until("one node to lead", || {
        let leaders: Vec<usize> = (1..=3).filter(|node| leads(*node)).collect();
        <[usize; 1]>::try_from(leaders).ok().map(|[leader]| leader)
    });
    let other = if leader == 1 { 2 } else { 1 };
    ok(&cluster.post(other, "/v1/topics/t/records", "text/plain", b"y"));
    assert!(cluster.get(other, "/metrics").text().contains("tidelog_forwarded_requests_total"));
    cluster.node(leader).kill();
    let told = cluster.post(other, "/v1/topics/t/records", "text/plain", b"z");
    // Another holder may lead by then.
    assert!(told.is_success() || told.status == 503, "{}: {}", told.status, told.text());
    assert!(told.is_success() || told.text().contains("unavailable"), "{}", told.text());
}

#[test]
fn a_holder_that_is_left_alone_serves_what_it_knows_to_be_committed_to_who_asks_for_that() {
    let mut cluster = Cluster::of_three();
    cluster.create_wide_topic(1, "t", 1);
    let written = cluster.post(2, "/v1/topics/t/records?partition=0", "text/plain", b"kept");
    assert!(written.is_success(), "{}", written.text());
    let path = "/v1/topics/t/partitions/0/records?offset=beginning";
    for node in 1..=3 {
        wait::until("every holder to know that it is committed", || {
            let held = Http::new(cluster.at(node)).get(&format!("{path}&any_holder=true")).ok()?;
            held.text().contains("kept").then_some(())
        });
    }
    let leader = wait::until("the leader to be known", || cluster.leader_of_data());
    let left = if leader == 1 { 2 } else { 1 };
    for node in (1..=3).filter(|node| *node != left) {
        cluster.node(node).kill();
    }
    let held = cluster.get(left, &format!("{path}&any_holder=true"));
    assert!(held.is_success() && held.text().contains("kept"), "{}", held.text());
    assert!(!cluster.get(left, path).is_success(), "nobody leads it, so nobody knows the newest");
    let wrong = cluster.get(left, &format!("{path}&any_holder=perhaps"));
    assert_eq!(wrong.status, 400, "{}", wrong.text());
}

#[test]
fn a_write_that_too_few_holders_make_durable_is_answered_in_time_with_the_cause() {
    let mut cluster = Cluster::of_three_with("[limits]\nproduce_wait_ms = 300\n");
    cluster.create_wide_topic(1, "t", 1);
    let path = "/v1/topics/t/records?partition=0";
    assert!(cluster.post(1, path, "text/plain", b"first").is_success());
    let leader = wait::until("the leader to be known", || cluster.leader_of_data());
    let leader = usize::try_from(leader).unwrap();
    for node in (1..=3).filter(|node| *node != leader) {
        cluster.node(node).kill();
    }
    let late = cluster.post(leader, path, "text/plain", b"second");
    assert_eq!(late.status, 503, "{}", late.text());
    assert!(late.text().contains("fewer than 2 of the nodes [1, 2, 3]"), "{}", late.text());
    let mut kafka = Kafka::new(cluster.node(leader));
    let refused = kafka.produce("t", 0, &batch(&[b"third"]));
    assert_code(refused.error_code, ErrorCode::RequestTimedOut);
    let counted = cluster.get(leader, "/metrics").text();
    assert!(counted.contains("tidelog_produce_timeouts_total 2"), "{counted}");
}

#[test]
fn what_is_told_of_an_acknowledgement_is_what_the_holders_give() {
    let mut cluster = Cluster::default();
    cluster.add();
    cluster.create_topic(1, "t");
    assert_eq!(described(&cluster, 1, "t")["durability"], "fdatasync on 1 of 1");
    assert_eq!(cluster.status(1)["durability"], "fdatasync on 1 of 1");
    cluster.add();
    cluster.add();
    for node in 1..=3 {
        wait::until("the topic's shards to have three holders", || {
            let told = [described(&cluster, node, "t"), cluster.status(node)];
            told.iter().all(|told| told["durability"] == "fdatasync on 2 of 3").then_some(())
        });
    }
}

#[test]
fn followers_of_a_quiet_shard_show_it() {
    let cluster = Cluster::of_three();
    cluster.create_wide_topic(1, "t", 1);
    for node in 1..=3 {
        wait::until("a holder to show the span", || {
            let shards = cluster.status(node)["shards"].as_array().unwrap().clone();
            shards
                .iter()
                .any(|shard| shard["role"] == "data" && shard["span"]["epoch"].is_u64())
                .then_some(())
        });
    }
}

#[test]
fn records_are_written_and_read_while_the_metadata_has_no_quorum_and_that_is_said() {
    let mut cluster = Cluster::of_three();
    cluster.add();
    cluster.create_wide_topic(1, "t", 16);
    // The voters are 1, 2 and 3. What 3 and 4 hold and one of them leads does without the other two.
    let goes_on = |cluster: &Cluster| -> Vec<u64> {
        let mut shards: Vec<u64> = Vec::new();
        for node in [3, 4] {
            let status = cluster.status(node);
            let led = status["shards"].as_array().unwrap().iter().filter(|shard| {
                let held = shard["span"]["replicas"].as_array().cloned().unwrap_or_default();
                let by = |node: u64| held.iter().any(|replica| replica["node"] == node);
                shard["role"] == "data" && shard["span"]["leader"]["node"] == node && by(3) && by(4)
            });
            shards.extend(led.filter_map(|shard| shard["shard"].as_u64()));
        }
        shards
    };
    wait::until("the fourth node to hold something", || (!goes_on(&cluster).is_empty()).then_some(()));
    let told = described(&cluster, 3, "t");
    for node in [1, 2] {
        cluster.node(node).kill();
    }
    wait::until("it to be said", || cluster.get(3, "/healthz").text().contains("no quorum").then_some(()));
    assert!(cluster.get(3, "/metrics").text().contains("tidelog_metadata_quorum 0"));
    assert_eq!(cluster.status(3)["metadata"]["group"]["has_quorum"], false);
    let shards = goes_on(&cluster);
    let partitions: Vec<u64> = told["partitions"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|one| shards.contains(&one["shard"].as_u64().unwrap()))
        .filter_map(|one| one["partition"].as_u64())
        .collect();
    assert!(!partitions.is_empty(), "{shards:?} in {told}");
    for partition in partitions {
        let path = format!("/v1/topics/t/records?partition={partition}");
        let written = cluster.post(3, &path, "text/plain", b"without the metadata");
        assert!(written.is_success(), "partition {partition}: {}", written.text());
        let path = format!("/v1/topics/t/partitions/{partition}/records?offset=beginning");
        let read = cluster.get(4, &path);
        assert!(read.text().contains("without the metadata"), "partition {partition}: {}", read.text());
    }
}
