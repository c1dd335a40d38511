//! Another node leads a shard because somebody asks for it. Whoever leads it now does that.

use std::time::Instant;

use tidelog_proto::http::cluster::MovedLeader;
use tidelog_proto::http::error::ErrorCode;

use crate::failure::Failure;
use crate::node::Node;
use crate::routing::seat;
use crate::shards::{Shards, Unmoved};

/// What became of a wish for another leader.
pub(crate) enum Moved {
    /// It was done by this node.
    Done(MovedLeader),
    /// This node leads the shard.
    By(u64),
}

/// Has node `to` lead a shard, if this node leads it; else says who does.
///
/// # Errors
/// There is no such shard or node, nobody leads the shard, or `to` cannot.
pub(crate) async fn move_leader(node: &Node, shard: u64, to: u64) -> Result<Moved, Failure> {
    let (seat, exists, known) = node
        .metadata
        .read(|state| (seat(state, shard), state.chains.contains_key(&shard), state.nodes.contains_key(&to)));
    if !exists {
        return Err(Failure::new(ErrorCode::UnknownShard, format!("there is no shard {shard}")));
    }
    if !known {
        return Err(Failure::no_node(to));
    }
    let from = seat.leader.ok_or_else(|| {
        Failure::new(ErrorCode::Unavailable, format!("nobody leads shard {shard} at present"))
    })?;
    if from != node.me.node {
        return Ok(Moved::By(from));
    }
    let begun = Instant::now();
    match node.replicated.as_ref().and_then(|shards: &Shards| shards.get(shard)) {
        Some(held) => held.move_leader(to).await?,
        None if to == from => {}
        None => return Err(Unmoved::NotAHolder { shard, to, holders: seat.holders }.into()),
    }
    let took_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
    let epoch = node.metadata.read(|state| state.last_span(shard).map_or(0, |span| span.epoch));
    tracing::info!(shard, from, to, epoch, took_ms, "the shard has another leader, as was asked for");
    Ok(Moved::Done(MovedLeader { shard, from, to, epoch, took_ms }))
}

impl From<Unmoved> for Failure {
    fn from(why: Unmoved) -> Failure {
        let code = match why {
            Unmoved::NotLed(_) => ErrorCode::NotLeader,
            Unmoved::NotAHolder { .. } => ErrorCode::NotAHolder,
            Unmoved::TakesNothing { .. } => ErrorCode::NodeState,
            Unmoved::Behind { .. } => ErrorCode::HolderBehind,
            Unmoved::Elsewhere { .. } | Unmoved::Unknown(_) => ErrorCode::Unavailable,
        };
        Failure::new(code, why.to_string())
    }
}
