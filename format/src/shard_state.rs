//! The state of a shard where a span starts: its partitions with their first wanted and next offsets, and what idempotent
//! producers wrote last.
//!
//! # Purpose
//! A node that holds a span from its start on, and not the spans before, can index it, write its footers and lead what
//! follows. Where the holders of a span have all that came before (a node that is alone), it is left out.
//!
//! # Format
//! A footer of no positions that stands where the span begins, in one zstd frame. The row's base offset is the LSN of the
//! span's first frame, its count the bytes of that footer.

use crate::block::Damage;
use crate::compression::{Codec, compress, decompress};
use crate::entry::{EntryKind, MAX_CONTROL_LEN, Row};
use crate::footer::Footer;
use crate::index::{SealedAs, SegmentIndex};
use crate::le;

/// Most bytes of the footer.
pub const MAX_STATE_LEN: usize = 128 * 1024 * 1024;

/// Why a shard's state has no entry.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// It does not fit into one entry.
    #[error(
        "the state of the shard takes {len} bytes, at most {MAX_CONTROL_LEN} are possible: it has too many partitions or \
         producers; create further topics in other shards"
    )]
    TooLong {
        /// Bytes of the entry.
        len: usize,
    },
    /// The compressor failed.
    #[error("the state of the shard could not be compressed: {0}")]
    Compression(#[from] crate::compression::CompressionError),
}

/// The entry that says what `index`, which holds no batch, knows where the span begins.
///
/// # Errors
/// It cannot be written as one entry.
pub fn encode(index: &SegmentIndex, base_lsn: u64) -> Result<(Row, Vec<u8>), StateError> {
    let at = SealedAs { salt: [0; 16], base_lsn, next_lsn: base_lsn, chain: 0, epoch: 0, block_index: 0 };
    let plain = index.clone().seal(&at).encode();
    let mut body = Vec::new();
    compress(Codec::Zstd, &plain, &mut body)?;
    let too_long = || StateError::TooLong { len: body.len() };
    let length = u32::try_from(body.len()).map_err(|_| too_long())?;
    let count = u32::try_from(plain.len()).map_err(|_| too_long())?;
    if body.len() > MAX_CONTROL_LEN || plain.len() > MAX_STATE_LEN {
        return Err(too_long());
    }
    Ok((Row { partition: 0, base_offset: base_lsn, length, count, kind: EntryKind::ShardState as u8 }, body))
}

/// Reads an entry of a frame whose checksums are good.
///
/// # Errors
/// It is not what it should be.
pub fn decode(row: &Row, body: &[u8]) -> Result<Footer, Damage> {
    let unlike = Damage::Range { field: "shard state" };
    let len = le::index(row.count);
    if len > MAX_STATE_LEN {
        return Err(unlike);
    }
    let mut plain = Vec::new();
    decompress(Codec::Zstd, body, &mut plain, len).map_err(|_| unlike)?;
    let footer = Footer::decode(&plain)?;
    let empty = footer.partitions.iter().all(|row| row.positions.is_empty() && row.bytes == 0);
    if plain.len() != len || !empty || footer.next_lsn != row.base_offset {
        return Err(unlike);
    }
    Ok(footer)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index(partitions: u64) -> SegmentIndex {
        let mut index = SegmentIndex::default();
        for partition in 1..=partitions {
            let row = |kind: EntryKind, base_offset, count| Row {
                partition,
                base_offset,
                length: 100,
                count,
                kind: kind as u8,
            };
            index.note_control(EntryKind::PartitionCreated, &row(EntryKind::PartitionCreated, 0, 0));
            index.note_batch(1, &row(EntryKind::Batch, 0, 5), (10, 20));
            index.note_control(EntryKind::Trim, &row(EntryKind::Trim, 2, 0));
        }
        let sealed =
            SealedAs { salt: [1; 16], base_lsn: 1, next_lsn: 9, chain: 4, epoch: 2, block_index: 30 };
        index.seal(&sealed);
        index
    }

    #[test]
    fn what_a_shard_knows_reads_back() {
        let (row, body) = encode(&index(3), 9).unwrap();
        let footer = decode(&row, &body).unwrap();
        let rows: Vec<_> =
            footer.partitions.iter().map(|row| (row.partition, row.log_start, row.next_offset)).collect();
        assert_eq!(rows, [(1, 2, 5), (2, 2, 5), (3, 2, 5)]);
    }

    #[test]
    fn ten_thousand_partitions_take_little_room() {
        let (_, body) = encode(&index(10_000), 9).unwrap();
        assert!(body.len() < 100_000, "{}", body.len());
    }

    #[test]
    fn an_entry_that_is_no_state_is_refused() {
        let (row, body) = encode(&index(3), 9).unwrap();
        assert!(decode(&Row { base_offset: 8, ..row }, &body).is_err());
        assert!(decode(&Row { count: row.count - 1, ..row }, &body).is_err());
        assert!(decode(&Row { count: u32::MAX, ..row }, &body).is_err());
        assert!(decode(&row, &body[..body.len() - 1]).is_err());
        let whole = decode(&row, &body);
        for at in 0..body.len() {
            let mut damaged = body.clone();
            damaged[at] ^= 1;
            let found = decode(&row, &damaged);
            assert!(found.is_err() || found == whole, "byte {at}");
        }
    }
}
