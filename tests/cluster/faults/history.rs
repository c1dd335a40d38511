//! What was promised and what was read, against what the partitions hold at the end.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::fmt;

use crate::support::idempotent::Acknowledged;
use crate::support::read::Record;

/// What one producer was told; it writes to one partition.
#[derive(Debug, Clone)]
pub(crate) struct Told {
    pub(crate) partition: u32,
    pub(crate) name: String,
    /// How many records it made. It stopped only when each was acknowledged.
    pub(crate) made: u64,
    pub(crate) acknowledged: Vec<Acknowledged>,
}

/// What a reader was given of one partition.
#[derive(Debug, Clone, Default)]
pub(crate) struct Seen {
    pub(crate) partition: u32,
    pub(crate) records: Vec<Record>,
}

/// All of a run.
#[derive(Debug, Default)]
pub(crate) struct History {
    pub(crate) told: Vec<Told>,
    pub(crate) seen: Vec<Seen>,
    /// What each partition holds at the end.
    pub(crate) held: BTreeMap<u32, Vec<Record>>,
}

/// How much was judged.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) acknowledged: u64,
    pub(crate) held: u64,
    pub(crate) seen: u64,
}

impl std::ops::AddAssign for Counts {
    fn add_assign(&mut self, other: Counts) {
        self.acknowledged += other.acknowledged;
        self.held += other.held;
        self.seen += other.seen;
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Counts { acknowledged, held, seen } = self;
        write!(f, "{acknowledged} records acknowledged, {held} held, {seen} read on the way")
    }
}

impl History {
    /// The first thing that is wrong: an acknowledged record is lost, moved or changed; one is there twice, or out of its
    /// producer's order; one comes from nobody; offsets have a gap; a reader was given what is not there; of two records one
    /// of which was acknowledged before the other was sent, the first one stands behind the other.
    pub(crate) fn check(&self, value: fn(&str, u64) -> String) -> Result<Counts, String> {
        let mut counts = Counts::default();
        for (partition, held) in &self.held {
            for (at, record) in held.iter().enumerate() {
                if record.offset != at as u64 {
                    return Err(format!("partition {partition}: {} stands at offset {at}", record.offset));
                }
            }
            counts.held += held.len() as u64;
            let mut stand = places(*partition, held, value)?;
            for told in self.told.iter().filter(|told| told.partition == *partition) {
                let places = stand.remove(told.name.as_str()).unwrap_or_default();
                check_promises(told, &places)?;
                counts.acknowledged += told.made;
            }
            if let Some(stranger) = stand.keys().next() {
                return Err(format!("partition {partition}: records of {stranger}, who sent none"));
            }
        }
        for seen in &self.seen {
            let held = self.held(seen.partition);
            if let Some(other) =
                seen.records.iter().find(|record| held.get(place(record.offset)) != Some(record))
            {
                let now = held.get(place(other.offset));
                return Err(format!(
                    "partition {}: a reader was given {other:?}, there is {now:?}",
                    seen.partition
                ));
            }
            counts.seen += seen.records.len() as u64;
        }
        for partition in self.held.keys() {
            self.check_order(*partition)?;
        }
        Ok(counts)
    }

    fn held(&self, partition: u32) -> &[Record] {
        self.held.get(&partition).map_or(&[], |held| held)
    }

    /// Whatever was sent only after another record was acknowledged stands behind it.
    fn check_order(&self, partition: u32) -> Result<(), String> {
        let mut batches: Vec<&Acknowledged> = self
            .told
            .iter()
            .filter(|told| told.partition == partition)
            .flat_map(|told| &told.acknowledged)
            .collect();
        batches.sort_by_key(|batch| Reverse(batch.base));
        let mut earliest_end: Option<&Acknowledged> = None;
        for batch in batches {
            if let Some(later) = earliest_end.filter(|later| later.ended < batch.begun) {
                return Err(format!(
                    "partition {partition}: {later:?} was acknowledged before {batch:?} was sent"
                ));
            }
            if earliest_end.is_none_or(|end| batch.ended < end.ended) {
                earliest_end = Some(batch);
            }
        }
        Ok(())
    }
}

/// Where each producer's records stand, in their order; they have to be numbered from 0 and unchanged.
fn places(
    partition: u32,
    held: &[Record],
    value: fn(&str, u64) -> String,
) -> Result<BTreeMap<&str, Vec<u64>>, String> {
    let mut stand: BTreeMap<&str, Vec<u64>> = BTreeMap::new();
    for record in held {
        let name = record.key.as_deref().unwrap_or("nobody");
        let places = stand.entry(name).or_default();
        let number = places.len() as u64;
        if record.value.as_deref() != Some(value(name, number).as_str()) {
            return Err(format!("partition {partition}: behind {number} records of {name} comes {record:?}"));
        }
        places.push(record.offset);
    }
    Ok(stand)
}

/// Everything that a producer made was acknowledged, in its order, and stands where the answer said.
fn check_promises(told: &Told, places: &[u64]) -> Result<(), String> {
    if places.len() as u64 != told.made {
        return Err(format!("{}: {} of {} records are there", told.name, places.len(), told.made));
    }
    let mut next = 0;
    for batch in &told.acknowledged {
        let promised = batch.base..batch.base + batch.count;
        let stand = places.get(place(batch.first)..place(batch.first + batch.count));
        if batch.first != next || !stand.is_some_and(|stand| promised.eq(stand.iter().copied())) {
            return Err(format!("{}: {batch:?}, behind {next} others, stands at {stand:?}", told.name));
        }
        next += batch.count;
    }
    if next != told.made {
        return Err(format!("{}: {next} of {} were acknowledged", told.name, told.made));
    }
    Ok(())
}

fn place(offset: u64) -> usize {
    usize::try_from(offset).unwrap()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(name: &str, number: u64) -> String {
        format!("{name} {number}")
    }

    fn record(offset: u64, name: &str, number: u64) -> Record {
        Record { offset, timestamp: 1, key: Some(name.to_owned()), value: Some(value(name, number)) }
    }

    fn batch(base: u64, first: u64, count: u64, begun: u64, ended: u64) -> Acknowledged {
        Acknowledged { base, first, count, begun, ended }
    }

    /// Two producers in one partition: a's two batches one after the other, b's between them.
    fn history() -> History {
        let told = |name: &str, acknowledged: &[Acknowledged]| Told {
            partition: 0,
            name: name.to_owned(),
            made: acknowledged.iter().map(|batch| batch.count).sum(),
            acknowledged: acknowledged.to_vec(),
        };
        let held = vec![
            record(0, "a", 0),
            record(1, "a", 1),
            record(2, "b", 0),
            record(3, "a", 2),
            record(4, "b", 1),
        ];
        History {
            told: vec![
                told("a", &[batch(0, 0, 2, 1, 3), batch(3, 2, 1, 5, 8)]),
                told("b", &[batch(2, 0, 1, 2, 6), batch(4, 1, 1, 4, 9)]),
            ],
            seen: vec![Seen { partition: 0, records: held[1..3].to_vec() }],
            held: BTreeMap::from([(0, held)]),
        }
    }

    fn finds(fault: impl FnOnce(&mut History)) -> bool {
        let mut history = history();
        fault(&mut history);
        history.check(value).is_err()
    }

    fn held(history: &mut History) -> &mut Vec<Record> {
        history.held.get_mut(&0).unwrap()
    }

    #[test]
    fn a_history_without_fault_passes() {
        assert_eq!(history().check(value), Ok(Counts { acknowledged: 5, held: 5, seen: 2 }));
    }

    #[test]
    fn each_planted_anomaly_is_found() {
        assert!(finds(|history| held(history).truncate(4)), "an acknowledged record is lost at the end");
        assert!(finds(|history| held(history).clear()), "everything is lost");
        assert!(finds(|history| drop(held(history).remove(2))), "offsets have a gap");
        assert!(finds(|history| held(history)[2].value = Some("b 7".to_owned())), "a value is changed");
        assert!(finds(|history| held(history).push(record(5, "b", 1))), "a record is there twice");
        assert!(finds(|history| held(history).push(record(5, "c", 0))), "a record comes from nobody");
        assert!(
            finds(|history| history.seen[0].records[0].timestamp = 2),
            "a reader was given another record"
        );
        assert!(finds(|history| history.seen[0].records.push(record(5, "b", 2))), "a read record is gone");
        assert!(finds(|history| history.told[1].made += 1), "a record was never acknowledged");
        assert!(
            finds(|history| history.told[0].acknowledged[1].base = 4),
            "an answer named another record's offset"
        );
        assert!(
            finds(|history| {
                let held = held(history);
                held.swap(2, 3);
                held[2].offset = 2;
                held[3].offset = 3;
            }),
            "two records changed places"
        );
        assert!(
            finds(|history| history.told[1].acknowledged[0].begun = 9),
            "a record stands before one that was acknowledged before it was sent"
        );
    }
}
