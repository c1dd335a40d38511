//! Writes the golden directory of this format version, with the real server. Run once for a version, and once more when what
//! a version writes has got more of its own: then with another name.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde_json::Value;
use tidelog_format::{FORMAT_MAJOR, FORMAT_MINOR};

use crate::golden::{files, folder};
use crate::support::http::Http;
use crate::support::node::Node;

/// Small segments, so that the directory has sealed ones and stays small.
const CONFIG: &str = "[storage]\nsegment_bytes = 65536\nspares = 0\nrings = 1\nshards = 1\n";
/// What the directory has that earlier ones of the same version have not.
const WITH: &str = "-spans";

fn post(node: &Node, path: &str, kind: &str, body: &[u8]) {
    let answer = Http::new(node.address()).post(path, kind, body).unwrap();
    assert!(answer.is_success(), "{path}: {}", answer.text());
}

/// One life of the server: records of all kinds, told apart by `life`.
fn write_some(node: &Node, life: u64) {
    for at in 0..12 {
        let long = "long ".repeat(700);
        let body = serde_json::json!({"records": [
            {"key": format!("key {life}.{at}"), "value": format!("value {life}.{at}"), "timestamp": 1_700_000_000_000u64 + at},
            {"value": "no key", "headers": {"life": life.to_string(), "at": at.to_string()}},
            {"key": "tombstone", "value": null},
            {"key_base64": "/w==", "value_base64": "AP8b"},
            {"key": "\u{1b}[31mred", "value": if at % 3 == 0 { long.as_str() } else { "\u{e4}\u{1f980}" }},
        ]});
        post(node, "/v1/topics/orders/records", "application/json", body.to_string().as_bytes());
        post(
            node,
            "/v1/topics/lines/records",
            "text/plain",
            format!("line {life}.{at}\nanother\n").as_bytes(),
        );
        let put = format!(
            "[{{\"metric\":\"sys.load\",\"timestamp\":{},\"value\":{at}.5,\"tags\":{{\"host\":\"web{life}\"}}}}]",
            1_700_000_000 + at
        );
        post(node, "/api/put", "application/json", put.as_bytes());
    }
}

#[test]
#[ignore = "writes tests/compat/"]
fn write_the_directory_of_this_version() {
    let place = folder().join(format!("v{FORMAT_MAJOR}.{FORMAT_MINOR}{WITH}"));
    assert!(!place.exists(), "{} is there, and what is released never changes", place.display());
    let mut node = Node::start(CONFIG);
    let topic = serde_json::json!({"name": "orders", "partitions": 3}).to_string();
    post(&node, "/v1/topics", "application/json", topic.as_bytes());
    write_some(&node, 1);
    node.kill();
    node.restart();
    write_some(&node, 2);
    assert!(node.stop().success());
    node.restart();
    write_some(&node, 3);
    let topics =
        BTreeMap::from([("lines", 1), ("orders", 3), ("tsdb", 1)].map(|(name, n)| (name.to_owned(), n)));
    let records = crate::served(&node, &topics, &[]);
    node.kill();
    fs::create_dir_all(&place).unwrap();
    let lines: Vec<String> = records.iter().map(Value::to_string).collect();
    fs::write(place.join("records.jsonl"), lines.join("\n") + "\n").unwrap();
    keep(&node.data(), &place);
}

/// Copies the files.
fn keep(data: &Path, place: &Path) {
    for name in files(data) {
        if name == Path::new("lock") || name.components().any(|part| part.as_os_str() == "spare") {
            continue;
        }
        let to = place.join("data").join(&name);
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::copy(data.join(&name), to).unwrap();
    }
}
