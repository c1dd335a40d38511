//! Tests of the JSON put.

use super::super::http::PutAnswer;
use super::*;
use proptest::prelude::*;
use serde_json::{Value, json};

fn decode(body: &str) -> PutBody<'_> {
    PutBody::decode(body.as_bytes(), &Limits::default()).unwrap()
}

fn points(put: &PutBody<'_>) -> Vec<String> {
    put.points()
        .map(|p| {
            let (key, value) = (String::from_utf8_lossy(p.series_key), String::from_utf8_lossy(p.value));
            format!("{key} {} {value}", p.timestamp_ms)
        })
        .collect()
}

fn answer(body: &str, query: &str) -> (u16, Value) {
    let answer = PutAnswer::stored(&decode(body), PutFlags::parse(query).unwrap());
    (
        answer.status,
        if answer.body.is_empty() { Value::Null } else { serde_json::from_str(&answer.body).unwrap() },
    )
}

const GOOD: &str = r#"{"metric":"m","timestamp":1,"value":2,"tags":{"k":"v"}}"#;
const BAD: &str = r#"{"metric":"m","timestamp":0,"value":2,"tags":{"k":"v"}}"#;

#[test]
fn one_object_and_an_array_of_objects_are_taken() {
    assert_eq!(points(&decode(GOOD)), ["m{k=v} 1000 2"]);
    assert_eq!(points(&decode(&format!(" [{GOOD}, {GOOD}]\n"))), ["m{k=v} 1000 2", "m{k=v} 1000 2"]);
}

#[test]
fn numbers_keep_the_text_they_were_sent_with() {
    let body = r#"[
        {"metric":"a","timestamp":1364410924250,"value":18.50,"tags":{"host":"w","a":"1"}},
        {"metric":"a","timestamp":"1364410924","value":"-7","tags":{"dc":5}},
        {"metric":"a","timestamp":1364410924.250,"value":1e3,"tags":{"dc":"\u00e4"},"ignored":[{}]}
    ]"#;
    assert_eq!(
        points(&decode(body)),
        ["a{a=1,host=w} 1364410924250 18.50", "a{dc=5} 1364410924000 -7", "a{dc=ä} 1364410924250 1e3",]
    );
}

#[test]
fn an_empty_array_is_fine() {
    assert_eq!(answer("[]", ""), (204, Value::Null));
    assert_eq!(answer(" [ ] ", "details"), (200, json!({"success": 0, "failed": 0, "errors": []})));
}

#[test]
fn all_good_is_204_or_200_with_counts() {
    assert_eq!(answer(GOOD, ""), (204, Value::Null));
    assert_eq!(answer(GOOD, "sync"), (204, Value::Null));
    assert_eq!(answer(GOOD, "summary"), (200, json!({"success": 1, "failed": 0})));
    assert_eq!(answer(GOOD, "details=true"), (200, json!({"success": 1, "failed": 0, "errors": []})));
}

#[test]
fn a_bad_point_is_reported_and_the_good_ones_are_kept() {
    let body = format!("[{GOOD},{BAD},{GOOD}]");
    assert_eq!(points(&decode(&body)).len(), 2);
    let why = "invalid timestamp: 0: must be greater than zero";
    let (status, details) = answer(&body, "details");
    let datapoint: Value = serde_json::from_str(BAD).unwrap();
    let errors = json!([{"datapoint": datapoint, "error": why}]);
    assert_eq!((status, details), (400, json!({"success": 2, "failed": 1, "errors": errors})));
    assert_eq!(answer(&body, "summary"), (400, json!({"success": 2, "failed": 1})));
    let (status, plain) = answer(&body, "");
    assert_eq!((status, &plain["error"]["code"]), (400, &json!(400)));
    assert_eq!(plain["error"]["message"], "One or more data points had errors");
    assert!(plain["error"]["details"].as_str().unwrap().contains(why), "{plain}");
}

#[test]
fn every_way_to_get_a_point_wrong_has_its_own_error() {
    let known = [
        (r#"{"timestamp":1,"value":2,"tags":{"k":"v"}}"#, "missing field `metric`"),
        (r#"{"metric":"m","value":2,"tags":{"k":"v"}}"#, "missing field `timestamp`"),
        (r#"{"metric":"m","timestamp":1,"tags":{"k":"v"}}"#, "missing field `value`"),
        (r#"{"metric":"m","timestamp":1,"value":2}"#, "missing field `tags`"),
        (r#"{"metric":"m","timestamp":1,"value":2,"tags":{}}"#, "Need at least one tag"),
        (r#"{"metric":"","timestamp":1,"value":2,"tags":{"k":"v"}}"#, "Invalid metric name: empty string"),
        (r#"{"metric":"m","timestamp":1,"value":2,"tags":{"k":""}}"#, "Invalid tag value: empty string"),
        (r#"{"metric":5,"timestamp":1,"value":2,"tags":{"k":"v"}}"#, "field `metric` must be a string"),
        (
            r#"{"metric":"m","timestamp":null,"value":2,"tags":{"k":"v"}}"#,
            "field `timestamp` must be a number",
        ),
        (r#"{"metric":"m","timestamp":1,"value":true,"tags":{"k":"v"}}"#, "field `value` must be a number"),
        (r#"{"metric":"m","timestamp":1,"value":"NaN","tags":{"k":"v"}}"#, "invalid value: NaN"),
        (
            r#"{"metric":"m","timestamp":1,"value":2,"tags":{"k":["v"]}}"#,
            "field `k` must be a number or a string",
        ),
        (r#"{"metric":"m","timestamp":1,"value":2,"tags":[]}"#, "expected tags as an object"),
        (r#"{"metric":"m","timestamp":1,"value":2,"tags":{"k":"v","k":"w"}}"#, "duplicate tag: k=w"),
        (
            r#"{"metric":"\ud800","timestamp":1,"value":2,"tags":{"k":"v"}}"#,
            "field `metric` must be a string",
        ),
        ("5", "expected a data point"),
        ("null", "expected a data point"),
        ("[]", "expected a data point"),
    ];
    for (point, why) in known {
        let body = format!("[{point}]");
        let put = decode(&body);
        assert_eq!((put.success(), put.failed), (0, 1), "{point}");
        let error = put.bad[0].error.to_string();
        assert!(error.contains(why), "{point}: {error}");
        assert_eq!(put.bad[0].datapoint, point);
    }
}

#[test]
fn malformed_json_is_refused_as_a_whole_with_its_place() {
    let body = format!("[{GOOD},\n{{\"metric\": }}]");
    let error = PutBody::decode(body.as_bytes(), &Limits::default()).unwrap_err();
    assert!(error.to_string().starts_with("Unable to parse the given JSON: "), "{error}");
    assert!(error.to_string().ends_with("at line 2 column 12"), "{error}");
    let answer: Value = serde_json::from_str(&PutAnswer::refused(&error).body).unwrap();
    assert_eq!(answer["error"]["message"], "Unable to parse the given JSON");
    for body in
        ["", " \n", "put m 1 2 k=v", "5", "\"x\"", "null", "[", "{", "[{}] x", &format!("{GOOD}{GOOD}")]
    {
        assert!(PutBody::decode(body.as_bytes(), &Limits::default()).is_err(), "{body}");
    }
    let error = PutBody::decode(b"[\n  \"\xff\"]", &Limits::default()).unwrap_err();
    assert_eq!(error, PutError::NotUtf8 { line: 2, column: 4 });
}

#[test]
fn more_points_than_allowed_are_refused_by_number() {
    let limits = Limits { records_per_request: 2, ..Limits::default() };
    let body = |n: usize| format!("[{}]", vec![GOOD; n].join(","));
    assert_eq!(PutBody::decode(body(2).as_bytes(), &limits).unwrap().success(), 2);
    assert_eq!(PutBody::decode(body(3).as_bytes(), &limits).unwrap_err(), PutError::TooMany(2));
}

#[test]
fn a_flood_of_bad_points_is_counted_but_not_repeated() {
    let body = format!("[{}]", vec!["0"; 5000].join(","));
    let put = decode(&body);
    assert_eq!((put.failed, put.bad.len()), (5000, MAX_REPORTED));
}

#[test]
fn a_flood_of_tags_is_refused() {
    let tags: Vec<_> = (0..100_000).map(|n| format!("\"t{n}\":1")).collect();
    let body = format!(r#"{{"metric":"m","timestamp":1,"value":2,"tags":{{{}}}}}"#, tags.join(","));
    let put = decode(&body);
    assert!(put.bad[0].error.to_string().starts_with("Too many tags"), "{}", put.bad[0].error);
}

#[test]
fn deep_nesting_is_an_error_and_no_stack_overflow() {
    let deep = "[".repeat(1_000_000);
    assert!(PutBody::decode(deep.as_bytes(), &Limits::default()).is_err());
    let body = format!(r#"{{"metric":{}1{},"tags":0}}"#, "[".repeat(100_000), "]".repeat(100_000));
    assert_eq!(decode(&body).failed, 1);
}

#[test]
fn flags_count_when_present() {
    let flags = PutFlags::parse("summary&details=false&sync=true&sync_timeout=60000&other=1").unwrap();
    let known = PutFlags { summary: true, details: false, sync: true, sync_timeout_ms: Some(60_000) };
    assert_eq!(flags, known);
    assert_eq!(PutFlags::parse("").unwrap(), PutFlags::default());
    assert!(PutFlags::parse("sync_timeout=soon").unwrap_err().contains("`soon`"));
}

#[test]
fn fixed_answers_are_json() {
    for body in [AGGREGATORS.to_owned(), CONFIG_FILTERS.to_owned(), version_body("0.1.0", "abc")] {
        assert!(serde_json::from_str::<Value>(&body).is_ok(), "{body}");
    }
    for failure in [Failure::Unavailable("busy"), Failure::TooLarge(5), Failure::Method] {
        let answer = PutAnswer::failure(failure);
        let body: Value = serde_json::from_str(&answer.body).unwrap();
        assert_eq!(body["error"]["code"], answer.status);
    }
}

proptest! {
    #[test]
    fn no_body_makes_the_decoder_panic(body in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = PutBody::decode(&body, &Limits::default());
    }

    #[test]
    fn no_text_of_json_pieces_makes_the_decoder_panic(
        parts in proptest::collection::vec(proptest::sample::select(vec![
            "{", "}", "[", "]", ":", ",", "\"metric\"", "\"timestamp\"", "\"value\"", "\"tags\"", "1", "\"v\"", "null", " ",
        ]), 0..30),
    ) {
        let _ = PutBody::decode(parts.concat().as_bytes(), &Limits::default());
    }

    #[test]
    fn every_point_comes_out_as_it_went_in(
        sent in proptest::collection::vec(("[a-z.]{1,9}", 1u32.., any::<i64>(), "[a-z]{1,5}", "[A-Zä]{1,5}"), 0..20),
    ) {
        let body: Vec<Value> = sent
            .iter()
            .map(|(metric, ts, value, k, v)| json!({"metric": metric, "timestamp": ts, "value": value, "tags": {k: v}}))
            .collect();
        let body = serde_json::to_string(&body).unwrap();
        let expected: Vec<_> = sent
            .iter()
            .map(|(metric, ts, value, k, v)| format!("{metric}{{{k}={v}}} {} {value}", i64::from(*ts) * 1000))
            .collect();
        prop_assert_eq!(points(&decode(&body)), expected);
    }
}
