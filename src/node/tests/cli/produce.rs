//! What goes in.

use std::io::Write;

use crate::harness::Server;

/// Lines of all bytes but the line feed, of many lengths, some empty, in no order.
fn any_lines(count: u32) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let mut text = Vec::new();
    for _ in 0..count {
        for _ in 0..next() % 200 {
            let byte = next().to_be_bytes()[0];
            text.push(if byte == b'\n' { b'\r' } else { byte });
        }
        text.push(b'\n');
    }
    text
}

#[test]
fn a_file_comes_back_byte_for_byte() {
    let server = Server::shared();
    let text = any_lines(30_000);
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), &text).unwrap();
    let ran = server.run(&["produce", "bytes", file.path().to_str().unwrap()]);
    assert_eq!(ran.stderr, "30,000 records acknowledged\n");
    assert_eq!(ran.good(), b"");
    assert!(server.run(&["consume", "bytes", "-e"]).good() == text);
}

#[test]
fn standard_input_is_read_to_its_end_with_and_without_a_last_line_feed() {
    let server = Server::shared();
    for (topic, input, back) in [
        ("stdin-whole", &b"a\n\nb\n"[..], &b"a\n\nb\n"[..]),
        ("stdin-torn", b"a\n\nb", b"a\n\nb\n"),
        ("stdin-dash", b"a\r\nb\r\n", b"a\r\nb\r\n"),
        ("stdin-empty", b"", b""),
    ] {
        let records = back.iter().filter(|byte| **byte == b'\n').count();
        let ran = server.feed(&["produce", topic, "-"], input);
        assert_eq!(ran.stderr, format!("{records} records acknowledged\n"));
        ran.good();
        assert_eq!(server.run(&["consume", topic, "-e"]).good(), back, "{topic}");
    }
}

#[test]
fn a_line_is_stored_while_the_input_goes_on() {
    let server = Server::shared();
    server.run(&["topic", "create", "slow"]).good();
    let mut producing = server.spawn(&["produce", "slow"]);
    let mut consuming = server.spawn(&["consume", "slow"]);
    for line in ["one\n", "two\n"] {
        producing.stdin.as_mut().unwrap().write_all(line.as_bytes()).unwrap();
        assert_eq!(consuming.line(), line);
    }
    assert_eq!(producing.end().stderr, "2 records acknowledged\n");
    consuming.interrupt();
    assert_eq!(consuming.end().status.code(), Some(130));
}

#[test]
fn keys_headers_and_null_values_are_stored() {
    let server = Server::shared();
    let args = ["produce", "parts", "-K", ":", "-H", "host=a", "-H", "note=x=y", "--null-value", "NIL"];
    server.feed(&args, b"k1:v1\nk2:NIL\nno key\n:v:w\n").good();
    let format = ["consume", "parts", "-e", "-f", r"%o|%k|%K|%s|%S|%h\n"];
    let known = "0|k1|2|v1|2|host=a,note=x=y\n1|k2|2||-1|host=a,note=x=y\n2||-1|no key|6|host=a,note=x=y\n\
                 3||0|v:w|3|host=a,note=x=y\n";
    assert_eq!(server.run(&format).text(), known);
}

#[test]
fn another_delimiter_lets_records_hold_line_feeds() {
    let server = Server::shared();
    server.feed(&["produce", "delimited", "-D", r"\0"], b"a\nb\0c\n\0").good();
    assert_eq!(server.run(&["consume", "delimited", "-e", "-f", r"%s\x00"]).good(), b"a\nb\0c\n\0");
}

#[test]
fn keyed_lines_keep_their_order_within_their_partition() {
    let server = Server::shared();
    server.run(&["topic", "create", "keyed", "-p", "4"]).good();
    let text: String = (0..4000).map(|n| format!("key{}:{n}\n", n % 50)).collect();
    server.feed(&["produce", "keyed", "-K", ":"], text.as_bytes()).good();
    let all = server.run(&["consume", "keyed", "-e", "-f", r"%k %p %s\n"]).text();
    assert_eq!(all.lines().count(), 4000);
    let mut partitions = std::collections::BTreeSet::new();
    for key in 0..50 {
        let head = format!("key{key} ");
        let lines: Vec<(&str, u32)> = all
            .lines()
            .filter_map(|line| line.strip_prefix(&head)?.split_once(' '))
            .map(|(partition, n)| (partition, n.parse().unwrap()))
            .collect();
        assert!(lines.iter().all(|line| line.0 == lines[0].0), "one partition for one key");
        assert!(lines.iter().map(|line| line.1).eq((key..4000).step_by(50)), "in order, each once");
        partitions.insert(lines[0].0);
    }
    assert_eq!(partitions.len(), 4);
}

#[test]
fn a_partition_can_be_chosen_and_one_that_is_not_there_is_not_found() {
    let server = Server::shared();
    server.run(&["topic", "create", "chosen", "-p", "3"]).good();
    server.feed(&["produce", "chosen", "-p", "2"], b"x\ny\n").good();
    assert_eq!(
        server.run(&["consume", "chosen", "-e", "-f", r"%t/%p/%o=%s\n"]).text(),
        "chosen/2/0=x\nchosen/2/1=y\n"
    );
    let said = server.feed(&["produce", "chosen", "-p", "3"], b"x\n").failed(3);
    assert!(said.contains("`chosen` has no partition 3"), "{said}");
}

#[test]
fn a_line_too_long_is_named_and_the_lines_before_it_are_durable() {
    let server = Server::shared();
    let long = ["a\nb\n".as_bytes(), &vec![b'x'; 1024 * 1024 + 1], b"\nc\n"].concat();
    let said = server.feed(&["produce", "long"], &long).failed(1);
    assert!(
        said.starts_with("error: line 3: ") && said.ends_with("; the first 2 lines are durable\n"),
        "{said}"
    );
    assert_eq!(server.run(&["consume", "long", "-e"]).good(), b"a\nb\n");
    let endless = vec![b'x'; 3 * 1024 * 1024];
    let said = server.feed(&["produce", "endless"], &endless).failed(1);
    assert!(said.contains("line 1 is longer than the largest record"), "{said}");
}

#[test]
fn a_server_that_dies_leaves_no_doubt_about_what_is_durable() {
    let mut server = Server::start();
    server.run(&["topic", "create", "dying"]).good();
    let mut producing = server.spawn(&["produce", "dying", "--retry", "0"]);
    producing.stdin.as_mut().unwrap().write_all(b"a\nb\nc\n").unwrap();
    assert_eq!(server.run(&["consume", "dying", "-c", "3"]).text(), "a\nb\nc\n");
    server.kill();
    // It may have ended already, if the answer to the first batch was lost with the server.
    let _ = producing.stdin.as_mut().unwrap().write_all(b"d\n");
    let said = producing.end().failed(1);
    let acknowledged = said.ends_with("; the first 3 lines are durable, 1 more is not stored\n");
    assert!(acknowledged || said.contains("; 0 lines are durable, of 3 more it is unknown"), "{said}");
}

#[test]
fn an_interrupted_run_stores_what_it_has_read_and_says_so() {
    let server = Server::shared();
    server.run(&["topic", "create", "stopped"]).good();
    let mut producing = server.spawn(&["produce", "stopped"]);
    producing.stdin.as_mut().unwrap().write_all(b"a\nb\n").unwrap();
    assert_eq!(server.run(&["consume", "stopped", "-c", "2"]).text(), "a\nb\n");
    producing.interrupt();
    let stdin = producing.stdin.take();
    let ran = producing.end();
    drop(stdin);
    assert_eq!(ran.failed(130), "error: interrupted; the first 2 lines are durable\n");
}
