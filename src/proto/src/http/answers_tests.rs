//! Tests of the answers to producing and reading.

use super::*;
use crate::http::body::BodyFormat;
use crate::http::records::decode_all;
use proptest::prelude::*;

fn line(record: &Record<'_>) -> String {
    let mut out = Vec::new();
    write_line(&mut out, 7, record);
    String::from_utf8(out).unwrap()
}

fn header<'a>(name: &'a str, value: &'a [u8]) -> Header<'a> {
    Header { name: name.as_bytes(), value: Some(value) }
}

#[test]
fn text_stands_as_text() {
    let headers = vec![header("a", b"1"), Header { name: b"b", value: None }];
    let record = Record { timestamp: 5, key: Some(b"k\"1"), value: Some("wert ä\n".as_bytes()), headers };
    let known = r#"{"offset":7,"timestamp":5,"key":"k\"1","value":"wert ä\n","headers":{"a":"1","b":null}}"#;
    assert_eq!(line(&record), format!("{known}\n"));
}

#[test]
fn bytes_that_are_no_text_stand_as_base64() {
    let record = Record {
        timestamp: -1,
        key: Some(b"\xff"),
        value: Some(b"\xfe\x00"),
        headers: vec![header("h", b"\xfd")],
    };
    let known = r#"{"offset":7,"timestamp":-1,"key_base64":"/w==","value_base64":"/gA=","headers_base64":{"h":"/Q=="}}"#;
    assert_eq!(line(&record), format!("{known}\n"));
}

#[test]
fn nothing_stands_as_null_and_no_headers_are_left_out() {
    let record = Record { timestamp: 0, key: None, value: None, headers: vec![] };
    assert_eq!(line(&record), "{\"offset\":7,\"timestamp\":0,\"key\":null,\"value\":null}\n");
}

#[test]
fn header_names_that_repeat_keep_their_order_in_a_list() {
    let headers = vec![header("b", b"1"), header("a", b"2"), header("b", b"3")];
    let record = Record { timestamp: 0, key: None, value: None, headers };
    assert!(line(&record).ends_with(",\"headers_list\":[[\"b\",\"1\"],[\"a\",\"2\"],[\"b\",\"3\"]]}\n"));
    let headers = vec![header("b", b"1"), header("b", b"\xff")];
    let record = Record { timestamp: 0, key: None, value: None, headers };
    assert!(line(&record).ends_with(",\"headers_list_base64\":[[\"b\",\"MQ==\"],[\"b\",\"/w==\"]]}\n"));
}

#[test]
fn what_is_no_answer_is_refused_with_the_reason() {
    for (text, why) in [
        ("", "EOF"),
        ("{}", "`offset` is missing"),
        (r#"{"offset":1}"#, "`timestamp` is missing"),
        (r#"{"offset":-1,"timestamp":1}"#, "from 0 to 18446744073709551615 in field `offset`"),
        (r#"{"offset":1,"timestamp":1,"valu":""}"#, "unknown field `valu`"),
        (r#"{"offset":1,"timestamp":1} x"#, "trailing characters"),
    ] {
        let error = read_line(text.as_bytes()).unwrap_err().to_string();
        assert!(error.contains(why), "{text}: {error}");
    }
    assert!(read_line(b"{\"offset\":1,\"timestamp\":1,\"key\":\"\xff\"}").is_err());
}

#[test]
fn the_answer_to_producing_reads_back() {
    let json = r#"{"partitions":[{"partition":0,"base_offset":9,"count":3}]}"#;
    let answer: ProduceAnswer = serde_json::from_str(json).unwrap();
    assert_eq!(answer.partitions, [PartitionWritten { partition: 0, base_offset: 9, count: 3 }]);
    assert_eq!(serde_json::to_string(&answer).unwrap(), json);
}

fn bytes() -> impl Strategy<Value = Option<Vec<u8>>> {
    let text = ".{0,20}".prop_map(String::into_bytes);
    proptest::option::of(prop_oneof![text, proptest::collection::vec(any::<u8>(), 0..20)])
}

proptest! {
    #[test]
    fn every_record_is_read_back_as_it_was_written(
        offset: u64,
        timestamp: i64,
        key in bytes(),
        value in bytes(),
        headers in proptest::collection::vec(("[ab]{0,2}|.{0,5}", bytes()), 0..5),
    ) {
        let headers = headers.iter().map(|(n, v)| Header { name: n.as_bytes(), value: v.as_deref() }).collect();
        let record = Record { timestamp, key: key.as_deref(), value: value.as_deref(), headers };
        let mut out = Vec::new();
        write_line(&mut out, offset, &record);
        prop_assert_eq!(out.iter().filter(|b| **b == b'\n').count(), 1);
        let read = read_line(&out).unwrap().into_owned();
        prop_assert_eq!(read.offset, offset);
        prop_assert_eq!(read.record.as_record(0), record);
    }

    #[test]
    fn what_was_read_can_be_produced_again_without_its_offset(
        timestamp in 0i64..,
        key in bytes(),
        value in bytes(),
        headers in proptest::collection::vec(("[ab]{0,2}", bytes()), 0..5),
    ) {
        let headers = headers.iter().map(|(n, v)| Header { name: n.as_bytes(), value: v.as_deref() }).collect();
        let record = Record { timestamp, key: key.as_deref(), value: value.as_deref(), headers };
        let text = line(&record).replacen("\"offset\":7,", "", 1);
        let records = decode_all(BodyFormat::NdJson, text.as_bytes(), &Limits::default()).unwrap();
        prop_assert_eq!(records.len(), 1);
        prop_assert_eq!(records[0].as_record(0), record);
    }
}
