//! # Purpose
//! The connections between the nodes of a cluster. Whoever has something to say names the directory that it is for:
//! [`Peers::tell`] sends it, [`Peers::ask`] waits for the answer. What comes in goes to a [`Handler`] by its kind: the
//! metadata's (its group, proposals, heartbeats) or the shards' (frames and files).
//!
//! A node has up to three connections of its own to each other one, dialled when there is something to send and again after
//! a loss: messages of the metadata do not wait behind frames, and those not behind megabytes of files ([`Lane`]). Answers
//! come back by the connection that brought the question.
//!
//! # Invariants
//! - Nothing is taken from a connection, and nothing sent over it, before both sides have said who they are and believe
//!   each other ([`identity`]): the same cluster, the directory that is meant, in a life and at a generation that nobody
//!   has seen a later one of.
//! - Messages of one lane to one node go out in the order in which they were handed in, each once or not at all. What was
//!   under way when a connection broke is lost: whoever sends knows how to send again.
//! - A question whose answer did not come may have been carried out ([`AskError::Lost`]).
//!
//! # Limits
//! All in [`Settings`]: connections, bytes that wait for a node, bytes of messages that came and are not answered yet,
//! the time for a hello, silence. Before its hello a connection has 4 KiB of memory here.
//!
//! Whoever stands between the socket and these streams (TLS) is not known here: [`connection`] takes any stream.

mod connection;
mod framing;
mod identity;
mod link;
mod listener;
mod metrics;
mod once;
mod pending;
mod settings;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};
use std::time::Duration;

use tidelog_io::net::{Outbox, SendError};
use tidelog_meta::{State, StoreId};
use tidelog_proto::peer::{Kind, Message, MessageError};
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::timeout;

pub(crate) use connection::Ended;
pub(crate) use identity::{Identity, Peer};
pub(crate) use metrics::PeerMetrics;
pub(crate) use once::CallError;
pub(crate) use settings::Settings;

use link::Link;

/// Takes what other nodes send.
pub(crate) trait Handler: Send + Sync {
    /// Takes a message. It must come back at once: what takes longer is done elsewhere, and answered from there. As long
    /// as the reply is kept, the message counts among those that the connection has not been relieved of.
    fn take(&self, from: Peer, message: Message, reply: Reply);
}

/// What messages are for. Each has a connection of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Lane {
    /// The metadata's group, proposals, heartbeats.
    Metadata,
    /// Frames that are being written.
    Shards,
    /// Sealed files and frames of the past: megabytes that nobody waits for.
    Files,
}

impl Lane {
    fn of(kind: Kind) -> Lane {
        match kind {
            Kind::Request | Kind::Answer => Lane::Shards,
            Kind::ListFiles
            | Kind::Files
            | Kind::FetchFile
            | Kind::Piece
            | Kind::FetchFrames
            | Kind::Frames => Lane::Files,
            Kind::Hello
            | Kind::Refused
            | Kind::Alive
            | Kind::Heartbeat
            | Kind::Heard
            | Kind::Group
            | Kind::GroupAnswer
            | Kind::Propose
            | Kind::Proposed => Lane::Metadata,
        }
    }
}

/// Why a message did not go out. It was not sent.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum TellError {
    #[error("node at {address}: {why}")]
    Unreachable { address: String, why: Arc<str> },
    #[error(transparent)]
    Send(#[from] SendError),
    #[error(transparent)]
    Message(#[from] MessageError),
    #[error("no address is known of data directory {0}")]
    NoAddress(StoreId),
}

/// Why there is no answer.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum AskError {
    /// The question was not sent.
    #[error(transparent)]
    NotSent(#[from] TellError),
    /// It may have been carried out, or may still be.
    #[error("the question was sent, and no answer came")]
    Lost,
}

/// All connections of a node. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Peers(Arc<Inner>);

/// By directory and lane.
type Links = HashMap<([u8; 16], Lane), Arc<Link>>;

struct Inner {
    me: Identity,
    settings: Settings,
    metrics: PeerMetrics,
    /// The metadata as it was last seen here: who is who.
    known: RwLock<Arc<State>>,
    links: Mutex<Links>,
    metadata: OnceLock<Arc<dyn Handler>>,
    shards: OnceLock<Arc<dyn Handler>>,
    stopping: watch::Receiver<bool>,
    /// Why this node has left the others, once it has.
    left: watch::Sender<Option<Arc<str>>>,
}

impl std::fmt::Debug for Peers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Peers").field("me", &self.0.me).finish_non_exhaustive()
    }
}

impl Peers {
    /// No connections yet. They end when `stopping` turns true.
    pub(crate) fn new(me: Identity, settings: Settings, stopping: watch::Receiver<bool>) -> Peers {
        Peers(Arc::new(Inner {
            me,
            settings,
            metrics: PeerMetrics::default(),
            known: RwLock::default(),
            links: Mutex::default(),
            metadata: OnceLock::new(),
            shards: OnceLock::new(),
            stopping,
            left: watch::Sender::new(None),
        }))
    }

    /// Who takes what concerns the metadata. The first one stays.
    pub(crate) fn hand_metadata_to(&self, handler: Arc<dyn Handler>) {
        self.0.metadata.get_or_init(|| handler);
    }

    /// Who takes what concerns shards. The first one stays.
    pub(crate) fn hand_shards_to(&self, handler: Arc<dyn Handler>) {
        self.0.shards.get_or_init(|| handler);
    }

    /// Goes by this state of the metadata from now on.
    pub(crate) fn learn(&self, state: Arc<State>) {
        *self.0.known.write().unwrap_or_else(PoisonError::into_inner) = state;
    }

    /// Who this node is to the others.
    pub(crate) fn me(&self) -> &Identity {
        &self.0.me
    }

    pub(crate) fn metrics(&self) -> PeerMetrics {
        self.0.metrics.waiting.set(i64::try_from(self.waiting()).unwrap_or(i64::MAX));
        self.0.metrics.clone()
    }

    /// Sends a message to the node with this directory. `address` is where it is if the metadata does not know it yet.
    ///
    /// # Errors
    /// It was not sent.
    pub(crate) fn tell(&self, to: StoreId, address: &str, message: &Message) -> Result<(), TellError> {
        self.send(to, address, message, false).map(|_| ())
    }

    /// The same, and waits for the answer.
    ///
    /// # Errors
    /// It was not sent, or no answer came in time.
    pub(crate) async fn ask(
        &self,
        to: StoreId,
        address: &str,
        message: &Message,
        patience: Duration,
    ) -> Result<Message, AskError> {
        let question = self.send(to, address, message, true)?.ok_or(AskError::Lost)?;
        match timeout(patience, question.answer()).await {
            Ok(Some(answer)) => Ok(answer),
            Ok(None) | Err(_) => Err(AskError::Lost),
        }
    }

    /// Has a connection of this lane to a directory dialled, if none stands, though there is nothing to send.
    pub(crate) fn dial(&self, to: StoreId, lane: Lane) {
        // Where it is not known yet there is nothing to be done.
        if let Ok(link) = self.link(to, "", lane)
            && !link.stands()
        {
            link.want();
        }
    }

    /// Whether a connection of this lane to a directory stands.
    pub(crate) fn reaches(&self, to: StoreId, lane: Lane) -> bool {
        self.links().get(&(to.0, lane)).is_some_and(|link| link.stands())
    }

    /// This node can take no further part: a write failed, and only a restart finds out what became of it. All connections
    /// end, and none is made or taken any more, so that it is to the others what a node is whose process has ended, and they go
    /// on without it. The first reason stays.
    pub(crate) fn leave(&self, why: &str) {
        let first = self.0.left.send_if_modified(|left| {
            let first = left.is_none();
            left.get_or_insert_with(|| why.into());
            first
        });
        if first {
            tracing::error!(
                why,
                "this node has left the cluster until it is restarted: the others go on without it"
            );
        }
    }

    /// Why this node has left the others.
    pub(crate) fn left(&self) -> Option<Arc<str>> {
        self.0.left.borrow().clone()
    }

    fn send(
        &self,
        to: StoreId,
        address: &str,
        message: &Message,
        asks: bool,
    ) -> Result<Option<pending::Question>, TellError> {
        let link = self.link(to, address, Lane::of(message.kind()))?;
        let sent = link.send(message, asks, &self.0.metrics);
        if let Err(TellError::Send(SendError::Full)) = &sent {
            self.0.metrics.full.inc();
        }
        sent
    }

    fn link(&self, to: StoreId, address: &str, lane: Lane) -> Result<Arc<Link>, TellError> {
        let mut links = self.links();
        if let Some(link) = links.get(&(to.0, lane)).filter(|link| link.lives()) {
            return Ok(Arc::clone(link));
        }
        if address.is_empty() && self.0.address(to).is_none() {
            return Err(TellError::NoAddress(to));
        }
        let (link, outgoing) = Link::new(to, lane, address.to_owned(), self.0.settings.outbox);
        tokio::spawn(Arc::clone(&link).run(outgoing, Arc::clone(&self.0)));
        links.insert((to.0, lane), Arc::clone(&link));
        Ok(link)
    }

    fn links(&self) -> std::sync::MutexGuard<'_, Links> {
        self.0.links.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn waiting(&self) -> usize {
        self.links().values().map(|link| link.waiting()).sum()
    }
}

impl Inner {
    fn known(&self) -> Arc<State> {
        Arc::clone(&self.known.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Where a directory's node is found, as far as the metadata says.
    fn address(&self, store: StoreId) -> Option<String> {
        let known = self.known();
        let node = known.nodes.get(&known.node_of(store)?)?;
        Some(node.info.address.clone()).filter(|address| !address.is_empty())
    }

    /// Passes on what came in.
    fn hand_on(&self, from: Peer, message: Message, reply: Reply) {
        let handler = match Lane::of(message.kind()) {
            Lane::Metadata => self.metadata.get(),
            Lane::Shards | Lane::Files => self.shards.get(),
        };
        match handler {
            Some(handler) => handler.take(from, message, reply),
            None => tracing::debug!(
                from = from.replica.node,
                kind = message.kind().name(),
                "nobody here takes such a message yet"
            ),
        }
    }

    /// Ends when the node stops, or leaves.
    async fn stopped(&self) {
        let (mut stopping, mut left) = (self.stopping.clone(), self.left.subscribe());
        // Whoever could say so is gone when it is an error.
        tokio::select! {
            _ = stopping.wait_for(|stopping| *stopping) => {}
            _ = left.wait_for(Option::is_some) => {}
        }
    }

    fn is_stopped(&self) -> bool {
        *self.stopping.borrow() || self.left.borrow().is_some()
    }
}

/// The way back to who sent a message.
#[derive(Debug)]
pub(crate) struct Reply {
    outbox: Outbox,
    correlation: u64,
    metrics: PeerMetrics,
    /// The message's share of what the connection may have unanswered.
    _room: OwnedSemaphorePermit,
}

impl Reply {
    /// Answers. A peer that does not take its answers asks again.
    pub(crate) fn send(self, message: &Message) {
        if let Err(error) = link::put(&self.outbox, message, self.correlation, &self.metrics) {
            self.metrics.answers_lost.inc();
            tracing::debug!(kind = message.kind().name(), %error, "an answer was not sent");
        }
    }
}
