//! The table against a history that forgets nothing but what the rules say.

use std::collections::BTreeMap;

use super::*;
use crate::producers::snapshot;

/// What a step does.
#[derive(Clone, Debug)]
pub(super) enum Step {
    /// A batch whose first sequence is so far from the next one, in an epoch so far from the current one.
    Batch {
        partition: u64,
        producer_id: i64,
        epoch: i16,
        from_next: i64,
        count: u32,
    },
    EndFrame(u32),
    ForgetPartition(u64),
    /// The frame that is being filled comes behind an opening frame.
    Roll,
    /// Through a footer.
    Restore,
}

pub(super) fn step() -> impl Strategy<Value = Step> {
    let from_next = prop_oneof![6 => Just(0i64), 3 => -12i64..0, 1 => 1i64..9];
    let epoch = prop_oneof![8 => Just(0i16), 1 => Just(1i16), 1 => Just(-1i16)];
    let batch = (0..2u64, 0..3i64, epoch, from_next, 1..4u32).prop_map(
        |(partition, producer_id, epoch, from_next, count)| Step::Batch {
            partition,
            producer_id,
            epoch,
            from_next,
            count,
        },
    );
    prop_oneof![
        12 => batch,
        3 => (1..3u32).prop_map(Step::EndFrame),
        1 => (MAX_AGE / 3..MAX_AGE).prop_map(Step::EndFrame),
        1 => (0..2u64).prop_map(Step::ForgetPartition),
        1 => Just(Step::Roll),
        1 => Just(Step::Restore),
    ]
}

/// All batches of an epoch; `i64` sequences that never wrap.
struct History {
    epoch: i16,
    batches: Vec<(i64, Stored)>,
    position: u64,
}

impl History {
    fn next(&self) -> i64 {
        self.batches.last().map_or(0, |(first, stored)| first + i64::from(stored.count))
    }

    fn judge(&self, epoch: i16, first: i64, batch: &Numbered) -> Judged {
        let (producer_id, got) = (batch.producer_id, batch.first_sequence);
        let out_of_order =
            |expected| Judged::Refused(SequenceError::OutOfOrder { producer_id, expected, got });
        if epoch < self.epoch {
            return Judged::Refused(SequenceError::OldEpoch { producer_id, current: self.epoch, got: epoch });
        }
        if epoch > self.epoch {
            return if got == 0 { Judged::New } else { out_of_order(0) };
        }
        if first == self.next() {
            return Judged::New;
        }
        let window = &self.batches[self.batches.len().saturating_sub(5)..];
        for (at, stored) in window {
            if *at == first && stored.count == batch.count {
                return Judged::Duplicate(*stored);
            }
        }
        if first >= self.batches[0].0 && first + i64::from(batch.count) <= window[0].0 {
            return Judged::Refused(SequenceError::Forgotten { producer_id, got });
        }
        out_of_order(wrapped(self.next()))
    }
}

fn wrapped(sequence: i64) -> u32 {
    u32::try_from(sequence.rem_euclid(1 << 31)).unwrap()
}

/// Runs the steps; the rows begin shortly before the largest sequence.
pub(super) fn run(steps: Vec<Step>) {
    let mut table = Producers::default();
    let mut histories: BTreeMap<(u64, i64), History> = BTreeMap::new();
    let (mut offset, mut lsn, mut position) = (0u64, 1u64, 0u64);
    for step in steps {
        match step {
            Step::Batch { partition, producer_id, epoch, from_next, count } => {
                let key = (partition, producer_id);
                let known = histories.get(&key);
                let epoch = known.map_or(5, |history| history.epoch) + epoch;
                let newer = known.is_some_and(|history| epoch > history.epoch);
                let next = known.filter(|_| !newer).map_or(0, History::next);
                let next = if known.is_none() { i64::from(i32::MAX) - 6 } else { next };
                let first = next + from_next;
                let batch = Numbered { producer_id, epoch, first_sequence: wrapped(first), count };
                let wanted = known.map_or(Judged::New, |history| history.judge(epoch, first, &batch));
                assert_eq!(table.check(partition, &batch), wanted);
                if wanted != Judged::New {
                    continue;
                }
                table.note(partition, &batch, offset, lsn);
                let stored = Stored { first_sequence: batch.first_sequence, count, base_offset: offset, lsn };
                let history =
                    histories.entry(key).or_insert(History { epoch, batches: Vec::new(), position });
                if history.epoch != epoch {
                    *history = History { epoch, batches: Vec::new(), position };
                }
                history.batches.push((first, stored));
                history.position = position;
                offset += u64::from(count);
            }
            Step::EndFrame(blocks) => {
                table.end_frame(blocks);
                position += u64::from(blocks);
                lsn += 1;
                histories.retain(|_, history| history.position + u64::from(MAX_AGE) >= position);
            }
            Step::ForgetPartition(partition) => {
                table.forget_partition(partition);
                histories.retain(|key, _| key.0 != partition);
            }
            Step::Roll => {
                table.renumber(lsn, lsn + 1);
                let stored = histories.values_mut().flat_map(|history| &mut history.batches);
                stored.filter(|(_, stored)| stored.lsn == lsn).for_each(|(_, stored)| stored.lsn += 1);
                lsn += 1;
            }
            Step::Restore => {
                let rows = table.snapshot();
                let mut bytes = Vec::new();
                snapshot::encode(&mut bytes, &rows);
                let (fixed, batches) = bytes.split_at(rows.len() * ROW_LEN);
                let read = snapshot::decode(fixed, batches, u64::MAX).unwrap();
                assert_eq!(read, rows);
                table = Producers::restore(&read);
                assert_eq!(table.snapshot(), rows);
            }
        }
        let rows = table.snapshot();
        assert!(rows.is_sorted_by_key(|row| (row.partition, row.producer_id)));
        assert!(rows.iter().map(|row| (row.partition, row.producer_id)).eq(histories.keys().copied()));
    }
}
