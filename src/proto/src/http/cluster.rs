//! # Purpose
//! A cluster as JSON: `/v1/cluster` and below.

use serde::{Deserialize, Serialize};

use super::admin::{AdminError, from_json};

/// Body of `POST /v1/cluster/shards/S/leader`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MoveLeader {
    /// Number of the node that is to lead the shard.
    pub node: u64,
}

impl MoveLeader {
    /// Reads the body.
    ///
    /// # Errors
    /// It is something else.
    pub fn decode(body: &[u8]) -> Result<MoveLeader, AdminError> {
        from_json(body)
    }
}

/// Answer to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct MovedLeader {
    /// The shard.
    pub shard: u64,
    /// Number of the node that led it.
    pub from: u64,
    /// Number of the node that leads it now.
    pub to: u64,
    /// Epoch of the span that this one leads.
    pub epoch: u32,
    /// From the question to the decision, ms. The shard's producers wait for less.
    pub took_ms: u64,
}

/// Answer to `GET /v1/cluster`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterStatus {
    /// 32 hex digits.
    pub cluster: String,
    /// Number of the node that tells this: the one that leads the metadata's group if it is reached.
    pub told_by: u64,
    /// Who decides.
    pub metadata: MetadataGroup,
    /// By number.
    pub nodes: Vec<ClusterNode>,
    /// By number.
    pub shards: Vec<ClusterShard>,
    /// Topics.
    pub topics: usize,
    /// Partitions.
    pub partitions: usize,
    /// How many shards nobody leads.
    pub without_leader: usize,
    /// How many spans have fewer copies that count than they should.
    pub under_replicated: usize,
    /// How many partitions are on their way to another shard.
    #[serde(default)]
    pub moving: usize,
    /// How far the cluster is from being balanced.
    pub skew: ClusterSkew,
}

/// How far a cluster is from being balanced: of those that carry too much or too little, the worst one's distance from as
/// even as can be, in percent of the mean. What is below 20 is left alone.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterSkew {
    /// Of the spans that are written, those that each node leads.
    pub leaders: u64,
    /// Of the spans that are written, those of which each node holds a copy.
    pub copies: u64,
    /// Partitions of the shards that keep records equally long.
    pub partitions: u64,
}

/// The group that keeps the metadata.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MetadataGroup {
    /// Number of the node that leads it; none while nobody is known to.
    pub leader: Option<u64>,
    /// Whether something can be decided now.
    pub has_quorum: bool,
    /// Counts the changes that took effect.
    pub version: u64,
    /// Numbers of the nodes that vote.
    pub voters: Vec<u64>,
}

/// A node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterNode {
    /// Its number.
    pub node: u64,
    /// What may be put on it: `read_write`, `read_only`, `draining`, `data_loss` or `gone`.
    pub state: String,
    /// What it is to the metadata: `leader`, `voter` or `learner`; `none` once it is no member any more; `alone` where there
    /// is no group.
    pub metadata: String,
    /// HOST:PORT for other nodes.
    pub peer: String,
    /// HOST:PORT of its HTTP port; empty when it has told none.
    pub http: String,
    /// HOST:PORT for Kafka's clients; empty when it takes none.
    pub kafka: String,
    /// Which of its process starts this is.
    pub incarnation: u64,
    /// Shards that it leads.
    pub leads: usize,
    /// Spans of which it holds a copy.
    pub spans: usize,
    /// How long ago it said that it lives, ms; none where nobody knows.
    pub silent_ms: Option<u64>,
    /// Bytes that its disk still takes; none where nobody knows.
    pub free_bytes: Option<u64>,
    /// Changes of the metadata that it lacks; none where nobody knows.
    pub lag: Option<u64>,
}

/// A data shard.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterShard {
    /// Its number.
    pub shard: u64,
    /// Number of the node that leads it; none while nobody does.
    pub leader: Option<u64>,
    /// Epoch of its last span.
    pub epoch: u32,
    /// What its last span is: `open`, `sealing`, `sealed`, or `none` when it has none.
    pub state: String,
    /// Numbers of the nodes that hold its last span.
    pub holders: Vec<u64>,
    /// Those of them whose copy counts.
    pub in_sync: Vec<u64>,
    /// How many of them make a record durable before it is acknowledged.
    pub quorum: usize,
    /// How many spans it has.
    pub spans: usize,
    /// How many of those have fewer copies that count than they should.
    pub under_replicated: usize,
    /// How many partitions it carries.
    pub partitions: usize,
}
