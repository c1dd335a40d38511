//! # Purpose
//! The metadata store of a cluster: a Raft group (openraft) whose members keep their entries, votes and snapshots in a
//! shard of our own write-ahead log, shard 0.
//!
//! # Format
//! `stored` has the encodings, `format/SPEC.md` the entry kinds. Names on disk are ours, not openraft's.
//!
//! # Durability
//! - A vote is durable before it is answered; an entry is durable before it is counted. Both are framed in the order in
//!   which openraft hands them over, so a crash leaves a prefix of what was handed over.
//! - The state is not kept by itself: a restart begins with the last whole snapshot, and entries behind it take effect
//!   again once the group has confirmed that they are committed.
//! - Segments of the shard are released once a snapshot, the newest vote and all wanted entries lie behind them.
//!
//! # Invariants
//! - A member's number in the group comes from the id of its data directory ([`voter_id`]): whoever lost its directory
//!   lost its votes and comes back as somebody else. A directory that fell back in time is told so by the others
//!   ([`Greeting`]), who remember a later generation of it.
//! - The group has one, three or five voters. Two would stop at the loss of either.
//! - A member that finds its state astray ([`crate::Illegal::Astray`]) stops.
//!
//! # Limits
//! Entries that are not purged yet are held in memory as well, and so is the last snapshot: openraft reads the former at
//! random and sends the latter. Both are bounded by how often snapshots are made ([`Settings`]). A command is at most
//! [`MAX_COMMAND`] bytes.

mod asked;
mod greeting;
mod group;
#[cfg(test)]
pub(crate) mod group_tests;
mod journal;
mod leaving;
mod links;
mod machine;
mod recovery;
mod standing;
mod stored;
#[cfg(test)]
mod suite_tests;

use serde::{Deserialize, Serialize};

use crate::command::Command;
use crate::outcome::Outcome;
use crate::span::StoreId;

pub use asked::{Answered, Asked, Refused};
pub use greeting::{Greeting, Stranger};
pub use group::{Begin, Group, GroupError, MAX_COMMAND, Settings};
pub use links::{Carrier, Garbled};
pub use recovery::{Past, past};
pub use standing::Standing;
pub(crate) use stored::fuzz as fuzz_stored;

openraft::declare_raft_types!(
    /// The types of the metadata's group, for whoever carries its messages.
    pub Types:
        D = Command,
        R = Option<Outcome>,
        NodeId = u64,
        Node = Voter,
        SnapshotData = std::io::Cursor<Vec<u8>>,
);

/// A member of the group.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Voter {
    /// HOST:PORT where other nodes reach it.
    pub address: String,
    /// Its data directory.
    pub store: StoreId,
}

/// The number that a data directory has in the group. Never 0.
pub fn voter_id(store: StoreId) -> u64 {
    xxhash_rust::xxh3::xxh3_64(&store.0).max(1)
}
