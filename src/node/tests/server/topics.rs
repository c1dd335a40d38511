//! Topics come and go.

use serde_json::json;

use crate::support::http::Http;
use crate::{ok, refused, start, values};

const JSON: &str = "application/json";

#[test]
fn a_topic_is_created_listed_described_and_deleted() {
    let (_node, mut http) = start("");
    let created =
        ok(http.post("/v1/topics", JSON, br#"{"name":"t","partitions":4,"config":{"retention_ms":1000}}"#));
    assert_eq!(created["partitions"].as_array().unwrap().len(), 4);
    assert_eq!(created["config"], json!({"retention_ms": 1000, "retention_bytes": null}));
    assert_eq!(ok(http.get("/v1/topics")), json!({"topics": [{"name": "t", "partitions": 4}]}));
    assert_eq!(ok(http.get("/v1/topics/t")), created);
    let (status, code, _) = refused(http.post("/v1/topics", JSON, br#"{"name":"t"}"#));
    assert_eq!((status, code.as_str()), (409, "topic_exists"));
    ok(http.request("DELETE", "/v1/topics/t", "", b""));
    let (status, code, _) = refused(http.get("/v1/topics/t"));
    assert_eq!((status, code.as_str()), (404, "unknown_topic"));
    let (status, code, _) = refused(http.request("DELETE", "/v1/topics/t", "", b""));
    assert_eq!((status, code.as_str()), (404, "unknown_topic"));
}

#[test]
fn a_topic_that_comes_again_is_another_topic_and_empty() {
    let (mut node, mut http) = start("");
    ok(http.post("/v1/topics/t/records", "text/plain", b"old"));
    let old = ok(http.get("/v1/topics/t"))["id"].clone();
    ok(http.request("DELETE", "/v1/topics/t", "", b""));
    ok(http.post("/v1/topics/t/records", "text/plain", b"new"));
    assert_ne!(ok(http.get("/v1/topics/t"))["id"], old);
    assert_eq!(values(&node, "t", 0), ["new"]);
    node.kill();
    node.restart();
    assert_eq!(values(&node, "t", 0), ["new"]);
}

#[test]
fn trimming_drops_the_oldest_records_for_good() {
    let (mut node, mut http) = start("");
    let lines: String = (0..10).map(|n| format!("{n}\n")).collect();
    ok(http.post("/v1/topics/t/records", "text/plain", lines.as_bytes()));
    let path = "/v1/topics/t/partitions/0/trim";
    assert_eq!(ok(http.post(path, JSON, br#"{"offset":4}"#)), json!({"start_offset": 4}));
    assert_eq!(ok(http.post(path, JSON, br#"{"offset":2}"#)), json!({"start_offset": 4}));
    let (status, code, _) = refused(http.post(path, JSON, br#"{"offset":11}"#));
    assert_eq!((status, code.as_str()), (416, "offset_out_of_range"));
    node.kill();
    node.restart();
    let (status, code, message) = refused(http_get(&node, "/v1/topics/t/partitions/0/records?offset=3"));
    assert_eq!((status, code.as_str()), (416, "offset_out_of_range"), "{message}");
    let read = http_get(&node, "/v1/topics/t/partitions/0/records").unwrap().text();
    assert!(read.starts_with("{\"offset\":4,") && read.lines().count() == 6, "{read}");
}

fn http_get(node: &crate::support::node::Node, path: &str) -> std::io::Result<crate::support::http::Answer> {
    crate::support::http::Http::new(node.address()).get(path)
}

#[test]
fn without_automatic_creation_an_unknown_topic_stays_unknown() {
    let (_node, mut http) = start("[topics]\nauto_create = false\n");
    let (status, code, message) = refused(http.post("/v1/topics/t/records", "text/plain", b"x"));
    assert_eq!((status, code.as_str()), (404, "unknown_topic"));
    assert!(message.contains("does not create topics"), "{message}");
    assert_eq!(ok(http.get("/v1/topics")), json!({"topics": []}));
    let point = br#"{"metric":"m","timestamp":1,"value":1,"tags":{"a":"b"}}"#;
    assert_eq!(
        http.post("/api/put", JSON, point).unwrap().status,
        503,
        "a collector must not drop its points"
    );
}

#[test]
fn topics_that_keep_records_for_different_times_live_in_different_shards() {
    let (mut node, mut http) = start("");
    for (name, config) in [("a", "{}"), ("b", r#"{"retention_ms":5000}"#), ("c", r#"{"retention_ms":5000}"#)]
    {
        let body = format!(r#"{{"name":"{name}","config":{config}}}"#);
        ok(http.post("/v1/topics", JSON, body.as_bytes()));
    }
    let mut shard =
        |name: &str| ok(http.get(&format!("/v1/topics/{name}")))["partitions"][0]["shard"].clone();
    let (a, b, c) = (shard("a"), shard("b"), shard("c"));
    assert_ne!(a, b);
    assert_eq!(b, c);
    node.kill();
    node.restart();
    let status = ok(http_get(&node, "/v1/status"));
    assert_eq!((status["topics"].clone(), status["status"].clone()), (json!(3), json!("ready")));
}

#[test]
fn more_partitions_than_the_node_may_have_are_refused() {
    let (_node, mut http) = start("[limits]\npartitions_per_node = 3\n");
    ok(http.post("/v1/topics", JSON, br#"{"name":"a","partitions":2}"#));
    let (status, code, _) = refused(http.post("/v1/topics", JSON, br#"{"name":"b","partitions":2}"#));
    assert_eq!((status, code.as_str()), (422, "too_many_partitions"));
    ok(http.post("/v1/topics", JSON, br#"{"name":"b","partitions":1}"#));
}

#[test]
fn retention_by_size_lets_the_oldest_records_go() {
    let (node, mut http) = start("retention_check_ms = 100\n");
    ok(http.post("/v1/topics", JSON, br#"{"name":"t","config":{"retention_bytes":500000}}"#));
    let mut seed = 1_u64;
    let mut noise = || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        format!("{seed:016x}")
    };
    for _ in 0..40 {
        let lines: String = (0..100).map(|_| (0..60).map(|_| noise()).collect::<String>() + "\n").collect();
        ok(http.post("/v1/topics/t/records", "text/plain", lines.as_bytes()));
    }
    let start = crate::support::wait::until("the oldest records to go", || {
        let topic = ok(http.get("/v1/topics/t"));
        topic["partitions"][0]["start_offset"].as_u64().filter(|start| *start > 0)
    });
    let read = http_get(&node, "/v1/topics/t/partitions/0/records?offset=0");
    assert_eq!(refused(read).1, "offset_out_of_range", "start {start}");
    assert_eq!(ok(http.get("/v1/topics/t"))["partitions"][0]["end_offset"], 4000);
}

#[test]
fn a_topic_that_can_be_found_can_be_read_and_written() {
    let (node, mut http) = start("");
    for round in 0..20 {
        let (created, topic) =
            (format!(r#"{{"name":"new{round}","partitions":50}}"#), format!("/v1/topics/new{round}"));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut other = Http::new(node.address());
                while !other.get(&topic).unwrap().is_success() {}
                for partition in [49, 0] {
                    ok(other.get(&format!("{topic}/partitions/{partition}/records?offset=0")));
                }
                ok(other.post(&format!("{topic}/records"), "text/plain", b"x"));
            });
            ok(http.post("/v1/topics", JSON, created.as_bytes()));
        });
    }
}
