//! The audit: what is stored against what was promised.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::net::SocketAddr;

use crate::kept::Kept;
use crate::load::{Acknowledged, Ledger, PARTITIONS, POINTS, TOPIC, value};
use crate::support::read::{self, Record};

/// So many records that are known already are read again by every audit.
const AGAIN: usize = 300;

/// Topic and partition.
type Place = (&'static str, u32);

/// All that was promised so far.
#[derive(Debug, Default)]
pub(crate) struct Audit {
    acknowledged: Vec<Acknowledged>,
    /// Series, and how many of their points were acknowledged.
    points: Vec<(String, u64)>,
    /// What the last audit, or a reader since, found in each partition: once readable, for ever there.
    known: BTreeMap<Place, Vec<Record>>,
    kept: Kept,
}

impl fmt::Display for Audit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stored: usize = self.known.values().map(Vec::len).sum();
        let given_back = self.kept.start();
        write!(
            f,
            "{} acknowledged records audited, {stored} stored, {given_back} given back",
            self.acknowledged()
        )
    }
}

impl Audit {
    /// How many records were acknowledged.
    pub(crate) fn acknowledged(&self) -> usize {
        let points: u64 = self.points.iter().map(|(_, count)| count).sum();
        self.acknowledged.len() + usize::try_from(points).unwrap() + self.kept.promised()
    }

    /// Where a reader of partition 0 has to begin to see some of what is known again.
    pub(crate) fn tail(&self) -> usize {
        self.known.get(&(TOPIC, 0)).map_or(0, Vec::len).saturating_sub(AGAIN)
    }

    /// Adds what a load was told.
    pub(crate) fn take(&mut self, ledger: Ledger) {
        self.acknowledged.extend(ledger.acknowledged);
        self.points.push(ledger.points);
        self.kept.take(ledger.kept);
        let (from, seen) = ledger.seen;
        let known = self.known.entry((TOPIC, 0)).or_default();
        let both = (known.len() - from).min(seen.len());
        assert!(known[from..from + both] == seen[..both], "a reader was given other records than before");
        known.extend_from_slice(&seen[both..]);
    }

    /// Reads everything back and compares; with `recent` only what is new and [`AGAIN`] records before.
    pub(crate) fn check(&mut self, address: SocketAddr, recent: bool) {
        for partition in 0..PARTITIONS {
            self.check_partition(address, (TOPIC, partition), recent);
        }
        // The topic comes with the first points, and with it the promise.
        if self.points.iter().any(|(_, count)| *count > 0) {
            self.check_partition(address, (POINTS, 0), recent);
        }
        self.kept.check(address);
    }

    fn check_partition(&mut self, address: SocketAddr, place: Place, recent: bool) {
        let known = self.known.get(&place).map_or(0, Vec::len);
        let from = if recent { known.saturating_sub(AGAIN) } else { 0 };
        let stored = read::partition_from(address, place.0, place.1, from);
        self.judge(place, from, &stored);
        let known = self.known.entry(place).or_default();
        known.truncate(from);
        known.extend(stored);
    }

    /// `stored` is what the partition holds from the offset `from` on.
    fn judge(&self, place: Place, from: usize, stored: &[Record]) {
        let known = self.known.get(&place).map_or(&[][..], |known| &known[from..]);
        assert!(stored.len() >= known.len(), "{place:?}: {} records, {} before", stored.len(), known.len());
        for (now, before) in stored.iter().zip(known) {
            assert!(now == before, "{place:?}: offset {} holds another record than before", before.offset);
        }
        check_order(place, stored);
        if place.0 == TOPIC {
            self.check_acknowledged(place.1, from, stored);
        } else {
            self.check_points(from, stored);
        }
    }

    fn check_acknowledged(&self, partition: u32, from: usize, stored: &[Record]) {
        let here = |record: &&Acknowledged| record.partition == partition && record.offset >= from as u64;
        for record in self.acknowledged.iter().filter(here) {
            let Acknowledged { offset, producer, sequence, .. } = record;
            let found = usize::try_from(*offset).ok().and_then(|at| stored.get(at - from));
            let Some(found) = found else {
                panic!("lost: {producer} {sequence}, acknowledged at {partition}/{offset}");
            };
            assert_eq!(
                found.key.as_deref(),
                Some(producer.as_str()),
                "{partition}/{offset} is another's record"
            );
            assert!(
                found.value.as_deref() == Some(&value(producer, *sequence)),
                "{partition}/{offset}: acknowledged as {producer} {sequence}, and changed"
            );
        }
    }

    /// The answers to points name no offsets: a series is there up to its last acknowledged point.
    fn check_points(&self, from: usize, stored: &[Record]) {
        let mut next: HashMap<&str, u64> = HashMap::new();
        for record in stored {
            let (series, number) = read_as(record);
            let expected = next.insert(series, number + 1);
            let holds = expected.map_or(from > 0 || number == 0, |expected| number == expected);
            assert!(holds, "{series}: point {number} where {expected:?} should be");
        }
        // Of what is read in part, only the last series is sure to lie in it: it began behind the last audit.
        let whole = if from == 0 { 0 } else { self.points.len().saturating_sub(1) };
        for (series, count) in &self.points[whole..] {
            let found = next.get(series.as_str()).copied().unwrap_or(0);
            assert!(found >= *count, "lost: {count} points of {series} were acknowledged, {found} are there");
        }
    }
}

/// Who sent a record, and which one it is.
fn read_as(record: &Record) -> (&str, u64) {
    let (producer, content) = (record.key.as_deref().unwrap(), record.value.as_deref().unwrap());
    let number = if producer.ends_with('}') { Some(content) } else { content.split(' ').nth(1) };
    (producer, number.unwrap().parse().unwrap())
}

/// Whether a producer sends one number after the other to one partition, until it is acknowledged.
fn is_dense(producer: &str) -> bool {
    producer.starts_with('k') || producer.ends_with('}')
}

/// Each producer's records are whole, in the order sent, none twice, whether they were acknowledged or not.
fn check_order(place: Place, stored: &[Record]) {
    let mut last: HashMap<&str, u64> = HashMap::new();
    for record in stored {
        let (producer, sequence) = read_as(record);
        let at = record.offset;
        assert!(
            record.value.as_deref() == Some(&value(producer, sequence)),
            "{place:?}/{at}: nobody sent this"
        );
        if let Some(before) = last.insert(producer, sequence) {
            assert!(before < sequence, "{place:?}/{at}: {producer} {sequence} behind {before}");
            assert!(
                !is_dense(producer) || before + 1 == sequence,
                "{place:?}/{at}: {producer} {sequence} behind {before}, what is between is lost"
            );
        }
    }
}

/// The audit itself, with planted faults.
#[cfg(test)]
mod tests {
    use std::panic::catch_unwind;

    use super::*;

    fn record(offset: u64, producer: &str, sequence: u64) -> Record {
        let value = Some(value(producer, sequence));
        Record { offset, timestamp: 1, key: Some(producer.to_owned()), value }
    }

    /// Two producers; the first three records were acknowledged, the first two seen by a reader, the last is neither.
    fn promised() -> (Audit, Vec<Record>) {
        let stored = vec![record(0, "a", 0), record(1, "b", 0), record(2, "a", 1), record(3, "b", 1)];
        let acknowledged = |offset, producer: &str, sequence| {
            let producer = producer.to_owned();
            Acknowledged { partition: 0, offset, producer, sequence }
        };
        let acknowledged = vec![acknowledged(0, "a", 0), acknowledged(1, "b", 0), acknowledged(2, "a", 1)];
        let known = BTreeMap::from([((TOPIC, 0), stored[..2].to_vec())]);
        (Audit { acknowledged, known, ..Audit::default() }, stored)
    }

    fn finds(fault: fn(&mut Vec<Record>)) -> bool {
        let (audit, mut stored) = promised();
        fault(&mut stored);
        catch_unwind(move || audit.judge((TOPIC, 0), 0, &stored)).is_err()
    }

    #[test]
    fn what_was_promised_passes_with_and_without_what_was_not() {
        assert!(!finds(|_| {}));
        assert!(!finds(|stored| stored.truncate(3)), "a record that nobody vouched for may be missing");
    }

    #[test]
    fn each_planted_fault_is_found() {
        assert!(finds(|stored| stored.truncate(2)), "an acknowledged record is lost");
        assert!(finds(|stored| stored.clear()), "everything is lost");
        assert!(finds(|stored| stored[2].value = Some("a 1 ?".to_owned())), "a value is changed");
        assert!(finds(|stored| stored[0].timestamp = 2), "a record that was read is changed");
        assert!(finds(|stored| stored.swap(0, 2)), "the order is changed");
        assert!(finds(|stored| stored.push(record(4, "b", 1))), "a record is there twice");
        assert!(finds(|stored| stored.push(record(4, "b", 0))), "an old record comes back");
        assert!(finds(|stored| stored[2].key = Some("b".to_owned())), "a record has another's key");
        assert!(
            finds(|stored| stored.extend([record(4, "k0", 0), record(5, "k0", 2)])),
            "one of those that are sent until they are acknowledged is missing"
        );
    }

    #[test]
    fn a_point_that_is_lost_doubled_or_exchanged_is_found() {
        const SERIES: &str = "c0{from=crash}";
        let finds = |numbers: &[u64]| {
            let audit = Audit { points: vec![(SERIES.to_owned(), 3)], ..Audit::default() };
            let stored: Vec<_> = numbers.iter().map(|n| record(*n, SERIES, *n)).collect();
            catch_unwind(move || audit.judge((POINTS, 0), 0, &stored)).is_err()
        };
        assert!(!finds(&[0, 1, 2]));
        assert!(!finds(&[0, 1, 2, 3]), "one more than was acknowledged");
        for fault in [&[0, 1][..], &[], &[0, 2], &[1, 2], &[0, 1, 1, 2], &[0, 2, 1]] {
            assert!(finds(fault), "{fault:?}");
        }
    }
}
