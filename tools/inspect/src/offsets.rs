//! The offsets of one segment in short, so that they can be judged when what came before is known.
//!
//! Batches that follow each other are one run, so that a segment in good order has few.

use std::collections::HashMap;
use std::ops::Range;

use crate::coverage::Coverage;

/// Most runs that are kept of one segment; a hostile file may have any number.
const MAX: usize = 1_000_000;

/// A batch's place.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BatchAt {
    pub(crate) from: u64,
    pub(crate) to: u64,
    pub(crate) lsn: u64,
}

#[derive(Debug)]
enum Event {
    Created(u64),
    Deleted(u64),
    /// The partition goes on at this offset, after it was in another shard.
    Taken(u64, u64),
    Gone(u64, Range<u64>),
    /// Batches that follow each other; the place is that of the first.
    Run(u64, Range<u64>, BatchAt),
    /// What follows can't be judged.
    Lose,
}

/// What a segment says of offsets, in its order.
#[derive(Debug, Default)]
pub(crate) struct Offsets {
    events: Vec<Event>,
    /// The run that a partition's next batch may lengthen.
    last: HashMap<u64, usize>,
}

impl Offsets {
    pub(crate) fn created(&mut self, partition: u64) {
        self.end_run(partition, Event::Created(partition));
    }

    pub(crate) fn deleted(&mut self, partition: u64) {
        self.end_run(partition, Event::Deleted(partition));
    }

    pub(crate) fn taken(&mut self, partition: u64, at: u64) {
        self.end_run(partition, Event::Taken(partition, at));
    }

    pub(crate) fn gone(&mut self, partition: u64, offsets: Range<u64>) {
        self.end_run(partition, Event::Gone(partition, offsets));
    }

    pub(crate) fn lose(&mut self) {
        self.last.clear();
        self.push(Event::Lose);
    }

    /// Notes a batch.
    pub(crate) fn batch(&mut self, partition: u64, offsets: Range<u64>, at: BatchAt) {
        if let Some(Event::Run(_, run, _)) = self.last.get(&partition).and_then(|at| self.events.get_mut(*at))
            && run.end == offsets.start
        {
            run.end = offsets.end;
            return;
        }
        if self.events.len() < MAX {
            self.last.insert(partition, self.events.len());
        }
        self.push(Event::Run(partition, offsets, at));
    }

    fn end_run(&mut self, partition: u64, event: Event) {
        self.last.remove(&partition);
        self.push(event);
    }

    fn push(&mut self, event: Event) {
        match self.events.len() {
            MAX.. => {}
            len if len + 1 == MAX => self.events.push(Event::Lose),
            _ => self.events.push(event),
        }
    }

    /// Takes all of it over into `coverage`. Gives each batch that follows in no way: its place, its partition, its
    /// offset, and the offset that it must have.
    pub(crate) fn settle(self, coverage: &mut Coverage) -> Vec<(BatchAt, u64, u64, u64)> {
        let mut wrong = Vec::new();
        for event in self.events {
            match event {
                Event::Created(partition) => coverage.created(partition),
                Event::Deleted(partition) => coverage.deleted(partition),
                Event::Taken(partition, at) => coverage.taken(partition, at),
                Event::Gone(partition, offsets) => coverage.gone(partition, &offsets),
                Event::Lose => coverage.lose(),
                Event::Run(partition, run, at) => {
                    if let Some(expected) = coverage.batch(partition, run.start, run.end) {
                        wrong.push((at, partition, run.start, expected));
                    }
                }
            }
        }
        wrong
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: BatchAt = BatchAt { from: 0, to: 1, lsn: 1 };

    #[test]
    fn batches_that_follow_each_other_are_one_run() {
        let mut offsets = Offsets::default();
        offsets.created(7);
        for offset in 0..1000 {
            offsets.batch(7, offset..offset + 1, AT);
            offsets.batch(8, offset..offset + 1, AT);
        }
        assert_eq!(offsets.events.len(), 3);
        let mut coverage = Coverage::default();
        coverage.created(8);
        assert!(offsets.settle(&mut coverage).is_empty());
    }

    #[test]
    fn what_a_partition_wrote_in_another_shard_is_not_missing_here() {
        let mut offsets = Offsets::default();
        offsets.created(7);
        offsets.batch(7, 0..3, AT);
        offsets.taken(7, 10);
        offsets.batch(7, 10..12, AT);
        offsets.taken(8, 50);
        offsets.batch(8, 50..51, AT);
        offsets.batch(8, 60..61, AT);
        let wrong = offsets.settle(&mut Coverage::default());
        assert!(matches!(&wrong[..], [(_, 8, 60, 51)]), "{wrong:?}");
    }

    #[test]
    fn a_jump_begins_a_new_run_and_is_told() {
        let mut offsets = Offsets::default();
        offsets.created(7);
        offsets.batch(7, 0..3, AT);
        offsets.batch(7, 4..5, AT);
        offsets.deleted(7);
        let wrong = offsets.settle(&mut Coverage::default());
        assert_eq!(wrong.len(), 1);
        assert_eq!((wrong[0].1, wrong[0].2, wrong[0].3), (7, 4, 3));
    }

    #[test]
    fn more_runs_than_are_kept_are_not_judged() {
        let mut offsets = Offsets::default();
        for offset in 0..MAX as u64 + 10 {
            offsets.batch(7, 2 * offset..2 * offset + 1, AT);
        }
        assert_eq!(offsets.events.len(), MAX);
        assert!(matches!(offsets.events[MAX - 1], Event::Lose));
    }
}
