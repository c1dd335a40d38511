//! What a data point must become: read from the client's own words, without Tidelog's code.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::support::read::Record;

/// Key, timestamp in ms and value of the record that a point becomes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Point {
    key: String,
    timestamp: i64,
    value: String,
}

impl Point {
    fn new(metric: &str, seconds: i64, value: &str, tags: &BTreeMap<String, String>) -> Point {
        let tags: Vec<String> = tags.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let key = format!("{metric}{{{}}}", tags.join(","));
        Point { key, timestamp: seconds * 1000, value: value.to_owned() }
    }

    /// The point of a telnet line; `None` for a value that cannot be stored.
    pub(crate) fn of_line(line: &str) -> Option<Point> {
        let mut words = line.split_whitespace();
        assert_eq!(words.next(), Some("put"), "{line}");
        let (metric, seconds, value) = (words.next().unwrap(), words.next().unwrap(), words.next().unwrap());
        let tags = words.map(|tag| tag.split_once('=').unwrap()).map(|(k, v)| (k.to_owned(), v.to_owned()));
        let number: f64 = value.parse().unwrap();
        number.is_finite().then(|| Point::new(metric, seconds.parse().unwrap(), value, &tags.collect()))
    }

    /// The points of an HTTP body that can be stored, and how many cannot, for they have no time.
    pub(crate) fn of_body(body: &[u8]) -> (Vec<Point>, usize) {
        #[derive(Deserialize)]
        struct Sent<'a> {
            metric: String,
            timestamp: i64,
            #[serde(borrow)]
            value: &'a RawValue,
            tags: BTreeMap<String, String>,
        }
        let sent: Vec<Sent<'_>> = serde_json::from_slice(body).unwrap();
        let timed = sent.iter().filter(|sent| sent.timestamp > 0);
        let point = |sent: &Sent<'_>| Point::new(&sent.metric, sent.timestamp, sent.value.get(), &sent.tags);
        let points: Vec<Point> = timed.map(point).collect();
        let refused = sent.len() - points.len();
        (points, refused)
    }

    fn of_record(record: &Record) -> Point {
        let Record { timestamp, key, value, .. } = record.clone();
        Point { key: key.unwrap_or_default(), timestamp, value: value.unwrap_or_default() }
    }
}

/// One send of a client: its points, and whether the server vouched for them.
#[derive(Debug)]
pub(crate) struct Send {
    pub(crate) points: Vec<Point>,
    pub(crate) acknowledged: bool,
}

/// Checks that `stored` is the sends in their order: those acknowledged as a whole, of the others a beginning, nothing
/// twice, nothing else. Returns how many points were acknowledged and how many others are stored.
pub(crate) fn check(sends: &[Send], stored: &[Record]) -> (usize, usize) {
    let mut rest = stored.iter().map(Point::of_record).peekable();
    let (mut acknowledged, mut others) = (0, 0);
    for (n, send) in sends.iter().enumerate() {
        for (at, point) in send.points.iter().enumerate() {
            if send.acknowledged {
                let found = rest.next();
                assert_eq!(
                    found.as_ref(),
                    Some(point),
                    "send {n}, point {at}: acknowledged, and another one is stored"
                );
                acknowledged += 1;
            } else if rest.next_if_eq(point).is_some() {
                others += 1;
            } else {
                break;
            }
        }
    }
    assert_eq!(rest.next(), None, "stored, and nobody sent it (any more)");
    (acknowledged, others)
}

/// The check itself, with planted faults.
#[cfg(test)]
mod tests {
    use std::panic::catch_unwind;

    use super::*;

    const LINES: [&str; 5] =
        ["put m 1 10 h=a", "put m 2 20 h=a", "put m 3 30 h=a", "put m 4 40 h=a", "put m 5 50 h=a"];

    /// An acknowledged send of two points, one of two that was cut off, an acknowledged one of one.
    fn sends() -> Vec<Send> {
        let points: Vec<Point> = LINES.iter().filter_map(|line| Point::of_line(line)).collect();
        let send = |range: std::ops::Range<usize>, acknowledged| Send {
            points: points[range].to_vec(),
            acknowledged,
        };
        vec![send(0..2, true), send(2..4, false), send(4..5, true)]
    }

    fn accepts(stored: &[usize]) -> bool {
        let record = |(at, line): (usize, &usize)| {
            let Point { key, timestamp, value } = Point::of_line(LINES[*line]).unwrap();
            Record { offset: at as u64, timestamp, key: Some(key), value: Some(value) }
        };
        let stored: Vec<Record> = stored.iter().enumerate().map(record).collect();
        catch_unwind(move || check(&sends(), &stored)).is_ok()
    }

    #[test]
    fn a_line_becomes_a_key_with_sorted_tags_milliseconds_and_the_text_of_the_value() {
        let point = Point::of_line("put load.load 17 7.250 z=1  b=2\r\n").unwrap();
        assert_eq!(
            (point.key.as_str(), point.timestamp, point.value.as_str()),
            ("load.load{b=2,z=1}", 17_000, "7.250")
        );
        assert_eq!(Point::of_line("put load.load 17 nan z=1"), None);
    }

    #[test]
    fn of_a_send_that_was_cut_off_any_beginning_may_be_stored() {
        for stored in [&[0, 1, 4][..], &[0, 1, 2, 4], &[0, 1, 2, 3, 4]] {
            assert!(accepts(stored), "{stored:?}");
        }
    }

    #[test]
    fn each_planted_fault_is_found() {
        for stored in [
            &[0, 1][..],
            &[1, 4],
            &[1, 0, 4],
            &[0, 1, 3, 4],
            &[0, 1, 2, 2, 4],
            &[0, 0, 1, 4],
            &[0, 1, 4, 2],
            &[0, 1, 4, 4],
            &[],
        ] {
            assert!(!accepts(stored), "{stored:?}");
        }
    }
}
