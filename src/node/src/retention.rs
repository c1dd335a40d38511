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
    for (shard, wal) in node.data_shards() {
        if !matches!(wal.status(), Status::Running | Status::Full) {
            continue;
        }
        match wal.retain(&|partition| policies.get(&partition).copied()).await {
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
