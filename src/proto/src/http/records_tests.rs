//! Tests of record bodies.

use super::*;
use proptest::prelude::*;

fn all(format: BodyFormat, body: &str) -> Vec<InputRecord<'_>> {
    decode_all(format, body.as_bytes(), &Limits::default()).unwrap()
}

fn error(format: BodyFormat, body: &str) -> RecordsError {
    decode_all(format, body.as_bytes(), &Limits::default()).unwrap_err()
}

fn value(text: &str) -> InputRecord<'_> {
    InputRecord { value: Some(Cow::Borrowed(text.as_bytes())), ..InputRecord::default() }
}

#[test]
fn every_field_of_a_json_record_is_read() {
    let body = r#"{"records":[{"key":"k","value":"v\n","timestamp":5,"partition":3,"headers":{"a":"1","b":null}},{}]}"#;
    let records = all(BodyFormat::Json, body);
    let known = Record {
        timestamp: 5,
        key: Some(b"k"),
        value: Some(b"v\n"),
        headers: vec![Header { name: b"a", value: Some(b"1") }, Header { name: b"b", value: None }],
    };
    assert_eq!(records[0].as_record(99), known);
    assert_eq!(records[0].partition, Some(3));
    assert_eq!(records[1].as_record(99), Record { timestamp: 99, ..Record::default() });
}

#[test]
fn base64_fields_carry_any_bytes_with_or_without_padding() {
    let body = r#"{"records":[{"key_base64":"/w==","value_base64":"/gA","headers_base64":{"h":"/Q=="}}]}"#;
    let record = &all(BodyFormat::Json, body)[0];
    assert_eq!(
        (record.key.as_deref(), record.value.as_deref()),
        (Some(&b"\xff"[..]), Some(&b"\xfe\x00"[..]))
    );
    assert_eq!(record.headers[0].value.as_deref(), Some(&b"\xfd"[..]));
}

#[test]
fn headers_in_lists_may_repeat_and_forms_are_joined() {
    let body = r#"{"headers_list":[["b","1"],["a",null],["b","3"]],"headers_list_base64":[["b","/w=="]]}"#;
    let record = &all(BodyFormat::NdJson, body)[0];
    let names: Vec<_> = record.headers.iter().map(|h| (&*h.name, h.value.as_deref())).collect();
    assert_eq!(names, [("b", Some(&b"1"[..])), ("a", None), ("b", Some(b"3")), ("b", Some(b"\xff"))]);
}

#[test]
fn null_means_none_in_every_field() {
    let body = r#"{"key":null,"value":null,"timestamp":null,"partition":null,"headers":{"h":null}}"#;
    let record = &all(BodyFormat::NdJson, body)[0];
    assert_eq!((record.timestamp, record.partition, record.key.as_deref()), (None, None, None));
    assert_eq!(record.headers.len(), 1);
}

#[test]
fn ndjson_skips_blank_lines_and_takes_crlf() {
    assert_eq!(
        all(BodyFormat::NdJson, "\n{\"value\":\"a\"}\r\n \t\n{\"value\":\"b\"}"),
        [value("a"), value("b")]
    );
    assert!(all(BodyFormat::NdJson, "").is_empty());
}

#[test]
fn text_lines_are_values_without_their_line_ends() {
    assert_eq!(all(BodyFormat::Text, "a\nb\r\n\n\r\nc\rd"), ["a", "b", "", "", "c\rd"].map(value));
    assert_eq!(all(BodyFormat::Text, "a\r"), [value("a\r")]);
    assert_eq!(all(BodyFormat::Text, "a\n"), [value("a")]);
    assert!(all(BodyFormat::Text, "").is_empty());
    let bytes = decode_all(BodyFormat::Text, b"\xff\x00\n", &Limits::default()).unwrap();
    assert_eq!(bytes[0].value.as_deref(), Some(&b"\xff\x00"[..]));
}

#[test]
fn plain_text_and_strings_without_escapes_are_not_copied() {
    for (format, body) in [(BodyFormat::Text, "abc\n"), (BodyFormat::NdJson, "{\"value\":\"abc\"}")] {
        assert!(matches!(all(format, body)[0].value, Some(Cow::Borrowed(_))));
    }
}

#[test]
fn every_wrong_record_is_named_by_number_place_and_field() {
    let known = [
        (r#"{"vale":"x"}"#, "unknown field `vale`; known are key,"),
        (r#"{"offset":1}"#, "unknown field `offset`"),
        (
            r#"{"value":5}"#,
            "integer `5`, expected a string or null in field `value`: send other JSON as a string",
        ),
        (r#"{"value":{"a":1}}"#, "map, expected a string or null in field `value`"),
        (r#"{"key":true}"#, "boolean `true`, expected a string or null in field `key`"),
        (r#"{"value_base64":"%%"}"#, "field `value_base64` is not base64"),
        (r#"{"value":"x","value_base64":""}"#, "field `value` is given twice (as `value_base64` at last)"),
        (r#"{"key":"x","key":"y"}"#, "field `key` is given twice"),
        (
            r#"{"timestamp":-1}"#,
            "integer `-1`, expected a whole number from 0 to 9223372036854775807 in field `timestamp`",
        ),
        (r#"{"timestamp":1.5}"#, "expected a whole number"),
        (r#"{"timestamp":"1"}"#, "expected a whole number"),
        (r#"{"timestamp":9223372036854775808}"#, "expected a whole number"),
        (r#"{"partition":2147483648}"#, "from 0 to 2147483647 in field `partition`"),
        (r#"{"headers":[]}"#, "expected an object in field `headers`"),
        (r#"{"headers":{"h":5}}"#, "integer `5`, expected a string or null in field `headers`"),
        (r#"{"headers_list":{}}"#, "expected a list of [name, string] in field `headers_list`"),
        (r#"{"headers_list":[["a"]]}"#, "expected [name, string] in field `headers_list`"),
        (r#"{"headers_list":[["a","b","c"]]}"#, "trailing"),
        ("5", "expected a record as an object"),
        ("null", "expected a record as an object"),
        (r#"{"value":"\ud800"}"#, "hex escape"),
        (r#"{"value":"x"} {}"#, "trailing characters"),
    ];
    for (record, why) in known {
        let found = error(BodyFormat::NdJson, &format!("{{}}\n\n{record}\n"));
        assert_eq!((found.record, found.line), (Some(2), 3), "{record}");
        let text = found.to_string();
        assert!(text.starts_with("record 2: ") && text.contains(why), "{record}: {text}");
        assert!(text.contains("(line 3, column "), "{text}");
        if record != r#"{"value":"x"} {}"# {
            let found = error(BodyFormat::Json, &format!("{{\"records\":[{{}},\n{record}]}}"));
            assert_eq!((found.record, found.line), (Some(2), 2), "{record}: {found}");
            assert!(found.to_string().contains(why), "{record}: {found}");
        }
    }
}

#[test]
fn a_body_of_another_shape_is_refused() {
    let known = [
        ("", "EOF while parsing a value"),
        ("[]", "expected an object {\"records\": [...]}"),
        ("{}", "field `records` is missing"),
        (r#"{"records":{}}"#, "expected a list of records in field `records`"),
        (r#"{"records":[],"records":[]}"#, "field `records` is given twice"),
        (r#"{"record":[]}"#, "unknown field `record` beside `records`"),
        (r#"{"records":[]"#, "EOF"),
        (r#"{"records":[]}x"#, "trailing characters"),
    ];
    for (body, why) in known {
        let found = error(BodyFormat::Json, body);
        assert_eq!(found.record, None, "{body}");
        assert!(found.to_string().contains(why), "{body}: {found}");
        assert!(!found.is_too_large());
    }
    assert!(all(BodyFormat::Json, r#" {"records":[]} "#).is_empty());
    let found = decode_all(BodyFormat::NdJson, b"{}\n{\"value\":\"\xff\"}", &Limits::default()).unwrap_err();
    assert_eq!((found.line, found.column, found.fault), (2, 11, Fault::NotUtf8));
    assert_eq!(error(BodyFormat::RawBatch, "").fault, Fault::RawBatches);
}

fn small() -> Limits {
    Limits {
        record_value_bytes: 9,
        record_key_and_headers_bytes: 16,
        records_per_request: 2,
        ..Limits::default()
    }
}

#[test]
fn a_record_of_the_limit_is_taken_and_one_byte_more_is_not() {
    let fits = [
        r#"{"value":"123456789"}"#,
        r#"{"value_base64":"MTIzNDU2Nzg5"}"#,
        r#"{"key":"0123456789012345"}"#,
        r#"{"key":"01234","headers":{"ab":"cde"}}"#,
    ];
    let not = [
        (r#"{"value":"1234567890"}"#, "the value has 10 bytes, the limit is 9"),
        (r#"{"value_base64":"MTIzNDU2Nzg5MA=="}"#, "the value has 10 bytes, the limit is 9"),
        (r#"{"key":"01234567890123456"}"#, "key and headers have 17 bytes, the limit is 16"),
        (r#"{"key":"012345","headers":{"ab":"cde"}}"#, "key and headers have 17 bytes, the limit is 16"),
        (
            r#"{"headers_list":[["",null],["",null],["",null]]}"#,
            "key and headers have 18 bytes, the limit is 16",
        ),
    ];
    for record in fits {
        assert!(decode_all(BodyFormat::NdJson, record.as_bytes(), &small()).is_ok(), "{record}");
    }
    for (record, why) in not {
        let body = format!("{{}}\n{record}");
        let found = decode_all(BodyFormat::NdJson, body.as_bytes(), &small()).unwrap_err();
        assert!(found.is_too_large(), "{found}");
        assert!(found.to_string().starts_with(&format!("record 2: {why} (line 2")), "{found}");
    }
    assert!(decode_all(BodyFormat::Text, b"123456789\r\n", &small()).is_ok());
    let found = decode_all(BodyFormat::Text, b"x\n1234567890", &small()).unwrap_err();
    assert_eq!(found.to_string(), "record 2: the value has 10 bytes, the limit is 9 (line 2)");
}

#[test]
fn whatever_is_accepted_fits_a_batch() {
    use tidelog_format::batch::{BatchBuilder, Codec};
    let key_of = |len: usize| "k".repeat(len);
    let limit = 64 * 1024;
    let many = vec!["[\"\",null]"; limit / 6].join(",");
    let bodies = [
        format!("{{\"key\":\"{}\",\"value\":\"{}\"}}", key_of(limit), "v".repeat(1024 * 1024)),
        format!("{{\"headers_list\":[{many}]}}"),
        format!("{{\"headers\":{{\"{}\":\"{}\"}}}}", key_of(limit / 2 - 3), key_of(limit / 2 - 3)),
        format!(
            "{{\"key\":\"{}\",\"headers\":{{\"{}\":\"\"}}}}",
            key_of(limit / 2 - 3),
            key_of(limit / 2 - 3)
        ),
    ];
    for body in bodies {
        let records = all(BodyFormat::NdJson, &body);
        let mut batch = BatchBuilder::new(Codec::None);
        batch.push(&records[0].as_record(0)).unwrap();
    }
}

#[test]
fn more_records_than_allowed_are_refused_in_every_format() {
    for (format, two, three) in [
        (BodyFormat::Json, r#"{"records":[{},{}]}"#, r#"{"records":[{},{},{}]}"#),
        (BodyFormat::NdJson, "{}\n{}\n\n", "{}\n{}\n{}"),
        (BodyFormat::Text, "\n\n", "\n\n\n"),
    ] {
        assert_eq!(decode_all(format, two.as_bytes(), &small()).unwrap().len(), 2);
        let found = decode_all(format, three.as_bytes(), &small()).unwrap_err();
        assert_eq!(found.fault, Fault::TooManyRecords(2));
        assert!(found.is_too_large());
    }
}

#[test]
fn what_was_sent_is_shown_shortened_and_without_control_characters() {
    let body = format!("{{\"{}\\u001b\":1}}", "x".repeat(100_000));
    let text = error(BodyFormat::NdJson, &body).to_string();
    assert!(text.len() < 500 && !text.contains(char::is_control), "{text:?}");
    let body = format!("{{\"timestamp\":\"\\u001b{}\"}}", "x".repeat(100_000));
    let text = error(BodyFormat::NdJson, &body).to_string();
    assert!(text.len() < 1500 && !text.contains(char::is_control), "{text:?}");
}

#[test]
fn deep_nesting_is_an_error_and_no_stack_overflow() {
    for start in ["[", "{\"records\":", "{\"records\":[{\"headers\":{\"h\":["] {
        let body = start.to_owned() + &"[".repeat(1_000_000);
        assert!(decode_all(BodyFormat::Json, body.as_bytes(), &Limits::default()).is_err());
    }
}

proptest! {
    #[test]
    fn no_bytes_make_a_decoder_panic(body in proptest::collection::vec(any::<u8>(), 0..200)) {
        for format in [BodyFormat::Json, BodyFormat::NdJson, BodyFormat::Text, BodyFormat::RawBatch] {
            let _ = decode_all(format, &body, &small());
        }
    }

    #[test]
    fn no_text_of_json_pieces_makes_a_decoder_panic(
        parts in proptest::collection::vec(proptest::sample::select(vec![
            "{", "}", "[", "]", ":", ",", "\"records\"", "\"key\"", "\"value_base64\"", "\"headers\"", "\"headers_list\"",
            "1", "\"v\"", "null", "\n",
        ]), 0..30),
    ) {
        for format in [BodyFormat::Json, BodyFormat::NdJson] {
            let _ = decode_all(format, parts.concat().as_bytes(), &small());
        }
    }

    #[test]
    fn lines_of_text_are_read_back(lines in proptest::collection::vec("[^\n\r]{0,20}", 0..20)) {
        for end in ["\n", "\r\n"] {
            let body: String = lines.iter().map(|line| format!("{line}{end}")).collect();
            let read: Vec<_> = all(BodyFormat::Text, &body).into_iter().map(|r| r.value.unwrap().into_owned()).collect();
            prop_assert_eq!(&read, &lines.iter().map(|line| line.as_bytes().to_vec()).collect::<Vec<_>>());
        }
    }
}
