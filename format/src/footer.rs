//! The footer: a sealed segment's index. Rebuildable from the frames; losing it costs time, never data.
//!
//! # Format
//! Header (128 bytes), partition rows (64 bytes each, sorted by partition), positions (24 bytes each, in the
//! rows' order), the producers' rows (32 bytes each) and their batches (24 bytes each, see [`crate::producers`]),
//! zero padding to 4 KiB; then the [`crate::trailer`].
//! | at | field of the header |
//! |---|---|
//! | 32 | base_lsn u64 · 40 next_lsn u64 · 48 chain u64 (after the last frame) |
//! | 56 | body_len u64 |
//! | 64 | epoch u32 · 68 block_index u32 · 72 body_crc u32 · 76 partitions u32 · 80 positions u32 |
//! | 84 | producers u32: rows of the producer snapshot |
//! | 88 | first_append_time i64 · 96 last_append_time i64 |
//! | 104 | producer_batches u32: batches of all those rows |
//!
//! Partition row: partition u64, log_start u64, first_offset u64, next_offset u64, min_timestamp i64,
//! max_timestamp i64, bytes u64, positions u32, reserved u32. Every live partition of the shard has a row, so
//! that the newest footer is enough to know all of them; those without a batch here have
//! `first_offset == next_offset` and no positions.
//!
//! Position: offset u64, max_timestamp i64 (of the partition's batches from here to the next position),
//! block u32, reserved u32.

use crate::block::{self, BLOCK, Damage, FirstLook, HEADER_LEN, Kind, Salt};
use crate::le;
use crate::producers::snapshot;
use crate::producers::{ProducerRow, ROW_LEN as PRODUCER_LEN, STORED_LEN};

/// Bytes of a partition row.
pub const PARTITION_LEN: usize = 64;
/// Bytes of a position.
pub const POSITION_LEN: usize = 24;
/// A position is added when the partition has gathered this many bytes since its last one ...
pub const POSITION_BYTES: u64 = 64 * 1024;
/// ... or when its last one is this many bytes back in the file, whichever comes first: so one read of this
/// size beyond the position's frame finds any batch.
pub const POSITION_REACH: u64 = 256 * 1024;

/// Where a partition's batches are, sparsely.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// Base offset of the batch that got the position.
    pub offset: u64,
    /// Largest timestamp of the partition's batches from here to the next position, ms.
    pub max_timestamp: i64,
    /// The frame's place in the file, in blocks.
    pub block: u32,
}

/// What a segment holds of one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionIndex {
    /// The partition.
    pub partition: u64,
    /// First wanted offset when the segment was sealed.
    pub log_start: u64,
    /// First offset in this segment; equals `next_offset` when it holds none.
    pub first_offset: u64,
    /// Offset behind the last record so far.
    pub next_offset: u64,
    /// Smallest base timestamp here, ms (`i64::MAX` when none).
    pub min_timestamp: i64,
    /// Largest timestamp here, ms (`i64::MIN` when none).
    pub max_timestamp: i64,
    /// Stored bytes of the partition's batches here.
    pub bytes: u64,
    /// Sparse positions, ascending.
    pub positions: Vec<Position>,
}

impl PartitionIndex {
    /// A partition that holds nothing here yet.
    pub fn empty(partition: u64, log_start: u64, next_offset: u64) -> PartitionIndex {
        PartitionIndex {
            partition,
            log_start,
            first_offset: next_offset,
            next_offset,
            min_timestamp: i64::MAX,
            max_timestamp: i64::MIN,
            bytes: 0,
            positions: Vec::new(),
        }
    }

    /// Whether the segment holds a batch of the partition.
    pub fn has_batches(&self) -> bool {
        self.first_offset < self.next_offset
    }

    /// Notes a batch of `bytes` stored in the frame at `block`, which must follow all noted before.
    pub fn note(
        &mut self,
        block: u32,
        offset: u64,
        next_offset: u64,
        times: (i64, i64),
        bytes: u64,
        since: &mut u64,
    ) {
        let far = self.positions.last().is_none_or(|last| {
            u64::from(block.saturating_sub(last.block)) * block::BLOCK_U64 >= POSITION_REACH
                || (*since >= POSITION_BYTES && last.block != block)
        });
        if far {
            self.positions.push(Position { offset, max_timestamp: times.1, block });
            *since = 0;
        } else if let Some(last) = self.positions.last_mut() {
            last.max_timestamp = last.max_timestamp.max(times.1);
        }
        *since += bytes;
        self.bytes += bytes;
        self.next_offset = next_offset;
        self.min_timestamp = self.min_timestamp.min(times.0);
        self.max_timestamp = self.max_timestamp.max(times.1);
    }

    /// The position from which to read forward to find `offset`: the last one at or before it.
    pub fn position_of(&self, offset: u64) -> Option<Position> {
        let behind = self.positions.partition_point(|position| position.offset <= offset);
        self.positions[..behind].last().copied()
    }
}

/// A sealed segment's index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Footer {
    /// Salt of the segment.
    pub salt: Salt,
    /// LSN of the opening frame.
    pub base_lsn: u64,
    /// LSN behind the last frame.
    pub next_lsn: u64,
    /// Chain value after the last frame.
    pub chain: u64,
    /// Epoch of the span.
    pub epoch: u32,
    /// Place of the footer in the file, in blocks.
    pub block_index: u32,
    /// Append time of the first frame, ms.
    pub first_append_time: i64,
    /// Append time of the last frame, ms.
    pub last_append_time: i64,
    /// All live partitions, ascending.
    pub partitions: Vec<PartitionIndex>,
    /// What idempotent producers wrote last to those partitions, ascending by partition, then producer.
    pub producers: Vec<ProducerRow>,
}

/// A footer's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FooterHeader {
    /// Salt of the segment.
    pub salt: Salt,
    /// LSN of the opening frame.
    pub base_lsn: u64,
    /// LSN behind the last frame.
    pub next_lsn: u64,
    /// Chain value after the last frame.
    pub chain: u64,
    /// Bytes of rows, positions and the producers' batches.
    pub body_len: u64,
    /// Epoch of the span.
    pub epoch: u32,
    /// Place in the file, in blocks.
    pub block_index: u32,
    body_crc: u32,
    partitions: u32,
    positions: u32,
    producers: u32,
    producer_batches: u32,
    first_append_time: i64,
    last_append_time: i64,
}

impl FooterHeader {
    pub(crate) fn decode(bytes: &[u8], salt: Salt) -> Result<FooterHeader, Damage> {
        let header = FooterHeader {
            salt,
            base_lsn: le::u64_at(bytes, 32),
            next_lsn: le::u64_at(bytes, 40),
            chain: le::u64_at(bytes, 48),
            body_len: le::u64_at(bytes, 56),
            epoch: le::u32_at(bytes, 64),
            block_index: le::u32_at(bytes, 68),
            body_crc: le::u32_at(bytes, 72),
            partitions: le::u32_at(bytes, 76),
            positions: le::u32_at(bytes, 80),
            producers: le::u32_at(bytes, 84),
            producer_batches: le::u32_at(bytes, 104),
            first_append_time: le::i64_at(bytes, 88),
            last_append_time: le::i64_at(bytes, 96),
        };
        let parts = header.parts().map(|(count, len)| u64::from(count) * len as u64);
        if header.body_len != parts.iter().sum::<u64>() {
            return Err(Damage::Range { field: "body_len" });
        }
        Ok(header)
    }

    /// The parts of the body: how many of them and how long each is, in bytes.
    fn parts(&self) -> [(u32, usize); 4] {
        [
            (self.partitions, PARTITION_LEN),
            (self.positions, POSITION_LEN),
            (self.producers, PRODUCER_LEN),
            (self.producer_batches, STORED_LEN),
        ]
    }

    /// The body, of which there are as many bytes as the header says, in its parts.
    fn split<'a>(&self, mut body: &'a [u8]) -> [&'a [u8]; 4] {
        self.parts().map(|(count, len)| {
            let (part, rest) = body.split_at((le::index(count) * len).min(body.len()));
            body = rest;
            part
        })
    }
}

impl Footer {
    /// All bytes of the footer, padded to whole blocks.
    pub fn encode(&self) -> Vec<u8> {
        let positions: usize = self.partitions.iter().map(|partition| partition.positions.len()).sum();
        let producer_batches = snapshot::batches(&self.producers);
        let body_len = self.partitions.len() * PARTITION_LEN
            + positions * POSITION_LEN
            + self.producers.len() * PRODUCER_LEN
            + producer_batches * STORED_LEN;
        let mut out = vec![0; HEADER_LEN];
        out.reserve(block::round_up(HEADER_LEN + body_len));
        for partition in &self.partitions {
            encode_row(&mut out, partition);
        }
        for position in self.partitions.iter().flat_map(|partition| &partition.positions) {
            out.extend_from_slice(&position.offset.to_le_bytes());
            out.extend_from_slice(&position.max_timestamp.to_le_bytes());
            out.extend_from_slice(&position.block.to_le_bytes());
            out.extend_from_slice(&[0; 4]);
        }
        snapshot::encode(&mut out, &self.producers);
        le::put(&mut out, 32, &self.base_lsn.to_le_bytes());
        le::put(&mut out, 40, &self.next_lsn.to_le_bytes());
        le::put(&mut out, 48, &self.chain.to_le_bytes());
        le::put(&mut out, 56, &(body_len as u64).to_le_bytes());
        le::put(&mut out, 64, &self.epoch.to_le_bytes());
        le::put(&mut out, 68, &self.block_index.to_le_bytes());
        let body_crc = crc32c::crc32c(&out[HEADER_LEN..]);
        le::put(&mut out, 72, &body_crc.to_le_bytes());
        le::put(&mut out, 76, &count(self.partitions.len()).to_le_bytes());
        le::put(&mut out, 80, &count(positions).to_le_bytes());
        le::put(&mut out, 84, &count(self.producers.len()).to_le_bytes());
        le::put(&mut out, 88, &self.first_append_time.to_le_bytes());
        le::put(&mut out, 96, &self.last_append_time.to_le_bytes());
        le::put(&mut out, 104, &count(producer_batches).to_le_bytes());
        block::close_header(&mut out, Kind::Footer, &self.salt);
        out.resize(block::round_up(out.len()), 0);
        out
    }

    /// Reads a whole footer: `bytes` are at least its header and body.
    ///
    /// # Errors
    /// Damage, by field; a footer newer than this program is as good as lost (`version`). The frames are
    /// unharmed by it: rebuild the footer from them.
    pub fn decode(bytes: &[u8]) -> Result<Footer, Damage> {
        let prelude = match block::first_look(bytes.get(..BLOCK).ok_or(SHORT)?) {
            FirstLook::Header(prelude) => prelude,
            FirstLook::Virgin => return Err(Damage::Magic),
            FirstLook::Damaged(damage) => return Err(damage),
            FirstLook::Unsupported(..) => return Err(Damage::Range { field: "version" }),
        };
        if prelude.kind != Kind::Footer {
            return Err(Damage::OutOfPlace { found: prelude.kind });
        }
        let header = FooterHeader::decode(bytes, prelude.salt)?;
        let needed = HEADER_LEN as u64 + header.body_len;
        let body = usize::try_from(needed).ok().and_then(|end| bytes.get(HEADER_LEN..end));
        let body = body.ok_or(Damage::Truncated { needed })?;
        let computed = crc32c::crc32c(body);
        if computed != header.body_crc {
            return Err(Damage::BodyCrc { stored: header.body_crc, computed });
        }
        let [rows, positions, producers, stored] = header.split(body);
        let partitions = decode_partitions(rows, positions)?;
        let producers = snapshot::decode(producers, stored, header.next_lsn)?;
        let lives = |row: &ProducerRow| partitions.binary_search_by_key(&row.partition, |row| row.partition);
        if producers.iter().any(|row| lives(row).is_err()) {
            return Err(Damage::Range { field: "producer's partition" });
        }
        Ok(Footer {
            salt: header.salt,
            base_lsn: header.base_lsn,
            next_lsn: header.next_lsn,
            chain: header.chain,
            epoch: header.epoch,
            block_index: header.block_index,
            first_append_time: header.first_append_time,
            last_append_time: header.last_append_time,
            partitions,
            producers,
        })
    }

    /// The row of a partition.
    pub fn partition(&self, partition: u64) -> Option<&PartitionIndex> {
        let found = self.partitions.binary_search_by_key(&partition, |row| row.partition).ok()?;
        self.partitions.get(found)
    }
}

const SHORT: Damage = Damage::Truncated { needed: BLOCK as u64 };

fn count(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX)
}

fn encode_row(out: &mut Vec<u8>, row: &PartitionIndex) {
    out.extend_from_slice(&row.partition.to_le_bytes());
    out.extend_from_slice(&row.log_start.to_le_bytes());
    out.extend_from_slice(&row.first_offset.to_le_bytes());
    out.extend_from_slice(&row.next_offset.to_le_bytes());
    out.extend_from_slice(&row.min_timestamp.to_le_bytes());
    out.extend_from_slice(&row.max_timestamp.to_le_bytes());
    out.extend_from_slice(&row.bytes.to_le_bytes());
    out.extend_from_slice(&count(row.positions.len()).to_le_bytes());
    out.extend_from_slice(&[0; 4]);
}

fn decode_partitions(rows: &[u8], positions: &[u8]) -> Result<Vec<PartitionIndex>, Damage> {
    let mut positions = positions.chunks_exact(POSITION_LEN);
    let mut out: Vec<PartitionIndex> = Vec::with_capacity(rows.len() / PARTITION_LEN);
    for row in rows.chunks_exact(PARTITION_LEN) {
        let wanted = le::index(le::u32_at(row, 56));
        if wanted > positions.len() {
            return Err(Damage::Range { field: "positions" });
        }
        let partition = PartitionIndex {
            partition: le::u64_at(row, 0),
            log_start: le::u64_at(row, 8),
            first_offset: le::u64_at(row, 16),
            next_offset: le::u64_at(row, 24),
            min_timestamp: le::i64_at(row, 32),
            max_timestamp: le::i64_at(row, 40),
            bytes: le::u64_at(row, 48),
            positions: positions.by_ref().take(wanted).map(decode_position).collect(),
        };
        if out.last().is_some_and(|last| last.partition >= partition.partition) {
            return Err(Damage::Range { field: "partition" });
        }
        if partition.first_offset > partition.next_offset {
            return Err(Damage::Range { field: "first_offset" });
        }
        out.push(partition);
    }
    if positions.len() > 0 {
        return Err(Damage::Range { field: "positions" });
    }
    Ok(out)
}

fn decode_position(bytes: &[u8]) -> Position {
    Position {
        offset: le::u64_at(bytes, 0),
        max_timestamp: le::i64_at(bytes, 8),
        block: le::u32_at(bytes, 16),
    }
}

#[cfg(test)]
mod tests;
