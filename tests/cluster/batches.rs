//! A request that becomes several batches, while the partition's leader changes: each record is stored once, whichever node was
//! asked.

use serde_json::{Value, json};
use tidelog_proto::http::body::RAW_BATCH;

use super::leaders::assert_numbers;
use super::nodes::Cluster;
use super::support::http::Http;
use super::support::kafka::batch;
use super::support::wait;

const TOPIC: &str = "t";
/// Records of a request, each a batch of its own.
const RECORDS: u64 = 500;

/// Numbers from `first` on.
fn request(first: u64) -> Vec<u8> {
    let numbers = (first..first + RECORDS).map(|number| number.to_string());
    numbers.flat_map(|number| batch(&[number.as_bytes()])).collect()
}

#[test]
fn a_write_of_many_batches_goes_on_where_another_node_leads_and_stores_each_record_once() {
    let cluster = Cluster::of_three();
    cluster.create_wide_topic(1, TOPIC, 1);
    let shard = cluster.led();
    let path = format!("/v1/cluster/shards/{}/leader", shard["shard"]);
    let (mut count, mut moved) = (0, 0);
    for turn in 0..6 {
        // Of three one leads, and the others hand it on.
        let at = cluster.at(turn % 3 + 1);
        let writing = std::thread::spawn(move || {
            Http::new(at).post("/v1/topics/t/records?partition=0", RAW_BATCH, &request(count)).unwrap()
        });
        let leader = wait::until("somebody to lead", || cluster.leader_of_data());
        let body = json!({"node": leader % 3 + 1}).to_string();
        moved += u64::from(cluster.post(1, &path, "application/json", body.as_bytes()).is_success());
        moved -= u64::from(writing.is_finished());
        let answer = writing.join().unwrap();
        assert!(answer.is_success(), "{}: {}", answer.status, answer.text());
        let written: Value = serde_json::from_slice(&answer.body).unwrap();
        let all = json!([{"partition": 0, "base_offset": count, "count": RECORDS}]);
        assert_eq!(written["partitions"], all, "nobody else writes, so offsets follow each other");
        count += RECORDS;
    }
    assert!(moved > 0, "no leader has changed under a request");
    for node in 1..=3 {
        assert_numbers(&cluster, node, count);
    }
}
