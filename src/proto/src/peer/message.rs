//! Messages: what their fields are, and what stands in their tail.

use bytes::{Bytes, BytesMut};

use super::field::{Field, FieldError, Fields};
use super::head::{HEAD_LEN, Head, HeadError, Kind, MAX_FIELDS, MAX_TAIL};
use super::hello::Hello;
use super::words::{Envelope, From, Load, Piece, Process, Request, SealedFile, lens, take_frames};

/// Most frames of one message.
pub const MAX_FRAMES: usize = 4096;

/// A message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// Who speaks.
    Hello(Hello),
    /// Why the connection is closed.
    Refused {
        /// A sentence for people.
        why: String,
    },
    /// The sender lives.
    Alive,
    /// Something asked of a holder.
    Request(Envelope, Request),
    /// Its answer.
    Answer(From),
    /// Which sealed files of a span are there, from this number on?
    ListFiles {
        /// The shard.
        shard: u64,
        /// The span.
        epoch: u32,
        /// First number of a segment that is wanted.
        from: u64,
    },
    /// The files, in order.
    Files {
        /// The shard.
        shard: u64,
        /// The span.
        epoch: u32,
        /// The files.
        files: Vec<SealedFile>,
        /// There are more behind the last one.
        more: bool,
    },
    /// Give bytes of a sealed file.
    FetchFile(Piece),
    /// The bytes, perhaps fewer than wanted; none when the file is not there.
    Piece(Piece, Bytes),
    /// Give the intact frames of a range of a sealed span, to put the span together again.
    FetchFrames {
        /// The shard.
        shard: u64,
        /// The span.
        epoch: u32,
        /// First LSN.
        from: u64,
        /// Behind the last.
        to: u64,
    },
    /// The frames, in order: all that are intact there, from the first LSN on, as many as go into one message.
    Frames {
        /// The shard.
        shard: u64,
        /// The span.
        epoch: u32,
        /// First LSN that was asked for.
        from: u64,
        /// The frames, which carry checksums of their own.
        frames: Vec<Bytes>,
    },
    /// A node lives.
    Heartbeat {
        /// The node, in this life.
        from: Process,
        /// Version of the metadata that it knows.
        version: u64,
        /// How it fares.
        load: Load,
    },
    /// What the metadata's leader knows.
    Heard {
        /// The latest version of the metadata.
        version: u64,
    },
    /// A message of the metadata's group, in the encoding of its crate.
    Group(Bytes),
    /// Its answer.
    GroupAnswer(Bytes),
    /// A command for the metadata.
    Propose(Bytes),
    /// What became of it.
    Proposed(Bytes),
}

/// Why bytes are no message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    /// The head, or a checksum.
    #[error(transparent)]
    Head(#[from] HeadError),
    /// The fields.
    #[error("a message between nodes is not what its kind says: {0}")]
    Fields(#[from] FieldError),
    /// Content that belongs to no field.
    #[error("a message between nodes has {0} bytes of content too many")]
    Tail(usize),
    /// More than a message can hold; it was not sent.
    #[error(
        "a message of {fields} bytes of fields and {tail} of content; at most {MAX_FIELDS} and {MAX_TAIL} are possible"
    )]
    TooLong {
        /// Bytes of the fields.
        fields: usize,
        /// Bytes of the tail.
        tail: usize,
    },
}

/// A message for the wire: the first bytes are its own, the others are passed on without a copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encoded {
    /// Head and fields.
    pub head: Bytes,
    /// Content, in order.
    pub tail: Vec<Bytes>,
}

impl Encoded {
    /// Bytes of the whole message.
    #[expect(clippy::len_without_is_empty, reason = "a message is never without its head")]
    pub fn len(&self) -> usize {
        self.head.len() + self.tail.iter().map(Bytes::len).sum::<usize>()
    }
}

impl Message {
    /// What it is.
    pub fn kind(&self) -> Kind {
        match self {
            Message::Hello(_) => Kind::Hello,
            Message::Refused { .. } => Kind::Refused,
            Message::Alive => Kind::Alive,
            Message::Request(..) => Kind::Request,
            Message::Answer(_) => Kind::Answer,
            Message::ListFiles { .. } => Kind::ListFiles,
            Message::Files { .. } => Kind::Files,
            Message::FetchFile(_) => Kind::FetchFile,
            Message::Piece(..) => Kind::Piece,
            Message::FetchFrames { .. } => Kind::FetchFrames,
            Message::Frames { .. } => Kind::Frames,
            Message::Heartbeat { .. } => Kind::Heartbeat,
            Message::Heard { .. } => Kind::Heard,
            Message::Group(_) => Kind::Group,
            Message::GroupAnswer(_) => Kind::GroupAnswer,
            Message::Propose(_) => Kind::Propose,
            Message::Proposed(_) => Kind::Proposed,
        }
    }

    /// Lays the message out.
    ///
    /// # Errors
    /// [`MessageError::TooLong`].
    pub fn encode(&self, correlation: u64) -> Result<Encoded, MessageError> {
        let mut out = vec![0; HEAD_LEN];
        self.put(&mut out);
        let tail = self.tail();
        let (fields, len) = (out.len() - HEAD_LEN, tail.iter().map(Bytes::len).sum());
        let frames = if self.kind().checks_tail() { 0 } else { tail.len() };
        if fields > MAX_FIELDS || len > MAX_TAIL || frames > MAX_FRAMES {
            return Err(MessageError::TooLong { fields, tail: len });
        }
        let head = Head::encode(self.kind(), correlation, &out[HEAD_LEN..], &tail);
        out[..HEAD_LEN].copy_from_slice(&head);
        Ok(Encoded { head: Bytes::from(out), tail })
    }

    fn put(&self, out: &mut Vec<u8>) {
        match self {
            Message::Hello(hello) => hello.put(out),
            Message::Refused { why } => why.put(out),
            Message::Request(envelope, request) => {
                envelope.put(out);
                request.put(out);
            }
            Message::Answer(From { shard, epoch, replica, answer }) => {
                ((*shard, *epoch), *replica).put(out);
                answer.put(out);
            }
            Message::ListFiles { shard, epoch, from } => ((*shard, *epoch), *from).put(out),
            Message::Files { shard, epoch, files, more } => {
                ((*shard, *epoch), *more).put(out);
                files.put(out);
            }
            Message::FetchFile(piece) | Message::Piece(piece, _) => piece.put(out),
            Message::FetchFrames { shard, epoch, from, to } => ((*shard, *epoch), (*from, *to)).put(out),
            Message::Frames { shard, epoch, from, frames } => {
                ((*shard, *epoch), *from).put(out);
                lens(frames).put(out);
            }
            Message::Heartbeat { from, version, load } => ((*from, *version), *load).put(out),
            Message::Heard { version } => version.put(out),
            Message::Alive
            | Message::Group(_)
            | Message::GroupAnswer(_)
            | Message::Propose(_)
            | Message::Proposed(_) => {}
        }
    }

    fn tail(&self) -> Vec<Bytes> {
        match self {
            Message::Request(_, request) => request.frames().to_vec(),
            Message::Answer(from) => from.answer.frames().to_vec(),
            Message::Frames { frames, .. } => frames.clone(),
            Message::Piece(_, body)
            | Message::Group(body)
            | Message::GroupAnswer(body)
            | Message::Propose(body)
            | Message::Proposed(body) => vec![body.clone()],
            _ => Vec::new(),
        }
    }

    /// Takes the first message off a buffer when all of it is there; `None` when more is needed, then
    /// [`Message::missing`] says how much.
    ///
    /// # Errors
    /// What came is no message. The connection cannot go on.
    pub fn take(buffer: &mut BytesMut) -> Result<Option<(u64, Message)>, MessageError> {
        let Some(raw) = buffer.first_chunk::<HEAD_LEN>().copied() else { return Ok(None) };
        let head = Head::decode(&raw)?;
        if buffer.len() < HEAD_LEN + head.fields + head.tail {
            return Ok(None);
        }
        let _ = buffer.split_to(HEAD_LEN);
        let fields = buffer.split_to(head.fields);
        let tail = buffer.split_to(head.tail).freeze();
        head.check(&raw, &fields, &tail)?;
        Ok(Some((head.correlation, Message::read(head.kind, &fields, tail)?)))
    }

    /// How many bytes the first message of a buffer still lacks: so much may be read for it.
    ///
    /// # Errors
    /// As [`Message::take`].
    pub fn missing(buffer: &[u8]) -> Result<usize, HeadError> {
        let Some(raw) = buffer.first_chunk::<HEAD_LEN>() else { return Ok(HEAD_LEN - buffer.len()) };
        let head = Head::decode(raw)?;
        Ok((HEAD_LEN + head.fields + head.tail).saturating_sub(buffer.len()))
    }

    fn read(kind: Kind, bytes: &[u8], mut tail: Bytes) -> Result<Message, MessageError> {
        let mut fields = Fields::new(bytes);
        let message = Message::take_fields(kind, &mut fields, &mut tail)?;
        fields.finish()?;
        if tail.is_empty() { Ok(message) } else { Err(MessageError::Tail(tail.len())) }
    }

    fn take_fields(kind: Kind, fields: &mut Fields<'_>, tail: &mut Bytes) -> Result<Message, FieldError> {
        let mut rest = || std::mem::take(tail);
        Ok(match kind {
            Kind::Hello => Message::Hello(Field::take(fields)?),
            Kind::Refused => Message::Refused { why: Field::take(fields)? },
            Kind::Alive => Message::Alive,
            Kind::Request => {
                let envelope = Field::take(fields)?;
                Message::Request(envelope, Request::take(fields, tail)?)
            }
            Kind::Answer => {
                let ((shard, epoch), replica) = Field::take(fields)?;
                let answer = super::words::Answer::take(fields, tail)?;
                Message::Answer(From { shard, epoch, replica, answer })
            }
            Kind::ListFiles => {
                let ((shard, epoch), from) = Field::take(fields)?;
                Message::ListFiles { shard, epoch, from }
            }
            Kind::Files => {
                let ((shard, epoch), more) = Field::take(fields)?;
                Message::Files { shard, epoch, files: Field::take(fields)?, more }
            }
            Kind::FetchFile => Message::FetchFile(Field::take(fields)?),
            Kind::Piece => Message::Piece(Field::take(fields)?, rest()),
            Kind::FetchFrames => {
                let ((shard, epoch), (from, to)) = Field::take(fields)?;
                Message::FetchFrames { shard, epoch, from, to }
            }
            Kind::Frames => {
                let ((shard, epoch), from) = Field::take(fields)?;
                Message::Frames { shard, epoch, from, frames: take_frames(fields, tail)? }
            }
            Kind::Heartbeat => {
                let ((from, version), load) = Field::take(fields)?;
                Message::Heartbeat { from, version, load }
            }
            Kind::Heard => Message::Heard { version: Field::take(fields)? },
            Kind::Group => Message::Group(rest()),
            Kind::GroupAnswer => Message::GroupAnswer(rest()),
            Kind::Propose => Message::Propose(rest()),
            Kind::Proposed => Message::Proposed(rest()),
        })
    }
}
