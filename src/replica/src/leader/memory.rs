//! The leader's latest frames, for holders that have not got them yet.

use std::collections::VecDeque;

use crate::frame::Frame;
use crate::span::Place;

/// Consecutive frames up to the leader's end.
#[derive(Debug)]
pub(super) struct Memory {
    frames: VecDeque<Frame>,
    /// Where the first of them stands, or the end when there is none.
    from: Place,
    bytes: usize,
}

impl Memory {
    pub(super) fn new(from: Place) -> Memory {
        Memory { frames: VecDeque::new(), from, bytes: 0 }
    }

    pub(super) fn push(&mut self, frame: Frame) {
        self.bytes += frame.len();
        self.frames.push_back(frame);
    }

    /// LSN of the first frame that is here.
    pub(super) fn first(&self) -> u64 {
        self.from.lsn
    }

    fn index(&self, lsn: u64) -> usize {
        usize::try_from(lsn.saturating_sub(self.from.lsn)).unwrap_or(usize::MAX).min(self.frames.len())
    }

    /// The place at an LSN, if it is here.
    pub(super) fn place(&self, lsn: u64) -> Option<Place> {
        match lsn.checked_sub(self.from.lsn)? {
            0 => Some(self.from),
            behind => self.frames.get(usize::try_from(behind - 1).ok()?).map(Frame::next),
        }
    }

    pub(super) fn frames_from(&self, lsn: u64) -> usize {
        self.frames.len() - self.index(lsn)
    }

    pub(super) fn bytes_from(&self, lsn: u64) -> usize {
        self.frames.range(self.index(lsn)..).map(Frame::len).sum()
    }

    pub(super) fn bytes_between(&self, from: u64, to: u64) -> usize {
        let (from, to) = (self.index(from), self.index(to));
        self.frames.range(from.min(to)..to).map(Frame::len).sum()
    }

    /// Frames from `lsn` on, as many as there is room for; at least one where there is any room at all. An opening
    /// frame is never the last: it is written together with the frame behind it.
    pub(super) fn take(&self, lsn: u64, room: usize, bytes: usize) -> Vec<Frame> {
        let mut left = bytes;
        let mut frames: Vec<Frame> = Vec::new();
        for frame in self.frames.range(self.index(lsn)..).take(room) {
            if frame.len() > left && !(frames.is_empty() && left > 0) {
                break;
            }
            left = left.saturating_sub(frame.len());
            frames.push(frame.clone());
        }
        if frames.last().is_some_and(Frame::opens_segment) {
            let behind = frames.last().map_or(lsn, |opening| opening.next().lsn);
            match self.frames.get(self.index(behind)) {
                Some(next) if frames.len() == 1 => frames.push(next.clone()),
                _ => {
                    frames.pop();
                }
            }
        }
        frames
    }

    /// Lets go of what no holder wants, and of what makes it too big; never of what is not committed.
    pub(super) fn trim(&mut self, wanted: u64, committed: u64, most: usize) {
        while let Some(first) = self.frames.front() {
            let unwanted = first.lsn() < wanted || (self.bytes > most && first.lsn() < committed);
            if !unwanted {
                break;
            }
            self.bytes -= first.len();
            self.from = first.next();
            self.frames.pop_front();
        }
    }
}
