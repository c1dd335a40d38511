use super::*;
use crate::block::BLOCK;

const SEALED: SealedAs =
    SealedAs { salt: [1; 16], base_lsn: 1, next_lsn: 9, chain: 4, epoch: 2, block_index: 30 };

fn control(kind: EntryKind, partition: u64, base_offset: u64) -> (EntryKind, Row) {
    (kind, Row { partition, base_offset, length: 0, count: 0, kind: kind as u8 })
}

fn batch(partition: u64, base_offset: u64, count: u32) -> Row {
    Row { partition, base_offset, length: 100, count, kind: EntryKind::Batch as u8 }
}

fn note(index: &mut SegmentIndex, noted: (EntryKind, Row)) {
    index.note_control(noted.0, &noted.1);
}

#[test]
fn a_partition_lives_from_its_creation_to_its_deletion() {
    let mut index = SegmentIndex::default();
    index.note_batch(1, &batch(7, 0, 5), (1, 2));
    assert!(index.is_empty(), "a batch of a partition that does not live");
    note(&mut index, control(EntryKind::PartitionCreated, 7, 0));
    index.note_batch(1, &batch(7, 0, 5), (1, 2));
    note(&mut index, control(EntryKind::PartitionCreated, 7, 0));
    assert_eq!(index.partition(7).unwrap().next_offset, 5, "a second creation changes nothing");
    note(&mut index, control(EntryKind::PartitionDeleted, 7, 0));
    assert_eq!(index.len(), 0);
}

#[test]
fn a_trim_goes_forward_only_and_not_beyond_the_end() {
    let mut index = SegmentIndex::default();
    note(&mut index, control(EntryKind::PartitionCreated, 7, 0));
    index.note_batch(1, &batch(7, 0, 5), (1, 2));
    for (to, start) in [(3, 3), (2, 3), (u64::MAX, 5)] {
        note(&mut index, control(EntryKind::Trim, 7, to));
        assert_eq!(index.partition(7).unwrap().log_start, start);
    }
    note(&mut index, control(EntryKind::Trim, 8, 1));
    assert_eq!(index.len(), 1);
}

#[test]
fn a_seal_gives_sorted_rows_and_goes_on_as_the_index_behind_it() {
    let mut index = SegmentIndex::default();
    for partition in [9, 3, 7] {
        note(&mut index, control(EntryKind::PartitionCreated, partition, 0));
    }
    index.note_time(100);
    index.note_batch(1, &batch(7, 0, 5), (10, 20));
    index.note_time(200);
    let footer = index.seal(&SEALED);
    let partitions: Vec<_> = footer.partitions.iter().map(|row| row.partition).collect();
    assert_eq!(partitions, [3, 7, 9]);
    assert_eq!((footer.first_append_time, footer.last_append_time), (100, 200));
    let row = footer.partition(7).unwrap();
    assert_eq!((row.first_offset, row.next_offset, row.min_timestamp, row.max_timestamp), (0, 5, 10, 20));
    assert_eq!(Footer::decode(&footer.encode()).as_ref(), Ok(&footer));

    // The one that goes on and the one that is loaded are the same.
    let loaded = SegmentIndex::behind(&footer);
    for index in [&index, &loaded] {
        let row = index.partition(7).unwrap();
        assert_eq!(row, &PartitionIndex::empty(7, 0, 5));
        assert_eq!((index.len(), index.append_times()), (3, None));
    }
}

#[test]
fn producers_come_and_go_with_their_partitions_and_through_the_footer() {
    let mut index = SegmentIndex::default();
    let numbered = |first_sequence| Numbered { producer_id: 3, epoch: 0, first_sequence, count: 5 };
    for partition in [7, 8] {
        note(&mut index, control(EntryKind::PartitionCreated, partition, 0));
        index.note_numbered(&numbered(0), &batch(partition, 0, 5), 4);
    }
    index.note_numbered(&numbered(0), &batch(9, 0, 5), 4);
    assert_eq!(index.producers().len(), 2, "partition 9 does not live");
    index.end_frame(2);
    note(&mut index, control(EntryKind::PartitionDeleted, 8, 0));
    let footer = index.seal(&SEALED);
    assert_eq!(footer.producers.iter().map(|row| row.partition).collect::<Vec<_>>(), [7]);

    // The one that goes on and the one that is loaded are the same, and stay so.
    let mut loaded = SegmentIndex::behind(&Footer::decode(&footer.encode()).unwrap());
    for index in [&mut index, &mut loaded] {
        index.note_numbered(&numbered(5), &batch(7, 5, 5), 10);
        index.end_frame(1);
    }
    assert_eq!(index.producers().snapshot(), loaded.producers().snapshot());
    assert_eq!(index.producers().snapshot()[0].run, 10);
}

#[test]
fn producers_that_were_lost_are_known_again_from_a_footer_and_partitions_are_not_touched() {
    let mut index = SegmentIndex::default();
    note(&mut index, control(EntryKind::PartitionCreated, 7, 0));
    let numbered = Numbered { producer_id: 3, epoch: 0, first_sequence: 0, count: 5 };
    index.note_numbered(&numbered, &batch(7, 0, 5), 4);
    let footer = index.seal(&SEALED);
    assert!(index.knows_producers());
    index.lose_producers();
    assert!(!index.knows_producers());
    assert!(index.producers().is_empty(), "half of them would be worse than none");
    assert_eq!(index.partitions().map(|row| row.partition).collect::<Vec<_>>(), [7]);
    index.learn_producers(&footer);
    assert!(index.knows_producers());
    assert_eq!(index.producers().snapshot(), footer.producers);
}

#[test]
fn any_batch_is_within_one_read_of_the_position_before_it() {
    let mut index = SegmentIndex::default();
    note(&mut index, control(EntryKind::PartitionCreated, 7, 0));
    let mut batches = Vec::new();
    let (mut block, mut offset) = (1u32, 0u64);
    for step in 0..400u32 {
        index.note_batch(block, &batch(7, offset, 3), (0, 0));
        batches.push((block, offset));
        offset += 3;
        block += step * step % 19;
    }
    let row = index.partition(7).unwrap();
    for (block, offset) in batches {
        let from = row.position_of(offset).unwrap().block;
        assert!(
            from <= block && (block - from) as usize * BLOCK < 256 * 1024,
            "{offset} at {block} from {from}"
        );
    }
}
