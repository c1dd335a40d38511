//! Records in, the same records out.

use serde_json::json;
use tidelog_format::batch::{BatchBuilder, Codec, Record};

use crate::support::http::Http;
use crate::{ok, refused, start, values};

const JSON: &str = "application/json";
const RAW: &str = "application/vnd.tidelog.batch";

#[test]
fn every_field_of_a_json_record_comes_back_as_it_was_sent() {
    let (_node, mut http) = start("");
    let body = json!({"records": [
        {"key": "k", "value": "v", "timestamp": 5, "headers": {"a": "1", "b": null}},
        {"key": null, "value": null, "timestamp": 6},
        {"key_base64": "/w==", "value_base64": "/gA=", "timestamp": 7, "headers_list": [["x", "1"], ["x", "2"]]},
    ]});
    let answer = ok(http.post("/v1/topics/t/records", JSON, body.to_string().as_bytes()));
    assert_eq!(answer, json!({"partitions": [{"partition": 0, "base_offset": 0, "count": 3}]}));
    let read = http.get("/v1/topics/t/partitions/0/records?offset=beginning").unwrap().text();
    let lines: Vec<&str> = read.lines().collect();
    assert_eq!(
        lines,
        [
            r#"{"offset":0,"timestamp":5,"key":"k","value":"v","headers":{"a":"1","b":null}}"#,
            r#"{"offset":1,"timestamp":6,"key":null,"value":null}"#,
            r#"{"offset":2,"timestamp":7,"key_base64":"/w==","value_base64":"/gA=","headers_list":[["x","1"],["x","2"]]}"#,
        ]
    );
}

#[test]
fn ndjson_and_lines_of_text_are_taken_too_and_order_is_kept() {
    let (node, mut http) = start("");
    ok(http.post("/v1/topics/t/records", "application/x-ndjson", b"{\"value\":\"a\"}\n{\"value\":\"b\"}\n"));
    let answer = ok(http.post("/v1/topics/t/records", "text/plain", b"c\r\nd\n\ne"));
    assert_eq!(answer["partitions"][0], json!({"partition": 0, "base_offset": 2, "count": 4}));
    assert_eq!(values(&node, "t", 0), ["a", "b", "c", "d", "", "e"]);
}

#[test]
fn record_batches_are_stored_verbatim_and_served_as_they_are() {
    let (_node, mut http) = start("");
    let mut batch = BatchBuilder::new(Codec::Lz4);
    for _ in 0..100 {
        batch.push(&Record { timestamp: 9, value: Some(b"the same again"), ..Record::default() }).unwrap();
    }
    let mut batch = batch.finish().unwrap();
    let two = [batch.bytes(), batch.bytes()].concat();
    let answer = ok(http.post("/v1/topics/t/records?partition=0", RAW, &two));
    assert_eq!(answer["partitions"][0], json!({"partition": 0, "base_offset": 0, "count": 200}));
    let read = http.get("/v1/topics/t/partitions/0/records?offset=150&max_bytes=65536").unwrap();
    assert!(read.text().starts_with("{\"offset\":150,"), "{}", read.text());
    batch.stamp(0, 1);
    let stored = raw(&mut http, "/v1/topics/t/partitions/0/records?offset=0&max_bytes=1");
    assert_eq!(stored, batch.bytes());
}

/// The client of the test helpers does not send `Accept`, so this one speaks for itself.
fn raw(http: &mut Http, path: &str) -> Vec<u8> {
    let answer = http.request("GET", path, &format!("text/plain\r\nAccept: {RAW}"), b"").unwrap();
    assert!(answer.is_success(), "{}", answer.text());
    answer.body
}

#[test]
fn a_damaged_record_batch_is_refused_and_nothing_is_stored() {
    let (node, mut http) = start("");
    let mut batch = BatchBuilder::new(Codec::None);
    batch.push(&Record { timestamp: 9, value: Some(b"v"), ..Record::default() }).unwrap();
    let good = batch.finish().unwrap().bytes().to_vec();
    let mut bad = good.clone();
    *bad.last_mut().unwrap() ^= 1;
    let path = "/v1/topics/t/records?partition=0";
    let (status, code, _) = refused(http.post(path, RAW, &[good.clone(), bad].concat()));
    assert_eq!((status, code.as_str()), (400, "corrupt_batch"));
    let (status, code, _) = refused(http.post(path, RAW, &good[..good.len() - 1]));
    assert_eq!((status, code.as_str()), (400, "corrupt_batch"));
    let (status, code, _) = refused(http.post("/v1/topics/t/records", RAW, &good));
    assert_eq!((status, code.as_str()), (400, "invalid_parameter"));
    assert!(values(&node, "t", 0).is_empty());
}

#[test]
fn keys_choose_the_partition_as_kafkas_java_client_does_and_a_named_partition_wins() {
    let (node, mut http) = start("");
    ok(http.post("/v1/topics", JSON, br#"{"name":"t","partitions":3}"#));
    let body = br#"{"records":[{"key":"foobar","value":"1"},{"key":"foobar","value":"2","partition":0},{"value":"3"}]}"#;
    ok(http.post("/v1/topics/t/records?partition=1", JSON, body));
    assert_eq!(values(&node, "t", 0), ["2"]);
    assert_eq!(values(&node, "t", 1), ["1", "3"]);
    ok(http.post("/v1/topics/t/records", JSON, br#"{"records":[{"key":"foobar","value":"4"}]}"#));
    let expected = (-790_332_482_i32 & i32::MAX) % 3;
    assert!(values(&node, "t", expected as u32).contains(&"4".to_owned()));
}

#[test]
fn a_waiting_reader_is_woken_by_the_first_record_that_comes() {
    let (node, mut http) = start("");
    ok(http.post("/v1/topics", JSON, br#"{"name":"t"}"#));
    let address = node.address();
    let reader = std::thread::spawn(move || {
        let path = "/v1/topics/t/partitions/0/records?offset=0&wait_ms=60000";
        Http::new(address).get(path).unwrap().text()
    });
    // Whether the reader waits already or comes later, it gets the record.
    ok(http.post("/v1/topics/t/records", "text/plain", b"hello"));
    assert!(reader.join().unwrap().contains("\"value\":\"hello\""));
    let answer = http.get("/v1/topics/t/partitions/0/records?offset=end&wait_ms=1").unwrap();
    assert_eq!((answer.status, answer.text().as_str()), (200, ""));
}

#[test]
fn reading_can_begin_at_a_time_at_the_end_and_at_the_newest() {
    let (_node, mut http) = start("");
    let lines: String =
        (0..50).map(|n| format!("{{\"value\":\"{n}\",\"timestamp\":{}}}\n", 1000 + n)).collect();
    ok(http.post("/v1/topics/t/records", "application/x-ndjson", lines.as_bytes()));
    let mut first = |query: &str| {
        let answer = http.get(&format!("/v1/topics/t/partitions/0/records?{query}")).unwrap();
        assert_eq!(answer.status, 200, "{}", answer.text());
        let line = answer.text().lines().next().unwrap_or("{}").to_owned();
        serde_json::from_str::<serde_json::Value>(&line).unwrap()["offset"].as_u64()
    };
    assert_eq!(first("timestamp=1030"), Some(30));
    assert_eq!(first("timestamp=1050"), None);
    assert_eq!(first("offset=-2"), Some(48));
    assert_eq!(first("offset=end"), None);
    assert_eq!(first("offset=7"), Some(7));
    assert_eq!(first(""), Some(0));
}
