//! # Purpose
//! Creating, deleting, trimming and describing topics.
//!
//! # Invariants
//! Metadata first, data shards after it: a crash between the two is repaired at the next start (see
//! [`crate::reconcile`]).

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;

use tidelog_io::random;
use tidelog_proto::http::admin::{
    CreateTopic, PartitionDescription, TopicConfig, TopicDescription, check_writable_topic_name,
};
use tidelog_proto::http::error::ErrorCode;
use tidelog_wal::{AppendError, Control, FIRST_LSN, Wal};

use crate::failure::Failure;
use crate::metadata::ChangeError;
use crate::node::{LivePartition, LiveTopic, Node, NotLed};
use crate::open::StartError;
use crate::places::Places;
use crate::reconcile;
use crate::routing::Durability;
use crate::shards::Shards;
use tidelog_meta::{Command, Illegal, MetaError, Retention, State, place, place_span};

/// So long the answer to who makes a topic waits for its partitions to live.
const SERVED: Duration = Duration::from_secs(5);
/// Between two looks at them.
const SERVED_PAUSE: Duration = Duration::from_millis(20);

impl Node {
    /// The topic to write to, created on the way if the node does that.
    pub(crate) async fn topic_to_write(&self, name: &str) -> Result<Arc<LiveTopic>, Failure> {
        if let Some(topic) = self.topic(name) {
            return Ok(topic);
        }
        check_writable_topic_name(name)?;
        if !self.config.topics.auto_create {
            return Err(Failure::no_auto_topic(name));
        }
        let request = CreateTopic {
            name: name.to_owned(),
            partitions: self.config.topics.partitions,
            config: TopicConfig::default(),
        };
        match self.create_topic(&request).await {
            // Another request was faster, maybe on another node.
            Err(failure) if failure.code == ErrorCode::TopicExists => {
                if self.topic(name).is_none() {
                    self.metadata.reach_newer(|state| state.topics.contains_key(name)).await;
                    self.follow_topics().await?;
                }
                self.topic(name).ok_or_else(|| Failure::no_topic(name))
            }
            created => created,
        }
    }

    /// A topic that another node knows: this one may not have heard of it yet.
    pub(crate) async fn topic_heard_of(&self, name: &str) -> Result<Arc<LiveTopic>, Failure> {
        if self.topic(name).is_none() {
            self.follow_topics().await?;
        }
        self.topic(name).ok_or_else(|| Failure::no_topic(name))
    }

    /// Creates a topic; the request has been checked.
    pub(crate) async fn create_topic(&self, request: &CreateTopic) -> Result<Arc<LiveTopic>, Failure> {
        let _admin = self.admin.lock().await;
        let exists = || {
            let message = format!("topic `{}` exists", request.name);
            Failure::new(ErrorCode::TopicExists, message)
        };
        if self.topic(&request.name).is_some() {
            return Err(exists());
        }
        let topic = match self.unrouted(&request.name) {
            // An earlier attempt was given up behind its command: this one ends it.
            Some(topic) if topic.partitions.iter().all(|partition| partition.led().is_ok()) => topic,
            // Another node has made it meanwhile.
            Some(_) => return Err(exists()),
            None => self.propose_topic(request).await?,
        };
        let topic = self.bring_to_life(topic).await?;
        tracing::info!(topic = topic.name, id = topic.id, partitions = request.partitions, "topic created");
        self.until_served(&topic.name).await;
        Ok(self.topic(&topic.name).unwrap_or(topic))
    }

    /// Brings a topic to `total` partitions; answers it as it is then.
    pub(crate) async fn add_partitions(&self, name: &str, total: u32) -> Result<Arc<LiveTopic>, Failure> {
        let _admin = self.admin.lock().await;
        let topic = self.topic(name).ok_or_else(|| Failure::no_topic(name))?;
        let have = topic.partitions.len();
        if total as usize <= have {
            let message = format!("topic `{name}` has {have} partitions and can only get more");
            return Err(Failure::new(ErrorCode::InvalidParameter, message));
        }
        // An earlier attempt may have been given up behind its command.
        let planned = self.unrouted(name).map_or(0, |topic| topic.partitions.len());
        let more = total.saturating_sub(u32::try_from(planned).unwrap_or(u32::MAX));
        if more > 0 {
            self.check_room(more)?;
            let shards = self.shards_for(topic.retention, more).await?;
            let (name, id) = (name.to_owned(), topic.id.clone());
            self.metadata.propose(Command::AddPartitions { name, id, shards }).await?;
        }
        let grown = self.unrouted(name).ok_or_else(|| Failure::no_topic(name))?;
        tracing::info!(topic = name, from = have, to = total, "partitions added");
        self.bring_to_life(grown).await
    }

    /// Creates what is missing of a topic in the shards that this node leads, and routes it.
    pub(crate) async fn bring_to_life(&self, mut topic: LiveTopic) -> Result<Arc<LiveTopic>, Failure> {
        if let Some(before) = self.topic(&topic.name).filter(|before| before.id == topic.id) {
            for (new, old) in topic.partitions.iter_mut().zip(&before.partitions) {
                // Requests that found the topic before and those that find it now take turns with each other.
                new.turn = Arc::clone(&old.turn);
            }
        }
        if self.replicated.is_some() {
            // Whoever leads a shard makes it agree with the metadata, or who leads it next.
            self.have_agreed(&topic).await;
            return Ok(self.route(topic));
        }
        let led = topic
            .partitions
            .iter()
            .enumerate()
            .filter_map(|(number, one)| Some((number, one, one.led().ok()?)));
        let controls =
            led.filter(|(_, one, wal)| wal.partition(one.id).is_none()).map(|(number, one, wal)| {
                let name = format!("{}/{number}", topic.name);
                (wal, Control::CreatePartition { partition: one.id, name })
            });
        in_all_shards(controls).await?;
        // Nobody finds the topic before its partitions live.
        Ok(self.route(topic))
    }

    /// Makes the shards led here that a topic is in agree with the metadata.
    async fn have_agreed(&self, topic: &LiveTopic) {
        let shards: BTreeSet<u64> = topic.partitions.iter().flat_map(|one| one.places.shards()).collect();
        join_all(shards.into_iter().map(|shard| reconcile::agree(self, shard))).await;
    }

    async fn propose_topic(&self, request: &CreateTopic) -> Result<LiveTopic, Failure> {
        self.check_room(request.partitions)?;
        let retention = self.retention_of(&request.config);
        let shards = self.shards_for(retention, request.partitions).await?;
        let id = random::salt().iter().fold(String::new(), |id, byte| format!("{id}{byte:02x}"));
        let name = request.name.clone();
        self.metadata.propose(Command::CreateTopic { name, id, retention, shards }).await?;
        self.unrouted(&request.name).ok_or_else(|| Failure::no_topic(&request.name))
    }

    /// What a topic of these settings keeps.
    pub(crate) fn retention_of(&self, config: &TopicConfig) -> Retention {
        let defaults = self.config.classes().main;
        Retention {
            max_age_ms: config.retention_ms.or(defaults.max_age_ms),
            max_bytes: config.retention_bytes.or(defaults.max_bytes),
        }
    }

    fn check_room(&self, more: u32) -> Result<(), Failure> {
        let (have, max) =
            (self.metadata.read(|state| state.partition_count()), self.config.limits.partitions_per_node);
        if (have as u64).saturating_add(more.into()) <= max {
            return Ok(());
        }
        let message = format!(
            "this node has {have} partitions and may have {max} (limits.partitions_per_node), so {more} more do not fit"
        );
        Err(Failure::new(ErrorCode::TooManyPartitions, message))
    }

    /// Places partitions, opening a shard for a new class first.
    async fn shards_for(&self, class: Retention, count: u32) -> Result<Vec<u64>, Failure> {
        let plan = || {
            self.metadata.read(|state| {
                let nodes = if self.replicated.is_some() { state.takers().count().max(1) } else { 1 };
                let mine = |shard| self.may_open(state, shard);
                self.config.classes().plan(state, class, (count, nodes), mine)
            })
        };
        while let Some(command) = plan()?.into_iter().next() {
            let before = self.metadata.read(|state| state.next_shard);
            match self.metadata.propose(command).await {
                Ok(_) => {}
                // Another node opened a shard meanwhile: the plan is made anew on what is then.
                Err(ChangeError::Illegal(Illegal::ShardNumber { .. })) => {
                    self.metadata.reach_newer(|state| state.next_shard > before).await;
                }
                Err(error) => return Err(error.into()),
            }
        }
        // Also those that an earlier attempt put into the metadata and then failed to open.
        let missing: Vec<u64> = self.metadata.read(|state| {
            let ids = state.shards.iter().filter(|(_, served)| **served == class).map(|(id, _)| *id);
            ids.filter(|id| self.wal(*id).is_none() && state.last_span(*id).is_none()).collect()
        });
        for id in missing {
            if let Some(shards) = &self.replicated {
                self.open_first(shards, id).await?;
                continue;
            }
            match self.start().open_new(id).await {
                Ok(shard) => self.add_shard(id, shard),
                // Two nodes may take a shard without spans for theirs; the first one has it.
                Err(StartError::Meta(MetaError::Illegal(Illegal::HasSpans(_)))) => {}
                Err(error) => return Err(error.into()),
            }
        }
        let placed = |state: &State| {
            let usable = |shard| match &self.replicated {
                Some(_) => state.last_span(shard).is_some(),
                None => self.wal(shard).is_some(),
            };
            place(state, class, count, usable)
        };
        Ok(self.metadata.read(placed)?)
    }

    /// Whether partitions may be placed on a shard: in a cluster on any, alone on this node's, and on nobody's yet.
    fn may_open(&self, state: &State, shard: u64) -> bool {
        self.replicated.is_some() || self.wal(shard).is_some() || state.last_span(shard).is_none()
    }

    /// Opens the first span of a shard, on several nodes if so many live.
    async fn open_first(&self, shards: &Shards, shard: u64) -> Result<(), Failure> {
        let nowhere = || Failure::new(ErrorCode::Unavailable, format!("no node takes shard {shard} now"));
        let place =
            self.metadata.read(|state| place_span(state, &shards.facts(state), &shards.spread(), shard));
        let span = place.ok_or_else(nowhere)?.with_salt(random::salt());
        match self.metadata.propose(Command::OpenFirstSpan { shard, span, base: FIRST_LSN }).await {
            // Another node may have been faster.
            Ok(_) | Err(ChangeError::Illegal(Illegal::HasSpans(_))) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Waits until what this node leads of a topic can be written, for a while: a shard that has just been opened is led a
    /// moment later.
    async fn until_served(&self, name: &str) {
        let Some(shards) = &self.replicated else { return };
        let mut changes = shards.changes();
        let served = async {
            while self.topic(name).is_some_and(|topic| !self.is_served(&topic)) {
                tokio::select! {
                    _ = changes.changed() => {}
                    () = tokio::time::sleep(SERVED_PAUSE) => {}
                }
            }
        };
        if tokio::time::timeout(SERVED, served).await.is_err() {
            tracing::warn!(topic = name, "the topic was created and cannot be written yet");
        }
    }

    /// Whether all partitions whose shards this process is to lead live.
    fn is_served(&self, topic: &LiveTopic) -> bool {
        let mine = |shard| {
            self.metadata.read(|state| {
                let last = state.last_span(shard);
                last.is_some_and(|span| span.leader.node == self.me.node)
            })
        };
        let lives = |one: &LivePartition| one.led().is_ok_and(|wal| wal.partition(one.id).is_some());
        topic.partitions.iter().all(|one| lives(one) || !mine(one.shard))
    }

    /// Deletes a topic with all its records; answers what it was.
    pub(crate) async fn delete_topic(&self, name: &str) -> Result<TopicDescription, Failure> {
        let _admin = self.admin.lock().await;
        let topic = self.topic(name).ok_or_else(|| Failure::no_topic(name))?;
        let description = describe(self, &topic);
        self.metadata.propose(Command::DeleteTopic { name: name.to_owned(), id: topic.id.clone() }).await?;
        self.let_go(&topic).await;
        Ok(description)
    }

    /// Ends the route to a topic that the metadata has no more, and deletes what this node leads of it.
    pub(crate) async fn let_go(&self, topic: &LiveTopic) {
        let name = topic.name.as_str();
        self.unroute(name);
        if self.replicated.is_some() {
            self.have_agreed(topic).await;
        } else {
            let led =
                topic.partitions.iter().filter_map(|partition| Some((partition.led().ok()?, partition.id)));
            let controls = led.map(|(wal, partition)| (wal, Control::DeletePartition { partition }));
            if let Err(error) = in_all_shards(controls).await {
                // The topic is gone; what is left of it in a shard goes at the next start.
                tracing::warn!(topic = name, %error, "partitions of a deleted topic could not be deleted yet");
            }
        }
        if let Err(error) = self.groups.forget_topic(name).await {
            tracing::warn!(topic = name, %error, "offsets committed in a deleted topic could not be let go of yet");
        }
        tracing::info!(topic = name, id = topic.id, "topic deleted");
    }

    /// Drops the records of a partition below `offset`; answers the oldest offset that is kept.
    pub(crate) async fn trim(&self, name: &str, partition: u32, offset: u64) -> Result<u64, Failure> {
        check_writable_topic_name(name)?;
        let topic = self.topic(name).ok_or_else(|| Failure::no_topic(name))?;
        let live = topic.partition(partition)?;
        let no_longer = || Failure::no_partition(name, partition, topic.partitions.len());
        let wal = live.led()?;
        let turn = self.shard_turn(live.shard);
        let taken = match &turn {
            Some(turn) => Some(turn.lock().await),
            None => None,
        };
        // Until it was this request's turn it may have left.
        let places = || self.metadata.read(|state| state.partition(name, partition).map(Places::from));
        let before = places().ok_or_else(no_longer)?;
        if before.shard() != live.shard {
            return Err(NotLed { shard: live.shard }.into());
        }
        let state = live.state(wal)?;
        if offset > state.next_offset {
            return Err(Failure::out_of_range(offset, state.log_start, state.next_offset));
        }
        let through_metadata = offset > state.log_start && before.are_several();
        if through_metadata {
            let (name, id) = (name.to_owned(), topic.id.clone());
            let trim = Command::Trim { name, id, partition, offset };
            match self.metadata.propose(trim).await {
                Ok(_) | Err(ChangeError::Illegal(Illegal::Trimmed { .. })) => {}
                Err(error) => return Err(error.into()),
            }
            reconcile::agree_in_turn(self, live.shard).await;
        } else if offset > state.log_start {
            wal.control(Control::Trim { partition: live.id, offset }).await?;
        }
        let here = wal.partition(live.id).ok_or_else(no_longer)?;
        let here = places().ok_or_else(no_longer)?.state(here);
        let start = here.ok_or(NotLed { shard: live.shard })?.log_start;
        drop(taken);
        if through_metadata {
            // Who is told so reads nothing below it here.
            self.follow_topics().await?;
        }
        Ok(start)
    }
}

impl LiveTopic {
    /// A partition by its number.
    pub(crate) fn partition(&self, number: u32) -> Result<&LivePartition, Failure> {
        let found = usize::try_from(number).ok().and_then(|number| self.partitions.get(number));
        found.ok_or_else(|| Failure::no_partition(&self.name, number, self.partitions.len()))
    }
}

/// What people are told about a topic.
pub(crate) fn describe(node: &Node, topic: &LiveTopic) -> TopicDescription {
    let partitions = (0..).zip(&topic.partitions).map(|(number, partition)| {
        let state = partition.here.as_ref().and_then(|wal| partition.state(wal).ok());
        let (start, end) = state.map_or((0, 0), |state| (state.log_start, state.next_offset));
        PartitionDescription {
            partition: number,
            shard: u32::try_from(partition.shard).unwrap_or(u32::MAX),
            start_offset: start,
            committed_offset: end,
            durable_offset: end,
            end_offset: end,
        }
    });
    TopicDescription {
        name: topic.name.clone(),
        id: topic.id.clone(),
        durability: Durability::of_topic(node, topic).to_string(),
        config: TopicConfig {
            retention_ms: topic.retention.max_age_ms,
            retention_bytes: topic.retention.max_bytes,
        },
        partitions: partitions.collect(),
    }
}

/// Appends control entries, all at once; the first failure is the answer after all were tried.
async fn in_all_shards<'a>(controls: impl Iterator<Item = (&'a Wal, Control)>) -> Result<(), AppendError> {
    let (mut appending, mut result) = (Vec::new(), Ok(()));
    for (wal, control) in controls {
        match wal.begin_control(control).await {
            Ok(begun) => appending.push(begun),
            Err(error) => result = result.and(Err(error)),
        }
    }
    for begun in appending {
        result = result.and(begun.await.map(|_| ()));
    }
    result
}
