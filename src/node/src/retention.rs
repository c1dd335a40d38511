//! # Purpose
//! Lets go of records that are older, or more, than their topic keeps.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tidelog_wal::{Retention, Status};

use crate::node::Node;

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
    let is_shared = node.metadata.read(|state| state.nodes.len() > 1);
    for (shard, wal) in node.data_shards() {
        if !matches!(wal.status(), Status::Running | Status::Full) {
            continue;
        }
        let policy = |partition| policies.get(&partition).copied();
        // What several nodes hold is let go of by all of them together, when the metadata says so.
        let retained = if is_shared { wal.trim_old(&policy).await } else { wal.retain(&policy).await };
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
