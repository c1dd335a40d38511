//! A question to an address, before anybody is known: a connection for one question.

use std::sync::Arc;
use std::time::Duration;

use tidelog_io::net::{Outbox, dial};
use tidelog_proto::peer::{Hello, Message, PROTOCOL, Process, Replica};
use tokio::time::timeout;

use super::connection::{self, Ended, Way};
use super::identity::{NO_CLUSTER, Peer};
use super::pending::Pending;
use super::{AskError, Peers, link};

/// Why nobody answered at an address.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CallError {
    #[error("no node could be asked at {address}: {ended}")]
    Ended { address: String, ended: Ended },
    #[error("{address}: {source}")]
    Ask { address: String, source: AskError },
}

impl Peers {
    /// Which cluster the node at an address belongs to, asked by somebody who belongs to none.
    ///
    /// # Errors
    /// Nobody is there, or it does not say.
    pub(crate) async fn introduce(address: &str, patience: Duration) -> Result<Hello, CallError> {
        let failed = |ended| CallError::Ended { address: address.to_owned(), ended };
        let mine = Hello {
            protocol: PROTOCOL,
            features: 0,
            cluster: NO_CLUSTER,
            replica: Replica { node: 0, store: [0; 16] },
            process: Process { node: 0, incarnation: 0 },
            generation: 0,
            to: None,
            seen: 0,
            address: String::new(),
        };
        let stream = dial(address, patience).await.map_err(|error| failed(Ended::Io(error)))?;
        let mut theirs = None;
        let judge = |hello: &Hello| {
            theirs = Some(hello.clone());
            Ok(Peer { replica: hello.replica, process: hello.process })
        };
        connection::call(stream, mine, patience, judge).await.map_err(failed)?;
        theirs.ok_or_else(|| failed(Ended::Orderly))
    }

    /// Asks whoever is at an address and belongs to this cluster.
    ///
    /// # Errors
    /// Nobody is there, or no answer came.
    pub(crate) async fn ask_at(
        &self,
        address: &str,
        message: &Message,
        patience: Duration,
    ) -> Result<Message, CallError> {
        let inner = &self.0;
        let failed = |ended| CallError::Ended { address: address.to_owned(), ended };
        let hello = inner.settings.hello;
        let stream = dial(address, hello).await.map_err(|error| failed(Ended::Io(error)))?;
        let judge = |theirs: &Hello| inner.me.judge(theirs, &inner.known());
        let greeted =
            connection::call(stream, inner.me.hello(None, 0), hello, judge).await.map_err(failed)?;
        let (outbox, outgoing) = Outbox::new(inner.settings.outbox);
        let way = Way { outbox, pending: Arc::new(Pending::default()) };
        let lost = |source| CallError::Ask { address: address.to_owned(), source };
        let question = way.pending.ask().ok_or_else(|| lost(AskError::Lost))?;
        link::put(&way.outbox, message, question.correlation, &inner.metrics)
            .map_err(|error| lost(error.into()))?;
        tokio::select! {
            answer = timeout(patience, question.answer()) => {
                answer.ok().flatten().ok_or_else(|| lost(AskError::Lost))
            }
            _ = connection::run(greeted, &way, outgoing, inner) => Err(lost(AskError::Lost)),
        }
    }
}
