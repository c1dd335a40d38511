//! Nodes of the cluster. A node has one data directory for ever: a new directory is a new node.

use serde::{Deserialize, Serialize};

use crate::span::{Replica, StoreId};

/// Longest address or rack name, bytes.
pub const MAX_NAME: usize = 256;
/// Longest address of a front end, bytes: a name of 255 bytes in brackets, and a port.
pub const MAX_ADDRESS: usize = 264;

/// What a node says about itself at each start.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeInfo {
    /// HOST:PORT where other nodes reach it.
    pub address: String,
    /// HOST:PORT where Kafka's clients find it; empty when it takes none, or its program is older than this member.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub kafka: String,
    /// HOST:PORT where clients and other nodes find its HTTP interface; empty when its program is older than this member.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub http: String,
    /// What fails together with it: replicas are spread over racks. Empty: a rack of its own kind, shared with all
    /// others that name none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub rack: String,
    /// The highest feature level that its program knows.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub features: u32,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn is_zero(level: &u32) -> bool {
    *level == 0
}

/// A node as the metadata holds it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Node {
    /// Its data directory, for ever.
    pub store: StoreId,
    /// Its last process start.
    pub incarnation: u64,
    /// The generation of its superblock, as far as it is known. A directory that comes with an older one was rolled back.
    pub generation: u64,
    /// What it said about itself at its last start.
    pub info: NodeInfo,
    /// What may be put on it.
    pub state: NodeState,
}

/// What may be put on a node, and whether what is on it counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NodeState {
    /// Takes new spans and copies.
    ReadWrite,
    /// Takes nothing new: its disk is nearly full.
    ReadOnly,
    /// Takes nothing new and is being emptied.
    Draining,
    /// Its directory is lost, rolled back or cannot be believed: it counts toward no quorum, for ever.
    DataLoss,
    /// Has left. Holds nothing and never comes back.
    Gone,
}

impl NodeState {
    /// Whether a node may go from this state to another. Lost data does not come back, and who has left does not either.
    pub fn may_become(self, to: NodeState) -> bool {
        use NodeState::{DataLoss, Draining, Gone, ReadOnly, ReadWrite};
        match (self, to) {
            (ReadWrite, ReadOnly | Draining)
            | (ReadOnly, ReadWrite | Draining)
            | (Draining, ReadWrite | ReadOnly)
            | (ReadWrite | ReadOnly | Draining, DataLoss)
            | (Draining | DataLoss, Gone) => true,
            (ReadWrite | ReadOnly | Draining | DataLoss | Gone, _) => false,
        }
    }

    /// Whether a copy on a node in this state may stay there.
    pub fn stays(self) -> bool {
        matches!(self, NodeState::ReadWrite | NodeState::ReadOnly)
    }

    /// Whether what a node in this state holds may be believed.
    pub fn counts(self) -> bool {
        matches!(self, NodeState::ReadWrite | NodeState::ReadOnly | NodeState::Draining)
    }
}

impl Node {
    /// This node as the holder of a copy.
    pub fn replica(&self, node: u64) -> Replica {
        Replica { node, store: self.store }
    }
}
