//! The audit: what is stored against what was promised.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::net::SocketAddr;

use crate::load::{Acknowledged, Ledger, PARTITIONS, TOPIC, value};
use crate::support::read::{self, Record};

/// So many records that are known already are read again by every audit.
const AGAIN: usize = 500;

/// All that was promised so far.
#[derive(Debug, Default)]
pub(crate) struct Audit {
    acknowledged: Vec<Acknowledged>,
    /// What the last audit, or a reader since, found in each partition: once readable, for ever there.
    known: BTreeMap<u32, Vec<Record>>,
}

impl fmt::Display for Audit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stored: usize = self.known.values().map(Vec::len).sum();
        write!(f, "{} acknowledged records audited, {stored} stored", self.acknowledged.len())
    }
}

impl Audit {
    /// How many records were acknowledged.
    pub(crate) fn acknowledged(&self) -> usize {
        self.acknowledged.len()
    }

    /// Adds what a load was told.
    pub(crate) fn take(&mut self, ledger: Ledger) {
        self.acknowledged.extend(ledger.acknowledged);
        let (partition, seen) = ledger.seen;
        let known = self.known.entry(partition).or_default();
        let both = known.len().min(seen.len());
        assert!(known[..both] == seen[..both], "a reader was given other records than before");
        if seen.len() > known.len() {
            *known = seen;
        }
    }

    /// Reads everything back and compares; with `recent` only what is new and [`AGAIN`] records before.
    pub(crate) fn check(&mut self, address: SocketAddr, recent: bool) {
        for partition in 0..PARTITIONS {
            let known = self.known.get(&partition).map_or(0, Vec::len);
            let from = if recent { known.saturating_sub(AGAIN) } else { 0 };
            let stored = read::partition_from(address, TOPIC, partition, from);
            self.judge(partition, from, &stored);
            let known = self.known.entry(partition).or_default();
            known.truncate(from);
            known.extend(stored);
        }
    }

    /// `stored` is what the partition holds from the offset `from` on.
    fn judge(&self, partition: u32, from: usize, stored: &[Record]) {
        let known = self.known.get(&partition).map_or(&[][..], |known| &known[from..]);
        assert!(stored.len() >= known.len(), "{partition}: {} records, {} before", stored.len(), known.len());
        for (now, before) in stored.iter().zip(known) {
            assert!(now == before, "{partition}: offset {} holds another record than before", before.offset);
        }
        check_order(partition, stored);
        self.check_acknowledged(partition, from, stored);
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
}

/// Each producer's records are whole, in the order sent, none twice, whether they were acknowledged or not.
fn check_order(partition: u32, stored: &[Record]) {
    let mut last: HashMap<&str, u64> = HashMap::new();
    for record in stored {
        let (producer, content) = (record.key.as_deref().unwrap(), record.value.as_deref().unwrap());
        let sequence: u64 = content.split(' ').nth(1).unwrap().parse().unwrap();
        assert!(content == value(producer, sequence), "{partition}/{}: nobody sent this", record.offset);
        if let Some(before) = last.insert(producer, sequence) {
            assert!(
                before < sequence,
                "{partition}/{}: {producer} {sequence} behind {before}",
                record.offset
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
        let known = BTreeMap::from([(0, stored[..2].to_vec())]);
        (Audit { acknowledged, known }, stored)
    }

    fn finds(fault: fn(&mut Vec<Record>)) -> bool {
        let (audit, mut stored) = promised();
        fault(&mut stored);
        catch_unwind(move || audit.judge(0, 0, &stored)).is_err()
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
    }
}
