//! Creating, deleting, growing, trimming and describing topics, as Kafka's clients ask for it.

use std::sync::Arc;

use tidelog_proto::http::admin::{CreateTopic, check_writable_topic_name};
use tidelog_proto::kafka::ErrorCode;
use tidelog_proto::kafka::create_partitions::{
    CreatePartitionsRequest, CreatePartitionsResponse, CreatePartitionsTopic, CreatePartitionsTopicResult,
};
use tidelog_proto::kafka::create_topics::{
    CreatableTopic, CreatableTopicConfigs, CreatableTopicResult, CreateTopicsRequest, CreateTopicsResponse,
};
use tidelog_proto::kafka::delete_records::{
    DeleteRecordsPartitionResult, DeleteRecordsRequest, DeleteRecordsResponse, DeleteRecordsTopicResult,
};
use tidelog_proto::kafka::delete_topics::{DeletableTopicResult, DeleteTopicsRequest, DeleteTopicsResponse};

use super::configs::{self, Setting};
use super::failure;
use super::metadata::{broker, find};
use super::produce::offset;
use crate::failure::Failure;
use crate::node::{LiveTopic, Node};
use crate::routing::Durability;
use crate::routing::seat;

/// Partitions or replicas: "what the server takes by default".
const DEFAULT: i32 = -1;

/// Why something is refused, in the code and in words.
pub(super) type Refusal = (ErrorCode, String);

pub(super) fn refusal(failure: &Failure) -> Refusal {
    (failure::of(failure), failure.message.clone())
}

pub(super) async fn create_topics(node: &Arc<Node>, request: CreateTopicsRequest) -> CreateTopicsResponse {
    let mut topics = Vec::with_capacity(request.topics.len());
    for topic in &request.topics {
        let twice = request.topics.iter().filter(|other| other.name == topic.name).count() > 1;
        let made = if twice {
            Err((ErrorCode::InvalidRequest, "the topic is named twice in this request".to_owned()))
        } else {
            create(node, topic, request.validate_only).await
        };
        topics.push(made.unwrap_or_else(|(code, message)| CreatableTopicResult {
            name: topic.name.clone(),
            error_code: code.into(),
            error_message: Some(message),
            ..CreatableTopicResult::default()
        }));
    }
    CreateTopicsResponse { topics, throttle_time_ms: 0 }
}

async fn create(
    node: &Arc<Node>,
    topic: &CreatableTopic,
    validate_only: bool,
) -> Result<CreatableTopicResult, Refusal> {
    let request = checked(node, topic)?;
    let exists = || (ErrorCode::TopicAlreadyExists, format!("topic `{}` exists", topic.name));
    if node.topic(&topic.name).is_some() {
        return Err(exists());
    }
    let retention = node.retention_of(&request.config);
    let (topic_id, replicas, durability) = if validate_only {
        ([0; 16], 1, node.metadata.read(|state| Durability::of(state, [])))
    } else {
        let made = node.create_topic(&request).await.map_err(|failure| refusal(&failure))?;
        (made.uuid, replicas(node, &made), Durability::of_topic(node, &made))
    };
    let configs =
        configs::of_topic(node, retention, durability).into_iter().map(|setting| CreatableTopicConfigs {
            name: setting.name.to_owned(),
            value: Some(setting.value),
            read_only: setting.read_only,
            config_source: setting.source,
            is_sensitive: false,
        });
    Ok(CreatableTopicResult {
        name: topic.name.clone(),
        topic_id,
        num_partitions: i32::try_from(request.partitions).unwrap_or(i32::MAX),
        replication_factor: replicas,
        configs: Some(configs.collect()),
        ..CreatableTopicResult::default()
    })
}

/// How many nodes hold a topic, whatever was asked for.
fn replicas(node: &Node, topic: &LiveTopic) -> i16 {
    let shard = topic.partitions.first().map_or(0, |partition| partition.shard);
    i16::try_from(node.metadata.read(|state| seat(state, shard).holders.len())).unwrap_or(i16::MAX)
}

/// How many partitions are assigned: each of them once, to us.
fn assigned(node: &Node, topic: &CreatableTopic) -> Result<i32, Refusal> {
    let us = [broker(node)];
    let mut numbers: Vec<i32> = topic.assignments.iter().map(|one| one.partition_index).collect();
    numbers.sort_unstable();
    let each_once = (0..).zip(&numbers).all(|(wanted, number)| wanted == *number);
    let ours = topic.assignments.iter().all(|one| one.broker_ids == us);
    if topic.num_partitions == DEFAULT && each_once && ours {
        return Ok(i32::try_from(numbers.len()).unwrap_or(i32::MAX));
    }
    let message =
        format!("partitions can only be assigned to broker {}, each once, and then not be counted", us[0]);
    Err((ErrorCode::InvalidReplicaAssignment, message))
}

/// How many nodes may hold a copy.
fn nodes(node: &Node) -> i16 {
    let nodes = node.metadata.read(|state| state.nodes.values().filter(|one| one.state.counts()).count());
    i16::try_from(nodes).unwrap_or(i16::MAX)
}

/// What is asked, in our words.
fn checked(node: &Node, topic: &CreatableTopic) -> Result<CreateTopic, Refusal> {
    check_writable_topic_name(&topic.name)
        .map_err(|error| (ErrorCode::InvalidTopicException, error.to_string()))?;
    let mut count = topic.num_partitions;
    if !topic.assignments.is_empty() {
        count = assigned(node, topic)?;
    } else if topic.replication_factor != -1 && !(1..=nodes(node)).contains(&topic.replication_factor) {
        let (asked, nodes) = (topic.replication_factor, nodes(node));
        let message = format!("replication factor {asked}: there are {nodes} nodes");
        return Err((ErrorCode::InvalidReplicationFactor, message));
    }
    let partitions = match count {
        DEFAULT => node.config.topics.partitions,
        count => u32::try_from(count).unwrap_or(0),
    };
    let config = configs::checked(&topic.configs, node.config.limits.batch_bytes)?;
    let request = CreateTopic { name: topic.name.clone(), partitions, config };
    request.check().map_err(|error| (ErrorCode::InvalidPartitions, error.to_string()))?;
    Ok(request)
}

pub(super) async fn delete_topics(
    node: &Arc<Node>,
    version: i16,
    request: DeleteTopicsRequest,
) -> DeleteTopicsResponse {
    let mut responses = Vec::new();
    let named = request.topic_names.into_iter().map(|name| (Some(name), [0; 16]));
    for (name, topic_id) in named.chain(request.topics.into_iter().map(|topic| (topic.name, topic.topic_id)))
    {
        let by_id = name.is_none();
        let outcome = match find(node, by_id, name.as_deref().unwrap_or_default(), topic_id) {
            Ok(topic) => delete(node, &topic).await.map(|()| topic),
            Err(code) => Err((code, "there is no such topic".to_owned())),
        };
        responses.push(match outcome {
            Ok(topic) => DeletableTopicResult {
                name: Some(topic.name.clone()),
                topic_id: topic.uuid,
                ..DeletableTopicResult::default()
            },
            Err((code, message)) => DeletableTopicResult {
                // Null is allowed in the last version only.
                name: name.or((version < 6).then(String::new)),
                topic_id,
                error_code: code.into(),
                error_message: Some(message),
            },
        });
    }
    DeleteTopicsResponse { responses, throttle_time_ms: 0 }
}

async fn delete(node: &Arc<Node>, topic: &LiveTopic) -> Result<(), Refusal> {
    check_writable_topic_name(&topic.name)
        .map_err(|error| (ErrorCode::InvalidTopicException, error.to_string()))?;
    node.delete_topic(&topic.name).await.map(|_| ()).map_err(|failure| refusal(&failure))
}

pub(super) async fn create_partitions(
    node: &Arc<Node>,
    request: CreatePartitionsRequest,
) -> CreatePartitionsResponse {
    let mut results = Vec::with_capacity(request.topics.len());
    for topic in request.topics {
        let outcome = grow(node, &topic, request.validate_only).await.err();
        results.push(CreatePartitionsTopicResult {
            name: topic.name,
            error_code: outcome.as_ref().map_or(0, |(code, _)| code.number()),
            error_message: outcome.map(|(_, message)| message),
        });
    }
    CreatePartitionsResponse { results, throttle_time_ms: 0 }
}

async fn grow(node: &Arc<Node>, topic: &CreatePartitionsTopic, validate_only: bool) -> Result<(), Refusal> {
    check_writable_topic_name(&topic.name)
        .map_err(|error| (ErrorCode::InvalidTopicException, error.to_string()))?;
    let us = [broker(node)];
    let assigned = topic.assignments.iter().flatten();
    if assigned.into_iter().any(|one| one.broker_ids != us) {
        let message = format!("partitions can only be assigned to broker {}", us[0]);
        return Err((ErrorCode::InvalidReplicaAssignment, message));
    }
    let live = node.topic(&topic.name).ok_or_else(|| refusal(&Failure::no_topic(&topic.name)))?;
    let total = u32::try_from(topic.count).unwrap_or(0);
    let wanted = CreateTopic {
        name: topic.name.clone(),
        partitions: total,
        config: tidelog_proto::http::admin::TopicConfig::default(),
    };
    wanted.check().map_err(|error| (ErrorCode::InvalidPartitions, error.to_string()))?;
    if total as usize <= live.partitions.len() {
        let message = format!("topic `{}` has {} partitions already", topic.name, live.partitions.len());
        return Err((ErrorCode::InvalidPartitions, message));
    }
    let new = total as usize - live.partitions.len();
    if let Some(given) = topic.assignments.as_ref().map(Vec::len).filter(|given| *given != new) {
        let message = format!("{new} partitions are to be added, {given} are assigned");
        return Err((ErrorCode::InvalidReplicaAssignment, message));
    }
    if validate_only {
        return Ok(());
    }
    node.add_partitions(&topic.name, total).await.map(|_| ()).map_err(|failure| refusal(&failure))
}

pub(super) async fn delete_records(node: &Arc<Node>, request: DeleteRecordsRequest) -> DeleteRecordsResponse {
    let mut topics = Vec::with_capacity(request.topics.len());
    for topic in request.topics {
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for asked in topic.partitions {
            let mut result = DeleteRecordsPartitionResult {
                partition_index: asked.partition_index,
                ..DeleteRecordsPartitionResult::default()
            };
            match trim(node, &topic.name, asked.partition_index, asked.offset).await {
                Ok(start) => result.low_watermark = offset(start),
                Err(code) => result.error_code = code.into(),
            }
            partitions.push(result);
        }
        topics.push(DeleteRecordsTopicResult { name: topic.name, partitions });
    }
    DeleteRecordsResponse { topics, throttle_time_ms: 0 }
}

/// The oldest offset that is kept then. Offset -1 stands for the end.
async fn trim(node: &Arc<Node>, name: &str, index: i32, to: i64) -> Result<u64, ErrorCode> {
    let unknown = ErrorCode::UnknownTopicOrPartition;
    let number = u32::try_from(index).map_err(|_| unknown)?;
    let topic = node.topic(name).ok_or(unknown)?;
    let live = topic.partition(number).map_err(|_| unknown)?;
    let to = match to {
        -1 => live.state(live.led()?)?.next_offset,
        to => u64::try_from(to).map_err(|_| ErrorCode::OffsetOutOfRange)?,
    };
    node.trim(name, number, to).await.map_err(|failure| failure::of(&failure))
}

impl Setting {
    /// Whether a request that names its settings wants this one.
    pub(super) fn is_wanted(&self, names: Option<&Vec<String>>) -> bool {
        names.is_none_or(|names| names.iter().any(|name| name == self.name))
    }
}
