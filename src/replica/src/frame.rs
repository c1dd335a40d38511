//! A frame as the rules carry it: opaque bytes under a verified header.

use bytes::Bytes;
use tidelog_format::block::{BLOCK, Damage, Unsupported};
use tidelog_format::frame::FrameHeader;
use tidelog_format::scan::{Expect, Found, scan};

use crate::span::Place;

/// Why bytes are not taken for a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// They are not what the leader made: the connection or a disk changed them.
    #[error("not an intact frame: {0}")]
    Damaged(#[from] Damage),
    /// They are intact and newer than this program.
    #[error(transparent)]
    Unsupported(#[from] Unsupported),
    /// No frame stands there.
    #[error("the bytes do not hold exactly one frame")]
    NotAFrame,
}

/// A frame with all its checksums verified. Cheap to clone.
#[derive(Clone)]
pub struct Frame {
    header: FrameHeader,
    next_chain: u64,
    bytes: Bytes,
}

impl Frame {
    /// Verifies bytes that came from a peer or a disk: header, table and every batch.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn verify(bytes: Bytes) -> Result<Frame, FrameError> {
        let place = bytes.get(68..72).and_then(|field| field.try_into().ok());
        let block_index = u32::from_le_bytes(place.ok_or(FrameError::NotAFrame)?);
        let (header, next_chain, len) = match scan(&bytes, &Expect { block_index, ..Expect::default() }) {
            Found::Frame(frame) => (frame.header, frame.next_chain(), frame.bytes().len()),
            Found::DamagedHeader(damage) | Found::DamagedBody(_, damage) => return Err(damage.into()),
            Found::Unsupported(newer) => return Err(newer.into()),
            _ => return Err(FrameError::NotAFrame),
        };
        if len != bytes.len() {
            return Err(FrameError::NotAFrame);
        }
        Ok(Frame { header, next_chain, bytes })
    }

    /// A frame that this process has just made: what it wrote itself need not be verified. Where nobody but its own disk
    /// gets it, which has the bytes already, `bytes` may be empty.
    pub fn made(header: FrameHeader, next_chain: u64, bytes: Bytes) -> Frame {
        debug_assert!(bytes.is_empty() || bytes.len() == header.total_len());
        Frame { header, next_chain, bytes }
    }

    /// Its number in the shard.
    pub fn lsn(&self) -> u64 {
        self.header.lsn
    }

    /// Its span.
    pub fn epoch(&self) -> u32 {
        self.header.epoch
    }

    /// The place that it fills.
    pub fn at(&self) -> Place {
        Place { lsn: self.header.lsn, chain: self.header.chain }
    }

    /// The place behind it.
    pub fn next(&self) -> Place {
        Place { lsn: self.header.lsn.saturating_add(1), chain: self.next_chain }
    }

    /// What the leader knew as committed when it made the frame: LSNs below are.
    pub fn committed(&self) -> u64 {
        self.header.committed_lsn
    }

    /// Whether it begins a segment. It is written together with the frame behind it.
    pub fn opens_segment(&self) -> bool {
        self.header.block_index == 0
    }

    /// The verified header.
    pub fn header(&self) -> &FrameHeader {
        &self.header
    }

    /// The bytes, the same on every replica.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// Bytes that it takes in memory, whole blocks.
    #[expect(clippy::len_without_is_empty, reason = "a frame is never without its header")]
    pub fn len(&self) -> usize {
        debug_assert!(self.bytes.len().is_multiple_of(BLOCK));
        self.bytes.len()
    }
}

impl std::fmt::Debug for Frame {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}@{}", self.header.lsn, self.header.epoch)
    }
}

/// Whether these follow each other from `from` on, in one epoch.
pub fn are_consecutive(from: Place, epoch: u32, frames: &[Frame]) -> bool {
    let mut next = from;
    frames.iter().all(|frame| {
        let fits = frame.at() == next && frame.epoch() == epoch;
        next = frame.next();
        fits
    })
}
