//! The words of replication as they stand on the wire. Their meaning is told in `src/replica`; `src/node` translates.

use bytes::Bytes;

use super::field::{Field, FieldError, Fields, fields};

fields! {
    /// A node with the data directory that makes it a holder.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
    pub struct Replica {
        /// The node.
        pub node: u64,
        /// Its data directory.
        pub store: [u8; 16],
    }
}

fields! {
    /// One life of one node.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
    pub struct Process {
        /// The node.
        pub node: u64,
        /// Which of its starts.
        pub incarnation: u64,
    }
}

fields! {
    /// A place between two frames.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
    pub struct Place {
        /// LSN of the frame to come.
        pub lsn: u64,
        /// The chain value that it carries.
        pub chain: u64,
    }
}

fields! {
    /// What every request about a span says besides its content.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
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
}

/// What is asked of a holder. Frames are bytes that carry checksums of their own: whoever takes them verifies them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// Take the leader's frames.
    Append {
        /// LSN of the first, or at which the leader would go on.
        base: u64,
        /// LSNs below are committed.
        committed: u64,
        /// Consecutive frames.
        frames: Vec<Bytes>,
    },
    /// Promise, then tell the end.
    Fence {
        /// The attempt.
        attempt: u32,
        /// Where the span begins.
        base: Place,
    },
    /// Give frames.
    FetchTail {
        /// The attempt.
        attempt: u32,
        /// First LSN.
        from: u64,
        /// Behind the last.
        to: u64,
    },
    /// Take frames that are below the end to be committed.
    RepairAppend {
        /// The attempt.
        attempt: u32,
        /// Where the span begins.
        base: Place,
        /// Consecutive frames.
        frames: Vec<Bytes>,
    },
    /// The metadata says that the span has an end.
    SpanSealed,
}

impl Request {
    /// The number, and what follows it in the fields; of frames their lengths.
    pub(super) fn put(&self, out: &mut Vec<u8>) {
        match self {
            Request::Append { base, committed, frames } => {
                (1u8, (*base, *committed)).put(out);
                lens(frames).put(out);
            }
            Request::Fence { attempt, base } => (2u8, (*attempt, *base)).put(out),
            Request::FetchTail { attempt, from, to } => (3u8, (*attempt, (*from, *to))).put(out),
            Request::RepairAppend { attempt, base, frames } => {
                (4u8, (*attempt, *base)).put(out);
                lens(frames).put(out);
            }
            Request::SpanSealed => 5u8.put(out),
        }
    }

    pub(super) fn frames(&self) -> &[Bytes] {
        match self {
            Request::Append { frames, .. } | Request::RepairAppend { frames, .. } => frames,
            Request::Fence { .. } | Request::FetchTail { .. } | Request::SpanSealed => &[],
        }
    }

    pub(super) fn take(fields: &mut Fields<'_>, tail: &mut Bytes) -> Result<Request, FieldError> {
        match u8::take(fields)? {
            1 => {
                let (base, committed) = Field::take(fields)?;
                Ok(Request::Append { base, committed, frames: take_frames(fields, tail)? })
            }
            2 => Field::take(fields).map(|(attempt, base)| Request::Fence { attempt, base }),
            3 => Field::take(fields).map(|(attempt, (from, to))| Request::FetchTail { attempt, from, to }),
            4 => {
                let (attempt, base) = Field::take(fields)?;
                Ok(Request::RepairAppend { attempt, base, frames: take_frames(fields, tail)? })
            }
            5 => Ok(Request::SpanSealed),
            other => Err(fields.unknown("a request", other)),
        }
    }
}

/// A holder's answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// To an append: LSNs below are durable.
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
        /// The promise.
        promised: u32,
    },
    /// To a fetch.
    Tail {
        /// The attempt.
        attempt: u32,
        /// First LSN of the range that the frames are all of.
        from: u64,
        /// Behind its last.
        to: u64,
        /// The intact frames of the range, in order.
        frames: Vec<Bytes>,
    },
    /// To a repair: LSNs below are durable.
    Repaired {
        /// The attempt.
        attempt: u32,
        /// Behind the last durable frame.
        durable: u64,
    },
}

impl Answer {
    pub(super) fn put(&self, out: &mut Vec<u8>) {
        match self {
            Answer::Appended { durable } => (1u8, *durable).put(out),
            Answer::Refused(refusal) => (2u8, *refusal).put(out),
            Answer::Fenced(standing) => (3u8, *standing).put(out),
            Answer::HigherPromise { attempt, promised } => (4u8, (*attempt, *promised)).put(out),
            Answer::Tail { attempt, from, to, frames } => {
                (5u8, (*attempt, (*from, *to))).put(out);
                lens(frames).put(out);
            }
            Answer::Repaired { attempt, durable } => (6u8, (*attempt, *durable)).put(out),
        }
    }

    pub(super) fn frames(&self) -> &[Bytes] {
        if let Answer::Tail { frames, .. } = self { frames } else { &[] }
    }

    pub(super) fn take(fields: &mut Fields<'_>, tail: &mut Bytes) -> Result<Answer, FieldError> {
        match u8::take(fields)? {
            1 => Field::take(fields).map(|durable| Answer::Appended { durable }),
            2 => Field::take(fields).map(Answer::Refused),
            3 => Field::take(fields).map(Answer::Fenced),
            4 => Field::take(fields).map(|(attempt, promised)| Answer::HigherPromise { attempt, promised }),
            5 => {
                let (attempt, (from, to)) = Field::take(fields)?;
                Ok(Answer::Tail { attempt, from, to, frames: take_frames(fields, tail)? })
            }
            6 => Field::take(fields).map(|(attempt, durable)| Answer::Repaired { attempt, durable }),
            other => Err(fields.unknown("an answer", other)),
        }
    }
}

/// Why an append is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// A higher epoch was promised.
    Fenced {
        /// The promise.
        promised: u32,
    },
    /// The frames do not begin at the end of what is there.
    Gap {
        /// The end.
        end: u64,
    },
    /// The disk is nearly full.
    ReadOnly,
    /// This disk is not written any more.
    StoreGone,
    /// The holder's metadata does not show the span open with itself in it.
    UnknownSpan,
}

impl Field for Refusal {
    const LEAST: usize = 1;

    fn put(&self, out: &mut Vec<u8>) {
        match self {
            Refusal::Fenced { promised } => (1u8, *promised).put(out),
            Refusal::Gap { end } => (2u8, *end).put(out),
            Refusal::ReadOnly => 3u8.put(out),
            Refusal::StoreGone => 4u8.put(out),
            Refusal::UnknownSpan => 5u8.put(out),
        }
    }

    fn take(fields: &mut Fields<'_>) -> Result<Self, FieldError> {
        match u8::take(fields)? {
            1 => Field::take(fields).map(|promised| Refusal::Fenced { promised }),
            2 => Field::take(fields).map(|end| Refusal::Gap { end }),
            3 => Ok(Refusal::ReadOnly),
            4 => Ok(Refusal::StoreGone),
            5 => Ok(Refusal::UnknownSpan),
            other => Err(fields.unknown("a refusal", other)),
        }
    }
}

fields! {
    /// How far a fenced holder has come.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct Standing {
        /// The attempt that it has promised to.
        pub attempt: u32,
        /// Behind its last durable frame; of a damaged holder behind the frames before the damage.
        pub end: Place,
        /// A damaged holder may have intact frames behind the damage, below this LSN; else where `end` is.
        pub reach: u64,
        /// How sure that is.
        pub grade: Grade,
        /// The highest committed LSN that it was told of.
        pub committed: u64,
    }
}

/// How sure a holder is of its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Grade {
    /// Nothing that it acknowledged is missing.
    Proved,
    /// Its last write may be.
    Unproved,
    /// Something that was durable is damaged or gone.
    Suspect,
}

impl Field for Grade {
    const LEAST: usize = 1;

    fn put(&self, out: &mut Vec<u8>) {
        let number: u8 = match self {
            Grade::Proved => 1,
            Grade::Unproved => 2,
            Grade::Suspect => 3,
        };
        number.put(out);
    }

    fn take(fields: &mut Fields<'_>) -> Result<Self, FieldError> {
        match u8::take(fields)? {
            1 => Ok(Grade::Proved),
            2 => Ok(Grade::Unproved),
            3 => Ok(Grade::Suspect),
            other => Err(fields.unknown("a grade", other)),
        }
    }
}

/// An answer with its sender.
#[derive(Debug, Clone, PartialEq, Eq)]
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

fields! {
    /// A sealed file, as its holder lists it.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct SealedFile {
        /// The segment's number.
        pub number: u64,
        /// Bytes, from the first to the trailer's last.
        pub len: u64,
        /// The trailer's digest.
        pub digest: [u8; 16],
    }
}

fields! {
    /// Bytes of a sealed file.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct Piece {
        /// The shard.
        pub shard: u64,
        /// The span.
        pub epoch: u32,
        /// The segment's number.
        pub number: u64,
        /// Where the bytes stand.
        pub at: u64,
        /// How many are wanted.
        pub len: u32,
    }
}

fields! {
    /// How a node fares. For placement and for people; nothing is safe because of it.
    #[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
    pub struct Load {
        /// Bytes that its disk has left.
        pub free_bytes: u64,
        /// Bytes of its disk.
        pub disk_bytes: u64,
        /// Bytes per second written by it lately.
        pub write_rate: u64,
        /// Microseconds that a synchronous write takes lately, 99 of 100.
        pub disk_p99_us: u32,
    }
}

impl<A: Field, B: Field> Field for (A, B) {
    const LEAST: usize = A::LEAST + B::LEAST;

    fn put(&self, out: &mut Vec<u8>) {
        self.0.put(out);
        self.1.put(out);
    }

    fn take(fields: &mut Fields<'_>) -> Result<Self, FieldError> {
        Ok((A::take(fields)?, B::take(fields)?))
    }
}

/// Frames stand in the tail, their lengths in the fields.
pub(super) fn lens(frames: &[Bytes]) -> Vec<u32> {
    frames.iter().map(|frame| u32::try_from(frame.len()).unwrap_or(u32::MAX)).collect()
}

pub(super) fn take_frames(fields: &mut Fields<'_>, tail: &mut Bytes) -> Result<Vec<Bytes>, FieldError> {
    let cut = |fields: &Fields<'_>| FieldError::Cut { at: fields.at() };
    let lens = Vec::<u32>::take(fields)?;
    if lens.len() > super::MAX_FRAMES {
        return Err(cut(fields));
    }
    let mut frames = Vec::with_capacity(lens.len());
    for len in lens {
        let len = usize::try_from(len).ok().filter(|len| *len <= tail.len()).ok_or(cut(fields))?;
        frames.push(tail.split_to(len));
    }
    Ok(frames)
}
