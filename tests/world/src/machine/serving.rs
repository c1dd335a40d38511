//! Reads, and everything that a client sees.

use crate::fabric::{Fabric, Message};
use crate::machine::{Machine, Status};
use crate::record::Batch;

impl Machine {
    /// A producer's batch.
    pub(super) fn produce(
        &mut self,
        fabric: &mut Fabric,
        from: usize,
        client: usize,
        shard: u64,
        batch: Batch,
    ) {
        let Status::Running(running) = &mut self.process else { return };
        let Some(lead) = running.leads.get_mut(&shard) else {
            let message = Message::Produced { client, batch, acknowledged: false };
            return fabric.send(self.at, from, message);
        };
        lead.take(fabric, self.at, from, client, batch);
        self.frame_more(fabric, shard);
    }

    /// Someone reads a shard here from its first record to the last that this node shows.
    pub fn read(&self, fabric: &mut Fabric, shard: u64) {
        let Status::Running(running) = &self.process else { return };
        let Some(follower) = running.followers.get(&shard) else { return };
        let Some(chain) = running.state.chains.get(&shard) else { return };
        let state = std::rc::Rc::clone(fabric.truth.state());
        for span in &chain.spans {
            let Some(readable) = follower.readable(span.epoch) else { continue };
            let Some(files) = running.files.get(&(shard, span.epoch)) else { continue };
            for slot in files.slots().iter().filter(|slot| slot.at.lsn < readable) {
                for batch in &slot.content.batches {
                    fabric.judge.given(&state, shard, span.epoch, slot.at.lsn, batch);
                }
            }
        }
    }
}
