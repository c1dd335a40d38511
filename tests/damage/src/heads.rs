//! Headers that stand in a file. As [`crate::region`] written from SPEC.md alone and not with the format's own reader: what
//! might have told of a loss is looked for by somebody else.

use tidelog_format::BLOCK;

use crate::directory::{u32_at, u64_at};

const MAGIC: &[u8] = b"\x89TLG\r\n\x1a\n";
/// SPEC 3.
const HEADER: usize = 128;

/// An intact header: magic and CRC are good, it stands at the beginning of a whole block.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Head<'a> {
    /// Where it stands, in blocks.
    pub(crate) block: usize,
    bytes: &'a [u8],
}

impl<'a> Head<'a> {
    /// The header at the beginning of this block of a file.
    pub(crate) fn at(file: &'a [u8], block: usize) -> Option<Head<'a>> {
        let bytes = file.get(block * BLOCK..(block + 1) * BLOCK)?;
        let crc = crc32c::crc32c(&bytes[12..HEADER]);
        (bytes[..8] == *MAGIC && u32_at(bytes, 8) == u64::from(crc)).then_some(Head { block, bytes })
    }

    pub(crate) fn salt(&self) -> &'a [u8] {
        &self.bytes[16..32]
    }

    fn kind(&self) -> u8 {
        self.bytes[14]
    }

    pub(crate) fn is_of(&self, kind: u8) -> bool {
        self.bytes[15] == 1 && self.kind() == kind
    }

    fn is_known(&self) -> bool {
        self.bytes[15] == 1 && (1..=4).contains(&self.kind())
    }

    pub(crate) fn epoch(&self) -> u64 {
        u32_at(self.bytes, 64)
    }

    /// Whether it stands where it says.
    pub(crate) fn is_in_place(&self) -> bool {
        u32_at(self.bytes, 68) == self.block as u64
    }

    /// Whether the rest of its block is zero.
    pub(crate) fn is_zero_behind(&self) -> bool {
        self.bytes[HEADER..].iter().all(|byte| *byte == 0)
    }

    /// Shard, epoch and number of the segment, of the cluster, if this is an opening frame's (SPEC 4.1).
    pub(crate) fn opens(&self) -> Option<Opens<'a>> {
        // The body of the only entry stands behind the header, its row behind that.
        let is_opening = self.kind() == 1 && self.block == 0 && self.bytes[HEADER + 120 + 24] == 2;
        let table = crc32c::crc32c(&self.bytes[HEADER + 120..HEADER + 152]);
        let table = crc32c::crc32c_append(table, &self.bytes[HEADER..HEADER + 120]);
        let is_intact = is_opening && u32_at(self.bytes, 80) == u64::from(table);
        let body = &self.bytes[HEADER..HEADER + 120];
        is_intact.then(|| Opens {
            cluster: &body[32..48],
            shard: u64_at(body, 48),
            number: u64_at(body, 56),
            epoch: self.epoch(),
        })
    }

    /// Whether it stands for the end of the frames before this LSN: an end block or a footer there.
    pub(crate) fn ends_before(&self, lsn: u64) -> bool {
        (self.kind() == 2 || self.kind() == 3)
            && u64_at(self.bytes, 32 + 8 * usize::from(self.kind() == 3)) == lsn
    }

    /// Whether it says that a frame with this LSN, or a later one, was ever made.
    pub(crate) fn tells_of(&self, lsn: u64) -> bool {
        if !self.is_known() {
            return true;
        }
        match self.kind() {
            1 => u64_at(self.bytes, 32) >= lsn,
            2 => u64_at(self.bytes, 32) > lsn,
            _ => u64_at(self.bytes, 40) > lsn,
        }
    }

    /// Whether it says that the write that holds this LSN had returned (SPEC 13); `is_opening`: it is that of an opening
    /// frame, with one more frame in its write.
    pub(crate) fn vouches_for(&self, lsn: u64, is_opening: bool) -> bool {
        if !self.is_known() {
            return true;
        }
        match self.kind() {
            1 => u64_at(self.bytes, 32) > lsn + u64::from(is_opening),
            2 => {
                let (next, first, flags) =
                    (u64_at(self.bytes, 32), u64_at(self.bytes, 40), u32_at(self.bytes, 72));
                next > lsn && (first > lsn || flags & 3 != 0)
            }
            _ => u64_at(self.bytes, 40) > lsn,
        }
    }
}

/// What an opening frame opens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Opens<'a> {
    pub(crate) cluster: &'a [u8],
    pub(crate) shard: u64,
    pub(crate) epoch: u64,
    pub(crate) number: u64,
}

/// All headers of a file, in order.
pub(crate) fn heads(file: &[u8]) -> impl Iterator<Item = Head<'_>> {
    (0..file.len() / BLOCK).filter_map(|block| Head::at(file, block))
}
