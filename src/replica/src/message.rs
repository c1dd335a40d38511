//! What nodes say to each other about frames. The executor carries it; the cluster's id belongs to the connection.

use crate::frame::Frame;
use crate::span::{Place, Process, Replica};

/// What every request says besides its content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// The shard.
    pub shard: u64,
    /// The span.
    pub epoch: u32,
    /// Who asks.
    pub from: Process,
    /// Version of the metadata that the asker acts on.
    pub version: u64,
}

/// A request to a holder.
#[derive(Clone, Debug)]
pub enum Request {
    /// The leader's frames, consecutive from `base`; none of them: only what is committed, and a question.
    Append {
        /// LSN of the first of them, or at which the leader would go on.
        base: u64,
        /// LSNs below are committed.
        committed: u64,
        /// The frames.
        frames: Vec<Frame>,
    },
    /// A coordinator's: promise me that nothing older writes here any more, then tell how far you have come.
    Fence {
        /// The attempt.
        attempt: u32,
        /// Where the span begins, for a holder that has nothing of it.
        base: Place,
    },
    /// A coordinator's: give me frames.
    FetchTail {
        /// The attempt.
        attempt: u32,
        /// First LSN.
        from: u64,
        /// Behind the last.
        to: u64,
    },
    /// A coordinator's: take these frames, which are below the end that I shall commit.
    RepairAppend {
        /// The attempt.
        attempt: u32,
        /// Where the span begins, for a holder that has nothing of it.
        base: Place,
        /// Consecutive frames.
        frames: Vec<Frame>,
    },
    /// The span has an end; the metadata at the envelope's version says where. A hint: the metadata is believed, not
    /// the message.
    SpanSealed,
}

/// A holder's answer.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// To an append: LSNs below are on this disk.
    Appended {
        /// Behind the last durable frame.
        durable: u64,
    },
    /// To an append: not taken.
    Refused(Refusal),
    /// To a fence.
    Fenced(Standing),
    /// To a coordinator that another one has overtaken.
    HigherPromise {
        /// The attempt that asked.
        attempt: u32,
        /// What this holder has promised since.
        promised: u32,
    },
    /// To a fetch: all frames of a range that are intact here, in order. Fewer than were asked for when they would be too
    /// many bytes at once; then the range is shorter too.
    Tail {
        /// The attempt.
        attempt: u32,
        /// First LSN of the range.
        from: u64,
        /// Behind its last.
        to: u64,
        /// The frames. What is in the range and not among them, this holder does not have.
        frames: Vec<Frame>,
    },
    /// To a repair: LSNs below are on this disk.
    Repaired {
        /// The attempt.
        attempt: u32,
        /// Behind the last durable frame.
        durable: u64,
    },
}

/// Why an append is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// This holder has promised a higher epoch. The leader's time is over.
    Fenced {
        /// The promise.
        promised: u32,
    },
    /// The frames do not begin where this holder ends, or there is no room for so many.
    Gap {
        /// Where it ends.
        end: u64,
    },
    /// The disk is nearly full.
    ReadOnly,
    /// This disk is not written any more: it failed, or what it held of this span is damaged.
    StoreGone,
    /// This holder's metadata does not show the span open with itself in it.
    UnknownSpan,
}

/// How far a fenced holder has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The attempt that it has promised to.
    pub attempt: u32,
    /// Behind its last durable frame; of a damaged holder: behind the frames before the damage.
    pub end: Place,
    /// A damaged holder may have intact frames behind the damage, below this LSN. Otherwise it is where `end` is.
    pub reach: u64,
    /// How sure that is.
    pub grade: Grade,
    /// The highest committed LSN that it was told of: below it everything is committed.
    pub committed: u64,
}

/// How sure a holder is of its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Grade {
    /// All that it ever acknowledged is there.
    Proved,
    /// A crash or rot took what stood at the end; the last write may have been acknowledged before.
    Unproved,
    /// Something that was durable is damaged or gone.
    Suspect,
}

/// An answer with its sender.
#[derive(Clone, Debug, PartialEq)]
pub struct From {
    /// The shard.
    pub shard: u64,
    /// The span.
    pub epoch: u32,
    /// Who answers, with the directory that it speaks for.
    pub replica: Replica,
    /// The answer.
    pub answer: Answer,
}

impl PartialEq for Frame {
    fn eq(&self, other: &Frame) -> bool {
        self.bytes() == other.bytes()
    }
}
