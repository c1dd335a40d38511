//! Producers: one batch at a time, sent again until it is acknowledged.

use crate::fabric::{Fabric, Happening, MS, Message, Time};
use crate::record::Batch;

/// A producer of one partition.
#[derive(Debug)]
pub(crate) struct Client {
    number: usize,
    shard: u64,
    partition: u64,
    next: u32,
    pending: Option<Batch>,
    sent: Time,
    refused: bool,
}

impl Client {
    pub(crate) fn new(number: usize, shard: u64, partition: u64) -> Client {
        Client { number, shard, partition, next: 0, pending: None, sent: 0, refused: false }
    }

    /// Whether nothing is unanswered.
    pub(crate) fn is_done(&self) -> bool {
        self.pending.is_none()
    }

    /// Sends something, or sends it again. `more`: new batches may be made.
    pub(crate) fn act(&mut self, fabric: &mut Fabric, more: bool) {
        let pause = 15 * MS + fabric.chance.below(60 * MS);
        fabric.after(pause, Happening::Client(self.number));
        match self.pending {
            None if more => {
                let count = 1 + fabric.chance.below(3) as u32;
                let producer = self.number as u64 + 1;
                let (partition, sequence) = (self.partition, self.next);
                self.pending = Some(Batch { partition, offset: 0, count, producer, sequence });
                self.next += count;
            }
            None => return,
            Some(_) if !self.refused && fabric.now < self.sent + 350 * MS => return,
            Some(_) => {}
        }
        (self.sent, self.refused) = (fabric.now, false);
        let Some(batch) = self.pending else { return };
        let leader = fabric.truth.state().last_span(self.shard).map(|span| span.leader.node);
        let home = leader.and_then(|leader| fabric.homes.get(&leader).copied());
        let to = match home {
            Some(home) if !fabric.chance.percent(10) => home,
            _ => fabric.chance.index(fabric.machines),
        };
        let message = Message::Produce { client: self.number, shard: self.shard, batch };
        let me = fabric.machines + self.number;
        fabric.send(me, to, message);
    }

    /// An answer.
    pub(crate) fn answered(&mut self, fabric: &mut Fabric, batch: Batch, acknowledged: bool) {
        let Some(pending) = self.pending.filter(|pending| pending.sequence == batch.sequence) else { return };
        if !acknowledged {
            self.refused = true;
            return;
        }
        let key = (self.partition, batch.producer, pending.sequence);
        fabric.judge.acknowledged.insert(key, batch);
        self.pending = None;
    }
}
