//! Consumer groups.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::harness::{Running, Server};

fn described(server: &Server, group: &str) -> Value {
    let ran = server.run(&["group", "describe", group, "--output", "json"]);
    serde_json::from_str(&ran.text()).unwrap()
}

/// Waits until as many members have partitions.
fn settled(server: &Server, group: &str, members: usize) {
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
    loop {
        let ran = server.run(&["group", "describe", group, "--output", "json"]);
        let now: Value = serde_json::from_slice(&ran.stdout).unwrap_or_default();
        let reading = now["members"].as_array().map_or(0, |all| {
            all.iter().filter(|member| !member["assignment"].as_array().unwrap().is_empty()).count()
        });
        if reading == members && now["state"] == "Stable" {
            return;
        }
        assert!(std::time::Instant::now() < deadline, "{now}");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}

fn lines(running: &mut Running, count: usize) -> BTreeSet<String> {
    (0..count).map(|_| running.line()).collect()
}

#[test]
fn a_group_goes_on_where_it_stopped() {
    let server = Server::shared();
    server.feed(&["produce", "resumed"], b"a\nb\nc\nd\n").good();
    let consume = |args: &[&str]| {
        let all = [&["consume", "resumed", "--group", "readers"], args].concat();
        server.run(&all).text()
    };
    assert_eq!(consume(&["-c", "1"]), "a\n");
    assert_eq!(consume(&["-c", "2"]), "b\nc\n");
    assert_eq!(described(&server, "readers")["offsets"][0]["offset"], 3);
    assert_eq!(described(&server, "readers")["offsets"][0]["lag"], 1);
    assert_eq!(consume(&["-e"]), "d\n");
    assert_eq!(consume(&["-e"]), "");
    // The offset counts only where the group has read nothing.
    assert_eq!(consume(&["-e", "-o", "beginning"]), "");
    let table = server.run(&["group", "describe", "readers"]).text();
    assert!(table.contains("Empty") && table.contains("resumed"), "{table}");
    assert!(server.run(&["group", "list"]).text().contains("readers"));
}

#[test]
fn members_share_a_topic_and_the_rest_takes_over_from_one_that_leaves() {
    let server = Server::shared();
    server.run(&["topic", "create", "shared", "-p", "4"]).good();
    let consume = ["consume", "shared", "--group", "pair", "-f", "%p:%s\n"];
    let mut first = server.spawn(&consume);
    settled(&server, "pair", 1);
    let mut second = server.spawn(&consume);
    settled(&server, "pair", 2);
    let produce = |value: &str| {
        for partition in ["0", "1", "2", "3"] {
            server.feed(&["produce", "shared", "-p", partition], value.as_bytes()).good();
        }
    };
    produce("x\n");
    let (ours, theirs) = (lines(&mut first, 2), lines(&mut second, 2));
    let expected = |value: &str| (0..4).map(|partition| format!("{partition}:{value}\n")).collect();
    assert_eq!(&ours | &theirs, expected("x"));
    second.interrupt();
    assert_eq!(second.end().status.code(), Some(130));
    settled(&server, "pair", 1);
    produce("y\n");
    assert_eq!(lines(&mut first, 4), expected("y"), "nothing is read twice: it was committed");
    let said = server.run(&["group", "reset-offsets", "pair", "-t", "shared", "-o", "0"]).failed(1);
    assert!(said.contains("the group has members"), "{said}");
    first.interrupt();
    first.end();
    assert_eq!(described(&server, "pair")["members"].as_array().unwrap().len(), 0);
    let moved = described(&server, "pair")["offsets"].as_array().unwrap().len();
    assert_eq!(moved, 4);
}

#[test]
fn a_group_is_moved_after_a_dry_run_and_deleted_after_a_yes() {
    let server = Server::shared();
    server.feed(&["produce", "moved"], b"a\nb\nc\n").good();
    let reset = ["group", "reset-offsets", "movers", "-t", "moved", "-o", "-2"];
    let dry = server.run(&[&reset[..], &["--dry-run"]].concat());
    assert_eq!(dry.stderr, "dry run: nothing was changed\n");
    server.run(&["group", "describe", "movers"]).failed(3);
    let told = server.run(&reset).text();
    assert_eq!(String::from_utf8(dry.good()).unwrap(), told);
    assert_eq!(described(&server, "movers")["offsets"][0]["offset"], 1);
    let read = || server.run(&["consume", "moved", "--group", "movers", "-e"]).text();
    assert_eq!(read(), "b\nc\n");
    server.run(&["group", "reset-offsets", "movers", "-t", "moved", "-o", "@0"]).good();
    assert_eq!(read(), "a\nb\nc\n");
    server.run(&["group", "reset-offsets", "movers", "-t", "none", "-o", "0"]).failed(3);
    server.run(&["group", "delete", "movers"]).failed(6);
    server.run(&["group", "delete", "movers", "--yes"]).good();
    server.run(&["group", "describe", "movers"]).failed(3);
    server.run(&["group", "delete", "movers", "--yes"]).failed(3);
}

#[test]
fn a_member_outlives_a_restart_of_the_server() {
    let mut server = Server::start();
    server.feed(&["produce", "kept"], b"a\nb\n").good();
    let mut member = server.spawn(&["consume", "kept", "--group", "g"]);
    assert_eq!(lines(&mut member, 2), BTreeSet::from(["a\n".to_owned(), "b\n".to_owned()]));
    while described(&server, "g")["offsets"][0]["offset"] != 2 {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    server.restart();
    settled(&server, "g", 1);
    server.feed(&["produce", "kept"], b"c\n").good();
    assert_eq!(member.line(), "c\n");
    while described(&server, "g")["offsets"][0]["offset"] != 3 {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    member.interrupt();
    assert_eq!(member.end().status.code(), Some(130));
}
