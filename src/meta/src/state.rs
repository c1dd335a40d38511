//! The state that the commands build. No clock, no randomness, no I/O, no order that a hash decides: the same commands
//! give the same state, byte for byte, on every node.
//!
//! # Format
//! A snapshot is this state as JSON. Members that came later have a default, so what an older version wrote reads back;
//! what a newer version wrote does not, and is refused.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::command::Command;
use crate::hash::Checkpoint;
use crate::illegal::Illegal;
use crate::member::Node;
use crate::span::{Chain, MAX_EPOCH, Span};
use crate::topic::{Partition, Retention, Topic};

/// Everything the metadata says. Fields are for reading; [`State::apply`] is what changes them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct State {
    /// Last process start of a node that belongs to no cluster.
    pub incarnation: u64,
    /// Partition ids below this have been given out.
    pub next_partition: u64,
    /// Shard ids below this have been given out.
    pub next_shard: u64,
    /// Producer ids below this have been reserved.
    #[serde(default)]
    pub next_producer: u64,
    /// Data shards and the class that each serves.
    pub shards: BTreeMap<u64, Retention>,
    /// Live topics by name.
    pub topics: BTreeMap<String, Topic>,
    /// Nodes by number, those that have left too: no number is used twice.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub nodes: BTreeMap<u64, Node>,
    /// Spans of each shard that has any.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub chains: BTreeMap<u64, Chain>,
    /// Highest epoch that was given out to a span or an attempt to seal one.
    #[serde(default, skip_serializing_if = "is_default")]
    pub(crate) last_epoch: u32,
    /// Which of the things that older programs do not understand may be used.
    #[serde(default, skip_serializing_if = "is_default")]
    pub feature_level: u32,
    /// Counts the commands that changed something.
    #[serde(default, skip_serializing_if = "is_default")]
    pub version: u64,
    /// What the state hashed to at the last version that all nodes compare.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checkpoint: Option<Checkpoint>,
}

/// What a command did, for its proposer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Applied {
    /// What it says.
    Changed,
    /// A span was opened and got this epoch.
    Opened(u32),
    /// An attempt to seal a span was begun and got this epoch.
    Attempt(u32),
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

impl Default for State {
    fn default() -> State {
        State {
            incarnation: 0,
            next_partition: 1,
            next_shard: 1,
            next_producer: 0,
            shards: BTreeMap::new(),
            topics: BTreeMap::new(),
            nodes: BTreeMap::new(),
            chains: BTreeMap::new(),
            last_epoch: 0,
            feature_level: 0,
            version: 0,
            checkpoint: None,
        }
    }
}

impl State {
    /// Whether the command may be applied to this state.
    ///
    /// # Errors
    /// Why it may not.
    pub fn check(&self, command: &Command) -> Result<(), Illegal> {
        match command {
            Command::OpenShard { .. }
            | Command::SetShardClass { .. }
            | Command::CreateTopic { .. }
            | Command::AddPartitions { .. }
            | Command::AllocProducerIds { .. }
            | Command::DeleteTopic { .. }
            | Command::SetTopicConfig { .. }
            | Command::Trim { .. }
            | Command::MovePartition { .. }
            | Command::TakePartition { .. } => self.check_topics(command),
            Command::BumpIncarnation { .. }
            | Command::RegisterNode { .. }
            | Command::StartNode { .. }
            | Command::RaiseGeneration { .. }
            | Command::SetNodeState { .. }
            | Command::SetFeatureLevel { .. } => self.check_nodes(command),
            Command::OpenFirstSpan { .. }
            | Command::OpenNextSpan { .. }
            | Command::BeginSeal { .. }
            | Command::CommitSeal { .. }
            | Command::LeaderClose { .. }
            | Command::SwapReplica { .. }
            | Command::DropSpan { .. } => self.check_chains(command),
            Command::CheckState { version, hash } => self.check_hash(*version, hash),
        }
    }

    /// Applies a command.
    ///
    /// # Errors
    /// Why it may not be applied; the state is as before.
    pub fn apply(&mut self, command: &Command) -> Result<Applied, Illegal> {
        self.check(command)?;
        self.apply_topics(command);
        self.apply_nodes(command);
        let applied = self.apply_chains(command);
        self.version += 1;
        self.remember_hash();
        Ok(applied)
    }

    /// The epoch that the next span or attempt gets: above all that were given out, and above the epochs of a node that
    /// was alone before, which were its incarnations.
    pub fn next_epoch(&self) -> Option<u32> {
        let alone = u32::try_from(self.incarnation).ok()?;
        self.last_epoch.max(alone).checked_add(1).filter(|epoch| *epoch <= MAX_EPOCH)
    }

    /// A span by shard and epoch.
    pub fn span(&self, shard: u64, epoch: u32) -> Option<&Span> {
        self.chains.get(&shard)?.span(epoch)
    }

    /// The span of a shard that is written to, or was written to last.
    pub fn last_span(&self, shard: u64) -> Option<&Span> {
        self.chains.get(&shard)?.last()
    }

    /// All spans with their shards, by shard and epoch.
    pub fn spans(&self) -> impl Iterator<Item = (u64, &Span)> {
        self.chains.iter().flat_map(|(shard, chain)| chain.spans.iter().map(|span| (*shard, span)))
    }

    /// A partition by its topic's name and its number.
    pub fn partition(&self, topic: &str, number: u32) -> Option<&Partition> {
        self.topics.get(topic)?.partitions.get(usize::try_from(number).ok()?)
    }

    /// How many partitions each shard carries.
    pub fn loads(&self) -> BTreeMap<u64, usize> {
        let mut loads: BTreeMap<u64, usize> = self.shards.keys().map(|shard| (*shard, 0)).collect();
        for partition in self.partitions() {
            *loads.entry(partition.shard()).or_default() += 1;
        }
        loads
    }

    /// All partitions, by their topics' names.
    pub fn partitions(&self) -> impl Iterator<Item = &Partition> {
        self.topics.values().flat_map(|topic| &topic.partitions)
    }

    /// How many partitions there are.
    pub fn partition_count(&self) -> usize {
        self.topics.values().map(|topic| topic.partitions.len()).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "00112233445566778899aabbccddeeff";
    const OTHER: &str = "ffeeddccbbaa99887766554433221100";

    fn create(name: &str, id: &str, shards: &[u64]) -> Command {
        let retention = Retention::default();
        Command::CreateTopic { name: name.into(), id: id.into(), retention, shards: shards.to_vec() }
    }

    fn state() -> State {
        let mut state = State::default();
        for command in [
            Command::BumpIncarnation { incarnation: 1 },
            Command::OpenShard { shard: 1, class: Retention::default() },
            Command::OpenShard { shard: 2, class: Retention { max_age_ms: Some(5), max_bytes: None } },
            create("t", ID, &[1, 1]),
        ] {
            state.apply(&command).unwrap();
        }
        state
    }

    #[test]
    fn an_illegal_command_changes_nothing_and_says_why() {
        let illegal = [
            (Command::BumpIncarnation { incarnation: 1 }, Illegal::Incarnation { given: 1, last: 1 }),
            (
                Command::OpenShard { shard: 7, class: Retention::default() },
                Illegal::ShardNumber { given: 7, next: 3 },
            ),
            (Command::SetShardClass { shard: 9, class: Retention::default() }, Illegal::NoShard(9)),
            (Command::SetShardClass { shard: 1, class: Retention::default() }, Illegal::ShardInUse(1)),
            (create("t", OTHER, &[1]), Illegal::TopicExists("t".into())),
            (create("u", ID, &[1]), Illegal::TopicId(ID.into())),
            (create("u", "xyz", &[1]), Illegal::TopicId("xyz".into())),
            (create("u", OTHER, &[]), Illegal::NoPartitions),
            (create("u", OTHER, &[1, 9]), Illegal::NoShard(9)),
            (create("u", OTHER, &[1, 2]), Illegal::OtherClass(2)),
            (
                Command::AddPartitions { name: "t".into(), id: OTHER.into(), shards: vec![1] },
                Illegal::NoTopic("t".into()),
            ),
            (
                Command::AddPartitions { name: "t".into(), id: ID.into(), shards: vec![2] },
                Illegal::OtherClass(2),
            ),
            (
                Command::AddPartitions { name: "t".into(), id: ID.into(), shards: vec![] },
                Illegal::NoPartitions,
            ),
            (Command::AllocProducerIds { first: 1, count: 1000 }, Illegal::ProducerIds { given: 1, next: 0 }),
            (
                Command::AllocProducerIds { first: 0, count: u64::MAX },
                Illegal::ProducerIds { given: 0, next: 0 },
            ),
            (Command::DeleteTopic { name: "u".into(), id: ID.into() }, Illegal::NoTopic("u".into())),
            (Command::DeleteTopic { name: "t".into(), id: OTHER.into() }, Illegal::NoTopic("t".into())),
        ];
        let mut state = state();
        let before = state.clone();
        for (command, why) in illegal {
            assert_eq!(state.apply(&command), Err(why), "{command:?}");
            assert_eq!(state, before, "{command:?}");
        }
    }

    #[test]
    fn partition_ids_are_not_used_again_after_their_topic_is_gone() {
        let mut state = state();
        let ids = |state: &State| state.topics["t"].partitions.iter().map(|p| p.id).collect::<Vec<_>>();
        assert_eq!(ids(&state), [1, 2]);
        state.apply(&Command::DeleteTopic { name: "t".into(), id: ID.into() }).unwrap();
        state.apply(&create("t", OTHER, &[1])).unwrap();
        assert_eq!(ids(&state), [3]);
        assert_eq!(state.loads(), BTreeMap::from([(1, 1), (2, 0)]));
    }

    #[test]
    fn partitions_are_added_behind_and_producer_ids_are_reserved_once() {
        let mut state = state();
        state.apply(&Command::AddPartitions { name: "t".into(), id: ID.into(), shards: vec![1, 1] }).unwrap();
        let ids: Vec<u64> = state.topics["t"].partitions.iter().map(|partition| partition.id).collect();
        assert_eq!(ids, [1, 2, 3, 4]);
        let block = Command::AllocProducerIds { first: 0, count: 1000 };
        state.apply(&block).unwrap();
        assert_eq!(state.apply(&block), Err(Illegal::ProducerIds { given: 0, next: 1000 }));
    }

    #[test]
    fn a_state_of_before_there_were_producer_ids_reads_back() {
        let mut old = serde_json::to_value(state()).unwrap();
        old.as_object_mut().unwrap().remove("next_producer").unwrap();
        assert_eq!(serde_json::from_value::<State>(old).unwrap(), state());
    }

    #[test]
    fn a_snapshot_of_before_there_were_clusters_reads_back() {
        let old = r#"{"incarnation":3,"next_partition":3,"next_shard":2,"next_producer":1000,"shards":{"1":{}},
            "topics":{"t":{"id":"00112233445566778899aabbccddeeff","retention":{"max_age_ms":5},
            "partitions":[{"id":1,"placed":[{"from":0,"shard":1}]},{"id":2,"placed":[{"from":0,"shard":1}]}]}}}"#;
        let state: State = serde_json::from_str(old).unwrap();
        assert_eq!((state.incarnation, state.partition_count(), state.version), (3, 2, 0));
        assert_eq!(state.next_epoch(), Some(4), "above the epochs of the node that was alone");
        state.verify().unwrap();
        let unspaced: String = old.split_whitespace().collect();
        assert_eq!(serde_json::to_string(&state).unwrap(), unspaced, "and nothing is added on the way");
    }

    #[test]
    fn an_empty_shard_may_change_its_class() {
        let mut state = state();
        state.apply(&Command::SetShardClass { shard: 2, class: Retention::default() }).unwrap();
        state.apply(&create("u", OTHER, &[2])).unwrap();
    }

    #[test]
    fn a_state_reads_back() {
        let json = serde_json::to_string(&state()).unwrap();
        assert_eq!(serde_json::from_str::<State>(&json).unwrap(), state());
    }
}
