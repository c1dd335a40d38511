//! The one parser of segments. It says what stands at a place, and never repairs.

use crate::block::{self, BLOCK, Damage, FirstLook, Kind, Salt, Unsupported};
use crate::end_block::EndBlock;
use crate::footer::FooterHeader;
use crate::frame::{BodyError, Frame, FrameHeader};
use crate::trailer::Trailer;

/// What must stand at a place, as far as it is known. `block_index` is always known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Expect {
    /// Place in the file, in blocks.
    pub block_index: u32,
    /// Salt of the segment.
    pub salt: Option<Salt>,
    /// Epoch of the segment.
    pub epoch: Option<u32>,
    /// LSN of the next frame.
    pub lsn: Option<u64>,
    /// Chain value of the next frame.
    pub chain: Option<u64>,
}

impl Expect {
    /// What must follow `frame`.
    pub fn after(frame: &Frame<'_>) -> Expect {
        let header = &frame.header;
        Expect {
            block_index: block_of(header.end_position()),
            salt: Some(header.salt),
            epoch: Some(header.epoch),
            lsn: Some(header.lsn.saturating_add(1)),
            chain: Some(frame.next_chain()),
        }
    }
}

fn block_of(position: u64) -> u32 {
    u32::try_from(position / block::BLOCK_U64).unwrap_or(u32::MAX)
}

/// What stands at a place.
#[derive(Debug)]
pub enum Found<'a> {
    /// The expected frame, all checksums good.
    Frame(Frame<'a>),
    /// An end block that names the expected LSN: the segment ends here.
    End(EndBlock),
    /// The footer of a segment that ends here.
    Footer(FooterHeader),
    /// The last block of a sealed segment.
    Trailer(Trailer),
    /// A good frame header; this many bytes from its first are needed to go on. At the end of the file it
    /// means that the file is cut.
    Need(usize),
    /// A zero block.
    Virgin,
    /// An intact header of an earlier life of this file.
    Stale(Salt),
    /// No intact header that belongs here.
    DamagedHeader(Damage),
    /// The header is intact and belongs here, the rest of the frame is damaged.
    DamagedBody(FrameHeader, Damage),
    /// Intact, and newer than this program.
    Unsupported(Unsupported),
}

/// Says what stands at the first byte of `bytes`, which is on a block boundary.
pub fn scan<'a>(bytes: &'a [u8], expect: &Expect) -> Found<'a> {
    match scan_head(bytes, expect) {
        Head::Frame(header) => scan_body(bytes, header),
        Head::Other(found) => found,
    }
}

/// As [`scan`], without the batches' own checksums: for readers, which verify the batches that they hand out.
pub fn scan_unverified<'a>(bytes: &'a [u8], expect: &Expect) -> Found<'a> {
    match scan_head(bytes, expect) {
        Head::Frame(header) => scan_table(bytes, header),
        Head::Other(found) => found,
    }
}

enum Head<'a> {
    Frame(FrameHeader),
    Other(Found<'a>),
}

fn scan_head<'a>(bytes: &'a [u8], expect: &Expect) -> Head<'a> {
    let Some(first) = bytes.get(..BLOCK) else {
        return Head::Other(Found::Need(BLOCK));
    };
    let stale = |found: Salt| expect.salt.is_some_and(|salt| salt != found);
    let prelude = match block::first_look(first) {
        FirstLook::Virgin => return Head::Other(Found::Virgin),
        FirstLook::Damaged(damage) => return Head::Other(Found::DamagedHeader(damage)),
        FirstLook::Unsupported(salt, _) if stale(salt) => return Head::Other(Found::Stale(salt)),
        FirstLook::Unsupported(_, newer) => return Head::Other(Found::Unsupported(newer)),
        FirstLook::Header(prelude) if stale(prelude.salt) => return Head::Other(Found::Stale(prelude.salt)),
        FirstLook::Header(prelude) => prelude,
    };
    let found = match prelude.kind {
        Kind::Frame => match FrameHeader::decode(first, prelude.salt) {
            Ok(header) => match placed(&header, expect) {
                Ok(()) => return Head::Frame(header),
                Err(_) if of_earlier_life(&header, expect) => Found::Stale(prelude.salt),
                Err(damage) => Found::DamagedHeader(damage),
            },
            Err(damage) => Found::DamagedHeader(damage),
        },
        Kind::EndBlock => match EndBlock::decode(first, prelude.salt) {
            Ok(end) => check_end(end, expect),
            Err(damage) => Found::DamagedHeader(damage),
        },
        Kind::Footer => match FooterHeader::decode(first, prelude.salt) {
            Ok(footer) => check(footer.block_index, footer.epoch, footer.next_lsn, footer.chain, expect)
                .map_or_else(Found::DamagedHeader, |()| Found::Footer(footer)),
            Err(damage) => Found::DamagedHeader(damage),
        },
        Kind::Trailer => match Trailer::decode(first, prelude.salt) {
            Ok(trailer) => check(trailer.block_index, trailer.epoch, trailer.next_lsn, trailer.chain, expect)
                .map_or_else(Found::DamagedHeader, |()| Found::Trailer(trailer)),
            Err(damage) => Found::DamagedHeader(damage),
        },
        Kind::Superblock => Found::DamagedHeader(Damage::OutOfPlace { found: Kind::Superblock }),
    };
    Head::Other(found)
}

fn placed(header: &FrameHeader, expect: &Expect) -> Result<(), Damage> {
    check(header.block_index, header.epoch, header.lsn, header.chain, expect)
}

/// Whether an intact opening frame is a recycled file's former one, where no salt is known that would tell: LSNs
/// only grow, and files are recycled within their shard.
fn of_earlier_life(header: &FrameHeader, expect: &Expect) -> bool {
    expect.salt.is_none()
        && (expect.block_index, header.block_index) == (0, 0)
        && expect.lsn.is_some_and(|lsn| header.lsn < lsn)
        && expect.epoch.is_none_or(|epoch| header.epoch <= epoch)
}

fn check_end(end: EndBlock, expect: &Expect) -> Found<'static> {
    match check(end.block_index, end.epoch, end.next_lsn, end.chain, expect) {
        Ok(()) => Found::End(end),
        Err(damage) => Found::DamagedHeader(damage),
    }
}

fn check(block_index: u32, epoch: u32, lsn: u64, chain: u64, expect: &Expect) -> Result<(), Damage> {
    if block_index != expect.block_index {
        return Err(Damage::Misplaced { says: block_index, at: expect.block_index });
    }
    if let Some(expected) = expect.epoch.filter(|expected| *expected != epoch) {
        return Err(Damage::Epoch { found: epoch, expected });
    }
    if let Some(expected) = expect.lsn.filter(|expected| *expected != lsn) {
        return Err(Damage::Lsn { found: lsn, expected });
    }
    match expect.chain.filter(|expected| *expected != chain) {
        Some(expected) => Err(Damage::Chain { found: chain, expected }),
        None => Ok(()),
    }
}

fn scan_table<'a>(bytes: &'a [u8], header: FrameHeader) -> Found<'a> {
    let Some(frame) = bytes.get(..header.total_len()) else {
        return Found::Need(header.total_len());
    };
    match Frame::verify(header, frame) {
        Ok(frame) => Found::Frame(frame),
        Err(BodyError::Damaged(damage)) => Found::DamagedBody(header, damage),
        Err(BodyError::Unsupported(newer)) => Found::Unsupported(newer),
    }
}

fn scan_body<'a>(bytes: &'a [u8], header: FrameHeader) -> Found<'a> {
    match scan_table(bytes, header) {
        Found::Frame(frame) => match frame.verify_batches() {
            Ok(()) => Found::Frame(frame),
            Err(damage) => Found::DamagedBody(header, damage),
        },
        other => other,
    }
}

#[cfg(test)]
mod tests;
