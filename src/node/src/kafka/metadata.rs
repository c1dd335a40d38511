//! Metadata: who we are, which topics there are, and that we lead all of them.

use std::sync::Arc;

use tidelog_proto::kafka::ErrorCode;
use tidelog_proto::kafka::describe_cluster::{DescribeClusterBroker, DescribeClusterResponse};
use tidelog_proto::kafka::metadata::{
    MetadataRequest, MetadataResponse, MetadataResponseBroker, MetadataResponsePartition,
    MetadataResponseTopic,
};

use super::failure;
use crate::failure::Failure;
use crate::node::{LiveTopic, Node};

/// A topic's id on the wire.
pub(super) type Uuid = [u8; 16];
/// Stands for "no topic id".
const NO_ID: Uuid = [0; 16];

pub(super) async fn metadata(node: &Arc<Node>, version: i16, request: MetadataRequest) -> MetadataResponse {
    let create = request.allow_auto_topic_creation;
    let topics = match request.topics {
        // In the first version no topics mean all of them.
        Some(named) if !(named.is_empty() && version == 0) => {
            let mut topics = Vec::with_capacity(named.len());
            for topic in named {
                topics.push(match topic.name {
                    Some(name) => by_name(node, name, create).await,
                    None => by_id(node, topic.topic_id),
                });
            }
            topics
        }
        _ => node.topics().iter().map(|topic| describe(node, topic)).collect(),
    };
    let (host, port) = node.kafka_address();
    MetadataResponse {
        brokers: vec![MetadataResponseBroker { node_id: broker(node), host, port, rack: None }],
        cluster_id: Some(cluster_id(node)),
        controller_id: broker(node),
        topics,
        ..MetadataResponse::default()
    }
}

pub(super) fn describe_cluster(node: &Node) -> DescribeClusterResponse {
    let (host, port) = node.kafka_address();
    DescribeClusterResponse {
        cluster_id: cluster_id(node),
        controller_id: broker(node),
        brokers: vec![DescribeClusterBroker { broker_id: broker(node), host, port, ..Default::default() }],
        ..DescribeClusterResponse::default()
    }
}

/// Our number as a broker.
pub(super) fn broker(node: &Node) -> i32 {
    i32::try_from(node.me.node).unwrap_or(i32::MAX)
}

fn cluster_id(node: &Node) -> String {
    node.store.cluster().iter().map(|byte| format!("{byte:02x}")).collect()
}

async fn by_name(node: &Arc<Node>, name: String, create: bool) -> MetadataResponseTopic {
    let found = match node.topic(&name) {
        Some(topic) => Ok(topic),
        None if create => node.topic_to_write(&name).await,
        None => Err(Failure::no_topic(&name)),
    };
    match found {
        Ok(topic) => describe(node, &topic),
        Err(failure) => MetadataResponseTopic {
            error_code: failure::of(&failure).into(),
            name: Some(name),
            ..MetadataResponseTopic::default()
        },
    }
}

fn by_id(node: &Node, topic_id: Uuid) -> MetadataResponseTopic {
    match find(node, true, "", topic_id) {
        Ok(topic) => describe(node, &topic),
        Err(code) => {
            MetadataResponseTopic { error_code: code.into(), topic_id, ..MetadataResponseTopic::default() }
        }
    }
}

fn describe(node: &Node, topic: &LiveTopic) -> MetadataResponseTopic {
    let us = broker(node);
    let partitions =
        (0..).zip(&topic.partitions).map(|(partition_index, partition)| MetadataResponsePartition {
            partition_index,
            leader_id: us,
            leader_epoch: super::fetch::epoch(partition),
            replica_nodes: vec![us],
            isr_nodes: vec![us],
            ..MetadataResponsePartition::default()
        });
    MetadataResponseTopic {
        name: Some(topic.name.clone()),
        topic_id: topic.uuid,
        is_internal: topic.name.starts_with("__"),
        partitions: partitions.collect(),
        ..MetadataResponseTopic::default()
    }
}

/// The topic that a request means, by its id where the version has one.
pub(super) fn find(
    node: &Node,
    by_id: bool,
    name: &str,
    topic_id: Uuid,
) -> Result<Arc<LiveTopic>, ErrorCode> {
    if by_id {
        let found = node.topic_by_id(topic_id).filter(|_| topic_id != NO_ID);
        found.ok_or(ErrorCode::UnknownTopicId)
    } else {
        node.topic(name).ok_or(ErrorCode::UnknownTopicOrPartition)
    }
}
