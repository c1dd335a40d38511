//! A disk that fails under the real server: acknowledgements stop, the first cause is told everywhere, what is committed
//! can be read, the process stays, and a restart on a sound disk heals.

use std::path::Path;

use fault::{Fault, Kind, Plan, Rig};
use serde_json::{Value, json};

use crate::mounted::Mounted;
use crate::support::disks::rig;
use crate::support::http::{Answer, Http};
use crate::support::node::Node;
use crate::support::{read, wait};

/// One data shard, small segments, next to nothing kept in memory, so that reads are the disk's.
const CONFIG: &str = "[storage]\nshards = 1\nsegment_bytes = 1048576\ntail_bytes = 65536\n";
const TOPIC: &str = "errors";
/// Records of one request.
const BATCH: usize = 20;
const OK: &str = "0";
const FULL: &str = "1";
const FAILED: &str = "3";

/// A server, and how many of its records were acknowledged.
struct Server {
    node: Node,
    acknowledged: usize,
}

impl Server {
    /// With a few segments of records on it.
    fn filled(data: &Path) -> Server {
        let mut node = Node::unstarted(CONFIG, Some(data));
        node.restart();
        let topic = json!({"name": TOPIC, "partitions": 1}).to_string();
        let made =
            Http::new(node.address()).post("/v1/topics", "application/json", topic.as_bytes()).unwrap();
        assert!(made.is_success(), "{}", made.text());
        let mut server = Server { node, acknowledged: 0 };
        for _ in 0..60 {
            assert_eq!(server.write().status, 200);
        }
        server
    }

    fn http(&self) -> Http {
        Http::new(self.node.address())
    }

    /// Nothing that compression could make small: it shall lie on the disk, not in memory.
    fn value(number: usize) -> String {
        let mut digits = number as u64 + 1;
        let words = (0..200).map(|_| {
            digits = digits.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
            format!("{digits:016x}")
        });
        format!("{number} {}", words.collect::<String>())
    }

    /// One request; counts it when it is acknowledged.
    fn write(&mut self) -> Answer {
        let from = self.acknowledged;
        let record = |number| json!({"value": Server::value(number)}).to_string() + "\n";
        let body: String = (from..from + BATCH).map(record).collect();
        let path = format!("/v1/topics/{TOPIC}/records?partition=0");
        let answer = self.http().post(&path, "application/x-ndjson", body.as_bytes()).unwrap();
        if answer.status == 200 {
            let told: Value = serde_json::from_slice(&answer.body).unwrap();
            assert_eq!(told["partitions"][0]["base_offset"], from);
            self.acknowledged += BATCH;
        }
        answer
    }

    /// Writes until a request is refused.
    fn write_until_refused(&mut self) -> Answer {
        for _ in 0..2_000 {
            let answer = self.write();
            if answer.status != 200 {
                return answer;
            }
        }
        panic!("{} records were taken by a disk that fails", self.acknowledged);
    }

    /// All that was acknowledged is there and as it was, from the first record on.
    fn assert_readable(&self) {
        let stored = read::partition(self.node.address(), TOPIC, 0);
        assert!(stored.len() >= self.acknowledged, "{} of {}", stored.len(), self.acknowledged);
        for (number, record) in stored.iter().enumerate().take(self.acknowledged) {
            assert!(record.value.as_deref() == Some(&Server::value(number)), "record {number}");
        }
    }

    fn get(&self, path: &str) -> Answer {
        self.http().get(path).unwrap()
    }

    /// `tidelog_shard_status` of the data shard.
    fn metric(&self) -> String {
        let metrics = self.get("/metrics").text();
        let line = metrics.lines().find(|line| line.starts_with("tidelog_shard_status{shard=\"1\"}"));
        line.unwrap_or_else(|| panic!("{metrics}")).rsplit(' ').next().unwrap().to_owned()
    }

    /// The data shard in `/v1/status`: what it is, and why.
    fn status(&self) -> (String, String) {
        let status: Value = serde_json::from_slice(&self.get("/v1/status").body).unwrap();
        let shards = status["shards"].as_array().unwrap();
        let shard = shards.iter().find(|shard| shard["shard"] == 1).unwrap();
        let text = |name: &str| shard[name].as_str().unwrap_or_default().to_owned();
        (text("status"), text("cause"))
    }

    /// Exit code and message of `tidelog produce`.
    fn cli(&self) -> (Option<i32>, String) {
        let dir = tempfile::TempDir::new().unwrap();
        let file = dir.path().join("record");
        std::fs::write(&file, "one\n").unwrap();
        let mut command = self.node.client(&["produce", TOPIC]);
        let run = command.arg(&file).args(["-p", "0", "--retry", "0"]).output().unwrap();
        (run.status.code(), String::from_utf8_lossy(&run.stderr).into_owned())
    }

    /// Nothing is acknowledged any more; everything that can be asked names the first cause; the rest goes on.
    fn assert_stopped(&mut self, cause: &str) {
        let first = self.write_until_refused();
        assert_eq!(first.status, 503, "{}", first.text());
        wait::until("the shard to say that it stopped", || (self.metric() == FAILED).then_some(()));
        let (status, told) = self.status();
        assert_eq!(status, "poisoned");
        assert!(told.contains(cause), "{told} does not name {cause}");
        for _ in 0..3 {
            let refused = self.write();
            assert_eq!(refused.status, 503, "{}", refused.text());
            assert!(refused.text().contains("storage_failed"), "{}", refused.text());
            assert_eq!(self.status().1, told, "the first cause stays");
        }
        for path in ["/healthz", "/readyz"] {
            let answer = self.get(path);
            assert_eq!(answer.status, 503, "{path}");
            assert!(answer.text().contains(cause), "{path}: {}", answer.text());
        }
        let (code, text) = self.cli();
        assert_eq!(code, Some(1), "{text}");
        assert!(text.contains(cause), "{text}");
        self.assert_readable();
    }

    /// A kill, a start, and everything is well.
    fn assert_heals(&mut self) {
        self.node.kill();
        self.node.restart();
        self.assert_well();
    }

    fn assert_well(&mut self) {
        self.assert_readable();
        // What was refused with an unknown outcome may be there all the same.
        self.acknowledged = read::partition(self.node.address(), TOPIC, 0).len();
        assert_eq!((self.write().status, self.metric().as_str()), (200, OK));
        assert_eq!(self.get("/healthz").status, 200);
        self.assert_readable();
    }
}

/// A disk that fails like this from now on.
fn fails_with(plans: &[Plan], cause: &str) {
    let Some(rig) = rig() else { return };
    let mut server = Server::filled(&rig.join("data"));
    plans.iter().for_each(|plan| rig.fail(plan.clone()));
    server.assert_stopped(cause);
    rig.heal();
    server.assert_stopped(cause);
    assert!(rig.counters().failed > 0);
    server.assert_heals();
    drop(server);
}

#[test]
fn a_write_that_fails_stops_acknowledgements_until_a_restart() {
    fails_with(&[Plan::all(Kind::Write, Fault::Io)], "Input/output error");
}

#[test]
fn a_sync_that_fails_stops_acknowledgements_until_a_restart() {
    fails_with(&[Plan::all(Kind::Sync, Fault::Io)], "Input/output error");
}

#[test]
fn a_single_failed_sync_is_never_tried_again() {
    fails_with(&[Plan::next(Kind::Sync, Fault::Io, ".seg")], "Input/output error");
}

#[test]
fn a_short_write_stops_acknowledgements_until_a_restart() {
    fails_with(&[Plan::all(Kind::Write, Fault::Short)], "of /");
}

#[test]
fn a_file_system_that_became_read_only_stops_acknowledgements_until_a_restart() {
    let plans = [Plan::all(Kind::Write, Fault::ReadOnly), Plan::all(Kind::Name, Fault::ReadOnly)];
    fails_with(&plans, "Read-only file system");
}

#[test]
fn a_read_that_fails_is_told_to_the_reader_and_to_nobody_else() {
    let Some(rig) = rig() else { return };
    let mut server = Server::filled(&rig.join("data"));
    rig.fail(Plan::all(Kind::Read, Fault::Io));
    let path = format!("/v1/topics/{TOPIC}/partitions/0/records?offset=0");
    let answer = server.get(&path);
    assert_eq!(answer.status, 500, "{:?}", rig.counters());
    assert!(answer.text().contains("Input/output error"), "{}", answer.text());
    assert_eq!(server.write().status, 200, "writes need no reads");
    assert_eq!((server.metric().as_str(), server.get("/healthz").status), (OK, 200));
    rig.heal();
    server.assert_well();
}

#[test]
fn a_full_disk_refuses_writes_and_takes_them_again_when_there_is_room() {
    let Some(rig) = rig() else { return };
    let mut server = Server::filled(&rig.join("data"));
    rig.leave_room(3 << 20);
    let refused = server.write_until_refused();
    assert_eq!(refused.status, 507, "{}", refused.text());
    assert!(refused.text().contains("no room for another segment"), "{}", refused.text());
    assert_eq!((server.metric().as_str(), server.status().0.as_str()), (FULL, "full"));
    assert_eq!(server.get("/healthz").status, 200, "a full disk is no broken one");
    let unready = server.get("/readyz");
    assert_eq!((unready.status, unready.text().contains("no room")), (503, true), "{}", unready.text());
    let (code, text) = server.cli();
    assert_eq!((code, text.contains("no room")), (Some(1), true), "{text}");
    server.assert_readable();
    rig.leave_room(64 << 20);
    wait::until("writes to be taken again", || (server.write().status == 200).then_some(()));
    server.assert_well();
}

#[test]
fn ext4_on_a_device_that_fails_stops_acknowledgements_until_it_is_mounted_again() {
    let Some(mut rig) = rig() else { return };
    let Some(mut ext4) = Mounted::make("ext4", rig.path()) else { return };
    let mut server = Server::filled(&ext4.join("data"));
    rig.fail(Plan::all(Kind::Write, Fault::Io));
    server.assert_stopped("error");
    server.node.kill();
    ext4.detach();
    remount(&mut rig, &mut ext4);
    server.node.restart();
    server.assert_well();
}

fn remount(rig: &mut Rig, ext4: &mut Mounted) {
    rig.heal();
    ext4.attach(rig.path());
}
