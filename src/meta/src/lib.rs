//! # Purpose
//! The metadata of a cluster, or of a node that is alone: which topics there are, where their partitions live, which
//! shards exist, who leads and holds their spans. [`State`] is a machine fed by [`Command`]s; a [`MetaStore`] agrees on
//! their order and makes them durable. Records never go through here.
//!
//! # Invariants
//! - Applying is deterministic and checks every transition; an illegal command changes nothing, on every node alike.
//!   There is no clock, no randomness and no hashed order in it.
//! - A command is durable before it takes effect.
//! - Topic ids, partition ids, shard ids, node ids, store ids and epochs are never used twice.
//! - The end of a sealed span never changes, and the next span begins there.
//! - What the metadata does not understand it does not skip: a node that finds a newer command does not start.
//! - What a command may do depends on the state alone, never on the version of the program. A program that judges a
//!   command differently does so only above a feature level.
#![forbid(unsafe_code)]

mod audit;
mod balance;
mod chains;
#[cfg(test)]
mod cluster_tests;
mod command;
mod copies;
pub mod fuzz;
mod hash;
mod hex;
mod illegal;
mod invariants;
mod local;
mod member;
pub mod model;
mod nodes;
mod outcome;
mod placement;
pub mod raft;
#[cfg(test)]
mod random_tests;
mod replay;
mod shows;
mod span;
mod spread;
mod state;
mod store;
#[cfg(test)]
mod store_tests;
#[cfg(test)]
mod test_wal;
mod topic;
mod topics;

pub use audit::{Audit, Wanted};
pub use balance::Skew;
pub use command::Command;
pub use copies::Needed;
pub use hash::{Checkpoint, EVERY};
pub use illegal::Illegal;
pub use invariants::Broken;
pub use local::{METADATA_SHARD, MetaError, Metadata};
pub use member::{MAX_ADDRESS, MAX_NAME, Node, NodeInfo, NodeState};
pub use outcome::Outcome;
pub use placement::{Classes, PlacementError, place};
pub use span::{
    Chain, Leader, MAX_EPOCH, MAX_REPLICAS, Manifest, NewSpan, Replica, Span, SpanState, StoreId, Substitute,
};
pub use spread::{Facts, Heard, Place, Spread, place_span};
pub use state::{Applied, State};
pub use store::{MetaStore, Unavailable};
pub use topic::{Carried, Handed, MAX_CARRIED, Partition, Placed, Retention, Topic};
