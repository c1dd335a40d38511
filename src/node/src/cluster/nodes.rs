//! Nodes are emptied and removed.
//!
//! # Invariants
//! Nothing is given up of which no other copy is known to be whole: not by an order either.

use tidelog_meta::{Command, Illegal, Needed, NodeState, State};
use tidelog_proto::http::cluster::ClusterNode;
use tidelog_proto::http::error::ErrorCode;

use super::status::described;
use crate::failure::Failure;
use crate::metadata::ChangeError;
use crate::node::Node;

/// Has a node emptied: it takes nothing new, and what it leads and holds goes to others.
///
/// # Errors
/// There is no such node, it has left, or the others cannot hold what it holds.
pub(crate) async fn drain(node: &Node, number: u64) -> Result<ClusterNode, Failure> {
    let (was, can) =
        node.metadata.read(|state| (state_of(state, number), state.check_can_be_emptied(number)));
    match was.ok_or_else(|| Failure::no_node(number))? {
        NodeState::Draining => {}
        state @ (NodeState::DataLoss | NodeState::Gone) => {
            return Err(unfit(number, state, "it takes part no more, so there is nothing to be drained"));
        }
        was @ (NodeState::ReadWrite | NodeState::ReadOnly) => {
            can?;
            set(node, number, was, NodeState::Draining).await?;
            tracing::info!(number, "the node is to be emptied");
        }
    }
    told(node, number)
}

/// Has a node take new spans again; what went to others stays there.
///
/// # Errors
/// There is no such node, or it has left.
pub(crate) async fn cancel_drain(node: &Node, number: u64) -> Result<ClusterNode, Failure> {
    match node.metadata.read(|state| state_of(state, number)).ok_or_else(|| Failure::no_node(number))? {
        NodeState::ReadWrite => {}
        was @ NodeState::Draining => {
            set(node, number, was, NodeState::ReadWrite).await?;
            tracing::info!(number, "the node is not to be emptied any more");
        }
        state => return Err(unfit(number, state, "it is not being drained")),
    }
    told(node, number)
}

/// Has a node leave for ever: one that was emptied, or, with `force`, one that is lost, whose copies are made anew elsewhere.
///
/// # Errors
/// There is no such node, something depends on it, or, with `force`, it is there, or records could be lost with it.
pub(crate) async fn remove(node: &Node, number: u64, force: bool) -> Result<ClusterNode, Failure> {
    let was = node.metadata.read(|state| state_of(state, number)).ok_or_else(|| Failure::no_node(number))?;
    match (was, force) {
        // One that is lost is let go by itself as soon as nothing depends on it.
        (NodeState::Gone | NodeState::DataLoss, _) => {}
        (NodeState::Draining, false) => {
            let told = told(node, number)?;
            if told.spans > 0 || told.metadata == "voter" || told.metadata == "leader" {
                let message = format!(
                    "node {number} is still needed: it leads {} shards and holds {} spans, and is {} of the metadata. \
                     `tidelog cluster status` shows how far it has come",
                    told.leads,
                    told.spans,
                    match told.metadata.as_str() {
                        "learner" => "no voter",
                        _ => "a voter",
                    },
                );
                return Err(Failure::new(ErrorCode::NodeNeeded, message));
            }
            set(node, number, was, NodeState::Gone).await?;
            tracing::info!(number, "the node has left the cluster");
        }
        (state @ (NodeState::ReadWrite | NodeState::ReadOnly), false) => {
            let what =
                "drain it first (`tidelog cluster drain`); one that is lost for ever is removed with --force";
            return Err(unfit(number, state, what));
        }
        (_, true) => {
            let alive = number == node.me.node
                || node
                    .replicated
                    .as_ref()
                    .is_some_and(|shards| node.metadata.read(|state| shards.is_alive(state, number)));
            if alive {
                return Err(unfit(number, was, "it is there: drain it, or stop it if its directory is lost"));
            }
            node.metadata.read(|state| state.check_can_be_lost(number))?;
            set(node, number, was, NodeState::DataLoss).await?;
            tracing::warn!(number, "the node was given up: what it held is copied from others");
        }
    }
    told(node, number)
}

fn state_of(state: &State, number: u64) -> Option<NodeState> {
    state.nodes.get(&number).map(|known| known.state)
}

async fn set(node: &Node, number: u64, was: NodeState, state: NodeState) -> Result<(), Failure> {
    let set = Command::SetNodeState { node: number, was, state };
    match node.metadata.propose(set).await {
        Ok(_) => Ok(()),
        Err(ChangeError::Illegal(why @ (Illegal::NodeHolds { .. } | Illegal::NodeChanged { .. }))) => {
            Err(Failure::new(ErrorCode::NodeState, why.to_string()))
        }
        Err(error) => Err(error.into()),
    }
}

fn told(node: &Node, number: u64) -> Result<ClusterNode, Failure> {
    described(node, number).ok_or_else(|| Failure::no_node(number))
}

fn unfit(number: u64, state: NodeState, what: &str) -> Failure {
    let name = super::status::state_name(state);
    Failure::new(ErrorCode::NodeState, format!("node {number} is {name}: {what}"))
}

impl From<Needed> for Failure {
    fn from(why: Needed) -> Failure {
        Failure::new(ErrorCode::NodeNeeded, why.to_string())
    }
}
