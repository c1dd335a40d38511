//! # Purpose
//! Reads several partitions at once, each in the order of its offsets, up to the end or following it.
//!
//! # Invariants
//! Of one partition at most one read is on its way, and the next one starts when the caller takes what it brought. With
//! [`ConsumerOptions::until_end`] partitions come one after the other, so that the output of two runs is the same.
//!
//! # Limits
//! At most 64 reads at once; with more partitions to follow, reads wait a shorter time and take turns.

use std::collections::VecDeque;
use std::time::Duration;

use tidelog_proto::http::admin::{PartitionDescription, TopicDescription};
use tidelog_proto::http::read_query::ReadQuery;
use tidelog_proto::offset_spec::OffsetSpec;
use tokio::task::JoinSet;

use crate::chunk::{ChunkFault, From};
use crate::{Chunk, Client, Error};

/// Most reads at once.
const MAX_READS: usize = 64;
/// How long a read waits when partitions have to take turns.
const SHORT_WAIT: Duration = Duration::from_millis(100);

/// What to read. `Default` follows from the beginning.
#[derive(Debug, Clone)]
pub struct ConsumerOptions {
    /// Where to begin in each partition. Default the beginning.
    pub from: OffsetSpec,
    /// Stop where the partitions end at the start, instead of following them. Default no.
    pub until_end: bool,
    /// About how many bytes of batches one read brings. Default 1 MiB.
    pub max_bytes: u64,
    /// How long the server lets a read wait for new records. Default 10 s.
    pub wait: Duration,
}

impl Default for ConsumerOptions {
    fn default() -> Self {
        ConsumerOptions {
            from: OffsetSpec::Beginning,
            until_end: false,
            max_bytes: 1 << 20,
            wait: Duration::from_secs(10),
        }
    }
}

/// Reads one topic.
#[derive(Debug)]
pub struct Consumer {
    client: Client,
    topic: String,
    options: ConsumerOptions,
    wait: Duration,
    /// Reads at once.
    width: usize,
    /// Partitions whose turn is still to come.
    waiting: VecDeque<Lane>,
    reads: JoinSet<(Lane, Result<Chunk, Error>)>,
}

/// One partition and how far it was read.
#[derive(Debug, Clone, Copy)]
struct Lane {
    partition: u32,
    from: From,
    /// Stop here; the highest offset when following.
    until: u64,
}

impl Consumer {
    pub(crate) fn new(
        client: Client,
        topic: &TopicDescription,
        wanted: &[u32],
        options: ConsumerOptions,
    ) -> Result<Consumer, Error> {
        let partitions = select(topic, wanted)?.into_iter();
        let from = options.from;
        let starts = partitions.map(|description| (description, from));
        Ok(Consumer::starting(client, &topic.name, starts, options))
    }

    /// Each partition from a place of its own; where the options say to begin does not count.
    pub(crate) fn starting(
        client: Client,
        topic: &str,
        partitions: impl Iterator<Item = (PartitionDescription, OffsetSpec)>,
        options: ConsumerOptions,
    ) -> Consumer {
        let lanes = partitions.map(|(description, from)| Lane::new(&description, from, options.until_end));
        let waiting: VecDeque<Lane> = lanes.filter(|lane| !lane.is_done()).collect();
        let width = if options.until_end { 1 } else { MAX_READS };
        let wait = match options.until_end {
            true => Duration::ZERO,
            false if waiting.len() > MAX_READS => options.wait.min(SHORT_WAIT),
            false => options.wait,
        };
        Consumer { client, topic: topic.to_owned(), options, wait, width, waiting, reads: JoinSet::new() }
    }

    /// What the next read brought, never an empty chunk; `None` when every partition is read to its end. Cancel safe.
    ///
    /// # Errors
    /// Any [`Error`]; the partition it came from is read no further.
    pub async fn next(&mut self) -> Result<Option<Chunk>, Error> {
        loop {
            self.start_reads();
            let (mut lane, result) = match self.reads.join_next().await {
                None => return Ok(None),
                Some(Ok(finished)) => finished,
                // The task is ours and is never aborted: it panicked.
                Some(Err(error)) => std::panic::resume_unwind(error.into_panic()),
            };
            let chunk = result?;
            if chunk.is_empty() {
                // With nothing to wait for, an empty answer is the end.
                if !self.options.until_end {
                    self.waiting.push_back(lane);
                }
                continue;
            }
            lane.from = From::Offset(chunk.next_offset());
            if chunk.next_offset() < lane.until {
                // In front, so that a partition is read to its end before the next one begins.
                if self.options.until_end {
                    self.waiting.push_front(lane)
                } else {
                    self.waiting.push_back(lane)
                }
            }
            self.start_reads();
            return Ok(Some(chunk));
        }
    }

    fn start_reads(&mut self) {
        while self.reads.len() < self.width {
            let Some(lane) = self.waiting.pop_front() else { return };
            let (client, topic) = (self.client.clone(), self.topic.clone());
            let query = ReadQuery {
                from: match lane.from {
                    From::Offset(offset) => OffsetSpec::At(offset),
                    From::Timestamp(ms) => OffsetSpec::Timestamp(ms),
                },
                max_bytes: self.options.max_bytes,
                wait_ms: u64::try_from(self.wait.as_millis()).unwrap_or(u64::MAX),
                any_holder: false,
            };
            self.reads.spawn(async move {
                let result = read(&client, &topic, &lane, &query).await;
                (lane, result)
            });
        }
    }
}

impl Lane {
    fn new(partition: &PartitionDescription, from: OffsetSpec, until_end: bool) -> Lane {
        let (start, end) = (partition.start_offset, partition.committed_offset);
        let from = match from {
            OffsetSpec::Timestamp(ms) => From::Timestamp(ms),
            other => From::Offset(other.resolve(start, end).unwrap_or(start)),
        };
        let until = if until_end { end } else { u64::MAX };
        Lane { partition: partition.partition, from, until }
    }

    /// Whether there is nothing to read. An offset beyond the end is left to the server, which says so.
    fn is_done(&self) -> bool {
        match self.from {
            From::Offset(offset) => offset == self.until,
            From::Timestamp(_) => self.until == 0,
        }
    }
}

/// The partitions asked for, each once, in the order of their numbers.
fn select(topic: &TopicDescription, wanted: &[u32]) -> Result<Vec<PartitionDescription>, Error> {
    let missing =
        wanted.iter().find(|&&wanted| !topic.partitions.iter().any(|known| known.partition == wanted));
    if let Some(&partition) = missing {
        let partitions = topic.partitions.len();
        return Err(Error::NoPartition { topic: topic.name.clone(), partition, partitions });
    }
    let mut selected = topic.partitions.clone();
    selected.retain(|known| wanted.is_empty() || wanted.contains(&known.partition));
    selected.sort_by_key(|known| known.partition);
    Ok(selected)
}

async fn read(client: &Client, topic: &str, lane: &Lane, query: &ReadQuery) -> Result<Chunk, Error> {
    let bytes = client.fetch(topic, lane.partition, query).await?;
    Chunk::check(lane.partition, bytes, lane.from, lane.until).map_err(|fault| match (fault, lane.from) {
        (ChunkFault::Batch(cause), From::Offset(offset)) => {
            Error::Batch { partition: lane.partition, offset, cause }
        }
        (fault, _) => client.not_understood("reading", fault),
    })
}

#[cfg(test)]
#[path = "consumer_tests.rs"]
mod tests;
