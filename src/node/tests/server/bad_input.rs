//! Each wrong request gets its own answer, and harms nothing.

use crate::{ok, refused, start, values};

/// Method, path, content type, body; status and code of the answer.
type Wrong<'a> = (&'a str, &'a str, &'a str, &'a [u8], u16, &'a str);

#[test]
fn every_wrong_request_has_its_own_code_and_nothing_is_stored() {
    let (node, mut http) = start("");
    ok(http.post("/v1/topics/t/records", "text/plain", b"good"));
    let records = "/v1/topics/t/records";
    let read = "/v1/topics/t/partitions/0/records";
    let big = format!("{{\"value\":\"{}\"}}", "x".repeat(1024 * 1024 + 1));
    let key = format!("{{\"key\":\"{}\"}}", "x".repeat(64 * 1024 + 1));
    let (json, lines) = ("application/json", "application/x-ndjson");
    let known: &[Wrong<'_>] = &[
        ("POST", records, json, b"{\"records\":[", 400, "invalid_body"),
        ("POST", records, json, b"", 400, "invalid_body"),
        ("POST", records, lines, b"{\"value\":\"ok\"}\n{\"vale\":1}", 400, "invalid_body"),
        ("POST", records, lines, b"{\"timestamp\":-1}", 400, "invalid_body"),
        ("POST", records, lines, b"{\"value_base64\":\"%\"}", 400, "invalid_body"),
        ("POST", records, lines, b"{\"value\":\"\xff\"}", 400, "invalid_body"),
        ("POST", records, lines, big.as_bytes(), 413, "too_large"),
        ("POST", records, lines, key.as_bytes(), 413, "too_large"),
        ("POST", records, lines, b"{\"value\":\"ok\"}\n{\"partition\":7}", 404, "unknown_partition"),
        ("POST", "/v1/topics/t/records?partition=7", lines, b"{}", 404, "unknown_partition"),
        ("POST", "/v1/topics/t/records?partition=x", lines, b"{}", 400, "invalid_parameter"),
        ("POST", "/v1/topics/t/records?partitions=1", lines, b"{}", 400, "invalid_parameter"),
        ("POST", records, "application/xml", b"<a/>", 415, "unsupported_media_type"),
        ("POST", "/v1/topics/a%20b/records", lines, b"{}", 400, "invalid_topic"),
        ("POST", "/v1/topics/%ff/records", lines, b"{}", 400, "invalid_parameter"),
        ("POST", "/v1/topics/__x/records", lines, b"{}", 403, "reserved_topic"),
        ("POST", "/v1/topics", json, b"{\"name\":\"../x\"}", 400, "invalid_topic"),
        ("POST", "/v1/topics", json, b"{\"name\":\"x\",\"partitions\":0}", 400, "invalid_parameter"),
        (
            "POST",
            "/v1/topics",
            json,
            b"{\"name\":\"x\",\"config\":{\"retention_ms\":0}}",
            400,
            "invalid_config",
        ),
        ("POST", "/v1/topics", json, b"[]", 400, "invalid_body"),
        ("GET", "/v1/topics/none/partitions/0/records", "", b"", 404, "unknown_topic"),
        ("GET", "/v1/topics/t/partitions/9/records", "", b"", 404, "unknown_partition"),
        ("GET", "/v1/topics/t/partitions/x/records", "", b"", 400, "invalid_parameter"),
        ("GET", "/v1/topics/t/partitions/0/records?offset=x", "", b"", 400, "invalid_parameter"),
        ("GET", "/v1/topics/t/partitions/0/records?offset=2", "", b"", 416, "offset_out_of_range"),
        ("GET", "/v1/topics/t/partitions/0/records?offset=0&timestamp=0", "", b"", 400, "invalid_parameter"),
        ("GET", "/v1/topics/t/partitions/0/records?max_bytes=0", "", b"", 400, "invalid_parameter"),
        ("GET", "/v1/topics/t/partitions/0/records?wait_ms=999999999", "", b"", 400, "invalid_parameter"),
        ("POST", "/v1/topics/t/partitions/0/trim", json, b"{\"offset\":-1}", 400, "invalid_body"),
        ("GET", "/v1/nothing", "", b"", 404, "not_found"),
        ("DELETE", read, "", b"", 405, "method_not_allowed"),
    ];
    for (method, path, kind, body, status, code) in known {
        let (found, name, message) = refused(http.request(method, path, kind, body));
        assert_eq!((found, name.as_str()), (*status, *code), "{method} {path}: {message}");
        assert!(!message.is_empty() && message.len() < 1000, "{path}: {message}");
    }
    let gzip = "application/x-ndjson\r\nContent-Encoding: gzip";
    assert_eq!(refused(http.request("POST", records, gzip, b"no gzip")).1, "invalid_body");
    let brotli = "application/x-ndjson\r\nContent-Encoding: br";
    assert_eq!(refused(http.request("POST", records, brotli, b"x")).1, "unsupported_media_type");
    assert_eq!(values(&node, "t", 0), ["good"]);
    let topics = ok(http.get("/v1/topics"));
    assert_eq!(topics["topics"].as_array().unwrap().len(), 1, "{topics}");
}
