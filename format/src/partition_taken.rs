//! What goes along with a partition that moves to another shard: what idempotent producers wrote to it last.
//!
//! # Purpose
//! A producer that heard nothing from the shard before sends its batch again to the next one, where it must be recognised.
//! Who closed the partition there encodes its rows; the bytes come through the metadata into an entry of the next shard as
//! they are.
//!
//! # Format
//! One zstd frame: rows u32, zero u32, then rows and their batches as in a footer (SPEC 7.1), with 0 for LSN and age, which
//! were the other shard's. Nothing at all where there is no row.

use crate::block::Damage;
use crate::compression::{Codec, CompressionError, compress, decompress};
use crate::entry::{EntryKind, Row};
use crate::le;
use crate::producers::{MAX_ROWS, ProducerRow, ROW_LEN, STORED_LEN, WINDOW, snapshot};

/// Bytes before the rows.
const HEAD: usize = 8;
/// Most bytes, decompressed.
const MAX_LEN: usize = HEAD + MAX_ROWS * (ROW_LEN + WINDOW * STORED_LEN);

/// The body for a partition's rows, in their order.
///
/// # Errors
/// The compressor failed.
pub fn encode(rows: &[ProducerRow]) -> Result<Vec<u8>, CompressionError> {
    let mut body = Vec::new();
    if rows.is_empty() {
        return Ok(body);
    }
    let mut plain = u32::try_from(rows.len()).unwrap_or(u32::MAX).to_le_bytes().to_vec();
    plain.extend_from_slice(&[0; 4]);
    snapshot::encode(&mut plain, rows);
    compress(Codec::Zstd, &plain, &mut body)?;
    Ok(body)
}

/// The row of the entry by which a partition goes on at `offset`.
pub fn row(partition: u64, offset: u64, body: &[u8]) -> Row {
    let length = u32::try_from(body.len()).unwrap_or(u32::MAX);
    Row { partition, base_offset: offset, length, count: 0, kind: EntryKind::PartitionTaken as u8 }
}

/// Reads what [`encode`] wrote for this partition.
///
/// # Errors
/// It is something else.
pub fn decode(partition: u64, body: &[u8]) -> Result<Vec<ProducerRow>, Damage> {
    let unlike = Damage::Range { field: "partition taken" };
    if body.is_empty() {
        return Ok(Vec::new());
    }
    let mut plain = Vec::new();
    decompress(Codec::Zstd, body, &mut plain, MAX_LEN).map_err(|_| unlike)?;
    let head = plain.get(..HEAD).ok_or(unlike)?;
    let (count, zero) = (le::index(le::u32_at(head, 0)), le::u32_at(head, 4));
    let rows =
        count.checked_mul(ROW_LEN).and_then(|len| plain.get(HEAD..HEAD.checked_add(len)?)).ok_or(unlike)?;
    let batches = &plain[HEAD + rows.len()..];
    if count == 0 || zero != 0 || batches.len() % STORED_LEN != 0 {
        return Err(unlike);
    }
    let rows = snapshot::decode(rows, batches, 1)?;
    let carried = |row: &ProducerRow| {
        let batches = row.window.batches();
        row.partition == partition && row.age == 0 && batches.iter().all(|stored| stored.lsn == 0)
    };
    if rows.iter().all(carried) { Ok(rows) } else { Err(unlike) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::producers::{Judged, Numbered, Producers};

    fn batch(producer_id: i64, first_sequence: u32) -> Numbered {
        Numbered { producer_id, epoch: 0, first_sequence, count: 10 }
    }

    /// Producers 1 and 2 write three batches each to partition 7, and one to partition 8.
    fn producers() -> Producers {
        let mut table = Producers::default();
        for at in 0..3u32 {
            for producer in [2, 1] {
                let offset = u64::from(at) * 20 + if producer == 2 { 0 } else { 10 };
                table.note(7, &batch(producer, at * 10), offset, 100 + u64::from(at));
            }
            table.end_frame(5);
        }
        table.note(8, &batch(1, 0), 0, 104);
        table.end_frame(5);
        table
    }

    #[test]
    fn a_batch_that_was_stored_in_one_shard_is_recognised_in_the_next_one() {
        let body = encode(&producers().of_partition(7)).unwrap();
        let rows = decode(7, &body).unwrap();
        assert_eq!(rows.len(), 2);
        let mut other = Producers::default();
        other.note(9, &batch(5, 0), 0, 3);
        other.take(7, &rows, 4);
        let Judged::Duplicate(found) = other.check(7, &batch(1, 20)) else { panic!("not recognised") };
        assert_eq!(
            (found.base_offset, found.lsn),
            (50, 4),
            "it is answered once the frame here is committed"
        );
        assert_eq!(other.check(7, &batch(2, 30)), Judged::New);
        assert!(matches!(other.check(7, &batch(2, 40)), Judged::Refused(_)), "there is a gap");
        assert_eq!(other.check(8, &batch(1, 0)), Judged::New, "another partition did not come along");
        // The frame turned out to be the second one of its segment.
        other.renumber(4, 5);
        let Judged::Duplicate(found) = other.check(7, &batch(1, 20)) else { panic!("not recognised") };
        assert_eq!(found.lsn, 5);
        other.note(7, &batch(1, 30), 60, 6);
        other.end_frame(1);
        let back = Producers::restore(&other.snapshot());
        assert!(matches!(back.check(7, &batch(1, 10)), Judged::Duplicate(_)), "the window goes on");
    }

    #[test]
    fn what_was_known_of_the_partition_before_makes_room() {
        let rows = decode(7, &encode(&producers().of_partition(7)).unwrap()).unwrap();
        let mut other = Producers::default();
        other.note(7, &batch(3, 0), 0, 1);
        other.note(7, &batch(1, 990), 10, 1);
        other.end_frame(1);
        other.take(7, &rows, 2);
        assert_eq!(other.check(7, &batch(3, 500)), Judged::New, "it is not known here any more");
        assert_eq!(other.check(7, &batch(1, 30)), Judged::New);
        assert_eq!(other.len(), 2);
    }

    #[test]
    fn nothing_is_carried_for_a_partition_without_producers() {
        assert_eq!(encode(&producers().of_partition(5)).unwrap(), Vec::<u8>::new());
        assert_eq!(decode(5, &[]), Ok(Vec::new()));
    }

    #[test]
    fn what_is_no_such_entry_is_damage() {
        let body = encode(&producers().of_partition(7)).unwrap();
        assert!(decode(8, &body).is_err(), "of another partition");
        for len in 1..body.len() {
            assert!(decode(7, &body[..len]).is_err(), "{len} bytes");
        }
        let mut empty = Vec::new();
        compress(Codec::Zstd, &[0; 8], &mut empty).unwrap();
        assert!(decode(7, &empty).is_err());
        let mut other = producers().of_partition(7);
        other[0].age = 1;
        assert!(decode(7, &encode(&other).unwrap()).is_err());
    }
}
