//! Why a command changes nothing.

use serde::{Deserialize, Serialize};

use crate::member::NodeState;
use crate::span::MAX_REPLICAS;

/// Why a command changes nothing. The state is as before, on every node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum Illegal {
    /// A process start that is not newer than the last one.
    #[error(
        "incarnation {given} does not follow {last}: the disk or a part of it was rolled back to an older state"
    )]
    Incarnation {
        /// What the command says.
        given: u64,
        /// What is known.
        last: u64,
    },
    /// Shards are numbered one after the other.
    #[error("shard {given} is not the next one, which is {next}")]
    ShardNumber {
        /// What the command says.
        given: u64,
        /// The next one.
        next: u64,
    },
    /// No shard of this number.
    #[error("there is no shard {0}")]
    NoShard(u64),
    /// A shard with partitions keeps its class.
    #[error("shard {0} carries partitions of its class")]
    ShardInUse(u64),
    /// A shard carries topics of one retention.
    #[error("shard {0} serves topics with another retention")]
    OtherClass(u64),
    /// The name is taken.
    #[error("topic `{0}` exists")]
    TopicExists(String),
    /// The id is taken or no id.
    #[error("topic id {0} is in use or not of 32 hex digits")]
    TopicId(String),
    /// Nothing to create.
    #[error("a topic needs at least one partition")]
    NoPartitions,
    /// Producer ids are reserved one block after the other.
    #[error("producer ids from {given} on were to be reserved, and the next one is {next}")]
    ProducerIds {
        /// What the command says.
        given: u64,
        /// The next one.
        next: u64,
    },
    /// No such topic, or another one of that name.
    #[error("there is no topic `{0}` with that id")]
    NoTopic(String),
    /// The topic's retention is not what the command builds on.
    #[error("the retention of topic `{0}` was changed meanwhile")]
    TopicConfig(String),
    /// The topic has no such partition.
    #[error("topic `{topic}` has no partition {partition}")]
    NoPartition {
        /// Its name.
        topic: String,
        /// The number asked for.
        partition: u32,
    },
    /// A partition's start only rises.
    #[error("the partition starts at {start} already, so it is not trimmed at {given}")]
    Trimmed {
        /// What the command says.
        given: u64,
        /// Where it starts.
        start: u64,
    },
    /// The partition's records go to another shard than the command says.
    #[error("the partition is in shard {is}, not in shard {given}")]
    NotPlaced {
        /// What the command says.
        given: u64,
        /// Where it is.
        is: u64,
    },
    /// A partition cannot go on where it is, nor at an offset that it has passed.
    #[error("the partition cannot go on in shard {to} at offset {at}")]
    Move {
        /// The shard.
        to: u64,
        /// The offset.
        at: u64,
    },
    /// One move after the other: the shard that a partition moved to does not have it yet.
    #[error("partition {partition} of topic `{topic}` is on its way to shard {to}")]
    UnderWay {
        /// The topic's name.
        topic: String,
        /// The partition.
        partition: u32,
        /// Where to.
        to: u64,
    },
    /// It is where it was to go, or was to go elsewhere.
    #[error("partition {partition} of topic `{topic}` is not on its way to shard {to}")]
    NotUnderWay {
        /// The topic's name.
        topic: String,
        /// The partition.
        partition: u32,
        /// The shard that the command says.
        to: u64,
    },
    /// The leader epochs of a partition grow.
    #[error(
        "shard {to} is at epoch {epoch}, and the partition comes from epoch {from}: its leader has to begin a new span first"
    )]
    EpochFalls {
        /// The shard.
        to: u64,
        /// Epoch of its last span.
        epoch: u32,
        /// Epoch of the span that the partition leaves.
        from: u32,
    },
    /// The metadata is for little things.
    #[error("what {len} bytes hold cannot go along with a partition, at most {max} can")]
    Carried {
        /// Bytes to be carried.
        len: usize,
        /// Bytes allowed.
        max: usize,
    },
    /// Nodes are numbered one after the other.
    #[error("node {given} is not the next one, which is {next}")]
    NodeNumber {
        /// What the command says.
        given: u64,
        /// The next one.
        next: u64,
    },
    /// A data directory is one node for ever.
    #[error("the data directory {store} is node {node}")]
    StoreInUse {
        /// The directory's id.
        store: String,
        /// The node that it is.
        node: u64,
    },
    /// No node of this number.
    #[error("there is no node {0}")]
    NoNode(u64),
    /// The node has another data directory.
    #[error("node {0} has another data directory; a new directory joins as a new node")]
    OtherStore(u64),
    /// An address or a name that does not fit.
    #[error("node {0}: its address is missing, or its address or rack is too long")]
    NodeInfo(u64),
    /// A superblock that is not newer than what is known.
    #[error(
        "node {node}: generation {given} does not follow {last}: its disk was rolled back to an older state"
    )]
    Generation {
        /// The node.
        node: u64,
        /// What the command says.
        given: u64,
        /// What is known.
        last: u64,
    },
    /// The node is not in the state that the command builds on.
    #[error("node {node} is {is:?}, not {was:?}")]
    NodeChanged {
        /// The node.
        node: u64,
        /// What the command says.
        was: NodeState,
        /// What it is.
        is: NodeState,
    },
    /// No way from one state to the other.
    #[error("a node that is {from:?} cannot become {to:?}")]
    NodeTransition {
        /// What it is.
        from: NodeState,
        /// What it cannot become.
        to: NodeState,
    },
    /// A node that holds copies cannot leave.
    #[error("node {node} holds a copy of shard {shard}, span {epoch}: it cannot leave yet")]
    NodeHolds {
        /// The node.
        node: u64,
        /// A shard that it holds.
        shard: u64,
        /// The span.
        epoch: u32,
    },
    /// A node in this state takes no part in what the command does.
    #[error("node {node} is {state:?}")]
    NodeState {
        /// The node.
        node: u64,
        /// Its state.
        state: NodeState,
    },
    /// All epochs have been given out.
    #[error("no epoch is left: all 2^31 have been given out")]
    NoEpoch,
    /// Too few or too many replicas, or one twice.
    #[error("a span needs 1 to {MAX_REPLICAS} replicas on different nodes")]
    Replicas,
    /// More than half of the replicas must make a record durable.
    #[error(
        "a quorum of {quorum} does not do for {replicas} replicas: it takes more than half and at most all"
    )]
    Quorum {
        /// What the command says.
        quorum: u8,
        /// How many replicas.
        replicas: usize,
    },
    /// A shard that was on three disks does not go on with one.
    #[error(
        "shard {0} had three replicas: it never acknowledges on a single one, so it is read-only until two nodes live"
    )]
    Narrow(u64),
    /// The leader is no replica, or not in its present life.
    #[error(
        "node {node}, incarnation {incarnation}, cannot lead: it is no replica, or that life of it is over"
    )]
    LeaderUnfit {
        /// The node.
        node: u64,
        /// The life the command speaks of.
        incarnation: u64,
    },
    /// The salt is zero or was used in the shard.
    #[error("the salt of a new span was used before in shard {0}")]
    Salt(u64),
    /// The shard has spans.
    #[error("shard {0} has a first span")]
    HasSpans(u64),
    /// No such span in the metadata.
    #[error("shard {shard} has no span {epoch}")]
    NoSpan {
        /// The shard.
        shard: u64,
        /// The epoch asked for.
        epoch: u32,
    },
    /// Only the last span of a shard can be sealed or followed.
    #[error("span {epoch} is not the last of shard {shard}, which is {last}")]
    NotLast {
        /// The shard.
        shard: u64,
        /// The epoch asked for.
        epoch: u32,
        /// The last one.
        last: u32,
    },
    /// The span has an end.
    #[error("span {epoch} of shard {shard} is sealed")]
    Sealed {
        /// The shard.
        shard: u64,
        /// The span.
        epoch: u32,
    },
    /// The span has no end yet.
    #[error("span {epoch} of shard {shard} is not sealed")]
    NotSealed {
        /// The shard.
        shard: u64,
        /// The span.
        epoch: u32,
    },
    /// Another attempt has taken over, or none was begun.
    #[error("attempt {attempt} to seal span {epoch} of shard {shard} is not the newest one")]
    NotTheAttempt {
        /// The shard.
        shard: u64,
        /// The span.
        epoch: u32,
        /// The attempt of the command.
        attempt: u32,
    },
    /// Somebody is sealing the span, so its leader may not close it.
    #[error("span {epoch} of shard {shard} is being sealed, so its leader may not close it")]
    BeingSealed {
        /// The shard.
        shard: u64,
        /// The span.
        epoch: u32,
    },
    /// Only a span's leader closes it.
    #[error("span {epoch} of shard {shard} has another leader")]
    NotTheLeader {
        /// The shard.
        shard: u64,
        /// The span.
        epoch: u32,
    },
    /// An end before the base, or an empty span with a chain value of its own.
    #[error(
        "span {epoch} of shard {shard} starts at LSN {base}: it cannot end at {end} with that chain value"
    )]
    End {
        /// The shard.
        shard: u64,
        /// The span.
        epoch: u32,
        /// Where it starts.
        base: u64,
        /// What the command says.
        end: u64,
    },
    /// The replica to be replaced holds no copy.
    #[error("node {node} with that directory holds no copy of shard {shard}, span {epoch}")]
    NotAReplica {
        /// The shard.
        shard: u64,
        /// The span.
        epoch: u32,
        /// The node.
        node: u64,
    },
    /// Spans are dropped oldest first.
    #[error("span {epoch} of shard {shard} is not its oldest")]
    NotOldest {
        /// The shard.
        shard: u64,
        /// The span.
        epoch: u32,
    },
    /// The last span of a shard stays.
    #[error("span {epoch} is the last of shard {shard}, which others build on")]
    LastSpan {
        /// The shard.
        shard: u64,
        /// The span.
        epoch: u32,
    },
    /// The next leader could not know where offsets go on.
    #[error(
        "span {epoch} is the newest of shard {shard} that tells offsets and producers: it stays until a later one that holds two frames or more is sealed"
    )]
    Tells {
        /// The shard.
        shard: u64,
        /// The span.
        epoch: u32,
    },
    /// A record in the span is wanted, or the proof does not speak of the partition.
    #[error(
        "span {epoch} of shard {shard} is not shown to be free of wanted records of partition {partition}"
    )]
    Wanted {
        /// The shard.
        shard: u64,
        /// The span.
        epoch: u32,
        /// Id of the partition.
        partition: u64,
    },
    /// The feature level is not what the command builds on, would sink, or is not known to a node.
    #[error(
        "the feature level is {is} and cannot become {to}: it only rises, and every node must know it (all know {known})"
    )]
    FeatureLevel {
        /// What it is.
        is: u32,
        /// What the command says.
        to: u32,
        /// What all nodes know.
        known: u32,
    },
    /// A program that is too old for the cluster.
    #[error("node {node} knows feature level {knows}, and the cluster is at {level}: its program is too old")]
    TooOld {
        /// The node.
        node: u64,
        /// What it knows.
        knows: u32,
        /// What is in use.
        level: u32,
    },
    /// Nothing is remembered of that version.
    #[error("no hash of the metadata's state at version {0} is remembered")]
    NoCheckpoint(u64),
    /// This node's state is not that of the others.
    #[error(
        "the metadata of this node at version {version} hashes to {ours} and that of the cluster's leader to {theirs}: this node must stop and be given a new copy"
    )]
    Astray {
        /// The version.
        version: u64,
        /// What this state hashed to.
        ours: String,
        /// What the command says.
        theirs: String,
    },
}
