//! Connections that other nodes make to this one.

use std::sync::Arc;
use std::time::Duration;

use tidelog_io::net::Outbox;
use tidelog_meta::{State, StoreId};
use tidelog_proto::peer::{Hello, Replica};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use super::connection::{self, Ended, Way};
use super::identity::{Peer, Refusal};
use super::pending::Pending;
use super::{Inner, Peers};

/// After a failure to accept: some descriptors will be given back.
const PAUSE: Duration = Duration::from_millis(100);

impl Peers {
    /// Accepts until the node stops.
    pub(crate) async fn listen(self, listener: TcpListener) {
        let inner = self.0;
        let room = Arc::new(Semaphore::new(inner.settings.connections));
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = inner.stopped() => return,
            };
            let stream = match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::error!(%error, "a connection of another node could not be accepted");
                    tokio::time::sleep(PAUSE).await;
                    continue;
                }
            };
            let Ok(permit) = Arc::clone(&room).try_acquire_owned() else {
                inner.metrics.refusals.inc();
                tracing::warn!(most = inner.settings.connections, "a connection of a node too many: closed");
                continue;
            };
            let inner = Arc::clone(&inner);
            tokio::spawn(async move {
                inner.accepted(stream).await;
                drop(permit);
            });
        }
    }
}

impl Inner {
    async fn accepted(&self, stream: TcpStream) {
        let from = stream.peer_addr().ok();
        let ended = tokio::select! {
            ended = self.serve(stream) => ended,
            () = self.stopped() => return,
        };
        match &ended {
            Ended::RefusedHere(_) | Ended::RefusedThere(_) | Ended::Received(_) | Ended::NoHello(_) => {
                self.metrics.refusals.inc();
                tracing::warn!(?from, %ended, "a connection of a node ended");
            }
            _ => tracing::debug!(?from, %ended, "a connection of a node ended"),
        }
    }

    async fn serve(&self, stream: TcpStream) -> Ended {
        if let Err(error) = stream.set_nodelay(true) {
            return Ended::Io(error);
        }
        let known = self.known();
        let mine = |theirs: &Hello| self.me.hello(Some(theirs.replica), seen(&known, theirs.replica));
        let judge = |hello: &Hello| self.me.judge(hello, &known);
        let greeted = match connection::receive(stream, mine, self.settings.hello, judge).await {
            Ok(greeted) => greeted,
            Err(ended) => return ended,
        };
        let (outbox, outgoing) = Outbox::new(self.settings.outbox);
        let way = Way { outbox, pending: Arc::new(Pending::default()) };
        connection::run(greeted, &way, outgoing, self).await
    }

    /// Whether who was called is who was meant.
    pub(super) fn judge_called(&self, hello: &Hello, meant: StoreId) -> Result<Peer, Refusal> {
        if hello.replica.store != meant.0 {
            return Err(Refusal::OtherStore { meant, here: StoreId(hello.replica.store) });
        }
        self.me.judge(hello, &self.known())
    }
}

/// The latest generation that is known of a directory.
fn seen(known: &State, replica: Replica) -> u64 {
    let node = known.node_of(StoreId(replica.store)).and_then(|number| known.nodes.get(&number));
    node.map_or(0, |node| node.generation)
}
