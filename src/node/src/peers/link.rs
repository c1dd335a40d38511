//! This node's own connection to another one: dialled when there is something to send, again after a loss.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use tidelog_io::net::{Backoff, Outbox, Outgoing, dial};
use tidelog_io::random::Entropy;
use tidelog_meta::StoreId;
use tidelog_proto::peer::{Message, Replica};
use tokio::sync::Notify;

use super::connection::{self, Ended, Way};
use super::metrics::PeerMetrics;
use super::pending::{Pending, Question};
use super::{Inner, Lane, TellError};

/// A connection to one directory's node, standing or not.
#[derive(Debug)]
pub(super) struct Link {
    to: StoreId,
    lane: Lane,
    /// For a node that the metadata does not know yet.
    address: String,
    /// Where messages are handed in, or why none are taken now.
    way: Mutex<Result<Way, Arc<str>>>,
    wanted: Notify,
    stands: AtomicBool,
    over: AtomicBool,
}

impl Link {
    /// A link that takes messages at once; [`Link::run`] sends them.
    pub(super) fn new(to: StoreId, lane: Lane, address: String, bytes: u32) -> (Arc<Link>, Outgoing) {
        let (stands, over) = (AtomicBool::new(false), AtomicBool::new(false));
        let (way, outgoing) = fresh(bytes);
        let link = Link { to, lane, address, way: Mutex::new(Ok(way)), wanted: Notify::new(), stands, over };
        (Arc::new(link), outgoing)
    }

    /// Whether somebody still tries.
    pub(super) fn lives(&self) -> bool {
        !self.over.load(Ordering::Relaxed)
    }

    /// Dials if it does not stand.
    pub(super) fn want(&self) {
        self.wanted.notify_one();
    }

    pub(super) fn stands(&self) -> bool {
        self.stands.load(Ordering::Relaxed)
    }

    pub(super) fn waiting(&self) -> usize {
        self.way().as_ref().map_or(0, |way| way.outbox.waiting())
    }

    fn way(&self) -> std::sync::MutexGuard<'_, Result<Way, Arc<str>>> {
        self.way.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands a message in; a question comes back when it asks for an answer.
    pub(super) fn send(
        &self,
        message: &Message,
        asks: bool,
        metrics: &PeerMetrics,
    ) -> Result<Option<Question>, TellError> {
        let way = self.way().clone().map_err(|why| self.unreachable(why))?;
        let question = match asks {
            true => Some(way.pending.ask().ok_or_else(|| self.unreachable("the connection broke".into()))?),
            false => None,
        };
        let correlation = question.as_ref().map_or(0, |question| question.correlation);
        put(&way.outbox, message, correlation, metrics)?;
        self.wanted.notify_one();
        Ok(question)
    }

    fn unreachable(&self, why: Arc<str>) -> TellError {
        TellError::Unreachable { address: self.address.clone(), why }
    }

    /// Keeps the connection until the node stops, or nothing is wanted of the other one any more.
    pub(super) async fn run(self: Arc<Link>, mut outgoing: Outgoing, inner: Arc<Inner>) {
        let (first, most) = inner.settings.pauses;
        let mut backoff = Backoff::new(first, most, Entropy::system());
        while !self.is_over(&inner) {
            let Ok(way) = self.way().clone() else { break };
            tokio::select! {
                () = self.wanted.notified() => {}
                () = inner.stopped() => break,
            }
            let ended = tokio::select! {
                ended = self.connected(&inner, &way, outgoing) => ended,
                () = inner.stopped() => Ended::Stopping,
            };
            // What waited is lost with it, and whoever waits for an answer is told so.
            *self.way() = Err(ended.to_string().into());
            way.pending.close();
            if self.stands.swap(false, Ordering::Relaxed) {
                inner.metrics.connected.dec();
                backoff.reset();
            }
            self.tell_end(&inner, &ended);
            tokio::select! {
                () = tokio::time::sleep(backoff.pause()) => {}
                () = inner.stopped() => break,
            }
            let (way, next) = fresh(inner.settings.outbox);
            *self.way() = Ok(way);
            outgoing = next;
        }
        self.over.store(true, Ordering::Relaxed);
        *self.way() = Err("nothing is sent there any more".into());
    }

    fn is_over(&self, inner: &Inner) -> bool {
        let known = inner.known();
        let node = known.node_of(self.to).and_then(|number| known.nodes.get(&number));
        inner.is_stopped() || node.is_some_and(|node| !node.state.counts())
    }

    async fn connected(&self, inner: &Inner, way: &Way, outgoing: Outgoing) -> Ended {
        let known = inner.known();
        let number = known.node_of(self.to);
        let node = number.and_then(|number| known.nodes.get(&number));
        let to = Replica { node: number.unwrap_or(0), store: self.to.0 };
        let address = inner.address(self.to).unwrap_or_else(|| self.address.clone());
        let mine = inner.me.hello(Some(to), node.map_or(0, |node| node.generation));
        let patience = inner.settings.hello;
        inner.metrics.dials.inc();
        let stream = match dial(&address, patience).await {
            Ok(stream) => stream,
            Err(error) => return Ended::Io(error),
        };
        let judge = |hello: &_| inner.judge_called(hello, self.to);
        let greeted = match connection::call(stream, mine, patience, judge).await {
            Ok(greeted) => greeted,
            Err(ended) => return ended,
        };
        self.stands.store(true, Ordering::Relaxed);
        inner.metrics.connected.inc();
        tracing::info!(node = greeted.peer.replica.node, address, lane = ?self.lane, "connected to a node");
        connection::run(greeted, way, outgoing, inner).await
    }

    fn tell_end(&self, inner: &Inner, ended: &Ended) {
        let node = inner.known().node_of(self.to).unwrap_or(0);
        let lane = self.lane;
        match ended {
            Ended::RefusedHere(_) | Ended::RefusedThere(_) => {
                inner.metrics.refusals.inc();
                tracing::warn!(node, address = self.address, ?lane, %ended, "no connection to a node");
            }
            Ended::Stopping => {}
            _ => tracing::debug!(node, address = self.address, ?lane, %ended, "no connection to a node"),
        }
    }
}

fn fresh(bytes: u32) -> (Way, Outgoing) {
    let (outbox, outgoing) = Outbox::new(bytes);
    (Way { outbox, pending: Arc::new(Pending::default()) }, outgoing)
}

/// Puts a message into an outbox.
pub(super) fn put(
    outbox: &Outbox,
    message: &Message,
    correlation: u64,
    metrics: &PeerMetrics,
) -> Result<(), TellError> {
    let encoded = message.encode(correlation)?;
    let len = encoded.len();
    let pieces: Vec<Bytes> = std::iter::once(encoded.head).chain(encoded.tail).collect();
    outbox.try_send(pieces)?;
    metrics.went(message.kind(), len);
    Ok(())
}
