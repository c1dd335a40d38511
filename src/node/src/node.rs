//! # Purpose
//! What the listeners share: settings, shards, metadata, and the routes from topic names to partitions.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Instant;

use tidelog_io::Chosen;
use tidelog_io::clock::Clock;
use tidelog_wal::{PartitionState, Recovered, Store, Wal};
use tokio::sync::{Mutex, Semaphore, watch};

use crate::budget::Budget;
use crate::config::Config;
use crate::groups::Groups;
use crate::metadata::Metadata;
use crate::metrics::Metrics;
use crate::places::Places;
use crate::producer_ids::ProducerIds;
use crate::ring::{Beside, Rings};
use crate::routing::forward::Forward;
use crate::shards::Shards;
use crate::spans::seal::Start;
use crate::spans::{Me, OpenedSpan};
use tidelog_meta::{METADATA_SHARD, Partition, Retention, Topic};

/// A shard that runs.
#[derive(Debug)]
pub(crate) struct Shard {
    pub(crate) wal: Wal,
    /// What its opening found.
    pub(crate) recovered: Recovered,
    /// The span that is led here; none in the metadata's shard, and where the last one could not be sealed.
    pub(crate) span: Option<OpenedSpan>,
}

/// A topic as the front ends see it.
#[derive(Debug)]
pub(crate) struct LiveTopic {
    pub(crate) name: String,
    pub(crate) id: String,
    /// The same as a number, as Kafka has it.
    pub(crate) uuid: [u8; 16],
    pub(crate) retention: Retention,
    pub(crate) partitions: Vec<LivePartition>,
}

/// A partition as the front ends see it.
#[derive(Debug)]
pub(crate) struct LivePartition {
    /// Its id within the cluster.
    pub(crate) id: u64,
    /// The shard that takes its records.
    pub(crate) shard: u64,
    /// All places with records of it.
    pub(crate) places: Places,
    /// The log of the shard that takes its records; none where other nodes hold it.
    pub(crate) here: Option<Wal>,
    /// Requests of several batches hold this alone, so that their offsets are consecutive; those of one batch share it.
    pub(crate) turn: Arc<tokio::sync::RwLock<()>>,
}

/// A partition is not served by this node: another one leads its shard, or nobody does at present.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this node does not lead shard {shard}")]
pub(crate) struct NotLed {
    pub(crate) shard: u64,
}

impl LivePartition {
    /// The log that takes its records, if this node leads it.
    pub(crate) fn led(&self) -> Result<&Wal, NotLed> {
        let led = self.here.as_ref().filter(|wal| wal.is_led());
        led.ok_or(NotLed { shard: self.shard })
    }

    /// How it stands in the log that serves it: from where on records are wanted, and the offset of the next one.
    ///
    /// # Errors
    /// It is on its way here, or has just been deleted.
    pub(crate) fn state(&self, wal: &Wal) -> Result<PartitionState, NotLed> {
        let here = wal.partition(self.id).and_then(|here| self.places.state(here));
        here.ok_or(NotLed { shard: self.shard })
    }

    /// Whether this node leads it, and it is here.
    pub(crate) fn is_served(&self) -> bool {
        self.led().is_ok_and(|wal| !self.places.arrives() || self.state(wal).is_ok())
    }

    /// The log that serves it here, whether this node leads it or follows: what is known to be committed can be read.
    pub(crate) fn held(&self) -> Result<&Wal, NotLed> {
        self.here.as_ref().ok_or(NotLed { shard: self.shard })
    }
}

impl LiveTopic {
    /// Whether its partitions are where the metadata has them.
    pub(crate) fn is_placed_as(&self, topic: &Topic) -> bool {
        let same = |(one, listed): (&LivePartition, &Partition)| one.places == Places::from(listed);
        self.partitions.len() == topic.partitions.len()
            && self.partitions.iter().zip(&topic.partitions).all(same)
    }
}

/// Topics that requests find.
#[derive(Debug, Default)]
struct Routes {
    by_name: HashMap<String, Arc<LiveTopic>>,
    by_id: HashMap<[u8; 16], Arc<LiveTopic>>,
}

/// A running node.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) config: Config,
    pub(crate) clock: Clock,
    pub(crate) backend: Chosen,
    pub(crate) store: Store,
    /// Superblock and promises, to be written.
    pub(crate) beside: Beside,
    /// Who this is to the metadata.
    pub(crate) me: Me,
    pub(crate) rings: Arc<Rings>,
    pub(crate) metadata: Metadata,
    pub(crate) metrics: Metrics,
    pub(crate) budget: Budget,
    pub(crate) producer_ids: ProducerIds,
    pub(crate) started: Instant,
    pub(crate) groups: Groups,
    /// On a member of a cluster: its part in the shards that it holds together with others.
    pub(crate) replicated: Option<Shards>,
    /// The way to other nodes' HTTP ports.
    pub(crate) forward: Forward,
    /// True once the node is stopping.
    pub(crate) stopping: watch::Sender<bool>,
    /// True once requests have ended: what is said to other nodes ends too.
    pub(crate) ending: watch::Sender<bool>,
    /// Turns to decompress a large batch, one per processor: more at once would be no faster, and take more memory.
    pub(crate) decompressing: Semaphore,
    /// Counts how often requests began to find other logs.
    routed: watch::Sender<u64>,
    /// Held while topics are created or deleted.
    pub(crate) admin: Mutex<()>,
    shards: RwLock<BTreeMap<u64, Arc<Shard>>>,
    topics: RwLock<Routes>,
    turn: AtomicU32,
}

impl Node {
    pub(crate) fn new(
        config: Config,
        clock: Clock,
        backend: Chosen,
        (store, beside, me): (Store, Beside, Me),
        rings: Arc<Rings>,
        (metadata, replicated): (Metadata, Option<Shards>),
        (stopping, ending): (watch::Sender<bool>, watch::Sender<bool>),
    ) -> Node {
        Node {
            groups: Groups::new(&config.groups, &clock, stopping.subscribe()),
            budget: Budget::new(&config.limits),
            config,
            clock,
            backend,
            store,
            beside,
            me,
            rings,
            metadata,
            replicated,
            metrics: Metrics::default(),
            producer_ids: ProducerIds::default(),
            started: Instant::now(),
            forward: Forward::default(),
            stopping,
            ending,
            decompressing: Semaphore::new(std::thread::available_parallelism().map_or(1, usize::from)),
            routed: watch::Sender::new(0),
            admin: Mutex::new(()),
            shards: RwLock::default(),
            topics: RwLock::default(),
            turn: AtomicU32::new(0),
        }
    }

    /// A number that differs between requests: picks the partition of keyless records.
    pub(crate) fn next_turn(&self) -> u32 {
        self.turn.fetch_add(1, Ordering::Relaxed)
    }

    /// Whether the node is stopping.
    pub(crate) fn is_stopping(&self) -> bool {
        *self.stopping.borrow()
    }

    /// Ends when the node is stopping.
    pub(crate) async fn until_stopping(&self) {
        // The sender lives as long as this node.
        let _ = self.stopping.subscribe().wait_for(|stopping| *stopping).await;
    }

    /// What a shard is opened with.
    pub(crate) fn start(&self) -> Start<'_> {
        Start {
            config: &self.config,
            store: &self.store,
            beside: &self.beside,
            rings: &self.rings,
            metadata: &self.metadata,
            me: self.me,
        }
    }

    pub(crate) fn add_shard(&self, id: u64, shard: Shard) {
        self.shards.write().unwrap_or_else(PoisonError::into_inner).insert(id, Arc::new(shard));
    }

    pub(crate) fn remove_shard(&self, id: u64) {
        self.shards.write().unwrap_or_else(PoisonError::into_inner).remove(&id);
    }

    /// All shards, the metadata's first.
    pub(crate) fn shards(&self) -> Vec<(u64, Arc<Shard>)> {
        let shards = self.shards.read().unwrap_or_else(PoisonError::into_inner);
        shards.iter().map(|(id, shard)| (*id, Arc::clone(shard))).collect()
    }

    /// All shards but the metadata's.
    pub(crate) fn data_shards(&self) -> Vec<(u64, Wal)> {
        let shards = self.shards().into_iter().filter(|(id, _)| *id != METADATA_SHARD);
        shards.map(|(id, shard)| (id, shard.wal.clone())).collect()
    }

    /// The handle of a shard.
    pub(crate) fn wal(&self, id: u64) -> Option<Wal> {
        let shards = self.shards.read().unwrap_or_else(PoisonError::into_inner);
        shards.get(&id).map(|shard| shard.wal.clone())
    }

    /// A reader met damage in a shard: where others hold it too, it is looked for, and fetched again.
    pub(crate) fn met_damage(&self, shard: u64) {
        if let Some(shards) = &self.replicated {
            shards.look_for_damage(shard);
        }
    }

    /// A topic by name.
    pub(crate) fn topic(&self, name: &str) -> Option<Arc<LiveTopic>> {
        self.topics.read().unwrap_or_else(PoisonError::into_inner).by_name.get(name).cloned()
    }

    /// A topic by its id.
    pub(crate) fn topic_by_id(&self, id: [u8; 16]) -> Option<Arc<LiveTopic>> {
        self.topics.read().unwrap_or_else(PoisonError::into_inner).by_id.get(&id).cloned()
    }

    /// Where Kafka's clients find this node: host and port.
    pub(crate) fn kafka_address(&self) -> (String, i32) {
        let at = self.config.reached_by_kafka();
        at.map_or((String::new(), -1), |at| (at.host, at.port.into()))
    }

    /// The same as HOST:PORT; `None` when there is no port for them.
    pub(crate) fn kafka_advertised(&self) -> Option<String> {
        Some(self.config.reached_by_kafka()?.to_string())
    }

    /// All topics, by name.
    pub(crate) fn topics(&self) -> Vec<Arc<LiveTopic>> {
        let topics = self.topics.read().unwrap_or_else(PoisonError::into_inner);
        let mut topics: Vec<_> = topics.by_name.values().cloned().collect();
        topics.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        topics
    }

    /// Routes all topics of the metadata.
    pub(crate) fn route_all(&self) {
        let live: Vec<LiveTopic> = self
            .metadata
            .read(|state| state.topics.iter().map(|(name, topic)| self.live(name, topic)).collect());
        for topic in live {
            self.route(topic);
        }
    }

    /// Whether a partition is one of the metadata's.
    pub(crate) fn has_partition(&self, id: u64) -> bool {
        self.metadata.read(|state| state.partitions().any(|partition| partition.id == id))
    }

    /// A topic of the metadata as it will be routed; `None` when it is not there.
    pub(crate) fn unrouted(&self, name: &str) -> Option<LiveTopic> {
        self.metadata.read(|state| Some(self.live(name, state.topics.get(name)?)))
    }

    /// Ends the route to a topic.
    pub(crate) fn unroute(&self, name: &str) {
        let mut topics = self.topics.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(topic) = topics.by_name.remove(name) {
            topics.by_id.remove(&topic.uuid);
        }
    }

    /// Has requests find the logs that serve these shards now.
    pub(crate) fn reroute(&self, shards: &BTreeSet<u64>) {
        let mut topics = self.topics.write().unwrap_or_else(PoisonError::into_inner);
        let touches =
            |topic: &&Arc<LiveTopic>| topic.partitions.iter().any(|one| shards.contains(&one.shard));
        let touched: Vec<Arc<LiveTopic>> = topics.by_name.values().filter(touches).cloned().collect();
        for topic in touched {
            let partitions = topic.partitions.iter().map(|one| LivePartition {
                id: one.id,
                shard: one.shard,
                places: one.places.clone(),
                here: self.wal(one.shard),
                turn: Arc::clone(&one.turn),
            });
            let partitions = partitions.collect();
            let (name, id) = (topic.name.clone(), topic.id.clone());
            let (uuid, retention) = (topic.uuid, topic.retention);
            let topic = Arc::new(LiveTopic { name, id, uuid, retention, partitions });
            topics.by_name.insert(topic.name.clone(), Arc::clone(&topic));
            topics.by_id.insert(topic.uuid, topic);
        }
        self.has_rerouted();
    }

    /// Requests find something else from now on: those who wait for it look again.
    pub(crate) fn has_rerouted(&self) {
        self.routed.send_modify(|count| *count += 1);
    }

    /// A partition has come to a shard that this node leads.
    pub(crate) fn count_arrival(&self) {
        if let Some(shards) = &self.replicated {
            shards.count_arrival();
        }
    }

    /// The turn to change which partitions live in a shard that others hold too; none on a node that is alone, which changes
    /// them at its start and with its topics.
    pub(crate) fn shard_turn(&self, shard: u64) -> Option<Arc<Mutex<()>>> {
        self.replicated.as_ref()?.turn(shard)
    }

    /// Counts how often requests began to find other logs.
    pub(crate) fn routed(&self) -> watch::Receiver<u64> {
        self.routed.subscribe()
    }

    /// Lets requests find a topic, whose partitions live in their shards.
    pub(crate) fn route(&self, mut topic: LiveTopic) -> Arc<LiveTopic> {
        let mut topics = self.topics.write().unwrap_or_else(PoisonError::into_inner);
        // A shard may have gone on with another log since the topic was looked up.
        for partition in &mut topic.partitions {
            partition.here = self.wal(partition.shard);
        }
        let topic = Arc::new(topic);
        topics.by_name.insert(topic.name.clone(), Arc::clone(&topic));
        topics.by_id.insert(topic.uuid, Arc::clone(&topic));
        topic
    }

    fn live(&self, name: &str, topic: &Topic) -> LiveTopic {
        let partitions = topic.partitions.iter().map(|partition| {
            let (shard, turn) = (partition.shard(), Arc::new(tokio::sync::RwLock::new(())));
            let places = Places::from(partition);
            LivePartition { id: partition.id, shard, places, here: self.wal(shard), turn }
        });
        LiveTopic {
            name: name.to_owned(),
            id: topic.id.clone(),
            // The state takes 32 hex digits only.
            uuid: u128::from_str_radix(&topic.id, 16).unwrap_or_default().to_be_bytes(),
            retention: topic.retention,
            partitions: partitions.collect(),
        }
    }
}
