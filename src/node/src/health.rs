//! # Purpose
//! What the node says about itself: `/healthz`, `/readyz`, `/v1/status`.

use serde::Serialize;
use tidelog_wal::{Stats, Status};

use crate::metadata::MetadataStatus;
use crate::node::Node;
use crate::routing::Durability;
use crate::spans::{OpenedSpan, Sealed};
use tidelog_meta::METADATA_SHARD;
use tidelog_replica::message::Grade;
use tidelog_replica::span::Span;

/// Why the node is not well: a shard that has stopped, or cannot be written because stored records are damaged.
pub(crate) fn sick(node: &Node) -> Option<String> {
    let shards = node.shards().into_iter().find_map(|(id, shard)| match shard.wal.status() {
        Status::Running | Status::Following | Status::Full => None,
        Status::ReadOnly(hole) => Some(format!("shard {id} is read-only: {hole}")),
        Status::Poisoned(cause) => Some(format!("shard {id} stopped after a failed write: {cause}")),
        // The end of an orderly stop.
        Status::Closed if node.is_stopping() => None,
        // A span has ended, and another log is about to serve the shard.
        Status::Closed if node.replicated.is_some() => None,
        Status::Closed => Some(format!("shard {id} is closed")),
    });
    shards.or_else(|| node.metadata.sick().filter(|_| !node.is_stopping()))
}

/// Why the node should not be sent anything now.
pub(crate) fn unready(node: &Node) -> Option<String> {
    if node.is_stopping() {
        return Some("the node is stopping".to_owned());
    }
    sick(node).or_else(|| {
        let full = node.shards().into_iter().find(|(_, shard)| matches!(shard.wal.status(), Status::Full));
        full.map(|(id, _)| format!("shard {id} has no room for another segment"))
    })
}

/// `/v1/status`.
#[derive(Debug, Serialize)]
pub(crate) struct NodeStatus {
    version: &'static str,
    status: &'static str,
    cause: Option<String>,
    /// What an acknowledgement means, in the weakest shard of the cluster.
    durability: String,
    backend: String,
    backend_fallback_reason: Option<String>,
    insecure_listen: bool,
    /// HOST:PORT that Kafka's clients are sent to; none when that port is off.
    kafka: Option<String>,
    cluster: String,
    store: String,
    node: u64,
    incarnation: u64,
    epoch: u32,
    uptime_seconds: u64,
    topics: usize,
    partitions: usize,
    metadata: MetadataStatus,
    shards: Vec<ShardStatus>,
}

#[derive(Debug, Serialize)]
struct ShardStatus {
    shard: u64,
    role: &'static str,
    status: &'static str,
    cause: Option<String>,
    next_lsn: u64,
    committed_lsn: u64,
    segments: u64,
    partitions: usize,
    /// How many of its spans have fewer holders than they could have: copies are being made.
    spans_short: usize,
    commits: u64,
    records: u64,
    recovery: Recovery,
    /// The span that is written; none in the metadata's shard, and where the last one could not be sealed.
    span: Option<SpanStatus>,
}

/// The span that is written.
#[derive(Debug, Serialize)]
struct SpanStatus {
    epoch: u32,
    base_lsn: u64,
    leader: LeaderStatus,
    replicas: Vec<ReplicaStatus>,
    quorum: usize,
    /// Epochs below this are refused here, for ever.
    promised: u32,
    /// How many spans the shard has.
    spans: usize,
    /// How the span before it ended, when this process sealed it.
    sealed: Option<SealedStatus>,
}

#[derive(Debug, Serialize)]
struct LeaderStatus {
    node: u64,
    incarnation: u64,
}

#[derive(Debug, Serialize)]
struct ReplicaStatus {
    node: u64,
    store: String,
}

#[derive(Debug, Serialize)]
struct SealedStatus {
    epoch: u32,
    end_lsn: u64,
    /// How sure its store was of the end.
    grade: &'static str,
}

/// What opening the shard found.
#[derive(Debug, Serialize)]
struct Recovery {
    frames_scanned: u64,
    bytes_scanned: u64,
    cuts: usize,
    micros: u64,
}

/// The whole status.
pub(crate) fn status(node: &Node) -> NodeStatus {
    let cause = unready(node);
    NodeStatus {
        version: env!("CARGO_PKG_VERSION"),
        status: if cause.is_none() { "ready" } else { "not ready" },
        cause,
        durability: node.metadata.read(Durability::of_all).to_string(),
        backend: node.backend.kind.to_string(),
        backend_fallback_reason: node.backend.reason.clone(),
        insecure_listen: node.config.insecure_listen,
        kafka: node.kafka_advertised(),
        cluster: hex(&node.store.cluster()),
        store: hex(&node.store.store_id()),
        node: node.me.node,
        incarnation: node.store.incarnation(),
        epoch: node.store.epoch(),
        uptime_seconds: node.started.elapsed().as_secs(),
        topics: node.topics().len(),
        partitions: node.metadata.read(|state| state.partition_count()),
        metadata: node.metadata.status(),
        shards: node
            .shards()
            .iter()
            .map(|(id, shard)| shard_status(*id, shard, node.metadata.read(|state| state.spans_short(*id))))
            .collect(),
    }
}

fn shard_status(id: u64, shard: &crate::node::Shard, spans_short: usize) -> ShardStatus {
    let (stats, recovered) = (shard.wal.stats(), &shard.recovered);
    let (status, cause) = match shard.wal.status() {
        Status::Running => ("running", None),
        Status::Following => ("following", None),
        Status::Full => ("full", None),
        Status::ReadOnly(hole) => ("read-only", Some(hole.to_string())),
        Status::Poisoned(cause) => ("poisoned", Some(cause.to_string())),
        Status::Closed => ("closed", None),
    };
    ShardStatus {
        shard: id,
        role: if id == METADATA_SHARD { "metadata" } else { "data" },
        status,
        cause,
        next_lsn: Stats::get(&stats.next_lsn),
        committed_lsn: Stats::get(&stats.committed_lsn),
        segments: Stats::get(&stats.segments),
        partitions: shard.wal.partitions().len(),
        spans_short,
        commits: Stats::get(&stats.commits),
        records: Stats::get(&stats.records),
        recovery: Recovery {
            frames_scanned: recovered.frames_scanned,
            bytes_scanned: recovered.bytes_scanned,
            cuts: recovered.cut.len(),
            micros: u64::try_from(recovered.took.as_micros()).unwrap_or(u64::MAX),
        },
        span: shard.span.as_ref().map(span_status),
    }
}

fn span_status(opened: &OpenedSpan) -> SpanStatus {
    let Span { epoch, base, replicas, quorum, leader, .. } = &opened.span;
    let sealed = opened.sealed.map(|Sealed { epoch, end, grade }| SealedStatus {
        epoch,
        end_lsn: end,
        grade: match grade {
            Grade::Proved => "proved",
            Grade::Unproved => "unproved",
            Grade::Suspect => "suspect",
        },
    });
    let replicas = replicas.iter().map(|one| ReplicaStatus { node: one.node, store: hex(&one.store) });
    SpanStatus {
        epoch: *epoch,
        base_lsn: base.lsn,
        leader: LeaderStatus { node: leader.node, incarnation: leader.incarnation },
        replicas: replicas.collect(),
        quorum: *quorum,
        // Whoever leads a span has promised its epoch first, and a lone store is fenced by its next start only.
        promised: *epoch,
        spans: opened.spans,
        sealed,
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
}
