//! What holds in every state that commands can build: for tests, the simulator, and the reading of snapshots.

use std::collections::BTreeSet;

use crate::chains::WIDE;
use crate::span::{Chain, MAX_EPOCH, Span};
use crate::state::State;

/// Something that never holds in a state which commands built: a defect, or a snapshot from somewhere else.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the metadata contradicts itself: {0}")]
pub struct Broken(String);

impl State {
    /// Looks at everything at once; for tests and for states that come from outside.
    ///
    /// # Errors
    /// The first contradiction.
    pub fn verify(&self) -> Result<(), Broken> {
        self.verify_partitions()?;
        let stores: BTreeSet<_> = self.nodes.values().map(|node| node.store).collect();
        ensure(stores.len() == self.nodes.len(), || "two nodes have one data directory".into())?;
        ensure(self.last_epoch <= MAX_EPOCH, || "an epoch does not fit".into())?;
        let mut epochs = BTreeSet::new();
        for (shard, chain) in &self.chains {
            ensure(self.shards.contains_key(shard), || format!("spans of no shard {shard}"))?;
            chain.verify().map_err(|what| Broken(format!("shard {shard}: {what}")))?;
            for span in &chain.spans {
                ensure(span.epoch <= self.last_epoch, || format!("epoch {} was not given out", span.epoch))?;
                ensure(epochs.insert(span.epoch), || format!("epoch {} twice", span.epoch))?;
                self.verify_holders(span)?;
            }
        }
        Ok(())
    }

    /// Looks at a state beside the one it came from, by any number of commands: what was decided stays decided.
    ///
    /// # Errors
    /// The first thing that was taken back.
    pub fn verify_since(&self, before: &State) -> Result<(), Broken> {
        let counters = |state: &State| {
            [state.version, state.next_partition, state.next_shard, state.next_producer, state.next_node()]
        };
        let fell = counters(self).iter().zip(counters(before)).any(|(now, was)| *now < was);
        ensure(!fell && self.last_epoch >= before.last_epoch, || "a counter fell".into())?;
        for (shard, was) in before.spans() {
            let Some(now) = self.span(shard, was.epoch) else {
                let dropped = was.sealed().is_some();
                ensure(dropped, || format!("span {} of shard {shard} vanished unsealed", was.epoch))?;
                continue;
            };
            let same = (now.base, now.base_chain, now.salt) == (was.base, was.base_chain, was.salt)
                && (was.is_unsealed() || now.state == was.state)
                && (now.leader, now.quorum) == (was.leader, was.quorum);
            ensure(same, || format!("span {} of shard {shard} is another one", was.epoch))?;
        }
        for (shard, span) in self.spans().filter(|(_, span)| span.epoch > before.last_epoch) {
            let known = before.last_span(shard).is_some_and(|last| last.epoch >= span.epoch);
            ensure(!known, || format!("epoch {} of shard {shard} is an old one", span.epoch))?;
        }
        self.verify_leader_epochs(before)?;
        for (number, was) in &before.nodes {
            let now = self.nodes.get(number).filter(|now| now.store == was.store);
            let kept =
                now.is_some_and(|now| now.incarnation >= was.incarnation && now.generation >= was.generation);
            ensure(kept, || format!("node {number} is somebody else, or older"))?;
        }
        Ok(())
    }

    fn verify_partitions(&self) -> Result<(), Broken> {
        let mut ids = BTreeSet::new();
        for partition in self.partitions() {
            let id = partition.id;
            ensure(id < self.next_partition, || format!("partition id {id} was not given out"))?;
            ensure(ids.insert(id), || format!("partition id {id} twice"))?;
            let places = partition.placed();
            let shards = places.iter().all(|placed| self.shards.contains_key(&placed.shard));
            ensure(shards && !places.is_empty(), || format!("partition {id} is in no shard"))?;
            let grow = places.windows(2).all(|two| two[0].from < two[1].from);
            ensure(grow, || format!("partition {id} is in two places"))?;
        }
        let last = self.shards.last_key_value().map_or(0, |(shard, _)| *shard);
        ensure(last < self.next_shard, || format!("shard {last} was not given out"))
    }

    /// Clients take no answer of an older epoch than they know: a partition's do not fall, wherever it goes.
    fn verify_leader_epochs(&self, before: &State) -> Result<(), Broken> {
        for (name, topic) in &before.topics {
            let Some(now) = self.topics.get(name).filter(|now| now.id == topic.id) else { continue };
            for (was, now) in topic.partitions.iter().zip(&now.partitions) {
                let epoch = |state: &State, shard| state.last_span(shard).map_or(0, |span| span.epoch);
                let grows = epoch(self, now.shard()) >= epoch(before, was.shard());
                ensure(grows, || format!("the leader epoch of partition {} fell", now.id))?;
            }
        }
        Ok(())
    }

    fn verify_holders(&self, span: &Span) -> Result<(), Broken> {
        for replica in &span.replicas {
            let same = self.nodes.get(&replica.node).is_some_and(|node| node.store == replica.store);
            ensure(same, || format!("span {}: node {} is somebody else", span.epoch, replica.node))?;
        }
        Ok(())
    }
}

impl Chain {
    fn verify(&self) -> Result<(), String> {
        if self.spans.is_empty() {
            return Err("a chain without a span".into());
        }
        for two in self.spans.windows(2) {
            let (span, next) = (&two[0], &two[1]);
            if span.epoch >= next.epoch {
                return Err(format!("epoch {} follows {}", next.epoch, span.epoch));
            }
            if span.sealed() != Some((next.base, next.base_chain)) {
                return Err(format!("span {} does not begin where {} ends", next.epoch, span.epoch));
            }
        }
        self.spans.iter().try_for_each(|span| span.verify(self.widest))
    }
}

impl Span {
    fn verify(&self, widest: u8) -> Result<(), String> {
        let epoch = self.epoch;
        let nodes: BTreeSet<u64> = self.replicas.iter().map(|replica| replica.node).collect();
        if nodes.is_empty() || nodes.len() != self.replicas.len() {
            return Err(format!("span {epoch}: replicas on the same node, or none"));
        }
        // Sealed spans get replicas later; an unsealed one has those that it was opened with.
        if self.is_unsealed() {
            let (n, quorum) = (nodes.len(), usize::from(self.quorum));
            if quorum > n || quorum <= n / 2 || n > usize::from(widest) {
                return Err(format!("span {epoch}: a quorum of {quorum} of {n}"));
            }
            if n == 1 && widest >= WIDE {
                return Err(format!("span {epoch}: one replica, and there were {widest} before"));
            }
            if !nodes.contains(&self.leader.node) {
                return Err(format!("span {epoch}: its leader holds no copy"));
            }
        }
        match self.sealed() {
            Some((end, _)) if end < self.base => Err(format!("span {epoch} ends before it begins")),
            _ => Ok(()),
        }
    }
}

fn ensure(holds: bool, what: impl FnOnce() -> String) -> Result<(), Broken> {
    if holds { Ok(()) } else { Err(Broken(what())) }
}
