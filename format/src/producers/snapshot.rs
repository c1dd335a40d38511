//! The table as it stands in a footer.
//!
//! # Format
//! Rows of 32 bytes, ascending by partition, then producer id: partition u64, producer_id u64, run u32, age u32 (blocks
//! of frames from the beginning of the frame of the last batch to the end of the segment), epoch u16, batches u16
//! (1 to 5), zero u32. Then their batches, 24 bytes each, oldest first, in the rows' order: base_offset u64, lsn u64,
//! first_sequence u32, count u32.

use super::row::{Stored, WINDOW, Window};
use super::{MAX_AGE, MAX_ROWS, MAX_RUN};
use crate::block::Damage;
use crate::le;

/// Bytes of a row.
pub const ROW_LEN: usize = 32;
/// Bytes of a batch of a row.
pub const STORED_LEN: usize = 24;

/// A row of the snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProducerRow {
    /// The partition.
    pub partition: u64,
    /// The producer.
    pub producer_id: i64,
    /// Its epoch.
    pub epoch: i16,
    /// Sequences stored without a gap up to the newest, [`MAX_RUN`] at most.
    pub run: u32,
    /// Blocks of frames from the beginning of the frame of the last batch to the end of the segment.
    pub age: u32,
    /// The last batches.
    pub window: Window,
}

/// Number of batches of all rows.
pub(crate) fn batches(rows: &[ProducerRow]) -> usize {
    rows.iter().map(|row| row.window.batches().len()).sum()
}

pub(crate) fn encode(out: &mut Vec<u8>, rows: &[ProducerRow]) {
    for row in rows {
        let batches = u16::try_from(row.window.batches().len()).unwrap_or(u16::MAX);
        out.extend_from_slice(&row.partition.to_le_bytes());
        out.extend_from_slice(&row.producer_id.to_le_bytes());
        out.extend_from_slice(&row.run.to_le_bytes());
        out.extend_from_slice(&row.age.to_le_bytes());
        out.extend_from_slice(&row.epoch.to_le_bytes());
        out.extend_from_slice(&batches.to_le_bytes());
        out.extend_from_slice(&[0; 4]);
    }
    for stored in rows.iter().flat_map(|row| row.window.batches()) {
        out.extend_from_slice(&stored.base_offset.to_le_bytes());
        out.extend_from_slice(&stored.lsn.to_le_bytes());
        out.extend_from_slice(&stored.first_sequence.to_le_bytes());
        out.extend_from_slice(&stored.count.to_le_bytes());
    }
}

/// Reads whole rows and whole batches. `next_lsn` is that of the footer: nothing can be stored at or behind it.
pub(crate) fn decode(rows: &[u8], batches: &[u8], next_lsn: u64) -> Result<Vec<ProducerRow>, Damage> {
    let damage = |field| Err(Damage::Range { field });
    if rows.len() > MAX_ROWS * ROW_LEN {
        return damage("producers");
    }
    let mut batches = batches.chunks_exact(STORED_LEN).map(decode_stored);
    let mut out: Vec<ProducerRow> = Vec::with_capacity(rows.len() / ROW_LEN);
    for bytes in rows.chunks_exact(ROW_LEN) {
        let row = decode_row(bytes, &mut batches)?;
        if out
            .last()
            .is_some_and(|last| (last.partition, last.producer_id) >= (row.partition, row.producer_id))
        {
            return damage("producer");
        }
        if row.window.last().lsn >= next_lsn {
            return damage("producer lsn");
        }
        out.push(row);
    }
    if batches.next().is_some() {
        return damage("producer batches");
    }
    Ok(out)
}

fn decode_row(bytes: &[u8], batches: &mut impl Iterator<Item = Stored>) -> Result<ProducerRow, Damage> {
    let damage = |field| Damage::Range { field };
    let wanted = usize::from(le::u16_at(bytes, 26));
    if wanted > WINDOW {
        return Err(damage("producer batches"));
    }
    let mut of_row = batches.take(wanted);
    let first = of_row.next().filter(Stored::is_well_formed).ok_or(damage("producer batches"))?;
    let mut window = Window::new(first);
    for stored in of_row {
        if !stored.is_well_formed() || !window.last().is_followed_by(&stored) {
            return Err(damage("producer batch"));
        }
        window.push(stored);
    }
    if window.batches().len() != wanted {
        return Err(damage("producer batches"));
    }
    let row = ProducerRow {
        partition: le::u64_at(bytes, 0),
        producer_id: le::i64_at(bytes, 8),
        run: le::u32_at(bytes, 16),
        age: le::u32_at(bytes, 20),
        epoch: i16::from_le_bytes(le::array_at(bytes, 24)),
        window,
    };
    if row.producer_id < 0 || row.epoch < 0 {
        return Err(damage("producer id and epoch"));
    }
    if row.age > MAX_AGE {
        return Err(damage("producer age"));
    }
    if !(window.sequences()..=MAX_RUN).contains(&row.run) {
        return Err(damage("producer run"));
    }
    Ok(row)
}

fn decode_stored(bytes: &[u8]) -> Stored {
    Stored {
        base_offset: le::u64_at(bytes, 0),
        lsn: le::u64_at(bytes, 8),
        first_sequence: le::u32_at(bytes, 16),
        count: le::u32_at(bytes, 20),
    }
}
