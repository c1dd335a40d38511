//! The Kafka outputs of collectd and rsyslog, as Debian ships them.

use std::path::Path;
use std::process::{Command, Stdio};

use super::kcat::Kcat;
use super::record::Record;
use super::start;
use crate::support::node::{Node, scratch};
use crate::support::peers::{Peer, find};
use crate::support::wait;

/// A program in the foreground, its output in a file of the directory.
fn spawn(program: &Path, args: &[&str], dir: &Path) -> Peer {
    let output = std::fs::File::create(dir.join("output")).unwrap();
    let mut command = Command::new(program);
    command.args(args).stdin(Stdio::null()).stdout(output.try_clone().unwrap()).stderr(output);
    Peer(command.spawn().unwrap())
}

fn stored(node: &Node, kcat: &Kcat, topic: &str) -> Vec<Record> {
    let listed = node.client(&["topic", "list"]).output().unwrap();
    let there = String::from_utf8_lossy(&listed.stdout).contains(topic);
    if there { kcat.consume(topic, 0, "beginning") } else { Vec::new() }
}

#[test]
fn collectd_writes_its_values() {
    let places = ["/usr/lib/collectd/write_kafka.so", "/usr/local/lib/collectd/write_kafka.so"];
    if find("collectd's write_kafka", &places).is_none() {
        return;
    }
    let Some(program) = find("collectd", &["/usr/sbin/collectd", "/usr/local/sbin/collectd"]) else { return };
    let node = start();
    let Some(kcat) = Kcat::find(&node) else { return };
    let (_keep, dir) = scratch();
    let (at, server) = (dir.display(), node.kafka());
    let config = format!(
        "Hostname \"tidelog-test\"\nFQDNLookup false\nBaseDir \"{at}\"\nPIDFile \"{at}/pid\"\nInterval 1\n\
         LoadPlugin load\nLoadPlugin memory\nLoadPlugin write_kafka\n\
         <Plugin write_kafka>\n  Property \"metadata.broker.list\" \"{server}\"\n  \
         Property \"compression.codec\" \"gzip\"\n  <Topic \"collectd\">\n    Format JSON\n  </Topic>\n</Plugin>\n"
    );
    let file = dir.join("collectd.conf");
    std::fs::write(&file, config).unwrap();
    let mut collectd = spawn(&program, &["-f", "-C", file.to_str().unwrap()], &dir);
    let records = wait::until("twenty records of collectd", || {
        collectd.assert_alive();
        Some(stored(&node, &kcat, "collectd")).filter(|records| records.len() >= 20)
    });
    collectd.stop();
    for record in records {
        let values: serde_json::Value = serde_json::from_slice(record.value.as_deref().unwrap()).unwrap();
        assert_eq!(values[0]["host"], "tidelog-test");
        assert!(values[0]["values"].is_array(), "{values}");
    }
}

#[test]
fn rsyslog_writes_its_messages_in_their_order() {
    let places =
        ["/usr/lib/x86_64-linux-gnu/rsyslog/omkafka.so", "/usr/lib/aarch64-linux-gnu/rsyslog/omkafka.so"];
    if find("rsyslog's omkafka", &places).is_none() {
        return;
    }
    let Some(program) = find("rsyslogd", &["/usr/sbin/rsyslogd", "/sbin/rsyslogd"]) else { return };
    let node = start();
    let Some(kcat) = Kcat::find(&node) else { return };
    let (_keep, dir) = scratch();
    let (at, server) = (dir.display(), node.kafka());
    let lines: String = (0..500).map(|n| format!("a line of a daemon, number {n}\n")).collect();
    std::fs::write(dir.join("input"), &lines).unwrap();
    let config = format!(
        "global(workDirectory=\"{at}\")\nmodule(load=\"imfile\" PollingInterval=\"1\")\nmodule(load=\"omkafka\")\n\
         input(type=\"imfile\" File=\"{at}/input\" Tag=\"test\" ruleset=\"out\")\n\
         template(name=\"plain\" type=\"string\" string=\"%msg%\")\n\
         ruleset(name=\"out\") {{\n  action(type=\"omkafka\" topic=\"rsyslog\" broker=[\"{server}\"] template=\"plain\" \
         partitions.auto=\"on\" confParam=[\"compression.codec=snappy\", \"socket.keepalive.enable=true\"])\n}}\n"
    );
    let (file, pid) = (dir.join("rsyslog.conf"), dir.join("pid"));
    std::fs::write(&file, config).unwrap();
    let args = ["-n", "-f", file.to_str().unwrap(), "-i", pid.to_str().unwrap()];
    let mut rsyslog = spawn(&program, &args, &dir);
    let records = wait::until("500 records of rsyslog", || {
        rsyslog.assert_alive();
        Some(stored(&node, &kcat, "rsyslog")).filter(|records| records.len() >= 500)
    });
    rsyslog.stop();
    let text: String = records.iter().map(|record| record.text() + "\n").collect();
    assert_eq!(text, lines);
}
