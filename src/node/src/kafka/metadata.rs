//! Metadata: which nodes and topics there are, and who leads which partition.

use std::sync::Arc;

use tidelog_proto::kafka::ErrorCode;
use tidelog_proto::kafka::describe_cluster::{DescribeClusterBroker, DescribeClusterResponse};
use tidelog_proto::kafka::metadata::{
    MetadataRequest, MetadataResponse, MetadataResponseBroker, MetadataResponsePartition,
    MetadataResponseTopic,
};

use tidelog_meta::State;
use tidelog_proto::kafka::produce::LeaderIdAndEpoch;

use super::failure;
use super::fetch::epoch;
use crate::config::Advertised;
use crate::failure::Failure;
use crate::node::{LivePartition, LiveTopic, Node};
use crate::routing::{Seat, reached_by_kafka, seat};

/// A topic's id on the wire.
pub(super) type Uuid = [u8; 16];
/// Stands for "no broker".
const NOBODY: i32 = -1;
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
        _ => {
            let topics = node.topics();
            node.metadata.read(|state| topics.iter().map(|topic| describe(node, state, topic)).collect())
        }
    };
    MetadataResponse {
        brokers: node.metadata.read(|state| brokers(state).map(Broker::listed).collect()),
        cluster_id: Some(cluster_id(node)),
        controller_id: controller(node),
        topics,
        ..MetadataResponse::default()
    }
}

pub(super) fn describe_cluster(node: &Node) -> DescribeClusterResponse {
    DescribeClusterResponse {
        cluster_id: cluster_id(node),
        controller_id: controller(node),
        brokers: node.metadata.read(|state| brokers(state).map(Broker::described).collect()),
        ..DescribeClusterResponse::default()
    }
}

/// A node that takes Kafka's clients.
struct Broker {
    id: i32,
    at: Advertised,
    rack: Option<String>,
}

/// All of them, by number.
fn brokers(state: &State) -> impl Iterator<Item = Broker> {
    state.nodes.iter().filter_map(|(node, known)| {
        let rack = Some(known.info.rack.clone()).filter(|rack| !rack.is_empty());
        Some(Broker { id: number(*node), at: reached_by_kafka(known)?, rack })
    })
}

impl Broker {
    fn listed(self) -> MetadataResponseBroker {
        let Advertised { host, port } = self.at;
        MetadataResponseBroker { node_id: self.id, host, port: port.into(), rack: self.rack }
    }

    fn described(self) -> DescribeClusterBroker {
        let Advertised { host, port } = self.at;
        let (broker_id, rack) = (self.id, self.rack);
        DescribeClusterBroker { broker_id, host, port: port.into(), rack, ..Default::default() }
    }
}

/// Whom clients ask for changes: the node that leads the metadata's group. Every other one does as well.
fn controller(node: &Node) -> i32 {
    let leads = node.metadata.member().and_then(|member| member.standing().leader);
    let leads = leads.and_then(|leader| {
        node.metadata.read(|state| {
            let leads = state.node_of(leader.store)?;
            reached_by_kafka(state.nodes.get(&leads)?).map(|_| leads)
        })
    });
    leads.map_or(broker(node), number)
}

/// A node's number as a broker's.
pub(super) fn number(node: u64) -> i32 {
    i32::try_from(node).unwrap_or(i32::MAX)
}

/// Our number as a broker.
pub(super) fn broker(node: &Node) -> i32 {
    number(node.me.node)
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
        Ok(topic) => node.metadata.read(|state| describe(node, state, &topic)),
        Err(failure) => MetadataResponseTopic {
            error_code: failure::of(&failure).into(),
            name: Some(name),
            ..MetadataResponseTopic::default()
        },
    }
}

fn by_id(node: &Node, topic_id: Uuid) -> MetadataResponseTopic {
    match find(node, true, "", topic_id) {
        Ok(topic) => node.metadata.read(|state| describe(node, state, &topic)),
        Err(code) => {
            MetadataResponseTopic { error_code: code.into(), topic_id, ..MetadataResponseTopic::default() }
        }
    }
}

fn describe(node: &Node, state: &State, topic: &LiveTopic) -> MetadataResponseTopic {
    let knows = knows(node);
    let partitions = (0..).zip(&topic.partitions).map(|(partition_index, partition)| {
        let seat = known_seat(knows, state, partition.shard);
        let ours = ours(node, partition).filter(|_| knows);
        let LeaderIdAndEpoch { leader_id, leader_epoch } = leader(state, &seat, ours);
        let code = if leader_id == NOBODY { ErrorCode::LeaderNotAvailable } else { ErrorCode::None };
        MetadataResponsePartition {
            error_code: code.into(),
            partition_index,
            leader_id,
            leader_epoch,
            replica_nodes: seat.holders.into_iter().map(number).collect(),
            isr_nodes: seat.in_sync.into_iter().map(number).collect(),
            ..MetadataResponsePartition::default()
        }
    });
    MetadataResponseTopic {
        name: Some(topic.name.clone()),
        topic_id: topic.uuid,
        is_internal: topic.name.starts_with("__"),
        partitions: partitions.collect(),
        ..MetadataResponseTopic::default()
    }
}

/// This node as the leader of a partition, if it is.
fn ours(node: &Node, partition: &LivePartition) -> Option<LeaderIdAndEpoch> {
    let wal = partition.led().ok()?;
    Some(LeaderIdAndEpoch { leader_id: broker(node), leader_epoch: epoch(wal) })
}

/// Whether this node knows who leads: of one that has left the others, what it heard last becomes wrong.
fn knows(node: &Node) -> bool {
    node.metadata.sick().is_none()
}

/// Who leads a shard; nobody as far as a node knows that does not.
fn known_seat(knows: bool, state: &State, shard: u64) -> Seat {
    let seat = seat(state, shard);
    Seat { leader: seat.leader.filter(|_| knows), ..seat }
}

/// The broker that leads a partition. Of what this node leads its log knows best.
fn leader(state: &State, seat: &Seat, ours: Option<LeaderIdAndEpoch>) -> LeaderIdAndEpoch {
    let reached = |leader: &u64| state.nodes.get(leader).and_then(reached_by_kafka).is_some();
    ours.unwrap_or_else(|| LeaderIdAndEpoch {
        leader_id: seat.leader.filter(reached).map_or(NOBODY, number),
        leader_epoch: i32::try_from(seat.epoch).unwrap_or(i32::MAX),
    })
}

/// Whom a client that came to the wrong node is sent to; nobody when that is not known.
pub(super) fn current_leader(node: &Node, topic: &LiveTopic, index: i32) -> LeaderIdAndEpoch {
    let found = u32::try_from(index).ok().and_then(|number| topic.partition(number).ok());
    // Who leads and is stopping has nobody to name yet.
    let elsewhere = found.filter(|partition| partition.led().is_err());
    let named = elsewhere.map(|partition| {
        node.metadata.read(|state| leader(state, &known_seat(knows(node), state, partition.shard), None))
    });
    named.filter(|named| named.leader_id != NOBODY).unwrap_or_default()
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

#[cfg(test)]
mod tests {
    use super::*;
    use tidelog_meta::{Command, NodeInfo, StoreId};

    #[test]
    fn a_partition_whose_leader_has_no_port_for_kafka_has_none() {
        let mut state = State::default();
        let info = NodeInfo { address: "n:1".into(), ..NodeInfo::default() };
        let (node, store) = (1, StoreId([7; 16]));
        let register = Command::RegisterNode { node, store, incarnation: 1, generation: 1, info };
        state.apply(&register).unwrap();
        let named = |state: &State| leader(state, &seat(state, 1), None).leader_id;
        assert_eq!((named(&state), brokers(&state).count()), (NOBODY, 0));
        let info = NodeInfo { address: "n:1".into(), kafka: "k:2".into(), ..NodeInfo::default() };
        let starts = Command::StartNode { node, store, incarnation: 2, generation: 2, info };
        state.apply(&starts).unwrap();
        assert_eq!((named(&state), brokers(&state).count()), (1, 1));
    }
}
