//! The first 32 bytes of a message.

use bytes::Bytes;
use crc32c::{crc32c, crc32c_append};

use super::field::{Field, Fields, fields};

/// Bytes of a head.
pub const HEAD_LEN: usize = 32;
/// Most bytes of a message's fields.
pub const MAX_FIELDS: usize = 1024 * 1024;
/// Most bytes of a message's tail: what is in flight to one replica at most.
pub const MAX_TAIL: usize = 32 * 1024 * 1024;

const MAGIC: u32 = u32::from_le_bytes(*b"TLp1");
const HAS_TAIL_CRC: u16 = 1;
/// Where what the checksum covers begins.
const COVERED: usize = 8;

/// What a message is. The numbers are for ever, 0 is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u16)]
pub enum Kind {
    /// Who speaks: the first message of each side.
    Hello = 1,
    /// Why a connection is closed at once.
    Refused = 2,
    /// Nothing but that the sender lives: what is silent for too long is taken for gone.
    Alive = 3,
    /// Something asked of a replica.
    Request = 10,
    /// A replica's answer.
    Answer = 11,
    /// Which sealed files of a span are there?
    ListFiles = 20,
    /// The list.
    Files = 21,
    /// Give bytes of a sealed file.
    FetchFile = 22,
    /// The bytes.
    Piece = 23,
    /// Give the intact frames of a sealed span.
    FetchFrames = 24,
    /// The frames.
    Frames = 25,
    /// A node lives, and how it fares.
    Heartbeat = 30,
    /// What the metadata's leader knows.
    Heard = 31,
    /// A message between members of the metadata's group.
    Group = 40,
    /// Its answer.
    GroupAnswer = 41,
    /// A command for the metadata, sent to who leads its group.
    Propose = 42,
    /// What became of it.
    Proposed = 43,
}

impl Kind {
    /// All of them.
    pub const ALL: [Kind; 17] = [
        Kind::Hello,
        Kind::Refused,
        Kind::Alive,
        Kind::Request,
        Kind::Answer,
        Kind::ListFiles,
        Kind::Files,
        Kind::FetchFile,
        Kind::Piece,
        Kind::FetchFrames,
        Kind::Frames,
        Kind::Heartbeat,
        Kind::Heard,
        Kind::Group,
        Kind::GroupAnswer,
        Kind::Propose,
        Kind::Proposed,
    ];

    /// What people and metrics call it.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Hello => "hello",
            Kind::Refused => "refused",
            Kind::Alive => "alive",
            Kind::Request => "request",
            Kind::Answer => "answer",
            Kind::ListFiles => "list_files",
            Kind::Files => "files",
            Kind::FetchFile => "fetch_file",
            Kind::Piece => "piece",
            Kind::FetchFrames => "fetch_frames",
            Kind::Frames => "frames",
            Kind::Heartbeat => "heartbeat",
            Kind::Heard => "heard",
            Kind::Group => "group",
            Kind::GroupAnswer => "group_answer",
            Kind::Propose => "propose",
            Kind::Proposed => "proposed",
        }
    }

    fn from_number(number: u16) -> Option<Kind> {
        Kind::ALL.into_iter().find(|kind| *kind as u16 == number)
    }

    /// Whether the tail has no checksum of its own in it, so that the message must bring one.
    pub(super) fn checks_tail(self) -> bool {
        !matches!(self, Kind::Request | Kind::Answer | Kind::Frames)
    }
}

/// The head of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// What it is.
    pub kind: Kind,
    /// Bytes of the fields.
    pub fields: usize,
    /// Bytes of the tail.
    pub tail: usize,
    /// Ties an answer to its question.
    pub correlation: u64,
    crc: u32,
    tail_crc: u32,
}

/// Why bytes are no head, or not the message that their head announced. The connection cannot go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HeadError {
    /// Something else speaks there.
    #[error("not a message of a Tidelog node: the peer at this address is another program")]
    Magic,
    /// A checksum does not fit.
    #[error("the connection changed bytes on their way: a checksum does not fit")]
    Checksum,
    /// A newer version speaks.
    #[error("a message of kind {0}, which this version does not know; finish the upgrade of all nodes")]
    Kind(u16),
    /// A newer version speaks.
    #[error("a message with flags {0:#x}, which this version does not know; finish the upgrade of all nodes")]
    Flags(u16),
    /// More than a message may have.
    #[error(
        "a message of {fields} bytes of fields and {tail} of content; at most {MAX_FIELDS} and {MAX_TAIL} are allowed"
    )]
    TooLong {
        /// Bytes of fields.
        fields: u32,
        /// Bytes of the tail.
        tail: u32,
    },
}

impl Head {
    /// Reads a head. Its lengths are within their bounds; whether they are true is known after [`Head::check`].
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn decode(bytes: &[u8; HEAD_LEN]) -> Result<Head, HeadError> {
        // 32 bytes are there, and 32 are read.
        let Ok(raw) = Raw::take(&mut Fields::new(bytes)) else { return Err(HeadError::Magic) };
        let Raw { magic, crc, kind, flags, fields, tail, tail_crc, correlation } = raw;
        if magic != MAGIC {
            return Err(HeadError::Magic);
        }
        let too_long = HeadError::TooLong { fields, tail };
        let bounded =
            |len: u32, most: usize| usize::try_from(len).ok().filter(|len| *len <= most).ok_or(too_long);
        let lens = (bounded(fields, MAX_FIELDS)?, bounded(tail, MAX_TAIL)?);
        let kind = Kind::from_number(kind).ok_or(HeadError::Kind(kind))?;
        if flags != if kind.checks_tail() { HAS_TAIL_CRC } else { 0 } {
            return Err(HeadError::Flags(flags));
        }
        Ok(Head { kind, fields: lens.0, tail: lens.1, correlation, crc, tail_crc })
    }

    /// Compares what came with what the head says about it: `head` its own bytes, `fields` and `tail` what followed.
    ///
    /// # Errors
    /// [`HeadError::Checksum`].
    pub fn check(&self, head: &[u8; HEAD_LEN], fields: &[u8], tail: &[u8]) -> Result<(), HeadError> {
        let (_, covered) = head.split_at(COVERED);
        let whole = crc32c_append(crc32c(covered), fields) == self.crc;
        let tail = if self.kind.checks_tail() { crc32c(tail) } else { 0 };
        if whole && tail == self.tail_crc { Ok(()) } else { Err(HeadError::Checksum) }
    }

    /// The head for these fields and a tail in pieces, whose sums are within their bounds.
    pub(super) fn encode(kind: Kind, correlation: u64, fields: &[u8], tail: &[Bytes]) -> [u8; HEAD_LEN] {
        let (flags, tail_crc) = match kind.checks_tail() {
            true => (HAS_TAIL_CRC, tail.iter().fold(0, |crc, piece| crc32c_append(crc, piece))),
            false => (0, 0),
        };
        let len = |len: usize| u32::try_from(len).unwrap_or(u32::MAX);
        let tail = len(tail.iter().map(Bytes::len).sum());
        let mut raw = Raw {
            magic: MAGIC,
            crc: 0,
            kind: kind as u16,
            flags,
            fields: len(fields.len()),
            tail,
            tail_crc,
            correlation,
        };
        raw.crc = crc32c_append(crc32c(&raw.bytes()[COVERED..]), fields);
        raw.bytes()
    }
}

fields! {
    struct Raw {
        magic: u32,
        crc: u32,
        kind: u16,
        flags: u16,
        fields: u32,
        tail: u32,
        tail_crc: u32,
        correlation: u64,
    }
}

const _: () = assert!(Raw::LEAST == HEAD_LEN);

impl Raw {
    fn bytes(&self) -> [u8; HEAD_LEN] {
        let (mut out, mut bytes) = (Vec::with_capacity(HEAD_LEN), [0; HEAD_LEN]);
        self.put(&mut out);
        bytes.copy_from_slice(&out);
        bytes
    }
}
