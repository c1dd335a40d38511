//! The audit: what is stored against what was promised.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::net::SocketAddr;

use crate::load::{Acknowledged, Ledger, PARTITIONS, TOPIC, value};
use crate::support::read::{self, Record};

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

    /// Reads everything back and compares.
    pub(crate) fn check(&mut self, address: SocketAddr) {
        for partition in 0..PARTITIONS {
            let stored = read::partition(address, TOPIC, partition);
            let known = self.known.get(&partition).map_or(&[][..], Vec::as_slice);
            assert!(
                stored.len() >= known.len(),
                "{partition}: {} records, {} before",
                stored.len(),
                known.len()
            );
            for (now, before) in stored.iter().zip(known) {
                assert!(
                    now == before,
                    "{partition}: offset {} holds another record than before",
                    before.offset
                );
            }
            check_order(partition, &stored);
            self.check_acknowledged(partition, &stored);
            self.known.insert(partition, stored);
        }
    }

    fn check_acknowledged(&self, partition: u32, stored: &[Record]) {
        for record in self.acknowledged.iter().filter(|record| record.partition == partition) {
            let Acknowledged { offset, producer, sequence, .. } = record;
            let found = usize::try_from(*offset).ok().and_then(|at| stored.get(at));
            let Some(found) = found else {
                panic!(
                    "lost: {producer} {sequence}, acknowledged at {partition}/{offset}; {} are left",
                    stored.len()
                );
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
