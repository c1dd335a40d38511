//! Over a limit: a clear answer, and the node goes on.

use std::io::{Read, Write};
use std::net::TcpStream;

use crate::support::http::Http;
use crate::{ok, refused, start, values};

#[test]
fn a_body_over_the_limit_is_refused_however_it_comes() {
    let (_node, mut http) =
        start("[limits]\nrequest_bytes = 65536\nbatch_bytes = 65536\nrecord_value_bytes = 1024\n");
    let path = "/v1/topics/t/records";
    let (status, code, _) = refused(http.post(path, "text/plain", &vec![b'\n'; 65_537]));
    assert_eq!((status, code.as_str()), (413, "too_large"));
    let (status, code, message) = refused(http.post(path, "text/plain", &vec![b'x'; 1025]));
    assert_eq!((status, code.as_str()), (413, "too_large"), "{message}");
    ok(http.post(path, "text/plain", &vec![b'x'; 1024]));
    let answer = http.post("/api/put", "", &vec![b' '; 65_537]).unwrap();
    assert_eq!(answer.status, 413);
}

#[test]
fn more_records_than_one_request_may_have_are_refused() {
    let (node, mut http) = start("[limits]\nrecords_per_request = 3\n");
    let path = "/v1/topics/t/records";
    ok(http.post(path, "text/plain", b"1\n2\n3\n"));
    assert_eq!(refused(http.post(path, "text/plain", b"1\n2\n3\n4\n")).1, "too_large");
    assert_eq!(values(&node, "t", 0).len(), 3);
}

#[test]
fn a_connection_too_many_is_told_so_and_can_come_again() {
    let (node, _) = start("[limits]\nconnections = 1\n");
    let mut first = Http::new(node.address());
    ok(first.get("/v1/topics"));
    let (status, code, _) = refused(Http::new(node.address()).get("/v1/topics"));
    assert_eq!((status, code.as_str()), (503, "overloaded"));
    drop(first);
    crate::support::wait::until("the first connection to be gone", || {
        Http::new(node.address()).get("/v1/topics").ok().filter(|answer| answer.status == 200)
    });
}

#[test]
fn a_request_head_over_the_limit_ends_the_connection() {
    let (node, mut http) = start("[limits]\nhttp_header_bytes = 4096\n");
    let mut stream = TcpStream::connect(node.address()).unwrap();
    let head = format!("GET /healthz HTTP/1.1\r\nHost: x\r\nX-Long: {}\r\n\r\n", "x".repeat(100_000));
    // The server may close before all of it is sent.
    let _ = stream.write_all(head.as_bytes());
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    assert!(!answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer));
    assert_eq!(http.get("/healthz").unwrap().text(), "ok\n");
}

#[test]
fn requests_that_would_hold_too_much_memory_are_told_to_come_again() {
    let config = "[limits]\nmemory_bytes = 16777216\nmemory_per_connection_bytes = 16777216\n";
    let (node, mut http) = start(config);
    // One request announces nearly everything and then sends nothing.
    let mut greedy = TcpStream::connect(node.address()).unwrap();
    let head = "POST /v1/topics/t/records HTTP/1.1\r\nHost: x\r\nContent-Type: text/plain\r\nContent-Length: 16777000\r\n\r\nx";
    greedy.write_all(head.as_bytes()).unwrap();
    crate::support::wait::until("the first request to hold its memory", || {
        let metrics = http.get("/metrics").unwrap().text();
        metrics.contains("tidelog_request_memory_bytes 16777000").then_some(())
    });
    let body = vec![b'\n'; 1000];
    let (status, code, _) = refused(http.post("/v1/topics/t/records", "text/plain", &body));
    assert_eq!((status, code.as_str()), (503, "overloaded"));
    drop(greedy);
    crate::support::wait::until("the memory to come back", || {
        let answer = http.post("/v1/topics/t/records", "text/plain", &body).unwrap();
        (answer.status == 200).then_some(())
    });
}

#[test]
fn a_silent_connection_is_closed_in_time_in_both_languages() {
    let (node, _http) = start("[limits]\nidle_timeout_ms = 1000\n");
    for said in
        [&b""[..], b"GET /healthz HT", b"put m 1 5 a=b\npu", b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"]
    {
        let mut stream = TcpStream::connect(node.address()).unwrap();
        stream.write_all(said).unwrap();
        let mut answer = Vec::new();
        // Ends only because the server closes.
        stream.read_to_end(&mut answer).unwrap();
    }
    assert_eq!(values(&node, "tsdb", 0), ["5"], "the whole line was taken, the cut one was not");
}
