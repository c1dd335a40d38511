//! The requests of the native HTTP interface, one function each.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hyper::Method;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tidelog_format::batch::Batch;
use tidelog_proto::http::admin::{CreateTopic, TopicDescription, TopicList, Trim, Trimmed};
use tidelog_proto::http::answers::ProduceAnswer;
use tidelog_proto::http::body::{JSON, RAW_BATCH};
use tidelog_proto::http::cluster::{ClusterNode, ClusterStatus, MoveLeader, MovedLeader};
use tidelog_proto::http::error::ErrorCode;
use tidelog_proto::http::groups::{GroupDescription, GroupList, SetOffsets};
use tidelog_proto::http::read_query::ReadQuery;
use tidelog_proto::offset_spec::OffsetSpec;

use crate::address::{Address, encode};
use crate::chunk::From;
use crate::transport::{Ask, Transport};
use crate::{
    Chunk, Consumer, ConsumerOptions, Error, GroupConsumer, GroupOptions, Options, Producer, ProducerOptions,
};

/// A handle to one server; clones share its connections.
#[derive(Debug, Clone)]
pub struct Client {
    transport: Arc<Transport>,
}

impl Client {
    /// Checks that a server answers at `server` (HOST:PORT), once, and keeps the connection.
    ///
    /// # Errors
    /// [`Error::Address`], [`Error::Unreachable`], [`Error::Timeout`]; [`Error::Broken`] when it does not speak HTTP.
    pub async fn connect(server: &str) -> Result<Client, Error> {
        Client::connect_with(server, Options::default()).await
    }

    /// [`Client::connect`] with other times.
    ///
    /// # Errors
    /// As there.
    pub async fn connect_with(server: &str, options: Options) -> Result<Client, Error> {
        let client = Client { transport: Arc::new(Transport::new(Address::parse(server)?, options)) };
        // Any answer will do: a server that is not healthy may still serve what is asked.
        match client.transport.once(&Ask::new(Method::GET, "/healthz".to_owned())).await {
            Ok(_) | Err(Error::Status { .. } | Error::NotFound { .. }) => Ok(client),
            Err(error) => Err(error),
        }
    }

    /// Creates a topic.
    ///
    /// # Errors
    /// [`Error::Status`] with `TopicExists` when there is one of this name. A try whose answer was lost is not repeated.
    pub async fn create_topic(&self, topic: &CreateTopic) -> Result<TopicDescription, Error> {
        let ask = Ask::new(Method::POST, "/v1/topics".to_owned()).body(JSON, json(topic));
        self.decode("creating a topic", self.transport.unrepeatable(&ask).await?)
    }

    /// All topics, by name.
    ///
    /// # Errors
    /// Any [`Error`] of the transport.
    pub async fn list_topics(&self) -> Result<TopicList, Error> {
        let ask = Ask::new(Method::GET, "/v1/topics".to_owned());
        self.decode("listing topics", self.transport.repeatable(&ask).await?)
    }

    /// One topic with its partitions.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn describe_topic(&self, topic: &str) -> Result<TopicDescription, Error> {
        let ask = Ask::new(Method::GET, topic_path(topic));
        self.decode("describing a topic", self.transport.repeatable(&ask).await?)
    }

    /// Deletes a topic with all its records.
    ///
    /// # Errors
    /// [`Error::NotFound`]. A try whose answer was lost is not repeated, since another topic of this name may exist by
    /// then.
    pub async fn delete_topic(&self, topic: &str) -> Result<(), Error> {
        let ask = Ask::new(Method::DELETE, topic_path(topic));
        self.transport.unrepeatable(&ask).await.map(|_| ())
    }

    /// Deletes the records of a partition below `offset`; answers the oldest offset that is kept.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Status`] with `OffsetOutOfRange` above the end.
    pub async fn trim(&self, topic: &str, partition: u32, offset: u64) -> Result<u64, Error> {
        let path = format!("{}/partitions/{partition}/trim", topic_path(topic));
        let ask = Ask::new(Method::POST, path).body(JSON, json(&Trim { offset }));
        let trimmed: Trimmed =
            self.decode("trimming a partition", self.transport.unrepeatable(&ask).await?)?;
        Ok(trimmed.start_offset)
    }

    /// Stores one batch; answers the offset of its first record once it is durable.
    ///
    /// # Errors
    /// When [`Error::outcome_unknown`] says so the batch may be stored; otherwise it is not.
    pub async fn append(&self, topic: &str, partition: u32, batch: Batch) -> Result<u64, Error> {
        let count = u64::from(batch.count());
        let path = format!("{}/records?partition={partition}", topic_path(topic));
        let ask = Ask::new(Method::POST, path).body(RAW_BATCH, batch.freeze());
        let answer: ProduceAnswer = self.decode("producing", self.transport.unrepeatable(&ask).await?)?;
        match answer.partitions.as_slice() {
            [written] if written.partition == partition && written.count == count => Ok(written.base_offset),
            other => {
                let cause = format!("{count} records went to partition {partition}, it tells of {other:?}");
                Err(self.transport.not_understood("producing", cause))
            }
        }
    }

    /// Whole batches of a partition, one behind the other; empty when there are none yet. The first one may begin
    /// below the offset asked for.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Status`] with `OffsetOutOfRange` below the start or above the end.
    pub async fn fetch(&self, topic: &str, partition: u32, query: &ReadQuery) -> Result<Bytes, Error> {
        let path = format!("{}/partitions/{partition}/records?{}", topic_path(topic), query.to_query());
        let wait = Duration::from_millis(query.wait_ms);
        let ask = Ask { accept: RAW_BATCH, wait, ..Ask::new(Method::GET, path) };
        self.transport.repeatable(&ask).await
    }

    /// The offset of the first record of a partition whose timestamp (ms since 1970) is at or after `timestamp`, if
    /// there is one.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn offset_at(&self, topic: &str, partition: u32, timestamp: i64) -> Result<Option<u64>, Error> {
        let query =
            ReadQuery { from: OffsetSpec::Timestamp(timestamp), max_bytes: 1, wait_ms: 0, any_holder: false };
        let bytes = self.fetch(topic, partition, &query).await?;
        let chunk = Chunk::check(partition, bytes, From::Timestamp(timestamp), u64::MAX)
            .map_err(|fault| self.not_understood("reading", fault))?;
        let first = chunk.for_each(&mut Vec::new(), |offset, _| ControlFlow::Break(offset))?;
        Ok(first.break_value())
    }

    /// A producer for one topic. A topic that does not exist is created if the server does that.
    ///
    /// # Errors
    /// [`Error::NotFound`] when the server does not.
    pub async fn producer(&self, topic: &str, options: ProducerOptions) -> Result<Producer, Error> {
        let description = match self.describe_topic(topic).await {
            Err(Error::NotFound { code: ErrorCode::UnknownTopic, .. }) => {
                self.write_nothing(topic).await?;
                self.describe_topic(topic).await?
            }
            described => described?,
        };
        let partitions = u32::try_from(description.partitions.len()).unwrap_or(u32::MAX);
        // std's hash seeds are the randomness at hand that needs no further crate.
        let turn = RandomState::new().build_hasher().finish() as u32;
        Ok(Producer::new(self.clone(), topic, partitions, turn, options))
    }

    /// A request to produce no records: it makes the server create the topic if it does that.
    async fn write_nothing(&self, topic: &str) -> Result<(), Error> {
        let path = format!("{}/records", topic_path(topic));
        let ask = Ask::new(Method::POST, path).body(JSON, Bytes::from_static(b"{\"records\":[]}"));
        self.transport.repeatable(&ask).await.map(|_| ())
    }

    /// Reads the given partitions of a topic (none given: all), each from where the options say.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::NoPartition`].
    pub async fn consumer(
        &self,
        topic: &str,
        partitions: &[u32],
        options: ConsumerOptions,
    ) -> Result<Consumer, Error> {
        let description = self.describe_topic(topic).await?;
        Consumer::new(self.clone(), &description, partitions, options)
    }

    /// Reads a topic as a member of a consumer group, which shares the partitions out among its members.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::NoKafka`] when the server has no port for Kafka's protocol, by which groups work.
    pub async fn group_consumer(
        &self,
        group: &str,
        topic: &str,
        options: GroupOptions,
    ) -> Result<GroupConsumer, Error> {
        self.describe_topic(topic).await?;
        let ask = Ask::new(Method::GET, "/v1/status".to_owned());
        let status: Status = self.decode("its status", self.transport.repeatable(&ask).await?)?;
        let kafka =
            status.kafka.ok_or_else(|| Error::NoKafka { server: self.transport.server().to_owned() })?;
        Ok(GroupConsumer::new(self.clone(), kafka, group, topic, options))
    }

    /// The cluster: nodes, shards, who leads what.
    ///
    /// # Errors
    /// Any [`Error`] of the transport.
    pub async fn cluster(&self) -> Result<ClusterStatus, Error> {
        let ask = Ask::new(Method::GET, "/v1/cluster".to_owned());
        self.decode("the cluster's status", self.transport.repeatable(&ask).await?)
    }

    /// Has another node lead a shard.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Status`] with `NotAHolder`, `HolderBehind` or `NodeState`: then nothing was moved.
    pub async fn move_leader(&self, shard: u64, node: u64) -> Result<MovedLeader, Error> {
        let path = format!("/v1/cluster/shards/{shard}/leader");
        let ask = Ask::new(Method::POST, path).body(JSON, json(&MoveLeader { node }));
        self.decode("moving a leader", self.transport.repeatable(&ask).await?)
    }

    /// Has a node emptied, or, with `cancel`, take new spans again.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Status`] with `NodeNeeded` or `NodeState`: then nothing was changed.
    pub async fn drain(&self, node: u64, cancel: bool) -> Result<ClusterNode, Error> {
        let method = if cancel { Method::DELETE } else { Method::POST };
        let ask = Ask::new(method, format!("/v1/cluster/nodes/{node}/drain"));
        self.decode("draining a node", self.transport.repeatable(&ask).await?)
    }

    /// Has a node leave for ever; with `force` one that is lost.
    ///
    /// # Errors
    /// As of [`Client::drain`].
    pub async fn remove_node(&self, node: u64, force: bool) -> Result<ClusterNode, Error> {
        let ask = Ask::new(Method::DELETE, format!("/v1/cluster/nodes/{node}?force={force}"));
        self.decode("removing a node", self.transport.repeatable(&ask).await?)
    }

    /// All consumer groups, by name.
    ///
    /// # Errors
    /// Any [`Error`] of the transport.
    pub async fn list_groups(&self) -> Result<GroupList, Error> {
        let ask = Ask::new(Method::GET, "/v1/groups".to_owned());
        self.decode("listing groups", self.transport.repeatable(&ask).await?)
    }

    /// One group with its members and offsets.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn describe_group(&self, group: &str) -> Result<GroupDescription, Error> {
        let ask = Ask::new(Method::GET, group_path(group));
        self.decode("describing a group", self.transport.repeatable(&ask).await?)
    }

    /// Moves a group without members; a group that does not exist is made by it.
    ///
    /// # Errors
    /// [`Error::Status`] with `GroupNotEmpty` or `OffsetOutOfRange`; then nothing was moved.
    pub async fn set_group_offsets(&self, group: &str, offsets: &SetOffsets) -> Result<(), Error> {
        let path = format!("{}/offsets", group_path(group));
        let ask = Ask::new(Method::POST, path).body(JSON, json(offsets));
        self.transport.repeatable(&ask).await.map(|_| ())
    }

    /// Deletes a group without members, with its offsets.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Status`] with `GroupNotEmpty`.
    pub async fn delete_group(&self, group: &str) -> Result<(), Error> {
        let ask = Ask::new(Method::DELETE, group_path(group));
        self.transport.unrepeatable(&ask).await.map(|_| ())
    }

    /// How long passing failures are tried again.
    pub(crate) fn retry_for(&self) -> Duration {
        self.transport.retry_for()
    }

    fn decode<T: DeserializeOwned>(&self, what: &str, body: Bytes) -> Result<T, Error> {
        serde_json::from_slice(&body).map_err(|cause| self.transport.not_understood(what, cause))
    }

    /// An answer that makes no sense.
    pub(crate) fn not_understood(&self, what: &str, cause: impl ToString) -> Error {
        self.transport.not_understood(what, cause)
    }
}

/// What is needed of the server's status.
#[derive(Debug, serde::Deserialize)]
struct Status {
    /// HOST:PORT; absent when that port is off.
    kafka: Option<String>,
}

fn group_path(group: &str) -> String {
    format!("/v1/groups/{}", encode(group))
}

fn topic_path(topic: &str) -> String {
    format!("/v1/topics/{}", encode(topic))
}

fn json(request: &impl Serialize) -> Bytes {
    // Plain structs of numbers and strings always become JSON; if not, the server refuses the empty body.
    serde_json::to_vec(request).unwrap_or_default().into()
}

#[cfg(test)]
#[path = "client_tests.rs"]
mod tests;
