//! The frame: one group commit, made once by the leader, the same bytes on every replica.
//!
//! # Format
//! Header (128 bytes), entry bodies back to back, table (32 bytes an entry), zero padding to 4 KiB.
//! | at | field |
//! |---|---|
//! | 32 | lsn u64: dense in the shard, never reset |
//! | 40 | committed_lsn u64: the leader's committed end when it framed (LSNs below it are committed) |
//! | 48 | chain u64: of the header before |
//! | 56 | append_time i64: ms since 1970, the leader's, never decreasing |
//! | 64 | epoch u32 |
//! | 68 | block_index u32: place in the file, in blocks |
//! | 72 | body_len u32: bodies and table, at most 16 MiB |
//! | 76 | entries u32 |
//! | 80 | table_crc u32: over the table, then each batch's first 21 bytes or a control entry's whole body |
//! | 84 | zero to 128 |
//!
//! The table stands behind the bodies, so that a writer can lay bodies down as they arrive and close the
//! frame when the disk is ready for it. Header CRC, table CRC and the batches' own CRCs together cover
//! every byte, and each payload byte is summed once.

use crate::batch::BatchView;
use crate::block::{self, BLOCK, BLOCK_U64, Damage, HEADER_LEN, Header, Kind, Salt, Unsupported};
use crate::entry::{Entry, EntryKind, FIRST_SKIPPABLE, ROW_LEN, Row};
use crate::le;

/// Longest body (entry bodies and table), bytes.
pub const MAX_BODY: usize = 16 * 1024 * 1024;
/// Bytes of a batch that the table's checksum covers; the last four of them are the batch's own checksum.
pub const BATCH_HEAD: usize = 21;

/// A frame's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameHeader {
    /// Salt of the segment.
    pub salt: Salt,
    /// Dense number of the frame within its shard.
    pub lsn: u64,
    /// End of what the leader knew committed when it framed.
    pub committed_lsn: u64,
    /// [`block::chain_after`] the header before.
    pub chain: u64,
    /// Milliseconds since 1970 by the leader's clock, never decreasing within a shard.
    pub append_time: i64,
    /// Epoch of the span.
    pub epoch: u32,
    /// Place in the file, in blocks.
    pub block_index: u32,
    /// Bytes of bodies and table.
    pub body_len: u32,
    /// Number of entries.
    pub entries: u32,
    /// Checksum over table and heads.
    pub table_crc: u32,
}

impl FrameHeader {
    /// Bytes of the whole frame, padding included.
    pub fn total_len(&self) -> usize {
        block::round_up(HEADER_LEN + le::index(self.body_len))
    }

    /// Position in the file just behind the frame, in bytes.
    pub fn end_position(&self) -> u64 {
        u64::from(self.block_index) * BLOCK_U64 + self.total_len() as u64
    }

    fn encode(&self) -> Header {
        let mut out = [0; HEADER_LEN];
        le::put(&mut out, 32, &self.lsn.to_le_bytes());
        le::put(&mut out, 40, &self.committed_lsn.to_le_bytes());
        le::put(&mut out, 48, &self.chain.to_le_bytes());
        le::put(&mut out, 56, &self.append_time.to_le_bytes());
        le::put(&mut out, 64, &self.epoch.to_le_bytes());
        le::put(&mut out, 68, &self.block_index.to_le_bytes());
        le::put(&mut out, 72, &self.body_len.to_le_bytes());
        le::put(&mut out, 76, &self.entries.to_le_bytes());
        le::put(&mut out, 80, &self.table_crc.to_le_bytes());
        block::close_header(&mut out, Kind::Frame, &self.salt);
        out
    }

    /// Reads a header whose prelude is good and of this kind.
    pub(crate) fn decode(bytes: &[u8], salt: Salt) -> Result<FrameHeader, Damage> {
        let header = FrameHeader {
            salt,
            lsn: le::u64_at(bytes, 32),
            committed_lsn: le::u64_at(bytes, 40),
            chain: le::u64_at(bytes, 48),
            append_time: le::i64_at(bytes, 56),
            epoch: le::u32_at(bytes, 64),
            block_index: le::u32_at(bytes, 68),
            body_len: le::u32_at(bytes, 72),
            entries: le::u32_at(bytes, 76),
            table_crc: le::u32_at(bytes, 80),
        };
        let body_len = le::index(header.body_len);
        if body_len > MAX_BODY {
            return Err(Damage::Range { field: "body_len" });
        }
        if le::index(header.entries) > body_len / ROW_LEN {
            return Err(Damage::Range { field: "entries" });
        }
        if header.entries == 0 {
            return Err(Damage::Range { field: "entries" });
        }
        Ok(header)
    }
}

/// A frame whose header and table are verified. Its batches are verified by [`Frame::verify_batches`] or
/// one by one as they are read.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    /// The header.
    pub header: FrameHeader,
    bytes: &'a [u8],
}

/// Why a frame's body is not to be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// The bytes are not what was written.
    #[error(transparent)]
    Damaged(#[from] Damage),
    /// The bytes are intact and newer than this program.
    #[error(transparent)]
    Unsupported(#[from] Unsupported),
}

impl<'a> Frame<'a> {
    /// Verifies table, heads and control entries of a frame with a good `header`; `bytes` are exactly the
    /// frame's [`FrameHeader::total_len`].
    pub(crate) fn verify(header: FrameHeader, bytes: &'a [u8]) -> Result<Frame<'a>, BodyError> {
        let frame = Frame { header, bytes };
        let (computed, unknown) = frame.table_crc()?;
        if computed != header.table_crc {
            return Err(Damage::TableCrc { stored: header.table_crc, computed }.into());
        }
        match unknown {
            Some(kind) => Err(Unsupported::Entry { found: kind }.into()),
            None => Ok(frame),
        }
    }

    fn table(&self) -> &'a [u8] {
        let end = HEADER_LEN + le::index(self.header.body_len);
        &self.bytes[end - le::index(self.header.entries) * ROW_LEN..end]
    }

    /// The checksum that the bytes give, and the first entry kind that would have to be understood.
    fn table_crc(&self) -> Result<(u32, Option<u8>), Damage> {
        let table = self.table();
        let mut crc = crc32c::crc32c(table);
        let mut rest = &self.bytes[HEADER_LEN..HEADER_LEN + le::index(self.header.body_len) - table.len()];
        let mut unknown = None;
        for bytes in table.chunks_exact(ROW_LEN) {
            let row = Row::decode(bytes);
            let Some((body, behind)) = rest.split_at_checked(le::index(row.length)) else {
                return Err(Damage::Range { field: "entry length" });
            };
            crc = crc32c::crc32c_append(crc, covered(row.kind, body)?);
            if row.kind == 0 || (row.kind < FIRST_SKIPPABLE && EntryKind::from_number(row.kind).is_none()) {
                unknown = unknown.or(Some(row.kind));
            }
            rest = behind;
        }
        if !rest.is_empty() {
            return Err(Damage::Range { field: "entry lengths" });
        }
        Ok((crc, unknown))
    }

    /// All bytes of the frame, header and padding included.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The entries in their order.
    pub fn entries(&self) -> impl ExactSizeIterator<Item = Entry<'a>> + use<'a> {
        let bytes = self.bytes;
        let mut at = HEADER_LEN;
        self.table().chunks_exact(ROW_LEN).map(move |row| {
            let row = Row::decode(row);
            let start = at;
            at += le::index(row.length);
            Entry { row, body: &bytes[start..at], at: start }
        })
    }

    /// Verifies each batch's own checksum, and that its head says what its row says, its length included.
    ///
    /// # Errors
    /// The first batch that fails.
    pub fn verify_batches(&self) -> Result<(), Damage> {
        for (index, entry) in (0u32..).zip(self.entries()) {
            if entry.kind() != Some(EntryKind::Batch) {
                continue;
            }
            let sound = BatchView::parse(entry.body).is_ok_and(|batch| {
                // A longer body would hold bytes that no checksum covers.
                batch.bytes().len() == entry.body.len()
                    && batch.verify_crc().is_ok()
                    && batch.header().base_offset == entry.row.base_offset
                    && batch.header().count == entry.row.count
            });
            if !sound {
                return Err(Damage::BatchCrc { entry: index });
            }
        }
        Ok(())
    }

    /// Bytes of header, entries and table: padding is behind them.
    pub fn payload_len(&self) -> usize {
        HEADER_LEN + le::index(self.header.body_len)
    }

    /// Whether the bytes between body and block boundary are zero, as they must be. Recovery ignores it,
    /// verification reports it.
    pub fn padding_is_zero(&self) -> bool {
        le::is_zero(&self.bytes[self.payload_len()..]) && le::is_zero(&self.bytes[84..HEADER_LEN])
    }

    /// What the next frame's header carries as its chain.
    pub fn next_chain(&self) -> u64 {
        block::chain_after(&le::array_at(self.bytes, 0))
    }
}

/// The bytes of an entry that the table's checksum covers.
fn covered(kind: u8, body: &[u8]) -> Result<&[u8], Damage> {
    if kind == EntryKind::Batch as u8 {
        body.get(..BATCH_HEAD).ok_or(Damage::Range { field: "batch length" })
    } else {
        Ok(body)
    }
}

/// What the writer stamps on a frame when it closes it.
#[derive(Clone, Copy, Debug)]
pub struct Stamp {
    /// Salt of the segment.
    pub salt: Salt,
    /// LSN of the frame.
    pub lsn: u64,
    /// End of what is committed now.
    pub committed_lsn: u64,
    /// Chain value of the header before.
    pub chain: u64,
    /// Milliseconds since 1970.
    pub append_time: i64,
    /// Epoch of the span.
    pub epoch: u32,
    /// Place in the file, in blocks.
    pub block_index: u32,
}

/// Lays a frame into a caller's buffer: bodies as they come, then the table, padding and header.
#[derive(Debug, Default)]
pub struct FrameBuilder {
    table: Vec<u8>,
    body: usize,
}

/// What a closed frame came to be.
#[derive(Clone, Copy, Debug)]
pub struct Closed {
    /// Its header.
    pub header: FrameHeader,
    /// Bytes in the buffer, padding included.
    pub len: usize,
    /// Chain value for the next frame.
    pub next_chain: u64,
}

impl FrameBuilder {
    /// Number of entries laid down.
    pub fn entries(&self) -> usize {
        self.table.len() / ROW_LEN
    }

    /// Bytes of bodies laid down.
    pub fn body_len(&self) -> usize {
        self.body
    }

    /// Bytes that the frame would have if it were closed now, padding included.
    #[expect(clippy::len_without_is_empty, reason = "a frame is never without its header")]
    pub fn len(&self) -> usize {
        block::round_up(HEADER_LEN + self.body + self.table.len())
    }

    /// Bytes that the frame would have with one more entry of `length` bytes, padding included.
    pub fn len_with(&self, length: usize) -> usize {
        block::round_up(HEADER_LEN + self.body + length + self.table.len() + ROW_LEN)
    }

    /// Appends an entry.
    ///
    /// # Panics
    /// When the frame with it ([`FrameBuilder::len_with`]) would not fit into `buffer`, or when `row.length` is not the
    /// body's: the caller's mistake, and acting on it would write a frame that can't be read.
    pub fn push(&mut self, buffer: &mut [u8], row: Row, body: &[u8]) {
        assert!(self.len_with(body.len()) <= buffer.len(), "the caller checks the room");
        assert_eq!(le::index(row.length), body.len(), "the row says the body's length");
        le::put(buffer, HEADER_LEN + self.body, body);
        self.body += body.len();
        self.table.extend_from_slice(&row.encode());
    }

    /// Writes table, padding and header, and makes the builder ready for the next frame.
    ///
    /// # Panics
    /// On a frame without entries or with a body over [`MAX_BODY`].
    pub fn close(&mut self, buffer: &mut [u8], stamp: &Stamp) -> Closed {
        let body_len = self.body + self.table.len();
        assert!(body_len <= MAX_BODY && !self.table.is_empty(), "a frame holds 1 entry to 16 MiB");
        le::put(buffer, HEADER_LEN + self.body, &self.table);
        let len = block::round_up(HEADER_LEN + body_len);
        buffer[HEADER_LEN + body_len..len].fill(0);
        let mut header = FrameHeader {
            salt: stamp.salt,
            lsn: stamp.lsn,
            committed_lsn: stamp.committed_lsn,
            chain: stamp.chain,
            append_time: stamp.append_time,
            epoch: stamp.epoch,
            block_index: stamp.block_index,
            body_len: u32::try_from(body_len).unwrap_or(u32::MAX),
            entries: u32::try_from(self.entries()).unwrap_or(u32::MAX),
            table_crc: 0,
        };
        header.table_crc = self.table_crc(buffer);
        let bytes = header.encode();
        le::put(buffer, 0, &bytes);
        self.table.clear();
        self.body = 0;
        Closed { header, len, next_chain: block::chain_after(&bytes) }
    }

    fn table_crc(&self, buffer: &[u8]) -> u32 {
        let mut crc = crc32c::crc32c(&self.table);
        let mut at = HEADER_LEN;
        for row in self.table.chunks_exact(ROW_LEN).map(Row::decode) {
            let length = le::index(row.length);
            let covered = if row.kind == EntryKind::Batch as u8 { BATCH_HEAD.min(length) } else { length };
            crc = crc32c::crc32c_append(crc, &buffer[at..at + covered]);
            at += length;
        }
        crc
    }
}

/// Largest batch that fits a frame of its own in a segment of `segment_bytes`, beside the opening frame and
/// the end block.
pub fn largest_batch(segment_bytes: u64) -> usize {
    let room = usize::try_from(segment_bytes).unwrap_or(usize::MAX).min(MAX_BODY);
    room.saturating_sub(2 * BLOCK + HEADER_LEN + ROW_LEN + BLOCK)
}

#[cfg(test)]
mod tests;
