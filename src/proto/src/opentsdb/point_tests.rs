//! Tests of the data model.

use super::*;
use proptest::prelude::*;

fn key_of(metric: &str, pairs: &[(&str, &str)]) -> Result<String, PointError> {
    let mut tags = Tags::default();
    for (name, value) in pairs {
        tags.insert(name.as_bytes(), value.as_bytes())?;
    }
    let mut out = Vec::new();
    write_series_key(&mut out, metric.as_bytes(), &tags, 64 * 1024)?;
    Ok(String::from_utf8(out).unwrap())
}

#[test]
fn the_series_key_does_not_depend_on_the_order_of_the_tags() {
    let sorted = "sys.cpu/x{a=1,host=web-01,zone=eu_1}";
    assert_eq!(key_of("sys.cpu/x", &[("host", "web-01"), ("a", "1"), ("zone", "eu_1")]).unwrap(), sorted);
    assert_eq!(key_of("sys.cpu/x", &[("zone", "eu_1"), ("host", "web-01"), ("a", "1")]).unwrap(), sorted);
}

#[test]
fn letters_of_any_script_are_allowed_in_names() {
    assert_eq!(key_of("größe", &[("город", "東京")]).unwrap(), "größe{город=東京}");
}

#[test]
fn a_character_outside_the_alphabet_is_named() {
    for (name, found) in
        [("a b", " "), ("a{b", "{"), ("a=b", "="), ("a,b", ","), ("a\nb", "\\u{a}"), ("a€", "€"), ("²", "²")]
    {
        let error = key_of(name, &[("k", "v")]).unwrap_err().to_string();
        assert!(error.starts_with("Invalid metric name (\""), "{error}");
        assert!(error.contains(&format!("illegal character: {found} ")), "{error}");
    }
    let error = check_name("tag value", b"ab\xff").unwrap_err().to_string();
    assert!(error.starts_with("Invalid tag value (\"ab\u{fffd}\"): illegal character: \u{fffd}"), "{error}");
}

#[test]
fn one_to_eight_tags_are_taken() {
    let names = ["a", "b", "c", "d", "e", "f", "g", "h", "i"];
    let pairs: Vec<_> = names.iter().map(|name| (*name, "1")).collect();
    assert_eq!(key_of("m", &[]).unwrap_err().to_string(), "Need at least one tag (metric=m, tags={})");
    assert!(key_of("m", &pairs[..8]).is_ok());
    assert_eq!(key_of("m", &pairs), Err(PointError::TooManyTags));
}

#[test]
fn a_repeated_tag_is_taken_once_and_a_contradicting_one_refused() {
    assert_eq!(key_of("m", &[("k", "v"), ("k", "v")]).unwrap(), "m{k=v}");
    let error = key_of("m", &[("k", "v"), ("a", "1"), ("k", "w")]).unwrap_err().to_string();
    assert_eq!(error, "duplicate tag: k=w, already k=v");
}

#[test]
fn a_key_longer_than_the_limit_is_refused_and_nothing_is_written() {
    let mut tags = Tags::default();
    tags.insert(b"k", b"v").unwrap();
    let mut out = b"kept".to_vec();
    let error = write_series_key(&mut out, b"metric", &tags, 10).unwrap_err();
    assert_eq!(error, PointError::KeyTooLong { len: 11, max: 10 });
    assert_eq!(out, b"kept");
    assert!(write_series_key(&mut out, b"metric", &tags, 11).is_ok());
}

#[test]
fn a_point_becomes_a_record_with_its_key_time_and_number() {
    let (series_key, value) = (&b"m{k=v}"[..], &b"4.20"[..]);
    let point = PointRef { series_key, timestamp_ms: 5000, value, kind: NumberKind::Float };
    let known = Record { timestamp: 5000, key: Some(series_key), value: Some(value), headers: vec![] };
    assert_eq!((point.as_record(), point.metric()), (known, &b"m"[..]));
}

#[test]
fn a_key_that_no_point_has_is_not_read_back() {
    for key in ["", "m", "m{}", "{k=v}", "m{k=v", "m{k}", "m{k=v}x", "m{k=v,}", "m{k=v=w}", "m{k=v,k=w}"] {
        assert!(parse_series_key(key.as_bytes()).is_none(), "{key}");
    }
}

proptest! {
    #[test]
    fn metric_and_tags_are_read_back_from_every_key(
        metric in "[-_./a-zA-Z0-9äж東]{1,20}",
        pairs in proptest::collection::btree_map("[-_./a-zA-Z0-9äж]{1,9}", "[-_./a-zA-Z0-9äж]{1,9}", 1..=8),
    ) {
        let mut tags = Tags::default();
        for (name, value) in pairs.iter().rev() {
            tags.insert(name.as_bytes(), value.as_bytes()).unwrap();
        }
        let mut key = Vec::new();
        write_series_key(&mut key, metric.as_bytes(), &tags, 64 * 1024).unwrap();
        let (read_metric, read_tags) = parse_series_key(&key).unwrap();
        prop_assert_eq!(read_metric, metric.as_bytes());
        let expected: Vec<_> = pairs.iter().map(|(n, v)| (n.as_bytes(), v.as_bytes())).collect();
        prop_assert_eq!(read_tags.pairs(), &expected[..]);
    }
}
