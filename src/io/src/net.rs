//! Connections between nodes: whole messages in, whole messages out, both in bounded memory.
//!
//! # Purpose
//! What a message is, says its [`Framing`]; here it is moved. [`Incoming`] reads as much as the next message lacks,
//! [`Outbox`] holds what a slow peer has not taken yet, up to a bound, and then refuses: what nobody takes must not pile
//! up here, and whoever sends has to know how to send again.
//!
//! # Invariants
//! - Memory grows with the bytes that have come, never with those that were announced.
//! - Messages go out in the order in which they were handed in, and each once; after an error none goes out any more.
//!
//! # Limits
//! One message may be larger than an outbox: it fits when nothing else is in it.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf as _, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, ToSocketAddrs};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::timeout;

use crate::random::Entropy;

/// Least and most room that is made for one read, bytes.
const READ: (usize, usize) = (16 * 1024, 256 * 1024);
/// Most messages, and pieces of messages, that go out with one call.
const TOGETHER: usize = 64;

/// How bytes of a connection are cut into messages.
pub trait Framing {
    /// What comes out.
    type Message;
    /// Why bytes are no message.
    type Error: std::error::Error;

    /// Takes the first message off a buffer when all of it is there.
    ///
    /// # Errors
    /// The bytes are no message; the connection cannot go on.
    fn take(buffer: &mut BytesMut) -> Result<Option<Self::Message>, Self::Error>;

    /// How many bytes the first message still lacks, at least 1 when [`Framing::take`] gave none.
    ///
    /// # Errors
    /// As [`Framing::take`].
    fn missing(buffer: &[u8]) -> Result<usize, Self::Error>;
}

/// Why nothing more comes.
#[derive(Debug, thiserror::Error)]
pub enum ReceiveError<E> {
    /// The connection broke.
    #[error("the connection broke: {0}")]
    Io(#[from] io::Error),
    /// The peer ended the connection within a message.
    #[error("the connection ended {0} bytes into a message")]
    Cut(usize),
    /// The peer does not speak our language.
    #[error("{0}")]
    Message(E),
}

/// The messages of a connection.
#[derive(Debug)]
pub struct Incoming<R, F> {
    from: R,
    buffer: BytesMut,
    framing: PhantomData<F>,
}

impl<R: AsyncRead + Unpin, F: Framing> Incoming<R, F> {
    /// Reads messages from a connection.
    pub fn new(from: R) -> Incoming<R, F> {
        Incoming { from, buffer: BytesMut::new(), framing: PhantomData }
    }

    /// The same connection, cut into messages in another way from the next one on. Nothing that has come is lost.
    pub fn framed_as<G: Framing>(self) -> Incoming<R, G> {
        Incoming { from: self.from, buffer: self.buffer, framing: PhantomData }
    }

    /// The next message; `None` when the peer has ended the connection behind the last one. May be dropped and asked again.
    ///
    /// # Errors
    /// Nothing more comes.
    pub async fn next(&mut self) -> Result<Option<F::Message>, ReceiveError<F::Error>> {
        loop {
            if let Some(message) = F::take(&mut self.buffer).map_err(ReceiveError::Message)? {
                return Ok(Some(message));
            }
            let missing = F::missing(&self.buffer).map_err(ReceiveError::Message)?;
            self.buffer.reserve(missing.clamp(READ.0, READ.1));
            if self.from.read_buf(&mut self.buffer).await? == 0 {
                let left = self.buffer.len();
                return if left == 0 { Ok(None) } else { Err(ReceiveError::Cut(left)) };
            }
        }
    }
}

/// Why a message was not taken. It was not sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// The peer takes less than it is given.
    #[error("the peer does not keep up: so many bytes wait for it already that no more are taken")]
    Full,
    /// The connection is gone.
    #[error("the connection to the peer is gone")]
    Closed,
}

type Waiting = (Vec<Bytes>, OwnedSemaphorePermit);

/// Where messages for a peer are handed in. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Outbox {
    queue: mpsc::UnboundedSender<Waiting>,
    room: Arc<Semaphore>,
    most: u32,
}

/// The other end of an [`Outbox`].
#[derive(Debug)]
pub struct Outgoing {
    queue: mpsc::UnboundedReceiver<Waiting>,
}

impl Outbox {
    /// An outbox for at most so many bytes.
    pub fn new(most: u32) -> (Outbox, Outgoing) {
        // Bounded by the permits that travel with the messages.
        let (queue, waiting) = mpsc::unbounded_channel();
        let most = most.max(1);
        let room = Arc::new(Semaphore::new(most as usize));
        (Outbox { queue, room, most }, Outgoing { queue: waiting })
    }

    /// Hands in a message, whose pieces are not copied.
    ///
    /// # Errors
    /// It does not fit, or the connection is gone.
    pub fn try_send(&self, message: Vec<Bytes>) -> Result<(), SendError> {
        let len: usize = message.iter().map(Bytes::len).sum();
        let cost = u32::try_from(len).unwrap_or(u32::MAX).clamp(1, self.most);
        let permit = Arc::clone(&self.room).try_acquire_many_owned(cost).map_err(|_| SendError::Full);
        // Who is told that it is full waits for room; nobody makes room in a connection that is gone.
        if self.queue.is_closed() {
            return Err(SendError::Closed);
        }
        self.queue.send((message, permit?)).map_err(|_| SendError::Closed)
    }

    /// Bytes that wait or are on their way.
    pub fn waiting(&self) -> usize {
        self.most as usize - self.room.available_permits()
    }

    /// Ends when the connection is gone.
    pub async fn closed(&self) {
        self.queue.closed().await;
    }
}

impl Outgoing {
    /// Writes what is handed in until every [`Outbox`] is dropped or the connection breaks.
    ///
    /// # Errors
    /// The connection broke; what waited was not sent.
    pub async fn run<W: AsyncWrite + Unpin>(mut self, mut to: W) -> io::Result<()> {
        let mut messages = Vec::with_capacity(TOGETHER);
        while self.queue.recv_many(&mut messages, TOGETHER).await > 0 {
            let mut pieces = VecDeque::new();
            for (message, _) in &mut messages {
                pieces.extend(message.drain(..).filter(|piece| !piece.is_empty()));
            }
            write_all(&mut to, pieces).await?;
            messages.clear();
        }
        to.shutdown().await
    }
}

async fn write_all<W: AsyncWrite + Unpin>(to: &mut W, mut pieces: VecDeque<Bytes>) -> io::Result<()> {
    while !pieces.is_empty() {
        let mut slices = [IoSlice::new(&[]); TOGETHER];
        let mut count = 0;
        for (slice, piece) in slices.iter_mut().zip(&pieces) {
            *slice = IoSlice::new(piece);
            count += 1;
        }
        let mut written = to.write_vectored(&slices[..count]).await?;
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        while let Some(first) = pieces.front_mut().filter(|_| written > 0) {
            let taken = first.len().min(written);
            first.advance(taken);
            written -= taken;
            if first.is_empty() {
                pieces.pop_front();
            }
        }
    }
    Ok(())
}

/// Connects to a peer: small messages go out at once.
///
/// # Errors
/// It is not there, or does not answer in time.
pub async fn dial<A: ToSocketAddrs>(address: A, patience: Duration) -> io::Result<TcpStream> {
    let late = |_| io::Error::from(io::ErrorKind::TimedOut);
    let stream = timeout(patience, TcpStream::connect(address)).await.map_err(late)??;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// How long to wait between tries: twice as long each time, up to a bound, and never in step with others.
#[derive(Debug, Clone)]
pub struct Backoff {
    first: Duration,
    most: Duration,
    next: Duration,
    entropy: Entropy,
}

impl Backoff {
    /// From `first` to `most`.
    pub fn new(first: Duration, most: Duration, entropy: Entropy) -> Backoff {
        Backoff { first, most, next: first, entropy }
    }

    /// How long to wait now: between half and all of what the step allows.
    pub fn pause(&mut self) -> Duration {
        let step = self.next;
        self.next = (step * 2).min(self.most);
        let half = step / 2;
        let micros = u64::try_from(half.as_micros()).unwrap_or(u64::MAX);
        half + Duration::from_micros(self.entropy.below(micros.saturating_add(1)))
    }

    /// It worked: the next failure begins at the first step.
    pub fn reset(&mut self) {
        self.next = self.first;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::duplex;

    /// A length in four bytes, and so many bytes.
    struct Lengths;

    #[derive(Debug, PartialEq, thiserror::Error)]
    #[error("too long: {0}")]
    struct TooLong(usize);

    fn announced(buffer: &[u8]) -> Result<Option<usize>, TooLong> {
        let Some(len) = buffer.first_chunk() else { return Ok(None) };
        let len = u32::from_be_bytes(*len) as usize;
        if len > 1 << 30 { Err(TooLong(len)) } else { Ok(Some(len)) }
    }

    impl Framing for Lengths {
        type Message = Bytes;
        type Error = TooLong;

        fn take(buffer: &mut BytesMut) -> Result<Option<Bytes>, TooLong> {
            let Some(len) = announced(buffer)?.filter(|len| buffer.len() >= 4 + len) else { return Ok(None) };
            buffer.advance(4);
            Ok(Some(buffer.split_to(len).freeze()))
        }

        fn missing(buffer: &[u8]) -> Result<usize, TooLong> {
            Ok(announced(buffer)?.map_or(4, |len| 4 + len).saturating_sub(buffer.len()))
        }
    }

    fn run<T>(body: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(body)
    }

    fn message(content: &[u8]) -> Vec<Bytes> {
        let head = Bytes::copy_from_slice(&(content.len() as u32).to_be_bytes());
        vec![head, Bytes::copy_from_slice(content)]
    }

    #[test]
    fn messages_arrive_whole_and_in_order_through_a_narrow_pipe() {
        run(async {
            let (near, far) = duplex(7);
            let (outbox, outgoing) = Outbox::new(1 << 20);
            let writing = tokio::spawn(outgoing.run(near));
            for n in 0..200u8 {
                outbox.try_send(message(&vec![n; usize::from(n) * 3])).unwrap();
            }
            drop(outbox);
            let mut incoming = Incoming::<_, Lengths>::new(far);
            for n in 0..200u8 {
                let content = incoming.next().await.unwrap().unwrap();
                assert_eq!(content, vec![n; usize::from(n) * 3]);
            }
            assert!(
                incoming.next().await.unwrap().is_none(),
                "the sender ended the connection in good order"
            );
            writing.await.unwrap().unwrap();
        });
    }

    #[test]
    fn a_peer_that_takes_nothing_is_given_no_more_than_the_bound() {
        run(async {
            let (near, far) = duplex(512);
            let (outbox, outgoing) = Outbox::new(10_000);
            tokio::spawn(outgoing.run(near));
            let mut taken = 0;
            loop {
                match outbox.try_send(message(&[1; 996])) {
                    Ok(()) => taken += 1,
                    Err(error) => break assert_eq!(error, SendError::Full),
                }
                tokio::task::yield_now().await;
            }
            assert_eq!((taken, outbox.waiting()), (10, 10_000));
            let mut incoming = Incoming::<_, Lengths>::new(far);
            for _ in 0..taken {
                incoming.next().await.unwrap().unwrap();
            }
            while outbox.waiting() > 0 {
                tokio::task::yield_now().await;
            }
            outbox.try_send(message(&[2; 50_000])).unwrap();
            assert_eq!(
                outbox.try_send(message(&[])),
                Err(SendError::Full),
                "one message larger than all fits alone"
            );
        });
    }

    #[test]
    fn what_is_announced_and_does_not_come_takes_no_memory() {
        run(async {
            let (mut near, far) = duplex(1024);
            near.write_all(&(1u32 << 30).to_be_bytes()).await.unwrap();
            near.write_all(&[0; 100]).await.unwrap();
            drop(near);
            let mut incoming = Incoming::<_, Lengths>::new(far);
            assert!(matches!(incoming.next().await, Err(ReceiveError::Cut(104))));
            assert!(incoming.buffer.capacity() <= 2 * READ.1);
        });
    }

    #[test]
    fn what_is_no_message_ends_the_connection() {
        run(async {
            let (mut near, far) = duplex(1024);
            near.write_all(&[0xff; 8]).await.unwrap();
            let mut incoming = Incoming::<_, Lengths>::new(far);
            assert!(matches!(incoming.next().await, Err(ReceiveError::Message(TooLong(0xffff_ffff)))));
        });
    }

    #[test]
    fn a_dropped_question_for_the_next_message_loses_nothing() {
        run(async {
            let (mut near, far) = duplex(1024);
            let mut incoming = Incoming::<_, Lengths>::new(far);
            for part in message(b"whole").concat().chunks(2) {
                near.write_all(part).await.unwrap();
                let asked = timeout(Duration::ZERO, incoming.next()).await;
                if let Ok(answer) = asked {
                    return assert_eq!(answer.unwrap().unwrap(), "whole");
                }
            }
            assert_eq!(incoming.next().await.unwrap().unwrap(), "whole");
        });
    }

    #[test]
    fn nothing_is_taken_for_a_connection_that_broke() {
        run(async {
            let (near, far) = duplex(8);
            let (outbox, outgoing) = Outbox::new(100);
            let writing = tokio::spawn(outgoing.run(near));
            outbox.try_send(message(&[1; 50])).unwrap();
            drop(far);
            assert!(writing.await.unwrap().is_err());
            outbox.closed().await;
            assert_eq!(outbox.try_send(message(&[])), Err(SendError::Closed));
            assert_eq!(outbox.try_send(message(&[1; 99])), Err(SendError::Closed), "gone, not full");
        });
    }

    #[test]
    fn tries_come_further_apart_and_start_anew_after_a_success() {
        let ms = Duration::from_millis;
        let mut backoff = Backoff::new(ms(50), ms(400), Entropy::seeded(1));
        for step in [50, 100, 200, 400, 400] {
            let pause = backoff.pause();
            assert!(pause >= ms(step) / 2 && pause <= ms(step), "{pause:?} of {step}");
        }
        backoff.reset();
        assert!(backoff.pause() <= ms(50));
    }

    #[test]
    fn a_peer_that_is_not_there_is_an_error() {
        run(async {
            let free = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
            assert!(dial(free, Duration::from_secs(60)).await.is_err());
        });
    }
}
