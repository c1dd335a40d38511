use proptest::prelude::*;

use super::*;
use crate::batch::{BatchBuilder, Codec, Record};

mod model;

const PARTITION: u64 = 7;
const PRODUCER: i64 = 40;

fn numbered(epoch: i16, first_sequence: u32, count: u32) -> Numbered {
    Numbered { producer_id: PRODUCER, epoch, first_sequence, count }
}

/// A table with one row: batches of so many records from `first` on, each in a frame of one block.
fn written(first: u32, counts: &[u32]) -> Producers {
    let mut table = Producers::default();
    let (mut sequence, mut offset) = (first, 0);
    for (lsn, count) in (10..).zip(counts) {
        table.note(PARTITION, &numbered(3, sequence, *count), offset, lsn);
        table.end_frame(1);
        sequence = (sequence + count) & 0x7FFF_FFFF;
        offset += u64::from(*count);
    }
    table
}

fn judged(table: &Producers, epoch: i16, first: u32, count: u32) -> Judged {
    table.check(PARTITION, &numbered(epoch, first, count))
}

fn out_of_order(expected: u32, got: u32) -> Judged {
    Judged::Refused(SequenceError::OutOfOrder { producer_id: PRODUCER, expected, got })
}

#[test]
fn a_producer_without_a_row_may_begin_with_any_sequence() {
    assert_eq!(judged(&Producers::default(), 0, 12_345, 3), Judged::New);
    let table = written(0, &[2]);
    assert_eq!(table.check(PARTITION + 1, &numbered(3, 99, 1)), Judged::New, "in another partition");
}

#[test]
fn the_last_five_batches_are_answered_with_what_was_stored() {
    let table = written(0, &[1, 2, 3, 4, 5, 6]);
    assert_eq!(judged(&table, 3, 21, 9), Judged::New);
    let mut first = 1;
    for (count, lsn) in [(2, 11), (3, 12), (4, 13), (5, 14), (6, 15)] {
        let stored = Stored { first_sequence: first, count, base_offset: u64::from(first), lsn };
        assert_eq!(judged(&table, 3, first, count), Judged::Duplicate(stored));
        first += count;
    }
    let forgotten = Judged::Refused(SequenceError::Forgotten { producer_id: PRODUCER, got: 0 });
    assert_eq!(judged(&table, 3, 0, 1), forgotten);
}

#[test]
fn a_gap_and_a_batch_that_is_cut_otherwise_are_out_of_order() {
    let table = written(0, &[10, 10]);
    assert_eq!(judged(&table, 3, 21, 1), out_of_order(20, 21), "one is missing");
    assert_eq!(judged(&table, 3, 10, 9), out_of_order(20, 10), "shorter");
    assert_eq!(judged(&table, 3, 10, 11), out_of_order(20, 10), "longer");
    assert_eq!(judged(&table, 3, 5, 10), out_of_order(20, 5), "over two batches");
    assert_eq!(judged(&table, 3, (1 << 30) + 21, 1), out_of_order(20, (1 << 30) + 21), "half around");
}

#[test]
fn what_was_never_stored_is_never_called_a_duplicate() {
    // The first batch was refused for another reason, and the one behind it began the row.
    let table = written(5, &[3]);
    assert_eq!(judged(&table, 3, 0, 5), out_of_order(8, 0), "clients take Forgotten for success");
    let table = written(5, &[3, 1, 1, 1, 1, 1, 1]);
    assert_eq!(judged(&table, 3, 4, 2), out_of_order(14, 4), "partly below what is known");
    let forgotten = Judged::Refused(SequenceError::Forgotten { producer_id: PRODUCER, got: 5 });
    assert_eq!(judged(&table, 3, 5, 3), forgotten);
}

#[test]
fn an_older_epoch_is_over_and_a_newer_one_begins_with_0() {
    let mut table = written(0, &[2, 2]);
    let over = Judged::Refused(SequenceError::OldEpoch { producer_id: PRODUCER, current: 3, got: 2 });
    assert_eq!(judged(&table, 2, 4, 1), over);
    assert_eq!(judged(&table, 2, 0, 2), over, "not even a duplicate's numbers help");
    assert_eq!(judged(&table, 4, 4, 1), out_of_order(0, 4));
    assert_eq!(judged(&table, 4, 0, 1), Judged::New);
    table.note(PARTITION, &numbered(4, 0, 1), 4, 50);
    assert_eq!(judged(&table, 4, 1, 1), Judged::New);
    assert_eq!(judged(&table, 4, 2, 1), out_of_order(1, 2), "of the old epoch's window nothing is left");
}

#[test]
fn behind_the_largest_sequence_comes_0() {
    const LARGEST: u32 = i32::MAX as u32;
    let table = written(LARGEST - 2, &[2, 3, 4]);
    assert_eq!(judged(&table, 3, 6, 1), Judged::New);
    let stored = |first_sequence, count, base_offset, lsn| {
        Judged::Duplicate(Stored { first_sequence, count, base_offset, lsn })
    };
    assert_eq!(judged(&table, 3, LARGEST - 2, 2), stored(LARGEST - 2, 2, 0, 10));
    assert_eq!(judged(&table, 3, LARGEST, 3), stored(LARGEST, 3, 2, 11), "over the edge");
    assert_eq!(judged(&table, 3, 2, 4), stored(2, 4, 5, 12));
    assert_eq!(judged(&table, 3, LARGEST - 3, 1), out_of_order(6, LARGEST - 3));
    assert_eq!(judged(&table, 3, 7, 1), out_of_order(6, 7));
}

#[test]
fn a_row_goes_when_its_last_batch_is_too_far_back_and_not_before() {
    let mut table = written(0, &[1]);
    table.end_frame(MAX_AGE - 1);
    assert_eq!(judged(&table, 3, 1, 1), Judged::New);
    assert_eq!(judged(&table, 3, 9, 1), out_of_order(1, 9), "exactly 4 GiB");
    assert_eq!(table.snapshot()[0].age, MAX_AGE);
    table.end_frame(1);
    assert_eq!((table.len(), judged(&table, 3, 9, 1)), (0, Judged::New));
}

#[test]
fn rows_beyond_the_bound_go_frame_by_frame_the_oldest_first() {
    let most = i64::try_from(MAX_ROWS).unwrap();
    let mut table = Producers::default();
    let note = |table: &mut Producers, producer_id, lsn| {
        let batch = Numbered { producer_id, epoch: 0, first_sequence: 0, count: 1 };
        table.note(PARTITION, &batch, 0, lsn);
    };
    for (lsn, ids) in [(1, 0..10), (2, 10..20), (3, 20..most)] {
        ids.for_each(|id| note(&mut table, id, lsn));
        table.end_frame(1);
    }
    // The first frame's rows but one are still there, and that one was written again.
    note(&mut table, 4, 4);
    table.end_frame(1);
    assert_eq!(table.len(), MAX_ROWS);
    note(&mut table, most, 5);
    table.end_frame(1);
    assert_eq!(table.len(), MAX_ROWS - 8, "nine of frame 1 went, one came");
    let lives = |id| table.keys.contains_key(&(PARTITION, id));
    assert_eq!([3, 4, 5, 10, most].map(lives), [false, true, false, true, true]);
}

#[test]
fn a_deleted_partition_takes_its_rows_along() {
    let mut table = written(0, &[1]);
    table.note(PARTITION + 1, &numbered(3, 0, 1), 0, 20);
    table.note(PARTITION - 1, &numbered(3, 0, 1), 0, 21);
    table.forget_partition(PARTITION);
    let left: Vec<_> = table.snapshot().iter().map(|row| row.partition).collect();
    assert_eq!(left, [PARTITION - 1, PARTITION + 1]);
    table.note(PARTITION + 5, &numbered(3, 0, 1), 0, 22);
    table.end_frame(MAX_AGE + 1);
    assert_eq!(table.len(), 0, "a slot that was used again is in its place");
}

#[test]
fn a_frame_that_gets_another_lsn_takes_its_batches_along_and_no_others() {
    let mut table = written(0, &[1, 1]);
    table.note(PARTITION, &numbered(3, 2, 1), 2, 12);
    table.note(PARTITION + 1, &numbered(3, 0, 1), 0, 12);
    table.note(PARTITION, &numbered(3, 3, 1), 3, 12);
    table.renumber(12, 13);
    let lsns = |row: &ProducerRow| row.window.batches().iter().map(|stored| stored.lsn).collect::<Vec<_>>();
    assert_eq!(table.snapshot().iter().map(lsns).collect::<Vec<_>>(), [vec![10, 11, 13, 13], vec![13]]);
}

#[test]
fn a_batch_that_does_not_follow_begins_its_row_anew() {
    let mut table = written(0, &[4, 4]);
    table.note(PARTITION, &numbered(3, 20, 2), 8, 30);
    let row = &table.snapshot()[0];
    assert_eq!((row.run, row.window.batches().len()), (2, 1), "frames of a time when nobody checked");
}

#[test]
fn only_batches_with_all_three_numbers_are_looked_at() {
    let header = |id, epoch, sequence| {
        let mut builder = BatchBuilder::new(Codec::None).producer(id, epoch, sequence);
        builder.push(&Record { timestamp: 1, key: None, value: Some(b"v"), headers: Vec::new() }).unwrap();
        Numbered::of(builder.finish().unwrap().header())
    };
    assert_eq!(header(-1, -1, -1), None);
    assert_eq!(header(5, -1, 0), None);
    assert_eq!(header(5, 0, -1), None);
    let numbered = Numbered { producer_id: 5, epoch: 6, first_sequence: 7, count: 1 };
    assert_eq!(header(5, 6, 7), Some(numbered));
}

proptest! {
    #[test]
    fn the_table_says_what_the_whole_history_says(steps in prop::collection::vec(model::step(), 1..200)) {
        model::run(steps);
    }
}
