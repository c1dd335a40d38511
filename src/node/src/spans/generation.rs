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
use crate::open::StartError;

/// How often.
const EVERY: Duration = Duration::from_secs(10);

/// Raises the generation until the node stops.
pub(crate) async fn run(node: Arc<Node>) {
    every(&node, EVERY).await;
}

async fn every(node: &Node, pause: Duration) {
    let mut seen = written(node);
    loop {
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = node.until_stopping() => return,
        }
        if let Err(error) = turn(node, &mut seen).await {
            tracing::error!(%error, "the superblock's generation could not be raised");
        }
    }
}

/// Raises it if something was written since it was `seen` last. Gives whether it did.
async fn turn(node: &Node, seen: &mut u64) -> Result<bool, StartError> {
    let now = written(node);
    let newer = now != *seen;
    if newer {
        *seen = now;
        raise(node).await?;
    }
    Ok(newer)
}

/// How far the data shards are written, all together.
fn written(node: &Node) -> u64 {
    node.data_shards().iter().map(|(_, wal)| Stats::get(&wal.stats().next_lsn)).sum()
}

pub(super) async fn raise(node: &Node) -> Result<(), StartError> {
    let generation = node.beside.raise().await?;
    if let Some(member) = node.metadata.member() {
        member.peers().me().raised(generation);
    }
    let (number, store) = (node.me.node, StoreId(node.me.store));
    node.metadata.propose(Command::RaiseGeneration { node: number, store, generation }).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spans::start_tests::{append, run, start};

    /// The metadata's generation of this node.
    fn known(node: &Node) -> u64 {
        node.metadata.read(|state| state.nodes[&node.me.node].generation)
    }

    fn in_superblock(node: &Node) -> u64 {
        let bytes = std::fs::read(node.store.dir().join(tidelog_format::name::SUPERBLOCK)).unwrap();
        tidelog_format::superblock::Superblock::decode(&bytes).unwrap().generation
    }

    #[test]
    fn a_directory_gets_newer_while_it_is_written_and_its_metadata_knows() {
        run(async {
            let dir = tempfile::tempdir().unwrap();
            let node = start(dir.path(), None).await.unwrap();
            append(&node, "before the task begins").await;
            let (begun, mut seen) = (known(&node), written(&node));
            assert_eq!(in_superblock(&node), begun);
            for raised in 1..=3 {
                assert!(!turn(&node, &mut seen).await.unwrap(), "nothing was written");
                append(&node, "x").await;
                assert!(turn(&node, &mut seen).await.unwrap());
                assert_eq!((in_superblock(&node), known(&node)), (begun + raised, begun + raised));
            }
        });
    }

    #[test]
    fn the_task_raises_it_again_and_again_and_ends_with_the_node() {
        run(async {
            let dir = tempfile::tempdir().unwrap();
            let node = start(dir.path(), None).await.unwrap();
            append(&node, "before the task begins").await;
            let begun = known(&node);
            let mut changed = node.metadata.watch();
            let writes = async {
                // Its first look is at what is there when it is polled, which is before this.
                for raised in 1..=3 {
                    append(&node, "x").await;
                    while known(&node) < begun + raised {
                        changed.changed().await.unwrap();
                    }
                }
                node.stopping.send_replace(true);
            };
            let both = async { tokio::join!(biased; every(&node, Duration::from_millis(1)), writes) };
            tokio::time::timeout(Duration::from_secs(300), both).await.expect("it is raised, and ends");
        });
    }
}
