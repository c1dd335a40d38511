//! The cluster as this node knows it. Who leads the metadata's group knows most: it hears from all nodes.

use tidelog_meta::raft::Standing;
use tidelog_meta::{Chain, METADATA_SHARD, Node as Listed, NodeState, Skew, Span, SpanState, State};
use tidelog_proto::http::cluster::{ClusterNode, ClusterShard, ClusterSkew, ClusterStatus, MetadataGroup};

use crate::node::Node;
use crate::routing::{Seat, seat};

/// The whole cluster.
pub(crate) fn status(node: &Node) -> ClusterStatus {
    let member = node.metadata.member();
    let standing = member.map(|member| member.standing());
    let heard = member.map(|member| member.heard()).unwrap_or_default();
    let leads = standing.as_ref().is_some_and(|standing| standing.leads);
    node.metadata.read(|state| {
        let shards: Vec<ClusterShard> = shards(state);
        let nodes = state.nodes.iter().map(|(number, known)| {
            let heard = heard.get(number).filter(|_| leads);
            ClusterNode {
                silent_ms: heard.map(|heard| heard.silent_ms),
                free_bytes: heard.map(|heard| heard.free_bytes),
                ..listed(state, *number, known, standing.as_ref())
            }
        });
        let Skew { leaders, copies, partitions } = state.skew();
        ClusterStatus {
            cluster: node.store.cluster().iter().map(|byte| format!("{byte:02x}")).collect(),
            told_by: node.me.node,
            metadata: group(state, node.me.node, standing.as_ref()),
            nodes: nodes.collect(),
            topics: state.topics.len(),
            partitions: state.partition_count(),
            without_leader: shards.iter().filter(|shard| shard.leader.is_none()).count(),
            under_replicated: shards.iter().map(|shard| shard.under_replicated).sum(),
            moving: moving(state),
            skew: ClusterSkew { leaders, copies, partitions },
            shards,
        }
    })
}

/// One node, as this one knows it without what is heard of it.
pub(super) fn described(node: &Node, number: u64) -> Option<ClusterNode> {
    let standing = node.metadata.member().map(|member| member.standing());
    node.metadata.read(|state| {
        let known = state.nodes.get(&number)?;
        Some(listed(state, number, known, standing.as_ref()))
    })
}

/// The node that leads the metadata's group, if that is another one.
pub(crate) fn better_informed(node: &Node) -> Option<u64> {
    let leader = node.metadata.member()?.standing().leader?;
    let leader = node.metadata.read(|state| state.node_of(leader.store));
    leader.filter(|leader| *leader != node.me.node)
}

fn group(state: &State, me: u64, standing: Option<&Standing>) -> MetadataGroup {
    let Some(standing) = standing else {
        let (leader, version) = (Some(me), state.version);
        return MetadataGroup { leader, has_quorum: true, version, voters: vec![me] };
    };
    let mut voters: Vec<u64> =
        standing.voters.iter().filter_map(|voter| state.node_of(voter.store)).collect();
    voters.sort_unstable();
    MetadataGroup {
        leader: standing.leader.as_ref().and_then(|leader| state.node_of(leader.store)),
        has_quorum: standing.has_quorum,
        version: state.version,
        voters,
    }
}

fn listed(state: &State, number: u64, known: &Listed, standing: Option<&Standing>) -> ClusterNode {
    let is = |voter: &tidelog_meta::raft::Voter| voter.store == known.store;
    let metadata = match standing {
        None => "alone",
        Some(standing) if standing.leader.as_ref().is_some_and(is) => "leader",
        Some(standing) if standing.voters.iter().any(is) => "voter",
        Some(standing) if standing.learners.iter().any(is) => "learner",
        Some(_) => "none",
    };
    let seats =
        state.shards.keys().filter(|shard| **shard != METADATA_SHARD).map(|shard| seat(state, *shard));
    ClusterNode {
        node: number,
        state: state_name(known.state).to_owned(),
        metadata: metadata.to_owned(),
        peer: known.info.address.clone(),
        http: known.info.http.clone(),
        kafka: known.info.kafka.clone(),
        incarnation: known.incarnation,
        leads: seats.filter(|seat| seat.leader == Some(number)).count(),
        spans: state.spans().filter(|(_, span)| span.is_on(number)).count(),
        silent_ms: None,
        free_bytes: None,
        lag: standing.and_then(|standing| standing.lag(known.store)),
    }
}

pub(super) fn state_name(state: NodeState) -> &'static str {
    match state {
        NodeState::ReadWrite => "read_write",
        NodeState::ReadOnly => "read_only",
        NodeState::Draining => "draining",
        NodeState::DataLoss => "data_loss",
        NodeState::Gone => "gone",
    }
}

/// How many partitions are on their way to another shard.
fn moving(state: &State) -> usize {
    state.partitions().filter(|partition| partition.handed().is_some()).count()
}

fn shards(state: &State) -> Vec<ClusterShard> {
    let loads = state.loads();
    let ids = state.shards.keys().copied().filter(|shard| *shard != METADATA_SHARD);
    let shards = ids.map(|shard| {
        let Seat { leader, epoch, holders, in_sync } = seat(state, shard);
        let spans = state.chains.get(&shard).map_or(&[][..], |chain: &Chain| &chain.spans);
        let last = spans.last();
        ClusterShard {
            shard,
            leader,
            epoch,
            state: last.map_or("none", |span| span_name(span)).to_owned(),
            holders,
            in_sync,
            quorum: last.map_or(1, |span| span.quorum.into()),
            spans: spans.len(),
            under_replicated: state.spans_short(shard),
            partitions: loads.get(&shard).copied().unwrap_or(0),
        }
    });
    shards.collect()
}

fn span_name(span: &Span) -> &'static str {
    match span.state {
        SpanState::Open => "open",
        SpanState::Sealing { .. } => "sealing",
        SpanState::Sealed { .. } => "sealed",
    }
}
