//! One connection, over any stream: both sides say who they are, then messages go both ways until it ends.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tidelog_io::net::{Incoming, Outbox, Outgoing, ReceiveError};
use tidelog_proto::peer::{Hello, Message};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf, split};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::framing::{Arrived, FramingError, Hellos, Messages};
use super::identity::{NO_CLUSTER, Peer, Refusal};
use super::pending::Pending;
use super::{Inner, Reply};

/// Why a connection did not come about, or ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Ended {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error(transparent)]
    Received(#[from] ReceiveError<FramingError>),
    #[error("the other side did not say who it is within {0:?}")]
    NoHello(Duration),
    #[error("the other side ended the connection")]
    Orderly,
    #[error("nothing came for {0:?}")]
    Silent(Duration),
    #[error("refused here: {0}")]
    RefusedHere(#[from] Refusal),
    #[error("refused there: {0}")]
    RefusedThere(String),
    #[error("asked who is here, and was told")]
    Introduced,
    #[error("this node stops")]
    Stopping,
}

/// A connection whose sides know each other.
#[derive(Debug)]
pub(super) struct Greeted<S> {
    incoming: Incoming<ReadHalf<S>, Messages>,
    to: WriteHalf<S>,
    pub(super) peer: Peer,
}

/// Calls: says a hello and believes the answer if `judge` does.
pub(super) async fn call<S: AsyncRead + AsyncWrite>(
    stream: S,
    mine: Hello,
    patience: Duration,
    judge: impl FnOnce(&Hello) -> Result<Peer, Refusal>,
) -> Result<Greeted<S>, Ended> {
    let (from, mut to) = split(stream);
    say(&mut to, &Message::Hello(mine)).await?;
    let mut incoming = Incoming::<_, Hellos>::new(from);
    let theirs = hear(&mut incoming, patience).await?;
    let peer = believe(&mut to, judge(&theirs)).await?;
    Ok(Greeted { incoming: incoming.framed_as(), to, peer })
}

/// Is called: waits for a hello, and answers with its own if `judge` believes it. Who belongs to no cluster yet is told
/// who is here, and no more.
pub(super) async fn receive<S: AsyncRead + AsyncWrite>(
    stream: S,
    mine: impl FnOnce(&Hello) -> Hello,
    patience: Duration,
    judge: impl FnOnce(&Hello) -> Result<Peer, Refusal>,
) -> Result<Greeted<S>, Ended> {
    let (from, mut to) = split(stream);
    let mut incoming = Incoming::<_, Hellos>::new(from);
    let theirs = hear(&mut incoming, patience).await?;
    let introduces = theirs.cluster == NO_CLUSTER;
    let judged = if introduces { Err(Ended::Introduced) } else { believe(&mut to, judge(&theirs)).await };
    if judged.is_ok() || introduces {
        say(&mut to, &Message::Hello(mine(&theirs))).await?;
    }
    Ok(Greeted { peer: judged?, incoming: incoming.framed_as(), to })
}

async fn say<W: AsyncWrite + Unpin>(to: &mut W, message: &Message) -> io::Result<()> {
    // A hello and a refusal are always short enough.
    let encoded = message.encode(0).map_err(io::Error::other)?;
    to.write_all(&encoded.head).await?;
    to.flush().await
}

async fn hear<R: AsyncRead + Unpin>(
    incoming: &mut Incoming<R, Hellos>,
    patience: Duration,
) -> Result<Hello, Ended> {
    match timeout(patience, incoming.next()).await.map_err(|_| Ended::NoHello(patience))?? {
        Some(Message::Hello(hello)) => Ok(hello),
        Some(Message::Refused { why }) => Err(Ended::RefusedThere(why)),
        _ => Err(Ended::Orderly),
    }
}

/// Tells the other side why it is not believed.
async fn believe<W: AsyncWrite + Unpin>(to: &mut W, judged: Result<Peer, Refusal>) -> Result<Peer, Ended> {
    if let Err(refusal) = &judged {
        say(to, &Message::Refused { why: refusal.to_string() }).await?;
        to.shutdown().await?;
    }
    Ok(judged?)
}

/// What both directions of a connection share while it stands.
#[derive(Debug, Clone)]
pub(super) struct Way {
    pub(super) outbox: Outbox,
    pub(super) pending: Arc<Pending>,
}

/// Moves messages until the connection ends; says why it did.
pub(super) async fn run<S: AsyncRead + AsyncWrite>(
    greeted: Greeted<S>,
    way: &Way,
    outgoing: Outgoing,
    inner: &Inner,
) -> Ended {
    let Greeted { incoming, to, peer } = greeted;
    tokio::select! {
        sent = outgoing.run(to) => sent.err().map_or(Ended::Orderly, Ended::Io),
        ended = read(incoming, peer, way, inner) => ended,
        () = keep_alive(&way.outbox, inner) => Ended::Stopping,
        () = inner.stopped() => Ended::Stopping,
    }
}

async fn read<R: AsyncRead + Unpin>(
    mut incoming: Incoming<R, Messages>,
    peer: Peer,
    way: &Way,
    inner: &Inner,
) -> Ended {
    let most = inner.settings.unanswered;
    let unanswered = Arc::new(Semaphore::new(most as usize));
    loop {
        let silence = inner.settings.silence;
        let Arrived { correlation, message, len } = match timeout(silence, incoming.next()).await {
            Ok(Ok(Some(arrived))) => arrived,
            Ok(Ok(None)) => return Ended::Orderly,
            Ok(Err(error)) => return error.into(),
            Err(_) => return Ended::Silent(silence),
        };
        inner.metrics.came(message.kind(), len);
        let message = match message {
            Message::Alive | Message::Hello(_) => continue,
            Message::Refused { why } => return Ended::RefusedThere(why),
            answer_or_question => way.pending.answer(correlation, answer_or_question),
        };
        let Some(message) = message else { continue };
        // Beyond the bound nothing more is read: the other side's outbox fills, and it is told so.
        let cost = u32::try_from(len).unwrap_or(u32::MAX).clamp(1, most);
        let Ok(room) = Arc::clone(&unanswered).acquire_many_owned(cost).await else { return Ended::Stopping };
        let (outbox, metrics) = (way.outbox.clone(), inner.metrics.clone());
        inner.hand_on(peer, message, Reply { outbox, correlation, metrics, _room: room });
    }
}

/// Says from time to time that this side lives. Where something waits already, that says so.
async fn keep_alive(outbox: &Outbox, inner: &Inner) {
    loop {
        tokio::time::sleep(inner.settings.alive).await;
        if outbox.waiting() == 0 {
            let _ = super::link::put(outbox, &Message::Alive, 0, &inner.metrics);
        }
    }
}
