//! A partition goes on in another shard, so that all of them carry about the same.
//!
//! # Steps
//! 1. The leader of the shard that it leaves closes it: takes no batch of it any more, and waits until all that it took is
//!    committed.
//! 2. It has the metadata say that the partition goes on in the other shard, at the offset of its next record, and what its
//!    producers wrote last.
//! 3. Whoever leads the other shard takes it there (`crate::reconcile`), with an entry that is committed before any record.
//!
//! # Invariants
//! - The metadata takes the move only while the span in which the partition was closed is the last one and nobody ends it: who
//!   leads the shard later knows whether it has left before he leads.
//! - Once the metadata was asked, the partition stays closed in that span. Where it is not clear what became of the question,
//!   and the partition is still here, the span ends, and with it what was asked.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tidelog_meta::{Carried, Command, MAX_CARRIED, Outcome, Partition, SpanState, State, Unavailable};
use tidelog_wal::Wal;

use super::TICK;
use super::held::Held;

/// What was taken must be committed so soon, else the partition stays.
const CLOSE: Duration = Duration::from_secs(2);
/// A shard of which a partition could not leave is left alone for so long.
const REST: Duration = Duration::from_secs(10);

/// A partition that is to leave, and where to.
#[derive(Debug, Clone)]
pub(super) struct Leaving {
    pub(super) name: String,
    pub(super) id: String,
    pub(super) number: u32,
    pub(super) to: u64,
}

/// Why it stays.
#[derive(Debug, thiserror::Error)]
enum Stays {
    #[error("it may not leave now: {0}")]
    NotNow(&'static str),
    #[error("the metadata would not take it: {0}")]
    Illegal(tidelog_meta::Illegal),
    #[error("what it took was not committed in time")]
    Uncommitted,
    #[error(
        "what its producers wrote takes {0} bytes, at most {MAX_CARRIED} go along: it leaves when fewer are remembered"
    )]
    TooManyProducers(usize),
    #[error("the log: {0}")]
    Log(#[from] tidelog_wal::AppendError),
    #[error("the metadata was not asked: {0}")]
    NotAsked(Unavailable),
    #[error("what became of the question is not clear: the span ends")]
    Unclear,
}

impl Leaving {
    /// The partition as the metadata has it.
    fn listed<'a>(&self, state: &'a State) -> Option<&'a Partition> {
        let topic = state.topics.get(&self.name).filter(|topic| topic.id == self.id)?;
        topic.partitions.get(self.number as usize)
    }

    /// Whether it takes its records in a shard, and is not on its way there.
    fn is_in(&self, state: &State, shard: u64) -> bool {
        self.listed(state).is_some_and(|listed| listed.shard() == shard && listed.handed().is_none())
    }
}

impl Held {
    /// Has a partition go on in another shard, if this process leads its shard; one at a time.
    pub(super) async fn let_leave(self: Arc<Held>, leaving: Leaving) {
        let turn = Arc::clone(&self.turn);
        let Ok(_turn) = turn.try_lock() else { return };
        if self.around.now() < self.rules().moves_rest_until {
            return;
        }
        let Leaving { name, number, to, .. } = &leaving;
        match self.leave(&leaving).await {
            Ok(()) => {}
            // As soon as somebody has said so it is not wanted any more.
            Err(Stays::NotNow(why)) => {
                tracing::debug!(shard = self.shard, topic = name, number, to, why, "no move")
            }
            Err(error) => {
                self.around.metrics.moves_failed.inc();
                self.rules().moves_rest_until = self.around.now() + REST;
                tracing::info!(shard = self.shard, topic = name, number, to, %error, "the partition stays");
            }
        }
    }

    async fn leave(&self, leaving: &Leaving) -> Result<(), Stays> {
        let not_now = Stays::NotNow;
        let state = self.around.meta.read().await.map_err(Stays::NotAsked)?;
        let serving = self.serving().borrow().clone().filter(|serving| serving.leads);
        let wal = serving.ok_or(not_now("the shard is led elsewhere"))?.wal;
        let (shard, epoch, to) = (self.shard, wal.epoch(), leaving.to);
        if !leaving.is_in(&state, shard) {
            return Err(not_now("it has left, or was deleted"));
        }
        let open = |shard, epoch| {
            state.last_span(shard).filter(|last| last.epoch > epoch && last.state == SpanState::Open)
        };
        if open(shard, epoch - 1).is_none_or(|last| last.epoch != epoch) {
            return Err(not_now("the span ends"));
        }
        let next = open(to, epoch).ok_or(not_now("the other shard is not at a higher epoch"))?;
        if !self.around.is_alive(&state, next.leader.node) {
            return Err(not_now("who leads the other shard is away"));
        }
        let listed = leaving.listed(&state).ok_or(not_now("it was deleted"))?;
        let would = self.describe(leaving, listed, &wal)?;
        if let Err(why) = state.check(&would) {
            return Err(Stays::Illegal(why));
        }
        let (partition, begun) = (listed.id, Instant::now());
        let closed = match tokio::time::timeout(CLOSE, wal.close_partition(partition)).await {
            Ok(Ok(_)) => self.describe(leaving, listed, &wal),
            Ok(Err(error)) => Err(error.into()),
            Err(_) => Err(Stays::Uncommitted),
        };
        let command = match closed {
            Ok(command) => command,
            // Nobody was asked anything.
            Err(error) => {
                wal.reopen_partition(partition).await?;
                return Err(error);
            }
        };
        match self.around.meta.propose(command).await {
            Ok(Outcome::Applied { .. }) => {}
            Err(error) if for_sure(&error) => {
                wal.reopen_partition(partition).await?;
                return Err(Stays::NotAsked(error));
            }
            unclear => {
                tracing::warn!(
                    shard,
                    epoch,
                    partition,
                    to,
                    ?unclear,
                    "whether the partition has left is looked up"
                );
                if !self.partition_has_left(leaving, epoch).await {
                    // Another span takes its records again, and the question comes too late there.
                    self.rules().long = Some(epoch);
                    return Err(Stays::Unclear);
                }
            }
        }
        let closed_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        let at = wal.partition(partition).map_or(0, |here| here.next_offset);
        self.around.metrics.moved(closed_ms);
        let (topic, number) = (&leaving.name, leaving.number);
        tracing::info!(
            shard,
            epoch,
            topic,
            number,
            partition,
            to,
            at,
            closed_ms,
            "the partition goes on in another shard"
        );
        Ok(())
    }

    /// What is asked of the metadata for a closed partition.
    fn describe(&self, leaving: &Leaving, listed: &Partition, wal: &Wal) -> Result<Command, Stays> {
        let here = wal.partition(listed.id).ok_or(Stays::NotNow("it does not live here yet"))?;
        let from = listed.placed().last().map_or(0, |placed| placed.from);
        if here.next_offset < from {
            return Err(Stays::NotNow("it is not here yet"));
        }
        // Where there are older places, only what was let go of in the last one says something about all.
        let trimmed_here = listed.placed().len() == 1 || here.log_start > from;
        let producers = wal.producers_of(listed.id)?;
        if producers.len() > MAX_CARRIED {
            return Err(Stays::TooManyProducers(producers.len()));
        }
        Ok(Command::MovePartition {
            name: leaving.name.clone(),
            id: leaving.id.clone(),
            partition: leaving.number,
            from: self.shard,
            epoch: wal.epoch(),
            to: leaving.to,
            at: here.next_offset,
            start: if trimmed_here { here.log_start } else { 0 },
            producers: Carried::from(producers),
        })
    }

    /// Whether the partition has left in this span, by the metadata and not by what was heard of it last. While nobody can say
    /// so it stays closed.
    async fn partition_has_left(&self, leaving: &Leaving, epoch: u32) -> bool {
        loop {
            match self.around.meta.read().await {
                Ok(state) => return !leaving.is_in(&state, self.shard),
                Err(error) => {
                    tracing::debug!(shard = self.shard, epoch, %error, "the metadata could not be read")
                }
            }
            tokio::select! {
                () = tokio::time::sleep(TICK) => {}
                () = self.around.stopped() => return true,
            }
        }
    }
}

/// Whether nothing was proposed.
fn for_sure(error: &Unavailable) -> bool {
    !matches!(error, Unavailable::Broken(_))
}

/// The partitions that take batches in a shard, and how far each has come there at least. One that is on its way takes none
/// before an entry says that it has come, unless a record behind its offset shows that this was so.
pub(super) fn writable(state: &State, shard: u64) -> BTreeMap<u64, u64> {
    let here = state.partitions().filter(|partition| partition.shard() == shard);
    here.map(|partition| {
        let from = partition.placed().last().map_or(0, |placed| placed.from);
        (partition.id, partition.handed().map_or(from, |handed| handed.at + 1))
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidelog_meta::{Leader, NewSpan, NodeInfo, Replica, Retention, StoreId};

    #[test]
    fn a_shard_takes_batches_of_no_partition_that_has_left_or_has_not_come() {
        let mut state = State::default();
        let (store, retention) = (StoreId([1; 16]), Retention::default());
        let info = NodeInfo { address: "a:1".into(), ..NodeInfo::default() };
        let (name, id) = (String::from("t"), "a".repeat(32));
        let span = |salt| {
            let replicas = vec![Replica { node: 1, store }];
            NewSpan { replicas, quorum: 1, leader: Leader { node: 1, incarnation: 1 }, salt: [salt; 16] }
        };
        for command in [
            Command::RegisterNode { node: 1, store, incarnation: 1, generation: 1, info },
            Command::OpenShard { shard: 1, class: retention },
            Command::OpenShard { shard: 2, class: retention },
            Command::OpenFirstSpan { shard: 1, span: span(1), base: 1 },
            Command::OpenFirstSpan { shard: 2, span: span(2), base: 1 },
            Command::CreateTopic { name: name.clone(), id: id.clone(), retention, shards: vec![1, 1] },
            Command::MovePartition {
                name: name.clone(),
                id: id.clone(),
                partition: 0,
                from: 1,
                epoch: 1,
                to: 2,
                at: 50,
                start: 0,
                producers: Carried::default(),
            },
        ] {
            state.apply(&command).unwrap();
        }
        assert_eq!(writable(&state, 1), BTreeMap::from([(2, 0)]));
        assert_eq!(writable(&state, 2), BTreeMap::from([(1, 51)]), "an entry has to say that it has come");
        state.apply(&Command::TakePartition { name, id, partition: 0, shard: 2 }).unwrap();
        assert_eq!(writable(&state, 2), BTreeMap::from([(1, 50)]));
    }
}
