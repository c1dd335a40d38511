use super::*;
use crate::producers::{MAX_AGE, MAX_COUNT, MAX_RUN, Stored, Window};

fn footer(rows: usize) -> Footer {
    let partitions = (0..rows as u64)
        .map(|number| {
            let mut row = PartitionIndex::empty(number * 3, number, 10);
            let mut since = 0;
            for batch in 0..number % 4 {
                let offset = row.next_offset;
                let block = u32::try_from(batch * 64).unwrap();
                row.note(block, offset, offset + 5, (100, 200), 1000, &mut since);
            }
            row
        })
        .collect();
    Footer {
        salt: [4; 16],
        base_lsn: 1,
        next_lsn: 50,
        chain: 9,
        epoch: 2,
        block_index: 70,
        first_append_time: -5,
        last_append_time: i64::MAX,
        partitions,
        producers: (0..rows as u64).filter(|number| number % 2 == 1).map(producer).collect(),
    }
}

/// A producer of the partition with this number in the footer, with one to five batches.
fn producer(number: u64) -> ProducerRow {
    let stored = |first_sequence: u32| Stored {
        first_sequence,
        count: 10,
        base_offset: u64::from(first_sequence),
        lsn: 20 + u64::from(first_sequence / 10),
    };
    let mut window = Window::new(stored(30));
    for batch in 1..=u32::try_from(number % 5).unwrap() {
        window.push(stored(30 + batch * 10));
    }
    ProducerRow { partition: number * 3, producer_id: 9, epoch: 2, run: 60 + 30, age: 8, window }
}

#[test]
fn a_footer_of_any_size_reads_back() {
    for rows in [0, 1, 2, 61, 62, 63, 200] {
        let footer = footer(rows);
        let bytes = footer.encode();
        assert_eq!(bytes.len() % BLOCK, 0);
        assert_eq!(Footer::decode(&bytes), Ok(footer));
    }
}

#[test]
fn every_flipped_bit_of_header_and_body_is_seen_and_every_cut() {
    let footer = footer(7);
    let mut bytes = footer.encode();
    let content = HEADER_LEN + 7 * PARTITION_LEN + 9 * POSITION_LEN + 3 * PRODUCER_LEN + 7 * STORED_LEN;
    assert!(bytes[content - 8..].starts_with(&[30, 0, 0, 0, 10, 0, 0, 0]), "content ends with a batch");
    assert!(le::is_zero(&bytes[content..]));
    for bit in 0..content * 8 {
        bytes[bit / 8] ^= 1 << (bit % 8);
        assert!(Footer::decode(&bytes).is_err(), "bit {bit}");
        bytes[bit / 8] ^= 1 << (bit % 8);
    }
    for len in 0..BLOCK {
        assert!(Footer::decode(&bytes[..len]).is_err(), "cut at {len}");
    }
}

/// Puts the checksums right around a changed body or header.
fn resum(bytes: &mut [u8]) {
    let body = le::index(le::u32_at(bytes, 56));
    if let Some(body) = bytes.get(HEADER_LEN..HEADER_LEN + body) {
        let crc = crc32c::crc32c(body);
        le::put(bytes, 72, &crc.to_le_bytes());
    }
    let crc = crc32c::crc32c(&bytes[12..HEADER_LEN]);
    le::put(bytes, 8, &crc.to_le_bytes());
}

#[test]
fn fields_that_lie_are_damage_whatever_their_checksum() {
    let first = HEADER_LEN;
    let second = first + PARTITION_LEN;
    let changes: [(&str, usize, Vec<u8>); 9] = [
        ("body_len", 56, u64::MAX.to_le_bytes().to_vec()),
        ("more partitions", 76, u32::MAX.to_le_bytes().to_vec()),
        ("fewer positions", 80, 0u32.to_le_bytes().to_vec()),
        ("more producers", 84, u32::MAX.to_le_bytes().to_vec()),
        ("fewer of their batches", 104, 1u32.to_le_bytes().to_vec()),
        ("a row's positions", second + 56, u32::MAX.to_le_bytes().to_vec()),
        ("no position of a row", second + 56, 0u32.to_le_bytes().to_vec()),
        ("rows out of order", second, 0u64.to_le_bytes().to_vec()),
        ("offsets that go back", first + 16, u64::MAX.to_le_bytes().to_vec()),
    ];
    for (what, at, value) in changes {
        let mut bytes = footer(3).encode();
        le::put(&mut bytes, at, &value);
        resum(&mut bytes);
        assert!(Footer::decode(&bytes).is_err(), "{what}");
    }
}

#[test]
fn a_snapshot_of_producers_that_lies_is_damage_whatever_its_checksum() {
    let first = HEADER_LEN + 7 * PARTITION_LEN + 9 * POSITION_LEN;
    let (second, batches) = (first + PRODUCER_LEN, first + 3 * PRODUCER_LEN);
    let changes: [(&str, usize, Vec<u8>); 19] = [
        ("a row twice", second, footer(7).encode()[first..second].to_vec()),
        ("rows out of order", second, 0u64.to_le_bytes().to_vec()),
        ("a partition that does not live", second, 10u64.to_le_bytes().to_vec()),
        ("a producer that is none", first + 8, u64::MAX.to_le_bytes().to_vec()),
        ("a run shorter than its batches", first + 16, 19u32.to_le_bytes().to_vec()),
        ("a run beyond the bound", first + 16, (MAX_RUN + 1).to_le_bytes().to_vec()),
        ("an age beyond the bound", first + 20, (MAX_AGE + 1).to_le_bytes().to_vec()),
        ("a negative epoch", first + 24, u16::MAX.to_le_bytes().to_vec()),
        ("no batch", first + 26, 0u16.to_le_bytes().to_vec()),
        ("a batch less", first + 26, 1u16.to_le_bytes().to_vec()),
        ("more batches than a window has", first + 26, 6u16.to_le_bytes().to_vec()),
        ("more batches than there are", second + 26, 5u16.to_le_bytes().to_vec()),
        ("offsets that go back", batches + STORED_LEN, 39u64.to_le_bytes().to_vec()),
        ("an offset without an end", batches + 6 * STORED_LEN, u64::MAX.to_le_bytes().to_vec()),
        ("LSNs that go back", batches + STORED_LEN + 8, 22u64.to_le_bytes().to_vec()),
        ("an LSN that is still to come", batches + STORED_LEN + 8, 50u64.to_le_bytes().to_vec()),
        ("sequences with a gap", batches + STORED_LEN + 16, 41u32.to_le_bytes().to_vec()),
        ("a batch without records", batches + 6 * STORED_LEN + 20, 0u32.to_le_bytes().to_vec()),
        (
            "more records than a batch has",
            batches + 6 * STORED_LEN + 20,
            (MAX_COUNT + 1).to_le_bytes().to_vec(),
        ),
    ];
    for (what, at, value) in changes {
        let mut bytes = footer(7).encode();
        le::put(&mut bytes, at, &value);
        resum(&mut bytes);
        assert!(Footer::decode(&bytes).is_err(), "{what}");
    }
}

#[test]
fn a_footer_of_another_kind_or_version_is_as_good_as_lost() {
    for (at, field) in
        [(14, Damage::OutOfPlace { found: Kind::Frame }), (15, Damage::Range { field: "version" })]
    {
        let mut bytes = footer(3).encode();
        bytes[at] = if at == 14 { 1 } else { 2 };
        resum(&mut bytes);
        assert_eq!(Footer::decode(&bytes), Err(field));
    }
}

#[test]
fn positions_come_by_bytes_gathered_or_by_reach() {
    let mut row = PartitionIndex::empty(1, 0, 0);
    let mut since = 0;
    let mut note = |block, bytes| {
        let next = row.next_offset + 1;
        row.note(block, next - 1, next, (0, i64::from(block)), bytes, &mut since);
        row.positions.len()
    };
    assert_eq!(note(1, 60_000), 1, "the first");
    assert_eq!(note(16, 6000), 1, "60,000 bytes gathered");
    assert_eq!(note(18, 10), 2, "66,000 bytes gathered");
    assert_eq!(note(18, 70_000), 2);
    assert_eq!(note(18, 10), 2, "the same frame");
    assert_eq!(note(36, 10), 3, "another frame, 70,020 bytes gathered");
    assert_eq!(note(36 + 63, 10), 3);
    assert_eq!(note(36 + 64, 10), 4, "256 KiB back");
    let times: Vec<_> = row.positions.iter().map(|position| position.max_timestamp).collect();
    assert_eq!(times, [16, 18, 99, 100], "the largest from there to the next");
}

#[test]
fn an_offset_is_looked_for_from_the_last_position_at_or_before_it() {
    let mut row = PartitionIndex::empty(1, 0, 10);
    let mut since = 0;
    row.note(1, 10, 20, (0, 0), 10, &mut since);
    row.note(100, 20, 30, (0, 0), 10, &mut since);
    let block = |offset| row.position_of(offset).map(|position| position.block);
    assert_eq!([9, 10, 19, 20, 99].map(block), [None, Some(1), Some(1), Some(100), Some(100)]);
    assert!(row.has_batches());
    assert!(!PartitionIndex::empty(1, 0, 10).has_batches());
}
