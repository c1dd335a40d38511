//! # Purpose
//! Who serves what: which node leads the shard of a partition, at which epoch, who holds it, and where clients and other
//! nodes find a node. All of it is read off the metadata, so every node gives the same answer as soon as it has heard the
//! same.
//!
//! | file | what it does |
//! |---|---|
//! | `forward` | HTTP and OpenTSDB requests are handed on to the leader |
//! | `follow` | topics that other nodes have made or deleted come to be known here |
//!
//! # Invariants
//! What is said here is for finding the way. Whether a node may acknowledge a record is decided by the span that it leads
//! and by nothing else: a client or node that is sent to the wrong place is told so there.

mod follow;
pub(crate) mod forward;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tidelog_meta::{METADATA_SHARD, Node as Listed, Span, SpanState, Spread, State};
use tidelog_proto::http::admin::{PartitionDescription, TopicDescription, durability};
use tidelog_proto::http::error::ErrorCode;

use crate::config::Advertised;
use crate::failure::Failure;
use crate::node::{LiveTopic, Node};
use crate::topics;
use forward::{Ask, Hop, Led};

pub(crate) use follow::run;

/// So long a request waits for this node to begin to lead what it is named for.
const ABOUT_TO_LEAD: Duration = Duration::from_secs(1);

/// Who leads a shard and who holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seat {
    /// The node that serves it; none while its span is being sealed, or its leader's process has ended.
    pub(crate) leader: Option<u64>,
    /// Epoch of its last span, which is the leader epoch of its partitions.
    pub(crate) epoch: u32,
    /// The nodes that hold its last span, by number.
    pub(crate) holders: Vec<u64>,
    /// Those of them whose copy counts.
    pub(crate) in_sync: Vec<u64>,
}

/// Who leads and holds a shard, as the metadata has it.
pub(crate) fn seat(state: &State, shard: u64) -> Seat {
    let Some(span) = state.last_span(shard) else {
        // Of the time before there were spans, when every node was alone.
        let holders: Vec<u64> = state.nodes.keys().copied().take(1).collect();
        return Seat { leader: holders.first().copied(), epoch: 0, in_sync: holders.clone(), holders };
    };
    let counts = |node: &u64| state.nodes.get(node).is_some_and(|node| node.state.counts());
    let holders: Vec<u64> = span.replicas.iter().map(|replica| replica.node).collect();
    let in_sync = holders.iter().copied().filter(counts).collect();
    Seat { leader: leader(state, span).filter(counts), epoch: span.epoch, holders, in_sync }
}

fn leader(state: &State, span: &Span) -> Option<u64> {
    // What one node holds alone nobody else can serve, whatever it is doing with the span.
    if let [only] = &span.replicas[..] {
        return Some(only.node);
    }
    let node = span.leader.node;
    let lives = state.nodes.get(&node).is_some_and(|known| known.incarnation == span.leader.incarnation);
    (lives && span.state == SpanState::Open).then_some(node)
}

/// The topic as requests find it once this node has begun to lead a partition, if it is about to: whom the metadata names
/// begins a moment later, and clients who were sent here would have to come again. Else the topic as it is.
pub(crate) async fn until_led(node: &Node, topic: Arc<LiveTopic>, number: u32) -> Arc<LiveTopic> {
    let waits = |topic: &LiveTopic| {
        let partition = topic.partition(number).ok().filter(|partition| !partition.is_served());
        let me = Some(node.me.node);
        partition.is_some_and(|one| node.metadata.read(|state| seat(state, one.shard).leader == me))
    };
    if !waits(&topic) || node.is_stopping() {
        return topic;
    }
    let mut routed = node.routed();
    let led = async {
        let mut now = Arc::clone(&topic);
        while waits(&now) {
            // The sender lives as long as the node.
            let _ = routed.changed().await;
            now = node.topic(&topic.name).unwrap_or(now);
        }
        now
    };
    tokio::time::timeout(ABOUT_TO_LEAD, led).await.unwrap_or(topic)
}

/// How many holders a new span gets, if all nodes that take one live.
pub(crate) fn wanted(state: &State) -> usize {
    state.takers().count().min(Spread::default().replicas)
}

/// What an acknowledgement means: on how many of how many disks a record is durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Durability {
    pub(crate) quorum: usize,
    holders: usize,
}

impl std::fmt::Display for Durability {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&durability(self.quorum, self.holders))
    }
}

impl Durability {
    /// The least that holds for records in these shards; where there are none yet, what a new one gets.
    pub(crate) fn of(state: &State, shards: impl IntoIterator<Item = u64>) -> Durability {
        let spans = shards.into_iter().filter_map(|shard| state.last_span(shard));
        let least = spans.map(|span| (usize::from(span.quorum), span.replicas.len())).min();
        let wanted = wanted(state).max(1);
        let (quorum, holders) = least.unwrap_or((wanted / 2 + 1, wanted));
        Durability { quorum, holders }
    }

    /// The least that holds for any record of the node's cluster.
    pub(crate) fn of_all(state: &State) -> Durability {
        Durability::of(state, state.chains.keys().copied().filter(|shard| *shard != METADATA_SHARD))
    }

    /// Of a topic's records.
    pub(crate) fn of_topic(node: &Node, topic: &LiveTopic) -> Durability {
        node.metadata.read(|state| Durability::of(state, topic.partitions.iter().map(|one| one.shard)))
    }
}

/// Waits for a shard's holders to make records durable, at most for so long. A node that is alone has nobody to wait for
/// but its disk.
///
/// # Errors
/// Whose disks were waited for in vain. The records may be durable later.
pub(crate) async fn within<T>(
    node: &Node,
    shard: u64,
    patience: Duration,
    durable: impl Future<Output = T>,
) -> Result<T, Unheld> {
    if node.metadata.member().is_none() {
        return Ok(durable.await);
    }
    tokio::time::timeout(patience, durable).await.map_err(|_| {
        node.metadata.read(|state| {
            let Durability { quorum, .. } = Durability::of(state, [shard]);
            Unheld { shard, quorum, holders: seat(state, shard).holders, patience }
        })
    })
}

/// A quorum of a shard's holders did not make records durable in time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "shard {shard}: fewer than {quorum} of the nodes {holders:?} have made the records durable within {} ms; they may be stored \
     all the same. See that most of these nodes run and reach each other",
    patience.as_millis()
)]
pub(crate) struct Unheld {
    shard: u64,
    quorum: usize,
    holders: Vec<u64>,
    patience: Duration,
}

impl Unheld {
    /// Of a request that had waited before.
    pub(crate) fn waited(self, patience: Duration) -> Unheld {
        Unheld { patience, ..self }
    }
}

/// Where Kafka's clients find a node; none when it takes none, or has left.
pub(crate) fn reached_by_kafka(node: &Listed) -> Option<Advertised> {
    node.info.kafka.parse().ok().filter(|_| node.state.counts())
}

/// Where clients and other nodes find a node's HTTP port.
pub(crate) fn reached_by_http(node: &Listed) -> Option<Advertised> {
    node.info.http.parse().ok().filter(|_| node.state.counts())
}

/// What people are told about a topic, wherever its partitions are led. `hop` says whether other nodes may be asked; one
/// that may not tells of what it leads alone.
///
/// # Errors
/// A partition whose leader does not answer.
pub(crate) async fn describe(node: &Node, topic: &LiveTopic, hop: Hop) -> Result<TopicDescription, Failure> {
    let mut described = topics::describe(node, topic);
    let here = |number: u32| topic.partition(number).is_ok_and(|partition| partition.led().is_ok());
    let mut missing: BTreeSet<u32> =
        described.partitions.iter().map(|one| one.partition).filter(|number| !here(*number)).collect();
    if hop == Hop::Last {
        described.partitions.retain(|one| !missing.contains(&one.partition));
        return Ok(described);
    }
    let end = Instant::now() + forward::PATIENCE;
    while let Some(wanted) = missing.first().copied() {
        let ask = Ask::get(format!("/v1/topics/{}", topic.name));
        let told = match forward::to_leader(node, &topic.name, wanted, &ask).await? {
            Led::Here => topics::describe(node, topic),
            Led::Answer(answer) => answer.read::<TopicDescription>()?,
        };
        let mut told: BTreeMap<u32, PartitionDescription> =
            told.partitions.into_iter().map(|one| (one.partition, one)).collect();
        if !told.contains_key(&wanted) && Instant::now() < end {
            // Whom the metadata names is about to lead it.
            tokio::time::sleep(forward::PAUSE).await;
            continue;
        }
        if !told.contains_key(&wanted) {
            let message =
                format!("partition {wanted} of topic `{}`: its leader has just changed", topic.name);
            return Err(Failure::new(ErrorCode::Unavailable, message));
        }
        for one in &mut described.partitions {
            if missing.contains(&one.partition)
                && let Some(found) = told.remove(&one.partition)
            {
                missing.remove(&one.partition);
                *one = found;
            }
        }
    }
    Ok(described)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidelog_meta::{Command, Leader, NewSpan, NodeInfo, NodeState, Replica, Retention, StoreId};

    fn store(node: u64) -> StoreId {
        StoreId([u8::try_from(node).unwrap(); 16])
    }

    fn info(node: u64) -> NodeInfo {
        let (address, kafka) = (format!("n{node}:1"), format!("n{node}:2"));
        NodeInfo { address, kafka, ..NodeInfo::default() }
    }

    /// Three nodes, and shard 1 with a span that these of them hold and the first of those leads.
    fn state(holders: &[u64]) -> State {
        let mut state = State::default();
        for node in 1..=3 {
            let (store, info) = (store(node), info(node));
            apply(&mut state, Command::RegisterNode { node, store, incarnation: 1, generation: 1, info });
        }
        apply(&mut state, Command::OpenShard { shard: 1, class: Retention::default() });
        let replicas: Vec<Replica> =
            holders.iter().map(|node| Replica { node: *node, store: store(*node) }).collect();
        let quorum = u8::try_from(replicas.len() / 2 + 1).unwrap();
        let leader = Leader { node: holders[0], incarnation: 1 };
        let span = NewSpan { replicas, quorum, leader, salt: [1; 16] };
        apply(&mut state, Command::OpenFirstSpan { shard: 1, span, base: 1 });
        state
    }

    fn apply(state: &mut State, command: Command) {
        state.apply(&command).unwrap();
    }

    fn starts_again(state: &mut State, node: u64) {
        let (store, info) = (store(node), info(node));
        apply(state, Command::StartNode { node, store, incarnation: 2, generation: 2, info });
    }

    #[test]
    fn a_shard_is_led_by_its_spans_leader_in_the_life_in_which_it_leads() {
        let mut state = state(&[2, 1, 3]);
        let epoch = state.last_span(1).unwrap().epoch;
        let led = Seat { leader: Some(2), epoch, holders: vec![1, 2, 3], in_sync: vec![1, 2, 3] };
        assert_eq!(seat(&state, 1), led);
        starts_again(&mut state, 2);
        assert_eq!(seat(&state, 1), Seat { leader: None, ..led });
    }

    #[test]
    fn nobody_leads_while_a_span_is_being_sealed_and_a_copy_that_is_lost_is_not_in_sync() {
        let mut state = state(&[1, 2, 3]);
        let lost = Command::SetNodeState { node: 3, was: NodeState::ReadWrite, state: NodeState::DataLoss };
        apply(&mut state, lost);
        assert_eq!((seat(&state, 1).leader, seat(&state, 1).in_sync), (Some(1), vec![1, 2]));
        assert!(reached_by_kafka(&state.nodes[&3]).is_none());
        let epoch = state.last_span(1).unwrap().epoch;
        apply(&mut state, Command::BeginSeal { shard: 1, epoch, token: 1 });
        assert_eq!(seat(&state, 1).leader, None);
    }

    #[test]
    fn what_one_node_holds_alone_is_its_own_to_serve_until_it_is_given_up() {
        let mut state = state(&[2]);
        starts_again(&mut state, 2);
        let epoch = state.last_span(1).unwrap().epoch;
        apply(&mut state, Command::BeginSeal { shard: 1, epoch, token: 1 });
        assert_eq!(seat(&state, 1).leader, Some(2));
        let lost = Command::SetNodeState { node: 2, was: NodeState::ReadWrite, state: NodeState::DataLoss };
        apply(&mut state, lost);
        assert_eq!(seat(&state, 1).leader, None);
    }

    #[test]
    fn an_acknowledgement_means_what_the_weakest_of_the_shards_gives() {
        let told = |state: &State, shards: &[u64]| Durability::of(state, shards.iter().copied()).to_string();
        let state = state(&[2, 1, 3]);
        assert_eq!(
            (told(&state, &[1]), Durability::of_all(&state).quorum),
            ("fdatasync on 2 of 3".into(), 2)
        );
        assert_eq!(told(&state, &[]), "fdatasync on 2 of 3", "what a new shard gets");
        assert_eq!(told(&self::state(&[2, 1]), &[1]), "fdatasync on 2 of 2");
        let mut weak = self::state(&[2]);
        apply(&mut weak, Command::OpenShard { shard: 2, class: Retention::default() });
        assert_eq!(told(&weak, &[1]), "fdatasync on 1 of 1");
        assert_eq!(told(&State::default(), &[]), "fdatasync on 1 of 1");
    }

    #[test]
    fn a_shard_of_the_time_before_spans_is_the_lone_nodes() {
        let mut alone = State::default();
        assert_eq!(seat(&alone, 1).leader, None);
        let (store, info) = (store(1), info(1));
        apply(&mut alone, Command::RegisterNode { node: 1, store, incarnation: 1, generation: 1, info });
        assert_eq!(seat(&alone, 1).leader, Some(1));
        let kafka = Advertised { host: "n1".to_owned(), port: 2 };
        assert_eq!(reached_by_kafka(&alone.nodes[&1]), Some(kafka));
    }
}
