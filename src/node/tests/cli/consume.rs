//! What comes out.

use std::io::Write;

use crate::harness::Server;

/// Twenty records, `0` to `19`.
fn twenty(server: &Server, topic: &str) {
    let text: String = (0..20).map(|n| format!("{n}\n")).collect();
    server.feed(&["produce", topic], text.as_bytes()).good();
}

fn lines(from: u32, to: u32) -> String {
    (from..to).map(|n| format!("{n}\n")).collect()
}

#[test]
fn an_offset_may_be_written_in_every_form() {
    let server = Server::shared();
    twenty(&server, "offsets");
    for (offset, from) in
        [("beginning", 0), ("end", 20), ("0", 0), ("7", 7), ("20", 20), ("-5", 15), ("-500", 0), ("@0", 0)]
    {
        assert_eq!(
            server.run(&["consume", "offsets", "-e", "-o", offset]).text(),
            lines(from, 20),
            "{offset}"
        );
    }
    let far = format!("@{}", i64::MAX);
    assert_eq!(server.run(&["consume", "offsets", "-e", "-o", &far]).text(), "");
    assert_eq!(
        server.run(&["consume", "offsets", "-e"]).text(),
        lines(0, 20),
        "the default is the beginning"
    );
}

#[test]
fn a_timestamp_begins_at_the_first_record_that_is_not_older() {
    let server = Server::shared();
    let body = r#"{"records":[{"value":"a","timestamp":1000},{"value":"b","timestamp":2000},{"value":"c","timestamp":3000}]}"#;
    post(&server, "/v1/topics/times/records", body);
    for (offset, known) in [("@0", "abc"), ("@1001", "bc"), ("@2000", "bc"), ("@3000", "c"), ("@3001", "")] {
        let args = ["consume", "times", "-e", "-o", offset, "-f", "%s"];
        assert_eq!(server.run(&args).text(), known, "{offset}");
    }
}

/// One request, as any HTTP client makes it.
fn post(server: &Server, path: &str, body: &str) {
    let mut stream = std::net::TcpStream::connect(&server.address).unwrap();
    let len = body.len();
    let head =
        format!("POST {path} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\nconnection: close\r\n");
    write!(stream, "{head}content-length: {len}\r\n\r\n{body}").unwrap();
    let mut answer = String::new();
    std::io::Read::read_to_string(&mut stream, &mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}

#[test]
fn an_offset_beyond_the_end_is_an_error_that_names_the_range() {
    let server = Server::shared();
    twenty(&server, "beyond");
    let said = server.run(&["consume", "beyond", "-o", "21"]).failed(1);
    assert!(said.contains("21") && said.contains("20"), "{said}");
}

#[test]
fn count_stops_at_so_many_records_with_and_without_waiting() {
    let server = Server::shared();
    twenty(&server, "count");
    assert_eq!(server.run(&["consume", "count", "-c", "3"]).text(), lines(0, 3));
    assert_eq!(server.run(&["consume", "count", "-c", "3", "-o", "-4", "-e"]).text(), lines(16, 19));
    assert_eq!(server.run(&["consume", "count", "-c", "300", "-e"]).text(), lines(0, 20));
    assert_eq!(server.run(&["consume", "count", "-c", "0"]).text(), "");
}

#[test]
fn several_partitions_are_read_and_some_can_be_chosen() {
    let server = Server::shared();
    server.run(&["topic", "create", "several", "-p", "3"]).good();
    for partition in ["0", "1", "2"] {
        server.feed(&["produce", "several", "-p", partition], b"x\ny\n").good();
    }
    let read = |args: &[&str]| {
        let all = [&["consume", "several", "-e", "-f", r"%p:%o "], args].concat();
        server.run(&all).text()
    };
    assert_eq!(read(&[]), "0:0 0:1 1:0 1:1 2:0 2:1 ");
    assert_eq!(read(&["-p", "2", "-p", "0"]), "0:0 0:1 2:0 2:1 ");
    assert_eq!(read(&["-o", "-1"]), "0:1 1:1 2:1 ");
    let said = server.run(&["consume", "several", "-p", "3", "-e"]).failed(3);
    assert!(said.contains("no partition 3"), "{said}");
}

#[test]
fn without_exit_new_records_are_followed_in_all_partitions() {
    let server = Server::shared();
    server.run(&["topic", "create", "followed", "-p", "2"]).good();
    server.feed(&["produce", "followed", "-p", "0"], b"old\n").good();
    let mut consuming = server.spawn(&["consume", "followed", "-f", r"%p %s\n"]);
    assert_eq!(consuming.line(), "0 old\n");
    for partition in ["1", "0", "1"] {
        server.feed(&["produce", "followed", "-p", partition], b"new\n").good();
        assert_eq!(consuming.line(), format!("{partition} new\n"));
    }
    consuming.interrupt();
    let ran = consuming.end();
    assert_eq!((ran.status.code(), ran.stderr.as_str()), (Some(130), ""));
}

#[test]
fn a_reader_that_goes_away_ends_it_quietly() {
    let server = Server::shared();
    let text: String = (0..200_000).map(|n| format!("a line of some length, number {n}\n")).collect();
    server.feed(&["produce", "head"], text.as_bytes()).good();
    let mut consuming = server.spawn(&["consume", "head"]);
    assert_eq!(consuming.line(), "a line of some length, number 0\n");
    drop(consuming.stdout.take());
    let ran = consuming.end();
    assert_eq!((ran.status.code(), ran.stderr.as_str()), (Some(0), ""));
}

#[test]
fn records_can_be_written_as_json_and_as_a_table() {
    let server = Server::shared();
    server.feed(&["produce", "forms", "-K", "=", "-H", "h=1"], b"k=v\x1b\n").good();
    let json = server.run(&["consume", "forms", "-e", "--output", "json"]).text();
    let value: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(
        (&value["topic"], &value["partition"], &value["offset"]),
        (&"forms".into(), &0.into(), &0.into())
    );
    assert_eq!(
        (&value["key"], &value["value"], &value["headers"]["h"]),
        (&"k".into(), &"v\u{1b}".into(), &"1".into())
    );
    let table = server.run(&["consume", "forms", "-e", "--output", "table"]).text();
    let rows: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows[0], ["PARTITION", "OFFSET", "TIMESTAMP", "KEY", "VALUE"]);
    assert_eq!((rows[1][0], rows[1][1], rows[1][3], rows[1][4]), ("0", "0", "k", r"v\u{1b}"));
}
