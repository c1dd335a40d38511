//! Topics.

use serde_json::Value;

use crate::harness::Server;

fn describe(server: &Server, topic: &str) -> Value {
    serde_json::from_str(&server.run(&["topic", "describe", topic, "--output", "json"]).text()).unwrap()
}

#[test]
fn a_topic_is_created_listed_described_and_deleted() {
    let server = Server::shared();
    let ran = server.run(&["topic", "create", "life", "--partitions", "3", "--retention-ms", "86400000"]);
    assert_eq!(ran.stderr, "created topic life with 3 partitions\n");
    ran.good();
    let list = server.run(&["topic", "list"]).text();
    let row = list.lines().find(|line| line.starts_with("life ")).unwrap();
    assert_eq!(row.split_whitespace().collect::<Vec<_>>(), ["life", "3"]);
    let json: Value =
        serde_json::from_str(&server.run(&["topic", "list", "--output", "json"]).text()).unwrap();
    assert!(json["topics"].as_array().unwrap().iter().any(|topic| topic["name"] == "life"));
    let shown = server.run(&["topic", "describe", "life"]).text();
    assert!(shown.contains("durability") && shown.contains("86,400,000 ms"), "{shown}");
    let described = describe(&server, "life");
    assert_eq!(described["config"]["retention_ms"], 86_400_000);
    assert_eq!(described["partitions"].as_array().unwrap().len(), 3);
    assert_eq!(server.run(&["topic", "delete", "life", "--yes"]).text(), "");
    server.run(&["topic", "describe", "life"]).failed(3);
}

#[test]
fn a_topic_that_exists_is_not_created_again() {
    let server = Server::shared();
    server.run(&["topic", "create", "twice"]).good();
    let said = server.run(&["topic", "create", "twice"]).failed(1);
    assert!(said.contains("exists"), "{said}");
    let said = server.run(&["topic", "create", "a/b"]).failed(2);
    assert!(said.contains("`a/b`"), "{said}");
    let json = server.run(&["topic", "create", "once", "--output", "json"]).text();
    assert_eq!(serde_json::from_str::<Value>(&json).unwrap()["name"], "once");
}

#[test]
fn nothing_is_deleted_without_a_yes() {
    let server = Server::shared();
    server.feed(&["produce", "kept"], b"a\nb\nc\n").good();
    let said = server.run(&["topic", "delete", "kept"]).failed(6);
    assert!(said.contains("delete topic kept with 1 partition and 3 records; give --yes"), "{said}");
    let said = server.run(&["topic", "trim", "kept", "-o", "2"]).failed(6);
    assert!(said.contains("offsets 0 to 1 of partition 0; give --yes"), "{said}");
    for args in
        [&["topic", "delete", "kept", "--dry-run"][..], &["topic", "trim", "kept", "-o", "end", "--dry-run"]]
    {
        let told = server.run(args).text();
        assert!(told.starts_with("would delete ") && told.contains("3 records"), "{told}");
    }
    assert_eq!(server.run(&["consume", "kept", "-e"]).text(), "a\nb\nc\n");
}

#[test]
fn trimming_drops_what_lies_before_an_offset_and_nothing_else() {
    let server = Server::shared();
    server.run(&["topic", "create", "trimmed", "-p", "2"]).good();
    for partition in ["0", "1"] {
        server.feed(&["produce", "trimmed", "-p", partition], b"a\nb\nc\nd\n").good();
    }
    let read = || server.run(&["consume", "trimmed", "-e", "-f", "%p%s "]).text();
    let ran = server.run(&["topic", "trim", "trimmed", "-o", "1", "-p", "1", "--yes"]);
    assert_eq!(ran.stderr, "partition 1 now begins at offset 1\n");
    assert_eq!(read(), "0a 0b 0c 0d 1b 1c 1d ");
    assert_eq!(describe(&server, "trimmed")["partitions"][1]["start_offset"], 1);
    server.run(&["topic", "trim", "trimmed", "-o", "-2", "--yes"]).good();
    assert_eq!(read(), "0c 0d 1c 1d ");
    let ran = server.run(&["topic", "trim", "trimmed", "-o", "0", "--yes"]);
    assert_eq!(ran.stderr, "nothing to delete: no record lies before that offset\n");
    server.run(&["topic", "trim", "trimmed", "-o", "@0", "--yes"]).good();
    assert_eq!(read(), "0c 0d 1c 1d ");
    server.run(&["topic", "trim", "trimmed", "-o", "5", "--yes"]).failed(1);
    let said = server.run(&["topic", "trim", "trimmed", "-o", "end", "-p", "2", "--yes"]).failed(3);
    assert!(said.contains("no partition 2"), "{said}");
    server.run(&["topic", "trim", "trimmed", "-o", "end", "--yes"]).good();
    assert_eq!(read(), "");
    let said = server.run(&["consume", "trimmed", "-e", "-p", "0", "-o", "0"]).failed(1);
    assert!(said.contains('4'), "an offset that was trimmed is out of range: {said}");
}

#[test]
fn what_is_not_there_is_not_found() {
    let server = Server::shared();
    for args in [
        &["topic", "describe", "nowhere"][..],
        &["topic", "delete", "nowhere", "--yes"],
        &["topic", "trim", "nowhere", "-o", "1", "--yes"],
        &["consume", "nowhere", "-e"],
        &["consume", "no/where", "-e"],
    ] {
        let said = server.run(args).failed(3);
        assert!(said.starts_with("error: ") && said.contains("where"), "{args:?}: {said}");
    }
}
