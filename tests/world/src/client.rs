//! Producers: some batches at a time, each sent again until it is acknowledged.

use crate::fabric::{Fabric, Happening, MS, Message, Time};
use crate::record::Batch;

/// Most batches from the oldest unanswered one on, answered ones too: the table of producers remembers five of each.
const MOST: u64 = 4;

/// A producer of one partition.
#[derive(Debug)]
pub(crate) struct Client {
    number: usize,
    shard: u64,
    partition: u64,
    next: u32,
    made: u64,
    pending: Vec<Pending>,
    /// A batch was acknowledged. Before that a later one could be taken for the first: an unknown producer may begin
    /// with any sequence.
    known: bool,
}

#[derive(Debug)]
struct Pending {
    batch: Batch,
    /// How many were made before it.
    number: u64,
    sent: Option<Time>,
}

impl Client {
    pub(crate) fn new(number: usize, shard: u64, partition: u64) -> Client {
        Client { number, shard, partition, next: 0, made: 0, pending: Vec::new(), known: false }
    }

    /// What it waits for.
    pub(crate) fn waits(&self) -> Option<String> {
        self.pending.first().map(|pending| format!("client {} waits for {:?}", self.number, pending.batch))
    }

    /// Sends something, or sends it again, in order. `more`: new batches may be made.
    pub(crate) fn act(&mut self, fabric: &mut Fabric, more: bool) {
        let pause = 15 * MS + fabric.chance.below(60 * MS);
        fabric.after(pause, Happening::Client(self.number));
        if !fabric.truth.state().topics.contains_key(&format!("t{}", self.partition)) {
            // Its topic was deleted: nobody takes its records any more, and nobody misses them.
            return self.pending.clear();
        }
        let behind = self.pending.first().map_or(0, |oldest| self.made - oldest.number);
        let pipelines = self.known && behind < MOST && fabric.chance.percent(20);
        if more && (self.pending.is_empty() || pipelines) {
            let count = 1 + fabric.chance.below(3) as u32;
            let producer = self.number as u64 + 1;
            let (partition, sequence) = (self.partition, self.next);
            let batch = Batch { partition, offset: 0, count, producer, sequence };
            self.pending.push(Pending { batch, number: self.made, sent: None });
            self.made += 1;
            self.next += count;
        }
        let leader = fabric.truth.state().last_span(self.shard).map(|span| span.leader.node);
        let home = leader.and_then(|leader| fabric.homes.get(&leader).copied());
        let me = fabric.machines + self.number;
        for pending in &mut self.pending {
            if pending.sent.is_some_and(|sent| fabric.now < sent + 350 * MS) {
                continue;
            }
            pending.sent = Some(fabric.now);
            let to = match home {
                Some(home) if !fabric.chance.percent(10) => home,
                _ => fabric.chance.index(fabric.machines),
            };
            let batch = pending.batch;
            fabric.send(me, to, Message::Produce { client: self.number, shard: self.shard, batch });
        }
    }

    /// An answer.
    pub(crate) fn answered(&mut self, fabric: &mut Fabric, batch: Batch, acknowledged: bool) {
        let same = |pending: &Pending| pending.batch.sequence == batch.sequence;
        let Some(at) = self.pending.iter().position(same) else { return };
        let (now, number) = (fabric.now, self.number);
        fabric.trace.say(now, || {
            let what = if acknowledged { "acknowledged" } else { "refused" };
            format!("client {number}: {what}: {batch:?}")
        });
        if !acknowledged {
            // Sent again with the next step, those behind it too.
            self.pending[at].sent = None;
            return;
        }
        let key = (self.partition, batch.producer, batch.sequence);
        fabric.judge.acknowledged.insert(key, batch);
        self.pending.remove(at);
        self.known = true;
    }
}
