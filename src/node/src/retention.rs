//! # Purpose
//! Lets go of records that are older, or more, than their topic keeps.
//!
//! A node that is alone gives back each segment in which nobody wants a record any more. What several nodes hold goes by
//! whole spans, because all of them have to let go of the same: whoever leads a shard ends its spans before they become
//! long, and has the metadata drop the oldest ones, record by record unwanted. Every holder removes its files then.
//!
//! # Limits
//! Beside what is wanted a shard keeps at most [`LONG`] segments, and what was written since the last look.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::try_join_all;
use tidelog_meta::Command;
use tidelog_wal::{AppendError, Retention, SpanUse, Status, Wal};

use crate::metadata::ChangeError;
use crate::node::Node;
use crate::places::Places;
use crate::reconcile;
use crate::shards::Shards;

/// A span of so many segments ends, where something is let go of at all.
const LONG: u64 = 8;
/// A span that nobody wants is worth ending another one for when it has so many segments.
const WORTH: u64 = 2;
/// Commands that are under way to the metadata at once.
const AT_ONCE: usize = 64;

/// Why a shard's spans stay.
#[derive(Debug, thiserror::Error)]
enum Kept {
    #[error(transparent)]
    Log(#[from] AppendError),
    #[error(transparent)]
    Metadata(#[from] ChangeError),
}

/// Carries retention out every so often until the node stops.
pub(crate) async fn run(node: Arc<Node>) {
    loop {
        let pause = tokio::time::sleep(node.config.retention_check());
        tokio::select! {
            () = pause => retain(&node).await,
            () = node.until_stopping() => return,
        }
    }
}

async fn retain(node: &Node) {
    let policies: HashMap<u64, Retention> =
        node.topics().iter().fold(HashMap::new(), |mut policies, topic| {
            let policy = Retention {
                max_age: topic.retention.max_age_ms.map(Duration::from_millis),
                max_bytes: topic.retention.max_bytes,
            };
            policies.extend(topic.partitions.iter().map(|partition| (partition.id, policy)));
            policies
        });
    let shared = node.replicated.as_ref().filter(|_| node.metadata.read(|state| state.nodes.len() > 1));
    for (shard, wal) in node.data_shards() {
        if !matches!(wal.status(), Status::Running | Status::Full) {
            continue;
        }
        let turn = node.shard_turn(shard).filter(|_| shared.is_some());
        let _turn = match &turn {
            Some(turn) => Some(turn.lock().await),
            None => None,
        };
        let policy = |partition| policies.get(&partition).copied();
        let retained = match shared {
            Some(_) => {
                // What was moved away and trimmed there goes here.
                reconcile::agree_in_turn(node, shard).await;
                let moved = moved(node);
                trim_moved(node, (shard, &wal), &moved, &policy).await;
                wal.trim_old(&|partition| policy(partition).filter(|_| !moved.contains_key(&partition))).await
            }
            None => wal.retain(&policy).await,
        };
        let limited = wal.partitions().iter().any(|(partition, _)| {
            policy(*partition).is_some_and(|kept| kept.max_age.is_some() || kept.max_bytes.is_some())
        });
        if let Some(shards) = shared
            && let Err(error) = let_go(node, shards, (shard, &wal), limited).await
        {
            // Another leader, or the next look, goes on with it.
            tracing::info!(shard, %error, "old spans could not be dropped yet");
        }
        match retained {
            Ok(kept) if kept.trimmed > 0 || kept.released > 0 => {
                tracing::info!(shard, trimmed = kept.trimmed, released = kept.released, "retention");
            }
            Ok(kept) if kept.age_suspended => {
                tracing::warn!(shard, "the wall clock has jumped: retention by age waits");
            }
            Ok(_) => {}
            Err(error) => tracing::error!(shard, %error, "retention failed"),
        }
    }
}

/// A partition that is in several places.
struct Moved {
    topic: String,
    id: String,
    number: u32,
    places: Places,
}

/// Those that are, by their ids.
fn moved(node: &Node) -> HashMap<u64, Moved> {
    node.metadata.read(|state| {
        let mut moved = HashMap::new();
        for (name, topic) in &state.topics {
            for (number, partition) in (0..).zip(&topic.partitions).filter(|(_, one)| one.placed().len() > 1)
            {
                let (topic, id, places) = (name.clone(), topic.id.clone(), Places::from(partition));
                moved.insert(partition.id, Moved { topic, id, number, places });
            }
        }
        moved
    })
}

/// Of partitions in several places the metadata says what is wanted, for it concerns other shards too: they follow. Each place
/// lets go of what is old by itself, and when a place begins to let go of something nothing older is wanted.
async fn trim_moved(
    node: &Node,
    (shard, wal): (u64, &Wal),
    moved: &HashMap<u64, Moved>,
    policy: &(dyn Fn(u64) -> Option<Retention> + Sync),
) {
    let starts =
        wal.starts_by(&|partition| policy(partition).filter(|_| moved.contains_key(&partition))).await;
    let starts = match starts {
        Ok(starts) => starts,
        Err(error) => return tracing::warn!(shard, %error, "nothing is let go of now"),
    };
    for (partition, start) in starts {
        let Some(Moved { topic, id, number, places }) = moved.get(&partition) else { continue };
        let Some(offset) = places.wanted_from(shard, start) else { continue };
        let (name, id, partition) = (topic.clone(), id.clone(), *number);
        match node.metadata.propose(Command::Trim { name, id, partition, offset }).await {
            Ok(_) => tracing::info!(shard, topic, partition, offset, "older records are let go of"),
            // The next look tries again.
            Err(error) => tracing::debug!(shard, topic, partition, %error, "not trimmed"),
        }
    }
}

/// Of a shard that this node leads and others hold too: drops the oldest spans as far as nobody wants a record of them, and
/// ends the one that is written when it has become long. `limited`: some topic there does not keep everything.
async fn let_go(node: &Node, shards: &Shards, (shard, wal): (u64, &Wal), limited: bool) -> Result<(), Kept> {
    let uses = wal.span_uses().await?;
    let oldest = loop {
        let (used, commands) = node.metadata.read(|state| {
            let first = state.chains.get(&shard).and_then(|chain| chain.spans.first());
            // Only who has all of a span knows what is in it.
            let whole = first.filter(|first| first.is_empty() || shards.has_whole(shard, first.epoch));
            let used =
                whole.map(|first| uses.get(&first.epoch).cloned().unwrap_or_default()).unwrap_or_default();
            let start = |partition| Some(wal.partition(partition)?.log_start);
            let commands = whole.map(|_| state.to_drop_oldest(shard, &used.ends, start));
            (used, commands.unwrap_or_default())
        });
        let Some((drop, trims)) = commands.split_last() else { break used };
        for trims in trims.chunks(AT_ONCE) {
            let proposed: Vec<_> = trims.iter().map(|trim| node.metadata.propose(trim.clone())).collect();
            try_join_all(proposed).await?;
        }
        node.metadata.propose(drop.clone()).await?;
        tracing::info!(shard, segments = used.segments, trims = trims.len(), "the oldest span is dropped");
    };
    if uses.get(&wal.epoch()).is_some_and(|own| is_long(own, limited)) || holds_up(&oldest) {
        shards.end_long(shard, wal.epoch());
    }
    Ok(())
}

/// Whether a span that is written should end. Where nobody sets limits, only what is trimmed by hand goes, and then the span
/// with it.
fn is_long(own: &SpanUse, limited: bool) -> bool {
    let some_go = own.unwanted > 0;
    own.segments >= LONG && (limited || some_go) || some_go && own.unwanted * 2 >= own.segments
}

/// Whether the oldest span is kept only until one behind it has ended, and is worth ending one for: what a leader must know
/// stands in the last sealed one.
fn holds_up(oldest: &SpanUse) -> bool {
    oldest.segments >= WORTH && oldest.unwanted == oldest.segments
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_ends_when_it_is_long_or_half_of_it_is_unwanted_and_never_where_everything_is_kept() {
        let used = |segments, unwanted| SpanUse { segments, unwanted, ..SpanUse::default() };
        assert!(!is_long(&used(100, 0), false), "nothing is ever let go of");
        assert!(is_long(&used(8, 0), true) && !is_long(&used(7, 0), true));
        assert!(is_long(&used(8, 1), false), "trimmed by hand");
        assert!(is_long(&used(2, 1), true) && !is_long(&used(3, 1), true));
        assert!(is_long(&used(1, 1), false) && !is_long(&used(0, 0), true));
        assert!(holds_up(&used(2, 2)) && !holds_up(&used(1, 1)) && !holds_up(&used(3, 2)), "no end of spans");
    }
}
