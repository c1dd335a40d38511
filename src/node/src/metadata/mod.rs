//! # Purpose
//! This node's one handle on the metadata: its own, in its own journal, while it is alone; that of its cluster, as a member
//! of the group that keeps it, once it has an address for other nodes.
//!
//! | file | what it is |
//! |---|---|
//! | `starting` | which of the two a directory is, and what is refused |
//! | `joining` | an empty directory asks to be let in |
//! | `member` | a member: commands go to whoever leads, and take effect here before they are answered |
//! | `incoming` | what other nodes ask of this one |
//! | `growing` | heartbeats, and on the leader: who votes |
//! | `status` | what people and monitoring are told |
//!
//! # Invariants
//! - Whoever has proposed a command sees what it did in the next look at the state, on the node where it was proposed.
//! - A command is proposed again only when the state does not show it: see [`State::shows`].
//!
//! # Limits
//! A change waits [`member::PATIENCE`] for a group that has no leader or no quorum.

mod growing;
mod incoming;
mod joining;
mod member;
mod starting;
mod status;

use std::sync::Arc;

use tidelog_meta::{Applied, Command, Illegal, MetaError, MetaStore, Metadata as Alone, State, Unavailable};
use tidelog_wal::AppendError;
use tokio::sync::watch;

pub(crate) use growing::run;
pub(crate) use joining::JoinError;
pub(crate) use member::Member;
pub(crate) use starting::{Listening, StartError, Unjoined, cluster_to_join, listen, start};
pub(crate) use status::MetadataStatus;

/// Why the metadata was not changed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ChangeError {
    /// It would change nothing.
    #[error(transparent)]
    Illegal(#[from] Illegal),
    /// It could not be made durable here.
    #[error("the metadata could not be changed: {0}")]
    Append(AppendError),
    /// This node's journal cannot be used.
    #[error(transparent)]
    Meta(MetaError),
    /// It was not proposed.
    #[error("the metadata cannot be changed now: {0}")]
    Unavailable(#[from] Unavailable),
    /// It may have been carried out, or may still be.
    #[error("the metadata's group did not say what became of a change: it may have been carried out")]
    Unknown,
}

impl From<MetaError> for ChangeError {
    fn from(error: MetaError) -> ChangeError {
        match error {
            MetaError::Illegal(why) => ChangeError::Illegal(why),
            MetaError::Append(error) => ChangeError::Append(error),
            other => ChangeError::Meta(other),
        }
    }
}

/// The handle.
#[derive(Debug)]
pub(crate) enum Metadata {
    /// In this node's own journal.
    Alone(Box<Alone>),
    /// In a group's.
    Member(Arc<Member>),
}

impl Metadata {
    /// Looks at the state, as far as this node knows it.
    pub(crate) fn read<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        match self {
            Metadata::Alone(alone) => alone.read(look),
            Metadata::Member(member) => look(&member.recent()),
        }
    }

    /// Has a command carried out, and gives what it did. It is in the state then.
    ///
    /// # Errors
    /// It is illegal, the metadata cannot be changed now, or nobody knows what became of it.
    pub(crate) async fn propose(&self, command: Command) -> Result<Applied, ChangeError> {
        match self {
            Metadata::Alone(alone) => Ok(alone.propose(command).await?),
            Metadata::Member(member) => member.propose(command).await,
        }
    }

    /// The same with commands that follow one upon the other. A node alone takes all or none, and writes them together; of a
    /// group's the first ones may have been carried out when there is an error.
    ///
    /// # Errors
    /// As [`Metadata::propose`].
    pub(crate) async fn propose_all(&self, commands: Vec<Command>) -> Result<Vec<Applied>, ChangeError> {
        match self {
            Metadata::Alone(alone) => Ok(alone.propose_all(commands).await?),
            Metadata::Member(member) => {
                let mut applied = Vec::with_capacity(commands.len());
                for command in commands {
                    applied.push(member.propose(command).await?);
                }
                Ok(applied)
            }
        }
    }

    /// Waits until the state here shows what another node has decided meanwhile. On a node alone nobody else decides.
    pub(crate) async fn reach_newer(&self, shows: impl Fn(&State) -> bool) {
        let mut versions = self.watch();
        while !self.read(&shows) {
            // It ends with the node.
            if versions.changed().await.is_err() {
                return;
            }
        }
    }

    /// The state's version, whenever it grows.
    pub(crate) fn watch(&self) -> watch::Receiver<u64> {
        match self {
            Metadata::Alone(alone) => alone.watch(),
            Metadata::Member(member) => member.watch(),
        }
    }

    /// The member of a group that this node is, if it is one.
    pub(crate) fn member(&self) -> Option<&Arc<Member>> {
        match self {
            Metadata::Alone(_) => None,
            Metadata::Member(member) => Some(member),
        }
    }
}
