//! # Purpose
//! Writes the superblock again every few seconds while the directory is written, and tells the metadata: a directory that
//! comes back as it was some time ago then shows an older generation than the metadata knows.
//!
//! # Durability
//! The superblock first, then the metadata: what the metadata knows is never newer than a sound directory.

use std::sync::Arc;
use std::time::Duration;

use tidelog_meta::{Command, StoreId};
use tidelog_wal::Stats;

use crate::node::Node;

/// How often.
const EVERY: Duration = Duration::from_secs(10);

/// Raises the generation until the node stops.
pub(crate) async fn run(node: Arc<Node>) {
    let mut seen = written(&node);
    loop {
        tokio::select! {
            () = tokio::time::sleep(EVERY) => {}
            () = node.until_stopping() => return,
        }
        let now = written(&node);
        if now == seen {
            continue;
        }
        seen = now;
        if let Err(error) = raise(&node).await {
            tracing::error!(%error, "the superblock's generation could not be raised");
        }
    }
}

/// How far the data shards are written, all together.
fn written(node: &Node) -> u64 {
    node.data_shards().iter().map(|(_, wal)| Stats::get(&wal.stats().next_lsn)).sum()
}

async fn raise(node: &Node) -> Result<(), crate::open::StartError> {
    let generation = node.beside.raise().await?;
    let (number, store) = (node.me.node, StoreId(node.me.store));
    node.metadata.propose(Command::RaiseGeneration { node: number, store, generation }).await?;
    Ok(())
}
