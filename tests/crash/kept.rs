//! A topic that keeps little, so that under the kills segments are given back and their files used for others.

use std::net::SocketAddr;

use crate::load::{Acknowledged, value};
use crate::support::http::Http;
use crate::support::read::{self, Record};

pub(crate) const TOPIC: &str = "kept";
/// How its producers' names end. What they send takes room: elsewhere the server compresses what is alike.
pub(crate) const PRODUCER: &str = "kept";
/// What it keeps at least, stored bytes: what comes between two kills, so that each life gives something back.
const KEPT: usize = 64 << 10;
/// More than a record takes besides key and value, its share of a batch's header included, uncompressed.
const AROUND: usize = 100;

pub(crate) fn create(address: SocketAddr) {
    let config = serde_json::json!({"retention_bytes": KEPT});
    let topic = serde_json::json!({"name": TOPIC, "partitions": 1, "config": config}).to_string();
    let answer = Http::new(address).post("/v1/topics", "application/json", topic.as_bytes()).unwrap();
    assert!(answer.is_success(), "{}", answer.text());
}

/// What was promised of it.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    /// In the order of their offsets; those that were given back are forgotten.
    acknowledged: Vec<Acknowledged>,
    /// What the last audit found.
    known: Vec<Record>,
    /// How many were acknowledged since the first start.
    promised: usize,
}

impl Kept {
    pub(crate) fn take(&mut self, acknowledged: Vec<Acknowledged>) {
        self.promised += acknowledged.len();
        self.acknowledged.extend(acknowledged);
    }

    /// How many records were acknowledged.
    pub(crate) fn promised(&self) -> usize {
        self.promised
    }

    /// The first record that is not given back.
    pub(crate) fn start(&self) -> u64 {
        self.known.first().map_or(0, |first| first.offset)
    }

    pub(crate) fn check(&mut self, address: SocketAddr) {
        if self.acknowledged.is_empty() && self.known.is_empty() {
            return;
        }
        self.judge(read::newest(address, TOPIC, 0));
    }

    /// All that is not given back is as it was promised, and no more is given back than may be.
    fn judge(&mut self, stored: Vec<Record>) {
        let Some(first) = stored.first().map(|first| first.offset) else {
            panic!("lost: of {TOPIC} nothing is left");
        };
        assert!(
            first >= self.start(),
            "{TOPIC}: what was given back up to {} is back at {first}",
            self.start()
        );
        let bytes = |record: &Record| {
            let len = |text: &Option<String>| text.as_ref().map_or(0, String::len);
            len(&record.key) + len(&record.value) + AROUND
        };
        let kept: usize = stored.iter().map(bytes).sum();
        assert!(first == 0 || kept >= KEPT, "{TOPIC}: {kept} bytes are left, and {KEPT} are to be kept");
        let at = |offset: u64| stored.get(usize::try_from(offset - first).unwrap());
        for before in self.known.iter().filter(|record| record.offset >= first) {
            let now = at(before.offset);
            assert!(
                now == Some(before),
                "{TOPIC}: offset {} holds another record than before",
                before.offset
            );
        }
        self.acknowledged.retain(|record| record.offset >= first);
        for Acknowledged { offset, producer, sequence, .. } in &self.acknowledged {
            let Some(found) = at(*offset) else {
                panic!("lost: {producer} {sequence}, acknowledged at {TOPIC}/{offset}");
            };
            let is_it = found.key.as_deref() == Some(producer)
                && found.value.as_deref() == Some(&value(producer, *sequence));
            assert!(is_it, "{TOPIC}/{offset}: acknowledged as {producer} {sequence}, and another record now");
        }
        self.known = stored;
    }
}

/// The audit itself, with planted faults.
#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::*;

    fn record(offset: u64) -> Record {
        let pad = format!("{} {}", value("a", offset), "-".repeat(KEPT / 4));
        Record { offset, timestamp: 1, key: Some("a".to_owned()), value: Some(pad) }
    }

    fn finds(stored: Vec<Record>) -> bool {
        let known: Vec<Record> = (2..9).map(record).collect();
        let mut kept = Kept { known, ..Kept::default() };
        catch_unwind(AssertUnwindSafe(move || kept.judge(stored))).is_err()
    }

    #[test]
    fn what_was_given_back_may_be_gone_and_nothing_else() {
        assert!(!finds((2..9).map(record).collect()), "as it was");
        assert!(!finds((4..12).map(record).collect()), "older ones given back, new ones there");
        assert!(finds(Vec::new()), "all is gone");
        assert!(finds((1..9).map(record).collect()), "an old one is back");
        assert!(finds((2..8).map(record).collect()), "the newest one is gone");
        assert!(finds((7..9).map(record).collect()), "too much is given back");
        let mut changed: Vec<Record> = (2..9).map(record).collect();
        changed[3].timestamp = 2;
        assert!(finds(changed), "one is changed");
    }

    #[test]
    fn an_acknowledged_record_that_is_lost_or_changed_is_found() {
        let finds = |stored: Vec<Record>| {
            let acknowledged =
                |offset| Acknowledged { partition: 0, offset, producer: "a".to_owned(), sequence: offset };
            let mut kept = Kept { acknowledged: (0..3).map(acknowledged).collect(), ..Kept::default() };
            catch_unwind(AssertUnwindSafe(move || kept.judge(stored))).is_err()
        };
        let sent = |offset| Record { value: Some(value("a", offset)), ..record(offset) };
        assert!(!finds((0..3).map(sent).collect()));
        assert!(finds((0..2).map(sent).collect()), "lost");
        assert!(finds(vec![sent(0), record(1), sent(2)]), "changed");
    }
}
