//! What `/v1/status`, `/healthz` and `/metrics` tell of the metadata.

use std::collections::BTreeMap;

use serde::Serialize;
use tidelog_meta::raft::{Standing, Voter};
use tidelog_meta::{Heard, NodeState, State, StoreId};

use super::Metadata;
use super::member::Member;

/// The metadata of a node in `/v1/status`.
#[derive(Debug, Serialize)]
pub(crate) struct MetadataStatus {
    /// `alone`, or `member` of a group.
    mode: &'static str,
    /// Counts the changes that took effect here.
    version: u64,
    /// All nodes, by number.
    nodes: Vec<NodeStatus>,
    /// Topics of the whole cluster.
    topics: usize,
    /// Of a member only.
    group: Option<GroupStatus>,
}

/// A node, as the metadata has it.
#[derive(Debug, Serialize)]
struct NodeStatus {
    node: u64,
    store: String,
    address: String,
    state: NodeState,
    incarnation: u64,
    /// How long ago it said that it lives, and the room on its disk then; known where the group is led.
    silent_ms: Option<u64>,
    free_bytes: Option<u64>,
}

/// The group, as this member sees it.
#[derive(Debug, Serialize)]
struct GroupStatus {
    /// Whether a quorum answers, so that topics can be created and shards fail over.
    has_quorum: bool,
    /// Number of the node that leads; none while nobody is known to, or the leader has no number yet.
    leader: Option<u64>,
    term: u64,
    /// Index of the last entry in this node's journal, and of the last one that took effect.
    last: u64,
    applied: u64,
    /// Numbers of the nodes that vote, and of those that follow without a vote; 0 for one that has no number yet.
    voters: Vec<u64>,
    learners: Vec<u64>,
    /// Entries that each member lacks; known where the group is led.
    lag: Option<Vec<LagStatus>>,
    /// Why this member stopped by itself.
    broken: Option<String>,
}

#[derive(Debug, Serialize)]
struct LagStatus {
    node: u64,
    entries: u64,
}

impl Metadata {
    /// For `/v1/status`.
    pub(crate) fn status(&self) -> MetadataStatus {
        let group = self.member().map(|member| group(&member.standing(), &member.recent()));
        let leads = group.as_ref().is_some_and(|group| group.lag.is_some());
        let heard = self.member().filter(|_| leads).map(|member| member.heard()).unwrap_or_default();
        self.read(|state| MetadataStatus {
            mode: if group.is_some() { "member" } else { "alone" },
            version: state.version,
            nodes: nodes(state, &heard),
            topics: state.topics.len(),
            group,
        })
    }

    /// Why this node takes no part in the cluster any more: its member has stopped by itself, it has left after a failure, or the
    /// cluster has let it go.
    pub(crate) fn sick(&self) -> Option<String> {
        let member = self.member()?;
        if let Some(why) = member.standing().broken {
            return Some(format!("this node's member of the metadata's group has stopped: {why}"));
        }
        if let Some(why) = member.peers().left() {
            return Some(format!("this node has left the cluster until it is restarted: {why}"));
        }
        let state = member.recent();
        let me = state.node_of(member.peers().me().store())?;
        let gone = state.nodes.get(&me).filter(|known| !known.state.counts());
        gone.map(|_| format!("node {me} was removed from its cluster: stop it; with a new, empty directory it can join again"))
    }

    /// What is missing although the node serves: decisions wait, records go on.
    pub(crate) fn degraded(&self) -> Option<String> {
        let standing = self.member()?.standing();
        let voters: Vec<&str> = standing.voters.iter().map(|voter| voter.address.as_str()).collect();
        (!standing.has_quorum).then(|| {
            format!(
                "no quorum of the metadata's group answers (voters: {}): no topics are created and no shard changes its \
                 leader until it does",
                voters.join(", ")
            )
        })
    }
}

fn nodes(state: &State, heard: &BTreeMap<u64, Heard>) -> Vec<NodeStatus> {
    let nodes = state.nodes.iter().map(|(node, known)| NodeStatus {
        node: *node,
        store: known.store.to_string(),
        address: known.info.address.clone(),
        state: known.state,
        incarnation: known.incarnation,
        silent_ms: heard.get(node).map(|heard| heard.silent_ms),
        free_bytes: heard.get(node).map(|heard| heard.free_bytes),
    });
    nodes.collect()
}

fn group(standing: &Standing, state: &State) -> GroupStatus {
    let number = |store: StoreId| state.node_of(store).unwrap_or(0);
    let numbers = |voters: &[Voter]| {
        let mut numbers: Vec<u64> = voters.iter().map(|voter| number(voter.store)).collect();
        numbers.sort_unstable();
        numbers
    };
    let lag = standing
        .matched
        .keys()
        .filter_map(|store| Some(LagStatus { node: number(*store), entries: standing.lag(*store)? }));
    GroupStatus {
        has_quorum: standing.has_quorum,
        leader: standing.leader.as_ref().and_then(|leader| state.node_of(leader.store)),
        term: standing.term,
        last: standing.last,
        applied: standing.applied,
        voters: numbers(&standing.voters),
        learners: numbers(&standing.learners),
        lag: standing.leads.then(|| lag.collect()),
        broken: standing.broken.clone(),
    }
}

/// A number for `/metrics`: its name, what it is, and its value.
pub(crate) type Figure = (&'static str, &'static str, u64);

impl Member {
    /// For `/metrics`.
    pub(crate) fn figures(&self) -> [Figure; 8] {
        let standing = self.standing();
        let lag = standing.matched.keys().filter_map(|store| standing.lag(*store)).max();
        [
            (
                "metadata_quorum",
                "1 while a quorum of the metadata's group answers, as far as this node knows",
                standing.has_quorum.into(),
            ),
            ("metadata_leads", "1 on the node that leads the metadata's group", standing.leads.into()),
            ("metadata_votes", "1 on a node that votes in the metadata's group", standing.votes.into()),
            ("metadata_voters", "Voters of the metadata's group", standing.voters.len() as u64),
            (
                "metadata_learners",
                "Members of the metadata's group without a vote",
                standing.learners.len() as u64,
            ),
            ("metadata_term", "Term of the metadata's group: grows with every election", standing.term),
            (
                "metadata_applied",
                "Last entry of the metadata's group that took effect here",
                standing.applied,
            ),
            (
                "metadata_lag_entries",
                "Entries that the slowest member of the metadata's group lacks; 0 where the group is not led",
                lag.unwrap_or(0),
            ),
        ]
    }
}
