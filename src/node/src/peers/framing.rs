//! How a connection between nodes is cut into messages: before both sides are known, and behind that.

use bytes::BytesMut;
use tidelog_io::net::Framing;
use tidelog_proto::peer::{HEAD_LEN, Head, HeadError, Kind, Message, MessageError};

/// The longest first message, bytes of its fields.
const MAX_HELLO: usize = 4096;

/// Why what came is no message, or none that may come now.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FramingError {
    #[error(transparent)]
    Message(#[from] MessageError),
    #[error("a message ({0}) before a hello")]
    Early(&'static str),
    #[error("a hello of {0} bytes")]
    LongHello(usize),
}

impl From<HeadError> for FramingError {
    fn from(error: HeadError) -> FramingError {
        FramingError::Message(error.into())
    }
}

/// A message with what ties it to its question, and its bytes.
#[derive(Debug)]
pub(super) struct Arrived {
    pub(super) correlation: u64,
    pub(super) message: Message,
    pub(super) len: usize,
}

/// All messages.
#[derive(Debug)]
pub(super) struct Messages;

impl Framing for Messages {
    type Message = Arrived;
    type Error = FramingError;

    fn take(buffer: &mut BytesMut) -> Result<Option<Arrived>, FramingError> {
        let before = buffer.len();
        let taken = Message::take(buffer)?;
        let len = before - buffer.len();
        Ok(taken.map(|(correlation, message)| Arrived { correlation, message, len }))
    }

    fn missing(buffer: &[u8]) -> Result<usize, FramingError> {
        Ok(Message::missing(buffer)?)
    }
}

/// A hello or its refusal, of bounded length, and nothing else.
#[derive(Debug)]
pub(super) struct Hellos;

impl Hellos {
    fn check(buffer: &[u8]) -> Result<(), FramingError> {
        let Some(raw) = buffer.first_chunk::<HEAD_LEN>() else { return Ok(()) };
        let head = Head::decode(raw)?;
        match head.kind {
            Kind::Hello | Kind::Refused if head.fields + head.tail <= MAX_HELLO => Ok(()),
            Kind::Hello | Kind::Refused => Err(FramingError::LongHello(head.fields + head.tail)),
            early => Err(FramingError::Early(early.name())),
        }
    }
}

impl Framing for Hellos {
    type Message = Message;
    type Error = FramingError;

    fn take(buffer: &mut BytesMut) -> Result<Option<Message>, FramingError> {
        Hellos::check(buffer)?;
        Ok(Messages::take(buffer)?.map(|arrived| arrived.message))
    }

    fn missing(buffer: &[u8]) -> Result<usize, FramingError> {
        Hellos::check(buffer)?;
        Messages::missing(buffer)
    }
}
