//! Topics that other nodes have made, grown or deleted come to be known here. A node that is alone decides everything
//! itself, so it has nothing to follow.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use crate::failure::Failure;
use crate::node::{LiveTopic, Node};
use crate::{groups, reconcile};
use tidelog_meta::State;

/// Between two looks at a metadata that changes all the time: many decisions cost one look.
const PAUSE: Duration = Duration::from_millis(20);
/// Whether this node has come to lead something is looked at so often, whatever the metadata says.
const LOOK: Duration = Duration::from_millis(500);
/// What failed is tried again after this.
const AGAIN: Duration = Duration::from_secs(1);

/// Follows until the node stops.
pub(crate) async fn run(node: Arc<Node>) {
    if node.metadata.member().is_none() {
        return;
    }
    let mut versions = node.metadata.watch();
    let mut behind = true;
    loop {
        if behind {
            versions.borrow_and_update();
            let followed = node.follow_topics().await;
            behind = followed.is_err();
            if let Err(failure) = followed {
                tracing::warn!(cause = failure.message, "a topic of the metadata is not served yet");
            }
        }
        for shard in node.arriving() {
            let node = Arc::clone(&node);
            // It ends with the span at the latest, and while it goes on no other one begins.
            tokio::spawn(async move { reconcile::agree_if_idle(&node, shard).await });
        }
        groups::follow(&node).await;
        let news = async {
            tokio::time::sleep(if behind { AGAIN } else { PAUSE }).await;
            // An error is the end of the node.
            behind || tokio::time::timeout(LOOK, versions.changed()).await.is_ok()
        };
        tokio::select! {
            news = news => behind = news,
            () = node.until_stopping() => return,
        }
    }
}

impl Node {
    /// The shards led here to which partitions are on their way.
    fn arriving(&self) -> Vec<u64> {
        let led: Vec<u64> =
            self.data_shards().into_iter().filter(|(_, wal)| wal.is_led()).map(|(id, _)| id).collect();
        let arrives = |state: &State| {
            let partitions = state.partitions();
            let to: BTreeSet<u64> =
                partitions.filter(|one| one.handed().is_some()).map(tidelog_meta::Partition::shard).collect();
            led.into_iter().filter(|shard| to.contains(shard)).collect()
        };
        if self.replicated.is_some() { self.metadata.read(arrives) } else { Vec::new() }
    }

    /// Brings the topics that requests find to what the metadata says.
    pub(crate) async fn follow_topics(&self) -> Result<(), Failure> {
        let _admin = self.admin.lock().await;
        let mut known: BTreeMap<String, Arc<LiveTopic>> =
            self.topics().into_iter().map(|topic| (topic.name.clone(), topic)).collect();
        let changed: Vec<String> = self.metadata.read(|state| {
            let differs = |name: &String, topic: &tidelog_meta::Topic| match known.remove(name) {
                Some(live) => live.id != topic.id || !live.is_placed_as(topic),
                None => true,
            };
            let mut differs = differs;
            state
                .topics
                .iter()
                .filter(|(name, topic)| differs(name, topic))
                .map(|(name, _)| name.clone())
                .collect()
        });
        for gone in known.values() {
            self.let_go(gone).await;
        }
        let mut result = Ok(());
        for name in changed {
            let Some(topic) = self.unrouted(&name) else { continue };
            if let Some(before) = self.topic(&name).filter(|before| before.id != topic.id) {
                self.let_go(&before).await;
            }
            result = result.and(self.bring_to_life(topic).await.map(|_| ()));
        }
        result
    }
}
