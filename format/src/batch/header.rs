//! The 61 bytes in front of the records.

use super::cursor::Cursor;
use super::error::{Allowed, BatchError, Field};
use super::{BATCH_HEADER_LEN, MAX_BATCH_LEN, MAX_DECOMPRESSED_LEN, MIN_RECORD_LEN};
use crate::compression::Codec;

/// Bytes in front of what the length field counts.
pub(super) const LENGTH_END: usize = 12;
/// Where the leader epoch stands.
pub(super) const LEADER_EPOCH_AT: usize = 12;
/// Where the magic byte stands, in all versions.
const MAGIC_AT: usize = 16;
/// Where the CRC stands.
pub(super) const CRC_AT: usize = 17;
/// Where the bytes begin that the CRC covers.
pub(super) const CRC_FROM: usize = 21;
/// The only magic that is served.
const MAGIC: u8 = 2;

const CODEC_BITS: u16 = 0b111;
const LOG_APPEND_TIME: u16 = 1 << 3;
const TRANSACTIONAL: u16 = 1 << 4;
const CONTROL: u16 = 1 << 5;

/// The fields of a batch header. The numbers are as on the wire, those that cannot be negative unsigned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchHeader {
    /// Offset of the first record. Producers send anything here, usually 0; the leader stamps it.
    pub base_offset: u64,
    /// Bytes behind this field, [`BATCH_HEADER_LEN`] - 12 or more.
    pub length: u32,
    /// Epoch of the leader that stamped the batch, -1 before.
    pub leader_epoch: i32,
    /// CRC-32C of everything from the attributes to the end.
    pub crc: u32,
    /// Codec and flags.
    pub attributes: u16,
    /// Offset of the last record less that of the first.
    pub last_offset_delta: u32,
    /// Timestamp the records' deltas count from, in ms.
    pub base_timestamp: i64,
    /// Highest timestamp of the records, in ms.
    pub max_timestamp: i64,
    /// Id of an idempotent producer, -1 for none.
    pub producer_id: i64,
    /// Epoch of that producer, -1 for none.
    pub producer_epoch: i16,
    /// Sequence number of the first record, -1 for none.
    pub base_sequence: i32,
    /// Number of records.
    pub count: u32,
}

impl BatchHeader {
    /// Reads a header. It checks the magic and the length field against [`MAX_BATCH_LEN`]; whether the counts fit
    /// together is checked by [`BatchView::parse`](super::BatchView::parse).
    ///
    /// # Errors
    /// `Unsupported` for another magic, `Corrupt` for less than [`BATCH_HEADER_LEN`] bytes or a length too small,
    /// `TooLarge` for a length over the limit.
    pub fn parse(bytes: &[u8]) -> Result<Self, BatchError> {
        // Older message sets are shorter than our header and have their magic in the same place.
        if let Some(&magic) = bytes.get(MAGIC_AT)
            && magic != MAGIC
        {
            let got = i32::from(i8::from_ne_bytes([magic]));
            return Err(BatchError::unsupported(Field::Magic, got, Allowed::Exactly(i64::from(MAGIC))));
        }
        let mut at = Cursor(bytes);
        let base_offset = u64::from_be_bytes(at.array(Field::Bytes)?);
        let length = batch_length(i32::from_be_bytes(at.array(Field::Bytes)?))?;
        let leader_epoch = i32::from_be_bytes(at.array(Field::Bytes)?);
        let _magic: [u8; 1] = at.array(Field::Bytes)?;
        Ok(Self {
            base_offset,
            length,
            leader_epoch,
            crc: u32::from_be_bytes(at.array(Field::Bytes)?),
            attributes: u16::from_be_bytes(at.array(Field::Bytes)?),
            last_offset_delta: u32::from_be_bytes(at.array(Field::Bytes)?),
            base_timestamp: i64::from_be_bytes(at.array(Field::Bytes)?),
            max_timestamp: i64::from_be_bytes(at.array(Field::Bytes)?),
            producer_id: i64::from_be_bytes(at.array(Field::Bytes)?),
            producer_epoch: i16::from_be_bytes(at.array(Field::Bytes)?),
            base_sequence: i32::from_be_bytes(at.array(Field::Bytes)?),
            count: u32::from_be_bytes(at.array(Field::Bytes)?),
        })
    }

    /// The header's bytes, all fields as they are.
    pub fn encode(&self) -> [u8; BATCH_HEADER_LEN] {
        let mut bytes = [0; BATCH_HEADER_LEN];
        bytes[..8].copy_from_slice(&self.base_offset.to_be_bytes());
        bytes[8..12].copy_from_slice(&self.length.to_be_bytes());
        bytes[LEADER_EPOCH_AT..16].copy_from_slice(&self.leader_epoch.to_be_bytes());
        bytes[MAGIC_AT] = MAGIC;
        bytes[CRC_AT..CRC_FROM].copy_from_slice(&self.crc.to_be_bytes());
        bytes[21..23].copy_from_slice(&self.attributes.to_be_bytes());
        bytes[23..27].copy_from_slice(&self.last_offset_delta.to_be_bytes());
        bytes[27..35].copy_from_slice(&self.base_timestamp.to_be_bytes());
        bytes[35..43].copy_from_slice(&self.max_timestamp.to_be_bytes());
        bytes[43..51].copy_from_slice(&self.producer_id.to_be_bytes());
        bytes[51..53].copy_from_slice(&self.producer_epoch.to_be_bytes());
        bytes[53..57].copy_from_slice(&self.base_sequence.to_be_bytes());
        bytes[57..61].copy_from_slice(&self.count.to_be_bytes());
        bytes
    }

    /// How the records are compressed.
    ///
    /// # Errors
    /// `Unsupported` for a codec number that is not known.
    pub fn codec(&self) -> Result<Codec, BatchError> {
        let number = self.attributes & CODEC_BITS;
        Codec::from_number(number)
            .ok_or_else(|| BatchError::unsupported(Field::Codec, i32::from(number), Allowed::Between(0, 4)))
    }

    /// Bytes of the whole batch, header included.
    pub fn total_len(&self) -> usize {
        usize::try_from(self.length).unwrap_or(usize::MAX).saturating_add(LENGTH_END)
    }

    /// The offset behind the last record.
    pub fn next_offset(&self) -> u64 {
        self.base_offset.saturating_add(u64::from(self.last_offset_delta)).saturating_add(1)
    }

    /// Whether the batch comes from an idempotent producer.
    pub fn has_producer(&self) -> bool {
        self.producer_id >= 0
    }

    /// Sequence number of the last record; behind `i32::MAX` comes 0. -1 without a producer.
    pub fn last_sequence(&self) -> i32 {
        if self.base_sequence < 0 {
            return -1;
        }
        let sum = i64::from(self.base_sequence) + i64::from(self.last_offset_delta);
        i32::try_from(sum & i64::from(i32::MAX)).unwrap_or(i32::MAX)
    }

    /// Whether the counts fit together: at least one record, dense offsets, and no more records than could
    /// stand in so many bytes.
    pub(super) fn check_counts(&self) -> Result<(), BatchError> {
        if self.count == 0 {
            return Err(BatchError::invalid(Field::Count, self.count, Allowed::AtLeast(1)));
        }
        let last = i64::from(self.count) - 1;
        if i64::from(self.last_offset_delta) != last {
            let allowed = Allowed::Exactly(last);
            return Err(BatchError::invalid(Field::LastOffsetDelta, self.last_offset_delta, allowed));
        }
        let most = match self.codec()? {
            Codec::None => self.total_len().saturating_sub(BATCH_HEADER_LEN) / MIN_RECORD_LEN,
            _ => MAX_DECOMPRESSED_LEN / MIN_RECORD_LEN,
        };
        if usize::try_from(self.count).is_ok_and(|count| count <= most) {
            return Ok(());
        }
        let most = i64::try_from(most).unwrap_or(i64::MAX);
        Err(BatchError::invalid(Field::Count, self.count, Allowed::AtMost(most)))
    }

    /// Whether a batch of an idempotent producer has what goes with its id.
    pub(super) fn check_producer(&self) -> Result<(), BatchError> {
        let fields = [
            (Field::ProducerEpoch, i32::from(self.producer_epoch)),
            (Field::BaseSequence, self.base_sequence),
        ];
        match fields.into_iter().find(|(_, value)| self.has_producer() && *value < 0) {
            Some((field, value)) => Err(BatchError::invalid(field, value, Allowed::AtLeast(0))),
            None => Ok(()),
        }
    }

    /// Whether the attributes ask only for what is served: a known codec and nothing else.
    pub(super) fn check_attributes(&self) -> Result<(), BatchError> {
        self.codec()?;
        let flags = self.attributes & !CODEC_BITS;
        if flags == 0 {
            return Ok(());
        }
        let rule = match flags {
            flags if flags & CONTROL != 0 => "no control batch from a producer",
            flags if flags & TRANSACTIONAL != 0 => "no transaction",
            flags if flags & LOG_APPEND_TIME != 0 => "create time, not log-append time",
            _ => "a codec and no other bits",
        };
        Err(BatchError::unsupported(Field::Attributes, i32::from(self.attributes), Allowed::Rule(rule)))
    }
}

/// Checks the length field: room for the header, not over the limit.
fn batch_length(wire: i32) -> Result<u32, BatchError> {
    let least = BATCH_HEADER_LEN - LENGTH_END;
    let Some(len) = usize::try_from(wire).ok().filter(|&len| len >= least) else {
        let least = i64::try_from(least).unwrap_or(i64::MAX);
        return Err(BatchError::corrupt(Field::BatchLength, wire, Allowed::AtLeast(least)));
    };
    if len > MAX_BATCH_LEN - LENGTH_END {
        return Err(BatchError::too_large(Field::BatchLength, len, MAX_BATCH_LEN - LENGTH_END));
    }
    Ok(wire.unsigned_abs())
}
