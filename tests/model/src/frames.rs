//! The frames of one span, as far as the protocol looks at them.

use std::fmt;

/// Dense number of a frame within its span, from 0.
pub type Lsn = u8;
/// Number of a process's start. A frame's bytes are known by the leader incarnation that framed them.
pub type Incarnation = u8;

/// The most frames a span has in this model.
pub const MOST_FRAMES: usize = 3;
/// What a slot holds whose frame fails its checksum.
const DAMAGED: Incarnation = 0xff;

/// Frames `0..len` of a span. It is what a tail holds, and what a chain value stands for: equal frames, equal chain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Frames {
    len: Lsn,
    writers: [Incarnation; MOST_FRAMES],
}

impl Frames {
    /// The LSN behind the last frame.
    pub fn end(&self) -> Lsn {
        self.len
    }

    /// Appends a frame that `writer` framed.
    pub fn push(&mut self, writer: Incarnation) {
        self.writers[usize::from(self.len)] = writer;
        self.len += 1;
    }

    /// Who framed the frame at `lsn`, if it is here and intact.
    pub fn at(&self, lsn: Lsn) -> Option<Incarnation> {
        let writer = self.writers[usize::from(lsn)];
        (lsn < self.len && writer != DAMAGED).then_some(writer)
    }

    /// The frames below `end`.
    pub fn below(&self, end: Lsn) -> Self {
        let mut cut = *self;
        cut.len = self.len.min(end);
        cut.writers[usize::from(cut.len)..].fill(0);
        cut
    }

    /// The frames before the first damaged one.
    pub fn intact(&self) -> Self {
        let first = (0..self.len).find(|&lsn| self.at(lsn).is_none());
        self.below(first.unwrap_or(self.len))
    }

    /// Makes the frame at `lsn` fail its checksum from now on.
    pub fn damage(&mut self, lsn: Lsn) {
        self.writers[usize::from(lsn)] = DAMAGED;
    }

    /// Whether these are the first frames of `other`, byte for byte.
    pub fn begins(&self, other: &Self) -> bool {
        other.below(self.len) == *self
    }
}

impl fmt::Display for Frames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[")?;
        for lsn in 0..self.len {
            let gap = if lsn == 0 { "" } else { " " };
            match self.at(lsn) {
                Some(writer) => write!(f, "{gap}{lsn}:by{writer}")?,
                None => write!(f, "{gap}{lsn}:damaged")?,
            }
        }
        write!(f, "]")
    }
}
