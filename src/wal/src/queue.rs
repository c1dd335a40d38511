//! The way from producers to the appender: bounded in bytes and entries, waking it only when it sleeps.

use bytes::Bytes;
use crossbeam::queue::ArrayQueue;
use tidelog_format::batch::Batch;
use tidelog_format::entry::{EntryKind, Row};
use tokio::sync::{Notify, Semaphore};

use crate::error::AppendError;
use crate::reply::Reply;

/// Most entries that may wait. Each has its place in memory from the beginning, in every shard.
pub(crate) const ENTRIES: usize = 8192;

/// Something to be framed.
pub(crate) enum Work {
    Batch {
        partition: u64,
        batch: Batch,
    },
    Control {
        kind: EntryKind,
        row: Row,
        body: Bytes,
    },
    /// Take no batch of a partition any more: answered when all that was taken is committed.
    Close {
        partition: u64,
    },
    /// Take batches of a closed partition again.
    Reopen {
        partition: u64,
    },
    /// End the segment if it holds anything.
    Roll,
}

/// Work with its answer's address and its share of the bound.
pub(crate) struct Item {
    pub(crate) work: Work,
    pub(crate) reply: Reply,
    pub(crate) cost: u32,
}

pub(crate) struct Queue {
    waiting: ArrayQueue<Item>,
    room: Semaphore,
    capacity: u32,
    least: u32,
    ready: Notify,
}

impl Queue {
    pub(crate) fn new(bytes: usize) -> Queue {
        let capacity = u32::try_from(bytes).unwrap_or(u32::MAX).min(1 << 30);
        let least = capacity.div_ceil(ENTRIES as u32).max(1);
        Queue {
            waiting: ArrayQueue::new(ENTRIES),
            room: Semaphore::new(capacity as usize),
            capacity,
            least,
            ready: Notify::new(),
        }
    }

    /// Waits for room, then queues.
    pub(crate) async fn push(&self, work: Work, len: usize, reply: Reply) -> Result<(), AppendError> {
        let cost = u32::try_from(len).unwrap_or(u32::MAX).clamp(self.least, self.capacity);
        let permit = self.room.acquire_many(cost).await.map_err(|_| AppendError::Closed)?;
        permit.forget();
        if self.waiting.push(Item { work, reply, cost }).is_err() {
            // Can't happen: each entry holds at least `least` of the permits, so at most ENTRIES hold any.
            self.release(cost);
            return Err(AppendError::Invalid("the append queue overflowed, which is a defect of Tidelog"));
        }
        self.ready.notify_one();
        Ok(())
    }

    pub(crate) fn pop(&self) -> Option<Item> {
        self.waiting.pop()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Gives back the share of items that are answered.
    pub(crate) fn release(&self, cost: u32) {
        self.room.add_permits(cost as usize);
    }

    /// Bytes waiting or in flight.
    pub(crate) fn bytes(&self) -> u64 {
        (self.capacity as usize).saturating_sub(self.room.available_permits()) as u64
    }

    /// Waits for a push (or [`Queue::wake`]) since the last call.
    pub(crate) async fn ready(&self) {
        self.ready.notified().await;
    }

    pub(crate) fn wake(&self) {
        self.ready.notify_one();
    }

    /// Refuses all further pushes, those that wait for room included.
    pub(crate) fn close(&self) {
        self.room.close();
        self.wake();
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.room.is_closed()
    }
}
