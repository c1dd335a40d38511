//! Commands about topics, the shards that carry them, and producer ids.

use crate::command::Command;
use crate::hex;
use crate::illegal::Illegal;
use crate::span::SpanState;
use crate::state::State;
use crate::topic::{Handed, MAX_CARRIED, Partition, Retention, Topic};

impl State {
    pub(crate) fn check_topics(&self, command: &Command) -> Result<(), Illegal> {
        match command {
            Command::OpenShard { shard, .. } if *shard != self.next_shard => {
                Err(Illegal::ShardNumber { given: *shard, next: self.next_shard })
            }
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
            Command::SetTopicConfig { name, id, was, .. } => {
                let as_known = self.check_topic(name, id)?.retention == *was;
                as_known.then_some(()).ok_or_else(|| Illegal::TopicConfig(name.clone()))
            }
            Command::Trim { name, id, partition, offset } => {
                let start = self.check_partition(name, id, *partition)?.start();
                if *offset > start { Ok(()) } else { Err(Illegal::Trimmed { given: *offset, start }) }
            }
            Command::MovePartition { .. } => self.check_move(command),
            Command::TakePartition { name, id, partition, shard } => {
                let moved = self.check_partition(name, id, *partition)?;
                let there = moved.shard() == *shard && moved.handed().is_some();
                let (topic, partition, to) = (name.clone(), *partition, *shard);
                if there { Ok(()) } else { Err(Illegal::NotUnderWay { topic, partition, to }) }
            }
            _ => Ok(()),
        }
    }

    fn check_topic(&self, name: &str, id: &str) -> Result<&Topic, Illegal> {
        let found = self.topics.get(name).filter(|topic| topic.id == id);
        found.ok_or_else(|| Illegal::NoTopic(name.to_owned()))
    }

    fn check_partition(&self, name: &str, id: &str, number: u32) -> Result<&Partition, Illegal> {
        let found = self.check_topic(name, id)?.partitions.get(number as usize);
        found.ok_or_else(|| Illegal::NoPartition { topic: name.to_owned(), partition: number })
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
        if !hex::is_id(id) || self.topics.values().any(|topic| topic.id == id) {
            return Err(Illegal::TopicId(id.to_owned()));
        }
        self.check_shards(retention, shards)
    }

    fn check_shards(&self, retention: Retention, shards: &[u64]) -> Result<(), Illegal> {
        if shards.is_empty() {
            return Err(Illegal::NoPartitions);
        }
        shards.iter().try_for_each(|shard| self.check_class(*shard, retention))
    }

    fn check_class(&self, shard: u64, retention: Retention) -> Result<(), Illegal> {
        match self.shards.get(&shard) {
            None => Err(Illegal::NoShard(shard)),
            Some(class) if *class != retention => Err(Illegal::OtherClass(shard)),
            Some(_) => Ok(()),
        }
    }

    fn check_move(&self, command: &Command) -> Result<(), Illegal> {
        let Command::MovePartition { name, id, partition, from, epoch, to, at, start, producers } = command
        else {
            return Ok(());
        };
        let retention = self.check_topic(name, id)?.retention;
        let moved = self.check_partition(name, id, *partition)?;
        if moved.shard() != *from {
            return Err(Illegal::NotPlaced { given: *from, is: moved.shard() });
        }
        if moved.handed().is_some() {
            return Err(Illegal::UnderWay { topic: name.clone(), partition: *partition, to: *from });
        }
        self.check_class(*to, retention)?;
        if from == to || !moved.may_move_at(*at) || start > at {
            return Err(Illegal::Move { to: *to, at: *at });
        }
        let (len, max) = (producers.bytes().len(), MAX_CARRIED);
        if len > max {
            return Err(Illegal::Carried { len, max });
        }
        // Whoever leads `from` in a later span, or is to lead it, takes records behind `at`.
        self.check_open(*from, *epoch)?;
        let there = self.last_span(*to).map_or(0, |span| span.epoch);
        if there <= *epoch {
            return Err(Illegal::EpochFalls { to: *to, epoch: there, from: *epoch });
        }
        self.check_open(*to, there)
    }

    /// Whether this is a shard's last span, and nobody is ending it.
    fn check_open(&self, shard: u64, epoch: u32) -> Result<(), Illegal> {
        let last = self.last_span(shard).ok_or(Illegal::NoSpan { shard, epoch })?;
        match last.state {
            _ if last.epoch != epoch => Err(Illegal::NotLast { shard, epoch, last: last.epoch }),
            SpanState::Open => Ok(()),
            SpanState::Sealing { .. } => Err(Illegal::BeingSealed { shard, epoch }),
            SpanState::Sealed { .. } => Err(Illegal::Sealed { shard, epoch }),
        }
    }

    /// Carries out a command that was checked.
    pub(crate) fn apply_topics(&mut self, command: &Command) {
        match command {
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
            Command::SetTopicConfig { name, retention, .. } => {
                if let Some(topic) = self.topics.get_mut(name) {
                    topic.retention = *retention;
                }
            }
            Command::Trim { name, partition, offset, .. } => {
                self.change(name, *partition, |partition| partition.trim(*offset));
            }
            Command::MovePartition { name, partition, to, at, start, producers, .. } => {
                let handed = Handed { at: *at, producers: producers.clone() };
                self.change(name, *partition, |partition| partition.go_on(*to, *start, handed));
            }
            Command::TakePartition { name, partition, .. } => {
                self.change(name, *partition, Partition::arrive);
            }
            _ => {}
        }
    }

    fn change(&mut self, topic: &str, number: u32, change: impl FnOnce(&mut Partition)) {
        let topic = self.topics.get_mut(topic);
        if let Some(partition) = topic.and_then(|topic| topic.partitions.get_mut(number as usize)) {
            change(partition);
        }
    }

    /// Partitions with new ids, one in each of these shards.
    fn new_partitions(&mut self, shards: &[u64]) -> Vec<Partition> {
        let first = self.next_partition;
        self.next_partition += shards.len() as u64;
        (first..).zip(shards).map(|(id, shard)| Partition::new(id, *shard)).collect()
    }
}
