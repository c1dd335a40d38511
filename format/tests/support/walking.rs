//! Walks a file in memory.

use tidelog_format::BLOCK;
use tidelog_format::opening::Opening;
use tidelog_format::scan::Expect;
use tidelog_format::walk::{Outcome, Step, Walk};

/// A frame as the walk gave it out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) lsn: u64,
    pub(crate) at: usize,
    /// Header, bodies and table: all that counts. The padding is left out.
    pub(crate) content: Vec<u8>,
}

/// What a walk found.
#[derive(Clone, Debug)]
pub(crate) struct Walked {
    pub(crate) frames: Vec<Seen>,
    pub(crate) opening: Option<Opening>,
    pub(crate) digest: [u8; 16],
    pub(crate) outcome: Outcome,
}

/// Walks `file` from its first byte to its last; `ends` is what the successor says.
pub(crate) fn walk(file: &[u8], expect: Expect, ends: Option<u64>) -> Walked {
    let mut walk = Walk::new(expect);
    let mut frames = Vec::new();
    loop {
        let at = usize::try_from(walk.position()).unwrap();
        match walk.step(file.get(at..).unwrap_or_default(), true) {
            Step::Need(needed) => unreachable!("the walk asks for {needed} bytes beyond the file's end"),
            Step::Stopped => break,
            Step::Frame(frame) => {
                let content = frame.bytes()[..128 + usize::try_from(frame.header.body_len).unwrap()].to_vec();
                frames.push(Seen { lsn: frame.header.lsn, at, content });
            }
        }
    }
    let behind = walk.expect().block_index;
    let start = usize::try_from(behind).unwrap() * BLOCK;
    walk.look_behind(file.get(start..).unwrap_or_default(), behind);
    let (opening, digest) = (walk.opening().copied(), walk.digest());
    Walked { frames, opening, digest, outcome: walk.finish(ends) }
}

/// The same walk as recovery does it: a few bytes at a time, more only when they are asked for.
pub(crate) fn walk_in_pieces(file: &[u8], expect: Expect, ends: Option<u64>) -> Walked {
    let mut walk = Walk::new(expect);
    let mut frames = Vec::new();
    let mut want = BLOCK;
    loop {
        let at = usize::try_from(walk.position()).unwrap();
        let rest = file.get(at..).unwrap_or_default();
        let piece = &rest[..want.min(rest.len())];
        match walk.step(piece, piece.len() == rest.len()) {
            Step::Need(needed) => want = needed,
            Step::Stopped => break,
            Step::Frame(frame) => {
                let content = frame.bytes()[..128 + usize::try_from(frame.header.body_len).unwrap()].to_vec();
                frames.push(Seen { lsn: frame.header.lsn, at, content });
                want = BLOCK;
            }
        }
    }
    for (index, block) in (0u32..).zip(file.chunks(BLOCK)) {
        if index >= walk.expect().block_index {
            walk.look_behind(block, index);
        }
    }
    let (opening, digest) = (walk.opening().copied(), walk.digest());
    Walked { frames, opening, digest, outcome: walk.finish(ends) }
}
