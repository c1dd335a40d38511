//! The state that the commands build. No clock, no randomness, no I/O: the same commands give the same state.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::command::{Command, Illegal, Retention};

/// Everything the metadata says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct State {
    /// Last process start.
    pub(crate) incarnation: u64,
    /// Partition ids below this have been given out.
    pub(crate) next_partition: u64,
    /// Shard ids below this have been given out.
    pub(crate) next_shard: u64,
    /// Producer ids below this have been reserved.
    #[serde(default)]
    pub(crate) next_producer: u64,
    /// Data shards and the class that each serves.
    pub(crate) shards: BTreeMap<u64, Retention>,
    /// Live topics by name.
    pub(crate) topics: BTreeMap<String, Topic>,
}

/// A live topic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Topic {
    /// 32 hex digits, never used for another topic.
    pub(crate) id: String,
    /// How long its records are kept.
    pub(crate) retention: Retention,
    /// By number.
    pub(crate) partitions: Vec<Partition>,
}

/// A partition of a topic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Partition {
    /// Never used for another partition.
    pub(crate) id: u64,
    /// Where its records are, by first offset; the last one takes new records.
    placed: Vec<Placed>,
}

/// From an offset on, in a shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Placed {
    from: u64,
    shard: u64,
}

impl Partition {
    /// The shard that takes its records.
    pub(crate) fn shard(&self) -> u64 {
        self.placed.last().map_or(0, |placed| placed.shard)
    }
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
        }
    }
}

impl State {
    /// Whether the command may be applied to this state.
    pub(crate) fn check(&self, command: &Command) -> Result<(), Illegal> {
        match command {
            Command::BumpIncarnation { incarnation } if *incarnation <= self.incarnation => {
                Err(Illegal::Incarnation { given: *incarnation, last: self.incarnation })
            }
            Command::BumpIncarnation { .. } => Ok(()),
            Command::OpenShard { shard, .. } if *shard != self.next_shard => {
                Err(Illegal::ShardNumber { given: *shard, next: self.next_shard })
            }
            Command::OpenShard { .. } => Ok(()),
            Command::SetShardClass { shard, .. } => self.check_empty(*shard),
            Command::CreateTopic { name, id, retention, shards } => {
                self.check_create(name, id, *retention, shards)
            }
            Command::AddPartitions { name, id, shards } => {
                let retention = self.check_topic(name, id)?.retention;
                self.check_shards(retention, shards)
            }
            Command::AllocProducerIds { first, count } => {
                let fits = first.checked_add(*count).is_some_and(|next| i64::try_from(next).is_ok());
                let next = *first == self.next_producer && *count > 0 && fits;
                next.then_some(()).ok_or(Illegal::ProducerIds { given: *first, next: self.next_producer })
            }
            Command::DeleteTopic { name, id } => self.check_topic(name, id).map(|_| ()),
        }
    }

    fn check_topic(&self, name: &str, id: &str) -> Result<&Topic, Illegal> {
        let found = self.topics.get(name).filter(|topic| topic.id == id);
        found.ok_or_else(|| Illegal::NoTopic(name.to_owned()))
    }

    fn check_empty(&self, shard: u64) -> Result<(), Illegal> {
        if !self.shards.contains_key(&shard) {
            return Err(Illegal::NoShard(shard));
        }
        let used = self.loads().get(&shard).is_some_and(|partitions| *partitions > 0);
        if used { Err(Illegal::ShardInUse(shard)) } else { Ok(()) }
    }

    fn check_create(
        &self,
        name: &str,
        id: &str,
        retention: Retention,
        shards: &[u64],
    ) -> Result<(), Illegal> {
        if self.topics.contains_key(name) {
            return Err(Illegal::TopicExists(name.to_owned()));
        }
        let hex = id.len() == 32 && id.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        if !hex || self.topics.values().any(|topic| topic.id == id) {
            return Err(Illegal::TopicId(id.to_owned()));
        }
        self.check_shards(retention, shards)
    }

    fn check_shards(&self, retention: Retention, shards: &[u64]) -> Result<(), Illegal> {
        if shards.is_empty() {
            return Err(Illegal::NoPartitions);
        }
        for shard in shards {
            match self.shards.get(shard) {
                None => return Err(Illegal::NoShard(*shard)),
                Some(class) if *class != retention => return Err(Illegal::OtherClass(*shard)),
                Some(_) => {}
            }
        }
        Ok(())
    }

    /// Applies a command.
    ///
    /// # Errors
    /// The state is as before.
    pub(crate) fn apply(&mut self, command: &Command) -> Result<(), Illegal> {
        self.check(command)?;
        match command {
            Command::BumpIncarnation { incarnation } => self.incarnation = *incarnation,
            Command::OpenShard { shard, class } => {
                self.shards.insert(*shard, *class);
                self.next_shard = shard.saturating_add(1);
            }
            Command::SetShardClass { shard, class } => {
                self.shards.insert(*shard, *class);
            }
            Command::CreateTopic { name, id, retention, shards } => {
                let partitions = self.new_partitions(shards);
                self.topics.insert(name.clone(), Topic { id: id.clone(), retention: *retention, partitions });
            }
            Command::AddPartitions { name, shards, .. } => {
                let added = self.new_partitions(shards);
                if let Some(topic) = self.topics.get_mut(name) {
                    topic.partitions.extend(added);
                }
            }
            Command::AllocProducerIds { first, count } => self.next_producer = first.saturating_add(*count),
            Command::DeleteTopic { name, .. } => {
                self.topics.remove(name);
            }
        }
        Ok(())
    }

    /// Partitions with new ids, one in each of these shards.
    fn new_partitions(&mut self, shards: &[u64]) -> Vec<Partition> {
        let first = self.next_partition;
        self.next_partition += shards.len() as u64;
        let placed = |shard: &u64| vec![Placed { from: 0, shard: *shard }];
        (first..).zip(shards).map(|(id, shard)| Partition { id, placed: placed(shard) }).collect()
    }

    /// How many partitions each shard carries.
    pub(crate) fn loads(&self) -> BTreeMap<u64, usize> {
        let mut loads: BTreeMap<u64, usize> = self.shards.keys().map(|shard| (*shard, 0)).collect();
        for partition in self.topics.values().flat_map(|topic| &topic.partitions) {
            *loads.entry(partition.shard()).or_default() += 1;
        }
        loads
    }

    /// How many partitions there are.
    pub(crate) fn partition_count(&self) -> usize {
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
