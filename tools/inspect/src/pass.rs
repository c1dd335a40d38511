//! One pass over one segment: every intact frame in order, the holes between them, and how it ends.
//!
//! # Purpose
//! The way to the first place that is not the next frame is [`Walk`]'s, and so is the verdict on it, exactly as in
//! recovery. Recovery stops there; the inspector goes on behind a hole ([`crate::resync`]).
//!
//! # Invariants
//! A file of a running node changes while it is read. What stands at the end is therefore looked at again
//! after everything behind it was read: a frame there now means that the node has written, and what was
//! seen behind is no evidence.

use tidelog_format::BLOCK;
use tidelog_format::block::{BLOCK_U64, Salt};
use tidelog_format::frame::Frame;
use tidelog_format::opening::Opening;
use tidelog_format::scan::{Expect, Found, scan};
use tidelog_format::trailer::Trailer;
use tidelog_format::verdict::Verdict;
use tidelog_format::walk::{Cause, Outcome, Step, Walk};

use crate::error::InspectError;
use crate::resync::Resync;
use crate::window::{View, Window};

/// How often the end of a growing file is followed.
const MAX_GROWTH: u32 = 3;
/// Bytes of one look behind the end.
const LOOK: usize = 1024 * 1024;

/// Takes what a pass finds, in the file's order.
pub(crate) trait Visitor {
    /// An intact frame, all checksums good.
    fn frame(&mut self, frame: &Frame<'_>) -> Result<(), InspectError>;

    /// A hole between frames.
    fn hole(&mut self, hole: &Hole) -> Result<(), InspectError> {
        let _ = hole;
        Ok(())
    }
}

/// Bytes that should be frames and are not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Hole {
    pub(crate) from: u64,
    pub(crate) to: u64,
    pub(crate) first_lsn: Option<u64>,
    pub(crate) last_lsn: Option<u64>,
    /// What stands at its first byte.
    pub(crate) reason: String,
}

/// What is known of a segment before it is read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Known {
    /// Of the first frame.
    pub(crate) expect: Expect,
    /// LSN at which the successor says that the segment ends.
    pub(crate) ends_at: Option<u64>,
    /// The file's last block, if it is a trailer. It may be one of an earlier life.
    pub(crate) trailer: Option<Trailer>,
}

/// What a pass found.
#[derive(Debug)]
pub(crate) struct Passed {
    pub(crate) opening: Option<Opening>,
    /// Header fields of the first frame: LSN and chain.
    pub(crate) base: Option<(u64, u64)>,
    /// How the frames that follow each other from the first byte end.
    pub(crate) outcome: Outcome,
    /// What the frame behind the last intact one would be.
    pub(crate) end: Expect,
    pub(crate) holes: Vec<Hole>,
    /// Digest of the frames; `None` when there are holes.
    pub(crate) digest: Option<[u8; 16]>,
    /// The file grew while it was read.
    pub(crate) grew: bool,
    /// What stood at the end changed while it was read.
    pub(crate) moved: bool,
    /// The trailer, if it is one of this life of the file.
    pub(crate) trailer: Option<Trailer>,
    /// Damage that fits too much to be looked behind was left alone.
    pub(crate) gave_up: bool,
}

impl Passed {
    /// Position behind the last intact frame.
    pub(crate) fn end_position(&self) -> u64 {
        position(&self.end)
    }

    /// Whether nothing was ever written here in this life of the file.
    pub(crate) fn is_unbegun(&self) -> bool {
        self.base.is_none() && matches!(self.outcome.verdict, Verdict::End(_)) && !self.grew
    }
}

/// Position of the frame that is expected.
pub(crate) fn position(expect: &Expect) -> u64 {
    u64::from(expect.block_index) * BLOCK_U64
}

/// Reads a whole segment.
pub(crate) fn pass(
    window: &mut Window,
    known: &Known,
    visitor: &mut dyn Visitor,
) -> Result<Passed, InspectError> {
    let mut walk = Walk::new(known.expect);
    let mut base = None;
    let (mut growth, mut moved) = (0, false);
    loop {
        let stop = forward(window, &mut walk, &mut base, visitor)?;
        if growth == 0 {
            look_behind(window, &mut walk)?;
        }
        window.refresh()?;
        let now = standing(window, walk.position(), walk.expect())?;
        if now == Standing::Frame && stop != Standing::Frame {
            growth += 1;
            if growth <= MAX_GROWTH {
                continue;
            }
        }
        moved |= now != stop;
        break;
    }
    let (opening, digest) = (walk.opening().copied(), walk.digest());
    let outcome = walk.finish(known.ends_at);
    let trailer = known.trailer.filter(|trailer| is_own(trailer, outcome.expect.salt, &known.expect));
    let mut passed = Passed {
        opening,
        base,
        outcome,
        end: outcome.expect,
        holes: Vec::new(),
        digest: Some(digest),
        grew: growth > 0,
        moved,
        trailer,
        gave_up: false,
    };
    if is_broken(&passed) {
        passed.digest = None;
        Resync::new(window, known, &mut passed, visitor).run()?;
    }
    Ok(passed)
}

/// Whether a trailer belongs to the segment of this salt; with no salt known, its epoch has to do.
fn is_own(trailer: &Trailer, salt: Option<Salt>, expect: &Expect) -> bool {
    salt.map_or(expect.epoch.is_none_or(|epoch| epoch == trailer.epoch), |salt| salt == trailer.salt)
}

/// Whether frames are missing or damaged, so that there is something to look for behind.
fn is_broken(passed: &Passed) -> bool {
    let outcome = &passed.outcome;
    let early = passed.trailer.is_some_and(|trailer| outcome.position < trailer.footer_position());
    let unsupported = matches!(outcome.cause, Cause::Unsupported(_));
    !passed.grew && !passed.moved && !unsupported && (outcome.verdict == Verdict::Corrupt || early)
}

/// What stands at a place, as far as it matters for whether it has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    Frame,
    End,
    Footer,
    Unwritten,
    Other,
}

fn standing(window: &mut Window, position: u64, expect: &Expect) -> Result<Standing, InspectError> {
    let mut need = BLOCK;
    loop {
        let view = window.view(position, need)?;
        match scan(view.bytes, expect) {
            Found::Need(more) if !view.to_end => need = more,
            found => return Ok(kind(&found)),
        }
    }
}

fn kind(found: &Found<'_>) -> Standing {
    match found {
        Found::Frame(_) => Standing::Frame,
        Found::End(_) => Standing::End,
        Found::Footer(_) => Standing::Footer,
        Found::Virgin | Found::Stale(_) => Standing::Unwritten,
        _ => Standing::Other,
    }
}

/// Walks until no further frame stands, and says what stands there.
fn forward(
    window: &mut Window,
    walk: &mut Walk,
    base: &mut Option<(u64, u64)>,
    visitor: &mut dyn Visitor,
) -> Result<Standing, InspectError> {
    let mut need = BLOCK;
    loop {
        let View { bytes, to_end } = window.view(walk.position(), need)?;
        match walk.step(bytes, to_end) {
            Step::Need(more) => need = more,
            Step::Frame(frame) => {
                base.get_or_insert((frame.header.lsn, frame.header.chain));
                visitor.frame(&frame)?;
                need = BLOCK;
            }
            Step::Stopped => return standing(window, walk.position(), walk.expect()),
        }
    }
}

fn look_behind(window: &mut Window, walk: &mut Walk) -> Result<(), InspectError> {
    let mut block = walk.expect().block_index;
    loop {
        let view = window.view(u64::from(block) * BLOCK_U64, LOOK)?;
        let whole = view.bytes.len() - view.bytes.len() % BLOCK;
        walk.look_behind(&view.bytes[..whole], block);
        let blocks = u32::try_from(whole / BLOCK).unwrap_or(u32::MAX);
        match block.checked_add(blocks) {
            Some(next) if blocks > 0 && !view.to_end => block = next,
            _ => return Ok(()),
        }
    }
}
