//! Walks frames forward through a part of a segment that is known to be durable. The bytes come through [`crate::reads`];
//! here, on the caller's thread, they are taken apart.

use std::path::PathBuf;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use tidelog_format::block::{BLOCK, BLOCK_U64, round_up};
use tidelog_format::frame::Frame;
use tidelog_format::scan::{Expect, Found, scan_unverified};
use tidelog_format::{Damage, Salt};

use crate::error::ReadError;
use crate::read_buffers::CHUNK;
use crate::reads::{BESIDE_WRITES, Reading, read_ahead, read_bytes};
use crate::segments::SegmentId;
use crate::shared::Shared;

/// Least first read, bytes; reads double up to [`CHUNK`].
const FIRST_READ: usize = 64 * 1024;

/// What a visitor has done with a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Seen {
    /// It wants the next one.
    Whole,
    /// It wants this one again next time.
    Part,
}

/// Bytes of the segment in memory.
#[derive(Default)]
struct Piece {
    at: u64,
    bytes: Bytes,
}

impl Piece {
    /// What it has from `position` on; nothing when that is elsewhere.
    fn from(&self, position: u64) -> Bytes {
        let skip = position.checked_sub(self.at).and_then(|skip| usize::try_from(skip).ok());
        skip.filter(|skip| *skip < self.bytes.len()).map_or_else(Bytes::new, |skip| self.bytes.slice(skip..))
    }

    fn end(&self) -> u64 {
        self.at + self.bytes.len() as u64
    }
}

/// Knows the shard only while it is asked for frames: it may lie in the shard itself (see [`crate::cursors`]).
pub(crate) struct Frames {
    id: SegmentId,
    expect: Expect,
    /// Bytes behind the last frame that may be read.
    until: u64,
    /// Where the next frame is, or was.
    held: Piece,
    /// Behind it, when the frame that is held was put together from several reads.
    behind: Piece,
    /// Being read: begins where the last read ended.
    ahead: Option<(u64, Reading)>,
    /// The reader goes forward, so what comes next is read while it is busy with what is here.
    goes_on: bool,
    next_read: usize,
}

impl Frames {
    /// Starts at the frame in `block`.
    pub(crate) fn new(id: SegmentId, salt: Option<Salt>, block: u32, until: u64) -> Frames {
        Frames {
            id,
            expect: Expect { block_index: block, salt, epoch: Some(id.epoch), ..Expect::default() },
            until,
            held: Piece::default(),
            behind: Piece::default(),
            ahead: None,
            goes_on: false,
            next_read: FIRST_READ,
        }
    }

    /// For a reader that wants about so many bytes: they come in one read, with what stands around them.
    pub(crate) fn wanting(self, bytes: usize) -> Frames {
        let around = bytes.saturating_add(bytes / 8 + FIRST_READ);
        Frames { next_read: round_up(around.clamp(FIRST_READ, CHUNK)), ..self }
    }

    /// The reader has come back for what follows: from now on it is read ahead. Frames end at `until` now.
    pub(crate) fn go_on(&mut self, shared: &Shared, until: u64) {
        self.until = self.until.max(until);
        self.goes_on = true;
        let end = self.held.end().max(self.behind.end()).max(self.position());
        self.begin_ahead(shared, end);
    }

    /// Place of the next frame, bytes.
    pub(crate) fn position(&self) -> u64 {
        u64::from(self.expect.block_index) * BLOCK_U64
    }

    /// Gives the next frame with its table verified to `visit`, together with memory that it lies in; false at the end.
    pub(crate) async fn next(
        &mut self,
        shared: &Shared,
        mut visit: impl FnMut(&Frame<'_>, &Bytes) -> Result<Seen, Damage>,
    ) -> Result<bool, ReadError> {
        let mut needed = BLOCK;
        loop {
            let position = self.position();
            if position >= self.until {
                return Ok(false);
            }
            let here = self.hold(shared, position, needed).await?;
            match scan_unverified(&here, &self.expect) {
                Found::Frame(frame) => {
                    if visit(&frame, &here).map_err(|damage| self.corrupt(shared, damage))? == Seen::Whole {
                        self.expect = Expect::after(&frame);
                    }
                    return Ok(true);
                }
                Found::Need(more) => needed = more,
                Found::DamagedHeader(damage) | Found::DamagedBody(_, damage) => {
                    return Err(self.corrupt(shared, damage));
                }
                Found::Unsupported(source) => {
                    return Err(ReadError::Unsupported { file: self.id.path(&shared.dir), source });
                }
                Found::Virgin | Found::Stale(_) | Found::End(_) | Found::Footer(_) | Found::Trailer(_) => {
                    return Err(self.corrupt(shared, Damage::Magic));
                }
            }
        }
    }

    /// At least `needed` bytes from `position` in one piece of memory.
    async fn hold(&mut self, shared: &Shared, position: u64, needed: usize) -> Result<Bytes, ReadError> {
        let rest = usize::try_from(self.until - position).unwrap_or(usize::MAX);
        if needed > rest {
            return Err(self.corrupt(shared, Damage::Truncated { needed: needed as u64 }));
        }
        let mut here = self.held.from(position);
        if here.is_empty() {
            self.held = self.piece(shared, position, needed).await?;
            here = self.held.from(position);
        }
        if here.len() < needed {
            here = self.put_together(shared, position, &here, needed).await?;
        }
        Ok(here)
    }

    /// A frame that stands in more than one read: nothing is read twice for it, its bytes are copied.
    async fn put_together(
        &mut self,
        shared: &Shared,
        position: u64,
        first: &Bytes,
        needed: usize,
    ) -> Result<Bytes, ReadError> {
        let mut whole = shared.read_buffers.take(needed);
        whole.bytes_mut()[..first.len()].copy_from_slice(first);
        let mut filled = first.len();
        while filled < needed {
            let piece = self.piece(shared, position + filled as u64, needed - filled).await?;
            let take = piece.bytes.len().min(needed - filled);
            whole.bytes_mut()[filled..filled + take].copy_from_slice(&piece.bytes[..take]);
            filled += take;
            self.behind = piece;
        }
        self.held = Piece { at: position, bytes: whole.share(needed) };
        Ok(self.held.bytes.clone())
    }

    /// What stands at `position`, at least a block of it: from memory, from the read that is on its way, or from a new one.
    async fn piece(&mut self, shared: &Shared, position: u64, needed: usize) -> Result<Piece, ReadError> {
        let behind = self.behind.from(position);
        self.behind = Piece::default();
        if !behind.is_empty() {
            return Ok(Piece { at: position, bytes: behind });
        }
        let rest = usize::try_from(self.until - position).unwrap_or(usize::MAX);
        let (buf, read) = match self.ahead.take() {
            Some((at, reading)) if at == position => reading.arrived().await?,
            _ => {
                let len = self.read_len(shared).max(needed).min(rest);
                read_bytes(shared, self.id, position, len).await?
            }
        };
        let whole = read.min(rest) / BLOCK * BLOCK;
        if whole == 0 {
            return Err(self.corrupt(shared, Damage::Truncated { needed: needed as u64 }));
        }
        let piece = Piece { at: position, bytes: buf.share(whole) };
        if self.goes_on {
            self.begin_ahead(shared, piece.end());
        }
        Ok(piece)
    }

    fn begin_ahead(&mut self, shared: &Shared, position: u64) {
        if self.ahead.as_ref().is_some_and(|(at, _)| *at == position) || position >= self.until {
            return;
        }
        let rest = usize::try_from(self.until - position).unwrap_or(usize::MAX);
        let len = self.read_len(shared).min(rest);
        self.ahead = read_ahead(shared, self.id, position, len).map(|reading| (position, reading));
    }

    /// Bytes of the next read; those after it are longer.
    fn read_len(&mut self, shared: &Shared) -> usize {
        let len = self.next_read;
        self.next_read = (len * 2).min(CHUNK);
        if shared.is_written.load(Ordering::Relaxed) { len.min(BESIDE_WRITES) } else { len }
    }

    fn corrupt(&self, shared: &Shared, damage: Damage) -> ReadError {
        ReadError::Corrupt { file: self.file(shared), position: self.position(), damage }
    }

    pub(crate) fn file(&self, shared: &Shared) -> PathBuf {
        self.id.path(&shared.dir)
    }
}
