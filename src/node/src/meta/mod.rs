//! # Purpose
//! The metadata of a node: which topics there are, where their partitions live, which shards exist. A state machine
//! fed by commands; the commands are journalled in a shard of their own (shard 0).
//!
//! # Invariants
//! - A command is durable before it takes effect. Applying is deterministic, and an illegal command changes nothing.
//! - Topic ids, partition ids and shard ids are never used twice.
//! - What metadata does not understand it does not skip: a node that finds a newer command does not start.

mod command;
mod journal;
mod placement;
mod replay;
mod state;

pub(crate) use command::{Command, Illegal, Retention};
pub(crate) use journal::{METADATA_SHARD, MetaError, Metadata};
pub(crate) use placement::{PlacementError, place, plan};
pub(crate) use state::{State, Topic};
