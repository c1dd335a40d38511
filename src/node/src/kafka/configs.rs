//! Settings of topics and of this broker under Kafka's names, as they truly are.

use tidelog_proto::http::admin::TopicConfig;
use tidelog_proto::kafka::ErrorCode;
use tidelog_proto::kafka::create_topics::CreatableTopicConfig;
use tidelog_proto::kafka::describe_configs::{
    DescribeConfigsRequest, DescribeConfigsResource, DescribeConfigsResourceResult, DescribeConfigsResponse,
    DescribeConfigsResult, DescribeConfigsSynonym,
};

use super::admin::{Refusal, refusal};
use super::metadata::broker;
use crate::failure::Failure;
use crate::node::Node;
use crate::routing::{self, Durability};
use tidelog_meta::Retention;

/// Kinds of resources on the wire.
const TOPIC: i8 = 2;
const BROKER: i8 = 4;
/// Where a value comes from, on the wire.
const OF_TOPIC: i8 = 1;
const OF_BROKER: i8 = 4;
const BY_DEFAULT: i8 = 5;
/// Types of values on the wire.
const BOOLEAN: i8 = 1;
const STRING: i8 = 2;
const INT: i8 = 3;
const LONG: i8 = 5;
const LIST: i8 = 7;

/// A setting with its value.
#[derive(Debug)]
pub(super) struct Setting {
    pub(super) name: &'static str,
    pub(super) value: String,
    pub(super) read_only: bool,
    pub(super) source: i8,
    kind: i8,
    documentation: &'static str,
}

fn fixed(name: &'static str, value: impl ToString, kind: i8, documentation: &'static str) -> Setting {
    Setting { name, value: value.to_string(), read_only: true, source: BY_DEFAULT, kind, documentation }
}

/// The settings of a topic.
pub(super) fn of_topic(node: &Node, retention: Retention, durability: Durability) -> Vec<Setting> {
    let limit = |value: Option<u64>| value.map_or_else(|| "-1".to_owned(), |value| value.to_string());
    let source = |value: Option<u64>| if value.is_some() { OF_TOPIC } else { BY_DEFAULT };
    let retained = |name, value, documentation| Setting {
        name,
        value: limit(value),
        read_only: true,
        source: source(value),
        kind: LONG,
        documentation,
    };
    vec![
        fixed("cleanup.policy", "delete", LIST, "Records go by age, size and trimming."),
        fixed("compression.type", "producer", STRING, "Batches are kept as they were sent."),
        fixed(
            "flush.messages",
            1,
            LONG,
            "Every batch is made durable before it is acknowledged, together with those that wait.",
        ),
        fixed("max.message.bytes", node.config.limits.batch_bytes, INT, "Longest batch."),
        fixed("message.timestamp.type", "CreateTime", STRING, "Timestamps are the producer's."),
        fixed(
            "min.insync.replicas",
            durability.quorum,
            INT,
            "Replicas on which a batch is durable before it is acknowledged.",
        ),
        retained("retention.bytes", retention.max_bytes, "Bytes of a partition that are kept; -1: all."),
        retained("retention.ms", retention.max_age_ms, "Age up to which records are kept; -1: any."),
        fixed(
            "segment.bytes",
            node.config.storage.segment_bytes,
            INT,
            "Size of a segment, which partitions share.",
        ),
        fixed("tidelog.durability", durability, STRING, "What an acknowledgement means."),
        fixed("unclean.leader.election.enable", false, BOOLEAN, "Nothing acknowledged is given up."),
    ]
}

fn of_broker(node: &Node) -> Vec<Setting> {
    let told = |name, value: String, kind, documentation| Setting {
        name,
        value,
        read_only: true,
        source: OF_BROKER,
        kind,
        documentation,
    };
    let (host, port) = node.kafka_address();
    let topics = &node.config.topics;
    let (durability, replicas) =
        node.metadata.read(|state| (Durability::of_all(state), routing::wanted(state).max(1)));
    vec![
        told("advertised.listeners", format!("PLAINTEXT://{host}:{port}"), STRING, "Where clients find it."),
        told(
            "auto.create.topics.enable",
            topics.auto_create.to_string(),
            BOOLEAN,
            "Whether naming a topic creates it.",
        ),
        told("broker.id", broker(node).to_string(), INT, "Its number."),
        fixed("default.replication.factor", replicas, INT, "Replicas of a new topic."),
        told("message.max.bytes", node.config.limits.batch_bytes.to_string(), INT, "Longest batch."),
        told(
            "num.partitions",
            topics.partitions.to_string(),
            INT,
            "Partitions of a topic created on the way.",
        ),
        fixed("tidelog.durability", durability, STRING, "What an acknowledgement means."),
    ]
}

/// The settings of a new topic in our words. What would not be true is refused.
///
/// `max_batch` is the longest batch that the node takes.
pub(super) fn checked(configs: &[CreatableTopicConfig], max_batch: u64) -> Result<TopicConfig, Refusal> {
    let mut checked = TopicConfig::default();
    for config in configs {
        let Some(value) = config.value.as_deref() else { continue };
        let limit = || match value.parse::<i64>() {
            Ok(-1) => Ok(None),
            Ok(limit) if limit > 0 => Ok(u64::try_from(limit).ok()),
            _ => Err(invalid(&config.name, value, "a number above 0, or -1 for no limit")),
        };
        let only = |truth: &str| {
            if value.eq_ignore_ascii_case(truth) { Ok(()) } else { Err(invalid(&config.name, value, truth)) }
        };
        match config.name.as_str() {
            "retention.ms" => checked.retention_ms = limit()?,
            "retention.bytes" => checked.retention_bytes = limit()?,
            "cleanup.policy" => only("delete")?,
            "compression.type" => only("producer")?,
            "message.timestamp.type" => only("CreateTime")?,
            "min.insync.replicas" | "flush.messages" => only("1")?,
            "unclean.leader.election.enable" => only("false")?,
            "max.message.bytes" => match value.parse::<u64>() {
                Ok(bytes) if bytes <= max_batch => {}
                _ => {
                    return Err(invalid(&config.name, value, &format!("0 to {max_batch}, the node's limit")));
                }
            },
            "remote.storage.enable" | "preallocate" => only("false")?,
            name if is_without_effect(name) => {}
            name => {
                return Err((ErrorCode::InvalidConfig, format!("there is no setting `{name}` of a topic")));
            }
        }
    }
    checked.check().map_err(|error| (ErrorCode::InvalidConfig, error.to_string()))?;
    Ok(checked)
}

/// Settings that clients send out of habit and that promise nothing: how storage is cut up and written is the node's
/// matter, and compaction's settings matter only with the policy that is refused.
fn is_without_effect(name: &str) -> bool {
    const NAMES: [&str; 12] = [
        "segment.bytes",
        "segment.ms",
        "segment.jitter.ms",
        "segment.index.bytes",
        "index.interval.bytes",
        "file.delete.delay.ms",
        "flush.ms",
        "delete.retention.ms",
        "min.cleanable.dirty.ratio",
        "min.compaction.lag.ms",
        "max.compaction.lag.ms",
        "message.downconversion.enable",
    ];
    NAMES.contains(&name)
}

fn invalid(name: &str, value: &str, allowed: &str) -> Refusal {
    (ErrorCode::InvalidConfig, format!("`{name}` is `{value}`, can be: {allowed}"))
}

pub(super) fn describe(node: &Node, request: &DescribeConfigsRequest) -> DescribeConfigsResponse {
    let results = request.resources.iter().map(|resource| {
        let found = settings(node, resource);
        let mut result = DescribeConfigsResult {
            resource_type: resource.resource_type,
            resource_name: resource.resource_name.clone(),
            ..DescribeConfigsResult::default()
        };
        match found {
            Ok(settings) => {
                let wanted =
                    settings.into_iter().filter(|one| one.is_wanted(resource.configuration_keys.as_ref()));
                result.configs = wanted.map(|one| one.described(request)).collect();
            }
            Err((code, message)) => {
                (result.error_code, result.error_message) = (code.into(), Some(message));
            }
        }
        result
    });
    DescribeConfigsResponse { results: results.collect(), throttle_time_ms: 0 }
}

fn settings(node: &Node, resource: &DescribeConfigsResource) -> Result<Vec<Setting>, Refusal> {
    let name = &resource.resource_name;
    match resource.resource_type {
        TOPIC => {
            let topic = node.topic(name).ok_or_else(|| refusal(&Failure::no_topic(name)))?;
            Ok(of_topic(node, topic.retention, Durability::of_topic(node, &topic)))
        }
        BROKER if name.is_empty() || *name == broker(node).to_string() => Ok(of_broker(node)),
        BROKER => Err((ErrorCode::InvalidRequest, format!("there is no broker {name}"))),
        kind => Err((ErrorCode::InvalidRequest, format!("resources of type {kind} have no settings here"))),
    }
}

impl Setting {
    fn described(self, request: &DescribeConfigsRequest) -> DescribeConfigsResourceResult {
        let synonym = DescribeConfigsSynonym {
            name: self.name.to_owned(),
            value: Some(self.value.clone()),
            source: self.source,
        };
        DescribeConfigsResourceResult {
            name: self.name.to_owned(),
            value: Some(self.value),
            read_only: self.read_only,
            config_source: self.source,
            is_sensitive: false,
            synonyms: if request.include_synonyms { vec![synonym] } else { Vec::new() },
            config_type: self.kind,
            documentation: request.include_documentation.then(|| self.documentation.to_owned()),
        }
    }
}
