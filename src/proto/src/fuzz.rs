//! # Purpose
//! Bodies of the fuzz targets: each takes any bytes and must neither panic nor disagree with itself.

use bytes::BytesMut;

use crate::consumer_protocol::{
    decode_assignment, decode_subscription, encode_assignment, encode_subscription,
};
use crate::http::admin::{CreateTopic, Trim};
use crate::http::body::BodyFormat;
use crate::http::groups::SetOffsets;
use crate::http::read_query::{ReadQuery, parse_produce_query};
use crate::http::{answers, records};
use crate::limits::Limits;
use crate::opentsdb::http::{PutAnswer, PutBody, PutFlags};
use crate::opentsdb::point::{PointRef, parse_series_key, timestamp_ms, value_kind};
use crate::opentsdb::telnet::{Command, TelnetDecoder};

/// Telnet lines: whole and in pieces of a size that the first byte picks, with the same outcome.
pub fn fuzz_telnet(data: &[u8]) {
    let Some((first, input)) = data.split_first() else { return };
    let whole = telnet_outcome(input, input.len().max(1));
    let pieces = telnet_outcome(input, usize::from(*first) + 1);
    assert_eq!(whole, pieces, "the outcome depends on how the bytes arrive");
}

fn telnet_outcome(input: &[u8], piece: usize) -> Vec<String> {
    let limits = Limits { telnet_line_bytes: 256, ..Limits::default() };
    let mut decoder = TelnetDecoder::new(&limits);
    let mut buffer = BytesMut::new();
    let mut outcome = Vec::new();
    for part in input.chunks(piece) {
        buffer.extend_from_slice(part);
        while let Some(command) = decoder.next(&mut buffer) {
            if let Command::Put(point) = &command {
                check_point(point);
            }
            if let Some(answer) = command.answer() {
                assert!(answer.ends_with('\n') && answer.matches('\n').count() == 1, "an answer is one line");
            }
            outcome.push(format!("{command:?}"));
        }
        assert!(buffer.len() <= 258, "the decoder lets an unfinished line grow");
    }
    outcome
}

/// JSON puts: every point is one that the data model allows, and every answer is JSON.
pub fn fuzz_http_put(data: &[u8]) {
    match PutBody::decode(data, &Limits::default()) {
        Ok(put) => {
            put.points().for_each(|point| check_point(&point));
            for query in ["", "summary", "details"] {
                let answer = PutAnswer::stored(&put, PutFlags::parse(query).unwrap_or_default());
                check_json(&answer.body, answer.status == 204);
            }
        }
        Err(error) => check_json(&PutAnswer::refused(&error).body, false),
    }
}

/// Record bodies: the first byte picks the format; every record survives being answered by a read.
pub fn fuzz_records(data: &[u8]) {
    let Some((first, body)) = data.split_first() else { return };
    let format = match first % 3 {
        0 => BodyFormat::Json,
        1 => BodyFormat::NdJson,
        _ => BodyFormat::Text,
    };
    let mut line = Vec::new();
    let result = records::decode(format, body, &Limits::default(), |input| {
        let record = input.as_record(0);
        line.clear();
        answers::write_line(&mut line, 1, &record);
        let read = answers::read_line(&line);
        assert_eq!(
            read.as_ref().map(|read| read.record.as_record(0)),
            Ok(record),
            "a record does not read back"
        );
    });
    if let Err(error) = result {
        assert!(!error.to_string().contains(char::is_control), "a message holds control characters");
    }
    let _ = answers::read_line(body);
}

fn check_point(point: &PointRef<'_>) {
    assert!(parse_series_key(point.series_key).is_some(), "a key that cannot be read back");
    assert!(value_kind(point.value) == Ok(point.kind), "a value that is not accepted again");
    assert!(point.timestamp_ms > 0, "a timestamp that is not positive");
    let (seconds, millis) = (point.timestamp_ms / 1000, point.timestamp_ms % 1000);
    let decimals = timestamp_ms(format!("{seconds}.{millis:03}").as_bytes());
    let again = decimals.or_else(|_| timestamp_ms(point.timestamp_ms.to_string().as_bytes()));
    assert_eq!(again, Ok(point.timestamp_ms), "a timestamp that is not accepted again");
}

fn check_json(body: &str, may_be_empty: bool) {
    let is_json = serde_json::from_str::<serde::de::IgnoredAny>(body).is_ok();
    assert!(is_json || (may_be_empty && body.is_empty()), "an answer that is not JSON");
}

/// What members of a group send one another: what is understood is written and read as the same again.
pub fn fuzz_groups(data: &[u8]) {
    if let Ok(topics) = decode_subscription(data) {
        let again = encode_subscription(topics.iter().map(String::as_str));
        assert_eq!(decode_subscription(&again).as_ref(), Ok(&topics));
    }
    if let Ok(assignment) = decode_assignment(data) {
        assert_eq!(decode_assignment(&encode_assignment(&assignment)).as_ref(), Ok(&assignment));
    }
}

/// Queries, administration and read lines of HTTP.
pub fn fuzz_http_admin(data: &[u8]) {
    let _ =
        (CreateTopic::decode(data), Trim::decode(data), SetOffsets::decode(data), answers::read_line(data));
    let Ok(text) = std::str::from_utf8(data) else { return };
    let limits = Limits::default();
    let _ = (parse_produce_query(text), PutFlags::parse(text));
    if let Ok(query) = ReadQuery::parse(text, &limits) {
        let again = query.to_query();
        assert_eq!(ReadQuery::parse(&again, &limits).as_ref(), Ok(&query), "{again}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    type Body = fn(&[u8]);

    const SEEDS: [(Body, &[u8]); 8] = [
        (fuzz_telnet, b"\x05put m 1356998400.5 42.5 b=1 a=2\r\nversion\nput m 5000000000000 1 a=b\nput  x  1  -2e3 k=v\n"),
        (fuzz_http_put, br#"[{"metric":"m.\u00e4","timestamp":1,"value":2,"tags":{"k":"v","n":5}},{"metric":"x"},{}]"#),
        (fuzz_http_put, br#"{"metric":"m","timestamp":"1356998400.25","value":"-2.5e3","tags":{"a":"1","b":"2"}}"#),
        (fuzz_http_put, b"{"),
        (fuzz_records, br#" {"records":[{"key":"k","value_base64":"/w==","timestamp":5,"headers":{"a":"b"}},{}]}"#),
        (fuzz_records, b"\x01{\"value\":\"x\",\"headers_list\":[[\"a\",null],[\"a\",\"b\"]]}\n\n{\"partition\":3}"),
        (fuzz_records, b"\x01{\"offset\":1,\"timestamp\":-1,\"headers_list_base64\":[[\"a\",\"/w==\"]]}"),
        (fuzz_records, b"\x02line\r\nline"),
    ];

    #[test]
    fn the_seeds_run() {
        SEEDS.iter().for_each(|(body, seed)| body(seed));
    }

    #[test]
    fn every_truncation_and_every_single_bit_flip_of_a_seed_is_harmless() {
        for (body, seed) in SEEDS {
            for at in 0..seed.len() {
                body(&seed[..at]);
                for bit in 0..8 {
                    let mut flipped = seed.to_vec();
                    flipped[at] ^= 1 << bit;
                    body(&flipped);
                }
            }
        }
    }

    proptest! {
        #[test]
        fn no_bytes_break_a_fuzz_body(data in proptest::collection::vec(any::<u8>(), 0..200)) {
            fuzz_telnet(&data);
            fuzz_http_put(&data);
            fuzz_records(&data);
        }

        #[test]
        fn spliced_seeds_are_harmless(
            pieces in proptest::collection::vec((0usize..8, any::<usize>(), any::<usize>()), 1..6),
        ) {
            let mut data = Vec::new();
            for (seed, from, to) in &pieces {
                let seed = SEEDS[*seed].1;
                let (from, to) = (from % seed.len(), to % seed.len());
                data.extend_from_slice(&seed[from.min(to)..from.max(to)]);
            }
            SEEDS[pieces[0].0].0(&data);
        }
    }
}
