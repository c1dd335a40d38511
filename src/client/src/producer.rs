//! # Purpose
//! Collects records into batches of our own and sends them, keeping the order within each partition.
//!
//! # Invariants
//! - Of one partition at most one batch is on its way; of all partitions at most [`ProducerOptions::in_flight`].
//! - A batch whose outcome is unknown is never sent again. After the first failure nothing more is sent, so that what
//!   is stored of a partition is a prefix of what was handed in for it (a batch of unknown outcome may end it).
//! - Every record that [`Producer::send`] took is counted in exactly one [`Delivery`].
//!
//! # Durability
//! A [`Delivery`] with a base offset means that the server has the batch on stable storage.

use std::collections::{BTreeMap, VecDeque};

use tidelog_format::batch::{Batch, BatchBuilder, BatchError, Codec, Field, Record};
use tidelog_proto::partitioner::Partitioner;
use tokio::task::{JoinError, JoinHandle, JoinSet};

use crate::{Client, Error};

/// How records are gathered and sent. `Default` gives the documented defaults.
#[derive(Debug, Clone)]
pub struct ProducerOptions {
    /// How batches are compressed. Default zstd.
    pub codec: Codec,
    /// A batch is sent when its records have this many bytes before compression. Default 1 MiB.
    pub batch_bytes: usize,
    /// Batches that may be on their way at once, 1 or more. Default 8.
    pub in_flight: usize,
    /// Bytes of unfinished batches of all partitions together; at more than this all of them are sent. Default 64 MiB.
    pub buffer_bytes: usize,
}

impl Default for ProducerOptions {
    fn default() -> Self {
        ProducerOptions { codec: Codec::Zstd, batch_bytes: 1 << 20, in_flight: 8, buffer_bytes: 64 << 20 }
    }
}

/// What became of one batch.
#[derive(Debug)]
pub struct Delivery {
    /// The partition it was for.
    pub partition: u32,
    /// Number of its records.
    pub count: u32,
    /// Offset of its first record, or why it was not acknowledged; see [`Error::outcome_unknown`].
    pub result: Result<u64, Error>,
}

/// Sends records to one topic. What is not flushed when it is dropped is lost.
#[derive(Debug)]
pub struct Producer {
    client: Client,
    topic: String,
    partitions: u32,
    options: ProducerOptions,
    /// Where keyless records go; moves on with every batch.
    partitioner: Partitioner,
    turn: u32,
    lanes: BTreeMap<u32, Lane>,
    /// Bytes of all open batches.
    open_bytes: usize,
    /// Batches in all queues.
    queued: usize,
    in_flight: JoinSet<Delivery>,
    deliveries: Vec<Delivery>,
    stopped: bool,
}

/// One partition's way out.
#[derive(Debug)]
struct Lane {
    open: BatchBuilder,
    queue: VecDeque<Sealed>,
    busy: bool,
}

/// A full batch; it is compressed while others are on their way.
#[derive(Debug)]
struct Sealed {
    count: u32,
    batch: JoinHandle<Result<Batch, BatchError>>,
}

impl Producer {
    /// For a topic of `partitions`; `turn` is any number, it picks the partition of the first keyless records.
    pub(crate) fn new(
        client: Client,
        topic: &str,
        partitions: u32,
        turn: u32,
        options: ProducerOptions,
    ) -> Producer {
        Producer {
            client,
            topic: topic.to_owned(),
            partitions,
            partitioner: Partitioner::new(partitions, turn),
            turn,
            lanes: BTreeMap::new(),
            open_bytes: 0,
            queued: 0,
            in_flight: JoinSet::new(),
            deliveries: Vec::new(),
            stopped: false,
            options,
        }
    }

    /// Takes a record, for `partition` or for the one its key gives, as the server would place it. Waits while too
    /// much is on its way. Not cancel safe: after a cancelled call only [`Producer::flush`] may follow.
    ///
    /// # Errors
    /// [`Error::Record`] and [`Error::NoPartition`]: the record was not taken, the producer goes on.
    /// [`Error::Stopped`]: an earlier batch failed, see [`Producer::take_deliveries`].
    pub async fn send(&mut self, record: &Record<'_>, partition: Option<u32>) -> Result<(), Error> {
        if self.stopped {
            return Err(Error::Stopped);
        }
        let partition = partition.unwrap_or_else(|| self.partitioner.place(record.key));
        self.check_partition(partition)?;
        let codec = self.options.codec;
        let lane = self.lanes.entry(partition).or_insert_with(|| Lane::new(codec));
        let before = lane.open.len();
        match lane.open.push(record) {
            Ok(()) => {}
            Err(BatchError::TooLarge(fault)) if fault.field == Field::BatchLength && before > 0 => {
                self.seal(partition);
                return Box::pin(self.send(record, Some(partition))).await;
            }
            Err(error) => return Err(Error::Record(error)),
        }
        let len = lane.open.len();
        self.open_bytes += len - before;
        if len >= self.options.batch_bytes {
            self.seal(partition);
            self.make_room().await;
        } else if self.open_bytes > self.options.buffer_bytes {
            self.seal_all();
            self.make_room().await;
        }
        Ok(())
    }

    /// Whether the topic has this partition.
    ///
    /// # Errors
    /// [`Error::NoPartition`].
    pub fn check_partition(&self, partition: u32) -> Result<(), Error> {
        if partition < self.partitions {
            return Ok(());
        }
        let partitions = usize::try_from(self.partitions).unwrap_or(usize::MAX);
        Err(Error::NoPartition { topic: self.topic.clone(), partition, partitions })
    }

    /// Whether records were taken that are not on their way yet.
    pub const fn holds_records(&self) -> bool {
        self.open_bytes > 0 || self.queued > 0
    }

    /// Sends everything that was taken and waits until the fate of all of it is known.
    pub async fn flush(&mut self) {
        self.seal_all();
        self.dispatch();
        while !self.in_flight.is_empty() {
            self.settle_one().await;
            self.dispatch();
        }
    }

    /// What became known since the last call, in the order it became known; within one partition that is the order of
    /// the records. Kept until it is taken.
    pub fn take_deliveries(&mut self) -> Vec<Delivery> {
        std::mem::take(&mut self.deliveries)
    }

    /// Whether a batch failed and nothing more is sent.
    pub const fn is_stopped(&self) -> bool {
        self.stopped
    }

    /// Moves a partition's open batch into its queue.
    fn seal(&mut self, partition: u32) {
        let Some(lane) = self.lanes.get_mut(&partition).filter(|lane| !lane.open.is_empty()) else { return };
        let sealed = std::mem::replace(&mut lane.open, BatchBuilder::new(self.options.codec));
        self.open_bytes -= sealed.len();
        let count = sealed.count();
        lane.queue.push_back(Sealed { count, batch: tokio::spawn(async { sealed.finish() }) });
        self.queued += 1;
        if self.partitioner.place(None) == partition {
            self.turn = self.turn.wrapping_add(1);
            self.partitioner = Partitioner::new(self.partitions, self.turn);
        }
    }

    fn seal_all(&mut self) {
        let partitions: Vec<u32> = self.lanes.keys().copied().collect();
        for partition in partitions {
            self.seal(partition);
        }
    }

    /// Sends what may be sent now, and waits until not more waits than is on its way.
    async fn make_room(&mut self) {
        while let Some(joined) = self.in_flight.try_join_next() {
            self.settle(finished(joined));
        }
        self.dispatch();
        while self.queued > 0 && self.queued >= self.options.in_flight.max(1) {
            self.settle_one().await;
            self.dispatch();
        }
    }

    /// Starts requests, in the order of the partitions, as far as the rules allow.
    fn dispatch(&mut self) {
        if self.queued == 0 {
            return;
        }
        if self.stopped {
            return self.give_up();
        }
        for (&partition, lane) in &mut self.lanes {
            if self.in_flight.len() >= self.options.in_flight.max(1) {
                return;
            }
            if lane.busy {
                continue;
            }
            if let Some(sealed) = lane.queue.pop_front() {
                lane.busy = true;
                self.queued -= 1;
                let (client, topic) = (self.client.clone(), self.topic.clone());
                self.in_flight.spawn(deliver(client, topic, partition, sealed));
            }
        }
    }

    /// Reports everything that waits as not sent.
    fn give_up(&mut self) {
        for (&partition, lane) in &mut self.lanes {
            for sealed in lane.queue.drain(..) {
                self.deliveries.push(Delivery {
                    partition,
                    count: sealed.count,
                    result: Err(Error::Stopped),
                });
            }
        }
        self.queued = 0;
    }

    async fn settle_one(&mut self) {
        if let Some(joined) = self.in_flight.join_next().await {
            self.settle(finished(joined));
        }
    }

    fn settle(&mut self, delivery: Delivery) {
        self.stopped |= delivery.result.is_err();
        if let Some(lane) = self.lanes.get_mut(&delivery.partition) {
            lane.busy = false;
        }
        self.deliveries.push(delivery);
    }
}

impl Lane {
    fn new(codec: Codec) -> Lane {
        Lane { open: BatchBuilder::new(codec), queue: VecDeque::new(), busy: false }
    }
}

/// Sends one batch.
async fn deliver(client: Client, topic: String, partition: u32, sealed: Sealed) -> Delivery {
    let result = match finished(sealed.batch.await) {
        Ok(batch) => client.append(&topic, partition, batch).await,
        Err(error) => Err(Error::Record(error)),
    };
    Delivery { partition, count: sealed.count, result }
}

/// The result of a task of ours. None is ever aborted, so one that did not finish has panicked.
fn finished<T>(joined: Result<T, JoinError>) -> T {
    joined.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
}

#[cfg(test)]
#[path = "producer_tests.rs"]
mod tests;
