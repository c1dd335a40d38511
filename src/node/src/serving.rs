//! # Purpose
//! On a member of a cluster: the log that serves a shard changes with its spans, and with it what requests find. Whenever one
//! has changed, the routes are made anew, and a shard that is led from now on is made to agree with the metadata.
//!
//! A node that is alone opens its shards once, at its start: nothing here runs there.

use std::collections::BTreeSet;
use std::sync::Arc;

use tidelog_meta::METADATA_SHARD;
use tidelog_wal::Recovered;

use crate::node::{Node, Shard};
use crate::shards::Shards;
use crate::{groups, reconcile};

/// Follows until the node stops.
pub(crate) async fn run(node: Arc<Node>) {
    let Some(shards) = &node.replicated else { return };
    let mut changes = shards.changes();
    loop {
        changes.borrow_and_update();
        for shard in node.follow_shards(shards) {
            let node = Arc::clone(&node);
            // It ends with the span at the latest: nothing is taken of a span that is led no more.
            tokio::spawn(async move { reconcile::agree(&node, shard).await });
        }
        let coordinates = Arc::clone(&node);
        tokio::spawn(async move { groups::follow(&coordinates).await });
        tokio::select! {
            changed = changes.changed() => if changed.is_err() { return },
            () = node.until_stopping() => return,
        }
    }
}

impl Node {
    /// Brings the shards and the routes to what serves now. Gives the shards that this node leads since the last look.
    pub(crate) fn follow_shards(&self, shards: &Shards) -> Vec<u64> {
        let serving = shards.serving();
        let (mut changed, mut led) = (BTreeSet::new(), Vec::new());
        for (id, known) in self.shards() {
            let same = serving.get(&id).is_some_and(|now| now.wal.is_same(&known.wal));
            if id != METADATA_SHARD && !same {
                self.remove_shard(id);
                changed.insert(id);
            }
        }
        for (id, now) in serving {
            if self.wal(id).is_some() {
                continue;
            }
            led.extend(now.leads.then_some(id));
            changed.insert(id);
            let recovered = Recovered::default();
            self.add_shard(id, Shard { wal: now.wal, recovered, span: Some(now.opened) });
        }
        self.reroute(&changed);
        led
    }
}
