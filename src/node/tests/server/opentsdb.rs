//! OpenTSDB's two ways in, and records on the way out.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};

use crate::support::node::Node;
use crate::support::read;
use crate::{SMALL, ok, start};

/// Sends lines, ends the connection, and reads the answers up to the server's end of it.
fn telnet(node: &Node, lines: &[u8]) -> String {
    let mut stream = TcpStream::connect(node.address()).unwrap();
    stream.write_all(lines).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut answers = String::new();
    stream.read_to_string(&mut answers).unwrap();
    answers
}

fn points(node: &Node) -> Vec<(String, i64, String)> {
    let records = read::partition(node.address(), "tsdb", 0).into_iter();
    records.map(|r| (r.key.unwrap(), r.timestamp, r.value.unwrap())).collect()
}

#[test]
fn points_from_telnet_and_http_become_records_of_the_same_shape() {
    let (node, mut http) = start("");
    let answers = telnet(
        &node,
        b"put sys.cpu 1356998400 42.5 host=a  cpu=0\r\n\nput sys.cpu 1356998400250 7 cpu=1 host=b\n",
    );
    assert_eq!(answers, "", "a put that succeeds is not answered");
    let body = br#"[{"metric":"sys.cpu","timestamp":1356998401,"value":"1e3","tags":{"host":"c"}}]"#;
    let answer = http.post("/api/put", "application/json", body).unwrap();
    assert_eq!((answer.status, answer.body.len()), (204, 0));
    let answer = http.post("/api/v1/put?summary", "", body).unwrap();
    assert_eq!((answer.status, answer.text().as_str()), (200, r#"{"failed":0,"success":1}"#));
    let point = |key: &str, ms, value: &str| (key.to_owned(), ms, value.to_owned());
    assert_eq!(
        points(&node),
        [
            point("sys.cpu{cpu=0,host=a}", 1_356_998_400_000, "42.5"),
            point("sys.cpu{cpu=1,host=b}", 1_356_998_400_250, "7"),
            point("sys.cpu{host=c}", 1_356_998_401_000, "1e3"),
            point("sys.cpu{host=c}", 1_356_998_401_000, "1e3"),
        ]
    );
}

#[test]
fn what_telnet_read_before_the_end_is_durable_when_the_server_closes() {
    let mut node = Node::start(SMALL);
    let lines: String = (0..20_000).map(|n| format!("put m {} {n} host=a\n", 1_356_998_400 + n)).collect();
    assert_eq!(telnet(&node, lines.as_bytes()), "");
    node.kill();
    node.restart();
    let values: Vec<String> = points(&node).into_iter().map(|(_, _, value)| value).collect();
    assert_eq!(values, (0..20_000).map(|n| n.to_string()).collect::<Vec<_>>());
}

#[test]
fn commands_and_wrong_lines_are_answered_and_do_not_stop_the_good_ones() {
    let (node, _http) = start("[limits]\ntelnet_line_bytes = 256\n");
    let long = "x".repeat(300);
    let lines = format!(
        "version\nhelp\nbogus\nput m\nput m 1 NaN a=b\nput {long}\nput m 1 5 a=b\nstats\nexit\nput m 1 6 a=b\n"
    );
    let answers = telnet(&node, lines.as_bytes());
    let lines: Vec<&str> = answers.lines().collect();
    assert!(lines[0].starts_with("tidelog "), "{answers}");
    assert_eq!(lines[2], "available commands: exit help put stats version");
    assert_eq!(lines[3], "unknown command: bogus.  Try `help'.");
    assert!(lines[4].starts_with("put: illegal argument: not enough arguments"), "{answers}");
    assert!(lines[5].starts_with("put: illegal argument: invalid value"), "{answers}");
    assert!(lines[6].contains("longer than 256 bytes"), "{answers}");
    assert!(answers.contains("tidelog.telnet.lines "), "{answers}");
    assert_eq!(points(&node), [("m{a=b}".to_owned(), 1000, "5".to_owned())], "nothing behind exit is taken");
}

#[test]
fn good_points_of_a_mixed_request_are_stored_and_bad_ones_named() {
    let (node, mut http) = start("");
    let body = br#"[{"metric":"m","timestamp":1,"value":1,"tags":{"a":"b"}},{"metric":"m m","timestamp":1,"value":1,"tags":{"a":"b"}}]"#;
    let answer = http.post("/api/put?details", "", body).unwrap();
    assert_eq!(answer.status, 400);
    let json: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!((json["success"].as_u64(), json["failed"].as_u64()), (Some(1), Some(1)));
    assert_eq!(json["errors"][0]["datapoint"]["metric"], "m m");
    assert_eq!(points(&node).len(), 1);
    assert_eq!(http.post("/api/put", "", b"[]").unwrap().status, 204, "Netdata begins with an empty array");
    assert_eq!(http.post("/api/put", "", b"{").unwrap().status, 400);
    assert_eq!(http.get("/api/put").unwrap().status, 405);
}

#[test]
fn what_grafana_asks_first_is_answered() {
    let (_node, mut http) = start("");
    assert!(ok(http.get("/api/version"))["version"].is_string());
    assert!(ok(http.get("/api/aggregators")).as_array().unwrap().len() > 5);
    assert!(ok(http.get("/api/config/filters")).is_object());
}
