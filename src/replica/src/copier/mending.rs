//! A sealed span that no holder has whole is put together again, frame by frame, from what each of them has.
//!
//! # Purpose
//! Rot on three disks in three places of one file leaves no whole copy and loses nothing: each frame stands somewhere.
//! Files are fetched from one holder because that is quick, not because it is needed: a frame proves itself by its
//! checksums, its place by the chain, and all of them together by the chain value that the metadata has for the end.
//! Opening frames and block numbers say which file a frame belongs to, and footers follow from the frames, so the files
//! come out as the leader made them.
//!
//! # Limits
//! A frame that nobody has is lost: [`Effect::Lacks`] names it, for people. It is looked for again, because a holder may
//! come back. What a crash interrupts begins anew.

use std::time::Duration;

use crate::copier::{Copier, Effect, Phase};
use crate::frame::Frame;
use crate::span::Place;

/// Most frames that are asked for at once; a holder gives fewer when they are many bytes.
const FRAMES: u64 = 64;

/// How far the span is put together.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mended {
    /// Behind the last frame that is aside.
    at: Place,
    /// Which holder is asked for the next ones.
    turn: usize,
    /// So many holders in a row did not have the next frame.
    without: usize,
}

impl Mended {
    pub(super) fn from(base: Place) -> Mended {
        Mended { at: base, turn: 0, without: 0 }
    }
}

impl Copier {
    /// Begins at the span's base.
    pub(super) fn mend(&mut self, now: Duration) {
        self.stored.clear();
        self.wanted.clear();
        self.phase = Phase::Mending;
        self.mended = Mended::from(self.span.base);
        self.gather(now);
    }

    /// Whether all frames were put together since the last list.
    pub(super) fn is_mended(&self) -> bool {
        self.mended.at.lsn >= self.end.lsn
    }

    /// Whoever may have frames: this store first, damaged as it is, then the others.
    fn givers(&self) -> Vec<u64> {
        let mine = self.span.is_held_by(&self.me).then_some(self.me.node);
        mine.into_iter().chain(self.sources()).collect()
    }

    fn giver(&self) -> Option<u64> {
        let givers = self.givers();
        givers.get(self.mended.turn.checked_rem(givers.len())?).copied()
    }

    fn gather(&mut self, now: Duration) {
        self.moved = Some(now);
        if self.is_mended() {
            self.phase = Phase::Verifying;
            self.out.push(Effect::Finish);
            return;
        }
        let from = self.mended.at.lsn;
        let to = self.end.lsn.min(from.saturating_add(FRAMES));
        match self.giver().filter(|_| self.mended.without < self.givers().len()) {
            Some(node) => self.out.push(Effect::Gather { node, from, to }),
            None => {
                self.out.push(Effect::Lacks { lsn: from });
                self.list_anew(now);
            }
        }
    }

    /// The holder that was asked has not the next frame, or is silent: the next one.
    pub(super) fn pass(&mut self, now: Duration) {
        self.mended.turn = self.mended.turn.wrapping_add(1);
        self.mended.without += 1;
        self.gather(now);
    }

    /// Takes what follows; what does not is damaged, or not of this span.
    pub(super) fn gathered(&mut self, now: Duration, node: u64, from: u64, frames: Vec<Frame>) {
        let asked = self.phase == Phase::Mending && self.giver() == Some(node);
        if !asked || from != self.mended.at.lsn {
            return;
        }
        let (mut at, epoch, end) = (self.mended.at, self.span.epoch, self.end.lsn);
        let follows = |frame: &Frame| {
            let follows = frame.at() == at && frame.epoch() == epoch && frame.lsn() < end;
            at = if follows { frame.next() } else { at };
            follows
        };
        let frames: Vec<Frame> = frames.into_iter().take_while(follows).collect();
        if frames.is_empty() {
            return self.pass(now);
        }
        self.mended.without = 0;
        self.mended.at = frames.last().map_or(self.mended.at, Frame::next);
        self.out.push(Effect::Mend { frames });
        self.gather(now);
    }
}
