//! Walks a segment's file from its first byte, then looks behind its end for evidence: the one way in which
//! recovery and the inspector judge an unsealed segment. Does no I/O: it asks for bytes.
//!
//! # Use
//! 1. [`Walk::step`] with the bytes from [`Walk::position`] until it says [`Step::Stopped`].
//! 2. [`Walk::look_behind`] with the rest of the file, piece by piece.
//! 3. [`Walk::finish`] with what the successor or a peer says.
//!
//! # Invariants
//! A write holds one frame and its end block (the first write of a segment: the opening frame and one more),
//! and the next write begins after it has returned. So an intact frame behind `s` shows that `s` was durable.

use std::cmp::Ordering;

use crate::block::{self, BLOCK, BLOCK_U64, Damage, FirstLook, Kind, Unsupported};
use crate::end_block::EndBlock;
use crate::entry::EntryKind;
use crate::footer::FooterHeader;
use crate::frame::{Frame, FrameHeader};
use crate::opening::Opening;
use crate::scan::{Expect, Found, scan};
use crate::trailer::{Digest, Trailer};
use crate::verdict::{At, Evidence, Grade, Verdict, verdict};

/// One step forward.
#[derive(Debug)]
pub enum Step<'a> {
    /// At least this many bytes from [`Walk::position`] are needed; fewer may only be given at the file's end.
    Need(usize),
    /// A verified frame; the position is behind it now.
    Frame(Frame<'a>),
    /// No further frame.
    Stopped,
}

/// What ended the frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// A good end.
    End(EndBlock),
    /// A footer.
    Footer(FooterHeader),
    /// Nothing was ever written here in this life of the file.
    Unwritten,
    /// Damage.
    Damage(Damage),
    /// Newer than the program.
    Unsupported(Unsupported),
}

/// The end of a segment's frames and what to think of it.
#[derive(Debug, Clone, Copy)]
pub struct Outcome {
    /// What stands at the end.
    pub at: At,
    /// The particulars.
    pub cause: Cause,
    /// The strongest evidence from elsewhere.
    pub evidence: Evidence,
    /// By the table.
    pub verdict: Verdict,
    /// Position of the end, bytes.
    pub position: u64,
    /// What the next frame would be.
    pub expect: Expect,
}

/// A walk over one file.
#[derive(Debug, Clone)]
pub struct Walk {
    expect: Expect,
    base_lsn: Option<u64>,
    opening: Option<Opening>,
    stopped: Option<(At, Cause)>,
    evidence: Evidence,
    digest: Digest,
    last_append_time: Option<i64>,
}

impl Walk {
    /// Starts at the first byte. `expect` holds what is known of the first frame: the epoch from the file's name;
    /// LSN, chain and salt from the predecessor.
    pub fn new(expect: Expect) -> Walk {
        Walk {
            base_lsn: expect.lsn,
            expect: Expect { block_index: 0, ..expect },
            opening: None,
            stopped: None,
            evidence: Evidence::Nothing,
            digest: Digest::default(),
            last_append_time: None,
        }
    }

    /// Place of the next frame, bytes.
    pub fn position(&self) -> u64 {
        u64::from(self.expect.block_index) * BLOCK_U64
    }

    /// What the next frame must be.
    pub fn expect(&self) -> &Expect {
        &self.expect
    }

    /// Identity of the segment, once its first frame was seen.
    pub fn opening(&self) -> Option<&Opening> {
        self.opening.as_ref()
    }

    /// LSN of the opening frame, as far as it is known.
    pub fn base_lsn(&self) -> Option<u64> {
        self.base_lsn
    }

    /// Digest of the frames so far.
    pub fn digest(&self) -> [u8; 16] {
        self.digest.value()
    }

    /// The digest itself, to go on with behind the end.
    pub fn digested(&self) -> Digest {
        self.digest.clone()
    }

    /// Largest append time so far, ms.
    pub fn last_append_time(&self) -> Option<i64> {
        self.last_append_time
    }

    /// Reads what stands at the position. `bytes` begin there; `to_end` says that they reach the file's end.
    pub fn step<'a>(&mut self, bytes: &'a [u8], to_end: bool) -> Step<'a> {
        let (at, cause) = match scan(bytes, &self.expect) {
            Found::Frame(frame) => match self.accept(&frame) {
                Ok(()) => return Step::Frame(frame),
                Err(stop) => stop,
            },
            Found::Need(needed) if !to_end => return Step::Need(needed),
            Found::Need(needed) if bytes.is_empty() => {
                (At::FileEnd, Cause::Damage(Damage::Truncated { needed: needed as u64 }))
            }
            Found::Need(needed) => {
                (At::DamagedBody, Cause::Damage(Damage::Truncated { needed: needed as u64 }))
            }
            Found::End(end) => (At::EndBlock, Cause::End(end)),
            Found::Footer(footer) => (At::Footer, Cause::Footer(footer)),
            Found::Virgin => (At::Virgin, Cause::Unwritten),
            Found::Stale(_) => (At::Stale, Cause::Unwritten),
            Found::Trailer(_) => {
                (At::DamagedHeader, Cause::Damage(Damage::OutOfPlace { found: Kind::Trailer }))
            }
            Found::DamagedHeader(damage) => (At::DamagedHeader, Cause::Damage(damage)),
            Found::DamagedBody(_, damage) => (At::DamagedBody, Cause::Damage(damage)),
            Found::Unsupported(newer) => (At::Unsupported, Cause::Unsupported(newer)),
        };
        self.stopped = Some((at, cause));
        Step::Stopped
    }

    fn accept(&mut self, frame: &Frame<'_>) -> Result<(), (At, Cause)> {
        if self.opening.is_none() {
            self.opening = Some(read_opening(frame)?);
            self.base_lsn = Some(frame.header.lsn);
        }
        // A clock that went back is the writer's fault and no reason to give up an intact frame.
        self.last_append_time = self.last_append_time.max(Some(frame.header.append_time));
        self.digest.update(frame.bytes());
        self.expect = Expect::after(frame);
        Ok(())
    }

    /// Looks for evidence in whole blocks from the end on; `first_block` is the place of `bytes`. The block at the end is
    /// looked at for what does not belong there.
    pub fn look_behind(&mut self, bytes: &[u8], first_block: u32) {
        for (index, bytes) in (first_block..).zip(bytes.chunks_exact(BLOCK)) {
            if index >= self.expect.block_index {
                self.evidence = self.evidence.max(self.weigh(bytes, index));
            }
        }
    }

    /// What one block says about the LSN that should stand at the end.
    fn weigh(&self, bytes: &[u8], index: u32) -> Evidence {
        let prelude = match block::first_look(bytes) {
            FirstLook::Header(prelude) => prelude,
            // Newer, and surely of this segment: what it says can't be read, so nothing may be cut.
            FirstLook::Unsupported(salt, _)
                if self.expect.salt == Some(salt) && index > self.expect.block_index =>
            {
                return Evidence::WasDurable;
            }
            _ => return Evidence::Nothing,
        };
        if self.expect.salt.is_some_and(|salt| salt != prelude.salt) {
            return Evidence::Nothing;
        }
        // The segment's salt says that it was written in this life, wherever a disk has put it. Where no salt is known, only
        // its place tells it from what a record may hold. What stands at the end in its own place is what the walk met.
        let (is_own, at_end) = (self.expect.salt.is_some(), index == self.expect.block_index);
        let belongs = |block_index: u32, epoch: u32| {
            let in_place = block_index == index;
            let counts = if at_end { is_own && !in_place } else { is_own || in_place };
            counts && self.expect.epoch.is_none_or(|expected| expected == epoch)
        };
        match prelude.kind {
            Kind::Frame => match FrameHeader::decode(bytes, prelude.salt) {
                Ok(frame) if belongs(frame.block_index, frame.epoch) => self.weigh_frame(&frame),
                _ => Evidence::Nothing,
            },
            // Of these the header alone is evidence: it has its own checksum, whatever stands behind it.
            Kind::EndBlock => match EndBlock::of_header(bytes, prelude.salt) {
                end if belongs(end.block_index, end.epoch) => self.weigh_end(&end),
                _ => Evidence::Nothing,
            },
            Kind::Footer => match FooterHeader::decode(bytes, prelude.salt) {
                Ok(footer) if belongs(footer.block_index, footer.epoch) => self.weigh_seal(footer.next_lsn),
                _ => Evidence::Nothing,
            },
            Kind::Trailer => match Trailer::of_header(bytes, prelude.salt) {
                trailer if belongs(trailer.block_index, trailer.epoch) => self.weigh_seal(trailer.next_lsn),
                _ => Evidence::Nothing,
            },
            Kind::Superblock => Evidence::Nothing,
        }
    }

    /// Without a known LSN (a lone file whose opening frame is gone) the place decides: the first write is
    /// the opening frame in block 0 and one frame behind it.
    fn weigh_frame(&self, frame: &FrameHeader) -> Evidence {
        let Some(s) = self.expect.lsn else {
            return if frame.block_index == 1 { Evidence::WriteBegun } else { Evidence::WasDurable };
        };
        let same_write = if self.opening.is_none() { s.saturating_add(1) } else { s };
        if frame.lsn > same_write {
            Evidence::WasDurable
        } else if frame.lsn >= s {
            Evidence::WriteBegun
        } else {
            Evidence::Nothing
        }
    }

    fn weigh_end(&self, end: &EndBlock) -> Evidence {
        let (begun, later) = match self.expect.lsn {
            Some(s) => (end.next_lsn > s, end.first_lsn > s),
            None => (true, end.next_lsn.saturating_sub(end.first_lsn) < 2),
        };
        if !begun {
            Evidence::Nothing
        } else if later || end.synced || end.clean {
            Evidence::WasDurable
        } else {
            Evidence::WriteBegun
        }
    }

    fn weigh_seal(&self, next_lsn: u64) -> Evidence {
        let Some(s) = self.expect.lsn else {
            return Evidence::WasDurable;
        };
        match next_lsn.cmp(&s) {
            Ordering::Greater => Evidence::WasDurable,
            Ordering::Equal => Evidence::EndsHere,
            Ordering::Less => Evidence::Nothing,
        }
    }

    /// Ends the walk where it is, because somebody has decided that nothing behind counts.
    pub fn end_here(self) -> Outcome {
        Outcome {
            at: At::FileEnd,
            cause: Cause::Unwritten,
            evidence: Evidence::EndsHere,
            verdict: Verdict::End(Grade::Proved),
            position: self.position(),
            expect: self.expect,
        }
    }

    /// Ends the walk. `durable_below` is the LSN at which the segment ends by its successor's opening (or by a
    /// seal that a peer knows): all LSNs below it were durable. A file that goes on beyond it has the wrong
    /// successor, which is as loud as a hole.
    pub fn finish(self, durable_below: Option<u64>) -> Outcome {
        let (at, cause) = self.stopped.unwrap_or((At::FileEnd, Cause::Unwritten));
        let s = self.expect.lsn.unwrap_or(0);
        let outside = durable_below.map_or(Evidence::Nothing, |end| {
            if end == s { Evidence::EndsHere } else { Evidence::WasDurable }
        });
        let evidence = self.evidence.max(outside);
        Outcome {
            at,
            cause,
            evidence,
            verdict: verdict(at, evidence),
            position: self.position(),
            expect: self.expect,
        }
    }
}

fn read_opening(frame: &Frame<'_>) -> Result<Opening, (At, Cause)> {
    let damaged = |damage| (At::DamagedBody, Cause::Damage(damage));
    let entry = frame.entries().next().filter(|entry| entry.kind() == Some(EntryKind::Opening));
    let entry = entry.ok_or(damaged(Damage::Range { field: "opening" }))?;
    let opening = Opening::decode(entry.body).map_err(damaged)?;
    match opening.check_features() {
        Ok(()) => Ok(opening),
        Err(newer) => Err((At::Unsupported, Cause::Unsupported(newer))),
    }
}
