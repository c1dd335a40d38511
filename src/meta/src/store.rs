//! What a metadata store is to the rest of the node.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::command::Command;
use crate::outcome::Outcome;
use crate::state::State;

/// Why the metadata can neither be changed nor read for sure. Nothing was proposed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum Unavailable {
    /// Another node leads the metadata's group, or none does.
    #[error("the metadata is led elsewhere: {}", leader.as_deref().unwrap_or("by nobody that is known"))]
    NotLeader {
        /// Where, if that is known.
        leader: Option<String>,
    },
    /// No quorum of the metadata's group answered.
    #[error("the metadata's group does not answer")]
    NoAnswer,
    /// The store is stopped or broken.
    #[error("the metadata's store does not work: {0}")]
    Broken(String),
    /// The command is longer than an entry may be.
    #[error("the command is {len} bytes long, and {max} fit")]
    TooLong {
        /// Its length.
        len: usize,
        /// What fits.
        max: usize,
    },
}

/// Agrees on the order of commands and keeps them.
///
/// A proposer that needs to be sure reads ([`MetaStore::read`]), decides, proposes a command that states what it builds
/// on, and reads again when the outcome is not clear.
pub trait MetaStore: Send + Sync {
    /// Proposes a change and waits for its outcome.
    ///
    /// # Errors
    /// For sure it was not proposed. What may have been is [`Outcome::Indeterminate`].
    fn propose(&self, command: Command) -> impl Future<Output = Result<Outcome, Unavailable>> + Send;

    /// The state of a moment between call and answer: it shows every change whose outcome anybody knew at the call.
    ///
    /// # Errors
    /// Nothing is known for sure now.
    fn read(&self) -> impl Future<Output = Result<Arc<State>, Unavailable>> + Send;

    /// The state as far as this node knows it: what was decided, but perhaps not the latest.
    fn recent(&self) -> Arc<State>;

    /// The version of [`MetaStore::recent`], as a hint that there is something to look at. It may come late, and versions
    /// may be passed over.
    fn watch(&self) -> watch::Receiver<u64>;
}
