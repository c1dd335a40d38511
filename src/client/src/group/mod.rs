//! # Purpose
//! Reads a topic together with the other members of a consumer group: each partition has one reader at a time, and the
//! group remembers how far it has come. Members may be Kafka's own clients.
//!
//! # Invariants
//! Nothing is committed but what the caller says it is done with: after a failure some records are read again, none is
//! left out.
//!
//! # Format
//! Membership and offsets by Kafka's protocol, on the server's port for it; records as everywhere in this crate.

mod connection;
mod membership;

use std::collections::BTreeMap;
use std::time::Duration;

use tidelog_proto::offset_spec::OffsetSpec;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval};

use crate::options::Backoff;
use crate::{Chunk, Client, Consumer, ConsumerOptions, Error};
use membership::{Membership, Standing};

/// How often the coordinator hears from us, far below the session time-out.
const HEARTBEAT: Duration = Duration::from_secs(3);
/// How often what was read is committed.
const COMMIT: Duration = Duration::from_secs(1);

/// What to read. `Default` follows from the beginning.
#[derive(Debug, Clone)]
pub struct GroupOptions {
    /// Where to begin in partitions of which the group has read nothing, or where what it read next is not kept any
    /// more. Default the beginning.
    pub from: OffsetSpec,
    /// Stop where this member's partitions ended when it got them. Default no.
    pub until_end: bool,
    /// After how long without a sign of life the others take over. Default 45 s; the server has limits for it.
    pub session: Duration,
}

impl Default for GroupOptions {
    fn default() -> GroupOptions {
        GroupOptions { from: OffsetSpec::Beginning, until_end: false, session: Duration::from_secs(45) }
    }
}

/// A member of a consumer group, reading one topic.
#[derive(Debug)]
pub struct GroupConsumer {
    client: Client,
    topic: String,
    options: GroupOptions,
    membership: Membership,
    /// What this member reads; `None` while it has no place in the group.
    reading: Option<Reading>,
    heartbeat: Interval,
}

/// The partitions of one generation.
#[derive(Debug)]
struct Reading {
    consumer: Consumer,
    /// Whether there are partitions for this member.
    any: bool,
    /// Next offsets that are not committed yet, by partition.
    done: BTreeMap<u32, u64>,
    commit_at: Instant,
}

impl GroupConsumer {
    pub(crate) fn new(
        client: Client,
        kafka: String,
        group: &str,
        topic: &str,
        options: GroupOptions,
    ) -> GroupConsumer {
        let membership = Membership::new(kafka, group, topic, options.session);
        let mut heartbeat = interval(HEARTBEAT);
        heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        GroupConsumer { client, topic: topic.to_owned(), options, membership, reading: None, heartbeat }
    }

    /// What the next read brought, never an empty chunk; `None` at the end of this member's partitions. Must be called
    /// again within the session time-out: meanwhile the group hears nothing of this member. Cancel safe, except that
    /// a commit on its way may have been made.
    ///
    /// # Errors
    /// [`Error::Group`] when the group does not take this member; any [`Error`] of a read.
    pub async fn next(&mut self) -> Result<Option<Chunk>, Error> {
        loop {
            if self.reading.is_none() {
                self.reading = Some(self.join().await?);
            }
            let Some(reading) = &mut self.reading else { continue };
            let event = tokio::select! {
                biased;
                _ = self.heartbeat.tick() => Event::Heartbeat,
                () = tokio::time::sleep_until(reading.commit_at), if !reading.done.is_empty() => Event::Commit,
                chunk = reading.consumer.next(), if reading.any => Event::Read(chunk?),
                () = std::future::ready(()), if !reading.any && self.options.until_end => Event::Read(None),
            };
            match event {
                Event::Heartbeat => {
                    let standing = self.membership.heartbeat().await;
                    self.go_on(standing).await?;
                }
                Event::Commit => {
                    self.commit().await?;
                }
                Event::Read(Some(chunk)) => return Ok(Some(chunk)),
                Event::Read(None) => {
                    self.commit().await?;
                    return Ok(None);
                }
            }
        }
    }

    /// The caller is done with all records of a partition that it got, up to `next_offset`. Committed within a second,
    /// during [`GroupConsumer::next`].
    pub fn done(&mut self, partition: u32, next_offset: u64) {
        if let Some(reading) = &mut self.reading {
            reading.done.insert(partition, next_offset);
        }
    }

    /// Commits what the caller is done with and leaves the group, so that the others take over at once.
    ///
    /// # Errors
    /// When that could not be committed: others will read it again.
    pub async fn close(mut self) -> Result<(), Error> {
        let committed = self.commit().await;
        // If it is not heard, the session time-out says it.
        let _ = self.membership.leave().await;
        if committed? { Ok(()) } else { Err(self.membership.lost()) }
    }

    /// Gives up the partitions when the group wants so.
    async fn go_on(&mut self, standing: Result<Standing, Error>) -> Result<(), Error> {
        match standing {
            Ok(Standing::Member) => return Ok(()),
            // What is done is committed before others begin.
            Ok(Standing::Rebalance) => {
                self.commit().await?;
            }
            Ok(Standing::Unknown) => {}
            Err(error) if error.is_passing() => {}
            Err(error) => return Err(error),
        }
        self.reading = None;
        Ok(())
    }

    /// Commits what is done. `false` when this member has lost its place: then that will be read again, by whom it may
    /// be.
    async fn commit(&mut self) -> Result<bool, Error> {
        let Some(reading) = &mut self.reading else { return Ok(true) };
        reading.commit_at = Instant::now() + COMMIT;
        if reading.done.is_empty() {
            return Ok(true);
        }
        match self.membership.commit(&reading.done).await {
            Ok(Standing::Member) => {
                reading.done.clear();
                return Ok(true);
            }
            Ok(Standing::Rebalance | Standing::Unknown) => {}
            Err(error) if error.is_passing() => {}
            Err(error) => return Err(error),
        }
        self.reading = None;
        Ok(false)
    }

    /// Gets a place in the group, for as long as it takes; passing failures are tried again for a while.
    async fn join(&mut self) -> Result<Reading, Error> {
        let mut backoff = Backoff::new(self.client.retry_for());
        loop {
            let error = match self.try_join().await {
                Ok(reading) => return Ok(reading),
                Err(error) => error,
            };
            match backoff.pause().filter(|_| error.is_passing()) {
                Some(pause) => tokio::time::sleep(pause).await,
                None => return Err(error),
            }
        }
    }

    async fn try_join(&mut self) -> Result<Reading, Error> {
        let assigned = self.membership.join(&self.client).await?;
        let committed = self.membership.committed(&assigned).await?;
        let mut partitions = self.client.describe_topic(&self.topic).await?.partitions;
        partitions.retain(|partition| assigned.contains(&partition.partition));
        let any = !partitions.is_empty();
        let starts = partitions.into_iter().map(|partition| {
            let kept = partition.start_offset..=partition.committed_offset;
            let at = committed.get(&partition.partition).filter(|offset| kept.contains(offset));
            (partition, at.map_or(self.options.from, |offset| OffsetSpec::At(*offset)))
        });
        let until_end = self.options.until_end;
        let options = ConsumerOptions { until_end, ..ConsumerOptions::default() };
        let consumer = Consumer::starting(self.client.clone(), &self.topic, starts, options);
        self.heartbeat.reset();
        Ok(Reading { consumer, any, done: BTreeMap::new(), commit_at: Instant::now() + COMMIT })
    }
}

enum Event {
    Heartbeat,
    Commit,
    Read(Option<Chunk>),
}
