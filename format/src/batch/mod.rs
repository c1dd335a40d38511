//! Kafka RecordBatch v2: the bytes a producer sends, kept verbatim from there to disk, replica and reader.
//!
//! # Format
//! All numbers big-endian. The header has 61 bytes:
//!
//! | at | field | |
//! |---|---|---|
//! | 0 | base offset i64 | stamped by the leader, not under the CRC |
//! | 8 | length i32 | bytes after this field |
//! | 12 | leader epoch i32 | stamped by the leader, not under the CRC; -1 until then |
//! | 16 | magic i8 | 2 |
//! | 17 | crc u32 | CRC-32C over everything from byte 21 to the end |
//! | 21 | attributes i16 | bits 0-2 codec, 3 log-append time, 4 transactional, 5 control, 6 delete horizon |
//! | 23 | last offset delta i32 | |
//! | 27 | base timestamp i64 | ms; that of the first record when written by Tidelog |
//! | 35 | max timestamp i64 | ms |
//! | 43 | producer id i64 | -1 for none |
//! | 51 | producer epoch i16 | |
//! | 53 | base sequence i32 | |
//! | 57 | count i32 | records |
//!
//! Then the records, as a whole compressed by the codec. A record is its length, attributes u8, timestamp
//! delta, offset delta, key, value, header count and headers; lengths and deltas are zig-zag varints
//! (see [`varint`]), length -1 is null.
//!
//! # Invariants
//! - A [`Batch`] was checked when it was made: length, magic, CRC, counts, attributes. Stamping changes bytes 0
//!   to 8 and 12 to 16 only, which the CRC leaves out.
//! - Offsets in a batch are dense: record `i` has offset delta `i`, and the count is the last delta plus one.
//! - [`Batch::validate`] does not look into the records; [`Batch::validate_records`] does.
//!
//! # Limits
//! See the constants below. Nothing is allocated from a length that was not compared with the bytes at hand.

mod builder;
mod checked;
mod cursor;
mod error;
mod fuzz;
mod header;
mod record;
mod records;
pub mod varint;
mod view;

pub use self::builder::BatchBuilder;
pub use self::checked::{Batch, split};
pub use self::error::{Allowed, BatchError, Fault, Field};
#[doc(hidden)]
pub use self::fuzz::fuzz_batch;
pub use self::header::BatchHeader;
pub use self::record::{Header, Record};
pub use self::records::Records;
pub use self::view::{BatchView, BatchViews};
pub use crate::compression::Codec;

/// Bytes of the batch header.
pub const BATCH_HEADER_LEN: usize = 61;
/// Most bytes a batch may have as it is stored, header included.
pub const MAX_BATCH_LEN: usize = 8 * 1024 * 1024;
/// Most bytes the records of a batch may have once decompressed.
pub const MAX_DECOMPRESSED_LEN: usize = 64 * 1024 * 1024;
/// Most bytes of a record's value.
pub const MAX_VALUE_LEN: usize = 1024 * 1024;
/// Most bytes of a record's key and headers together, the headers counted as encoded.
pub const MAX_KEY_AND_HEADERS_LEN: usize = 64 * 1024;

/// Least bytes of an encoded record: its length, attributes, two deltas, null key, null value, no headers.
pub(crate) const MIN_RECORD_LEN: usize = 7;

#[cfg(test)]
mod tests;
