//! # Purpose
//! Makes the data shards agree with the metadata at start. A crash may fall between a metadata command and what
//! follows from it in a data shard; metadata comes first, so it is right.

use std::collections::{BTreeMap, BTreeSet};

use tidelog_wal::{AppendError, Control, Status};

use crate::node::Node;
use tidelog_meta::State;

/// Why shards cannot be brought to agree.
#[derive(Debug, thiserror::Error)]
#[error("shard {shard}: {source}")]
pub(crate) struct ReconcileError {
    shard: u64,
    source: AppendError,
}

/// What one shard lacks or has too much.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Difference {
    /// Partitions to create, with their names.
    pub(crate) create: Vec<(u64, String)>,
    /// Partitions whose topic was deleted.
    pub(crate) delete: Vec<u64>,
    /// Partitions that the metadata never knew.
    pub(crate) unknown: Vec<u64>,
}

/// Compares the metadata with the partitions that live in each shard.
pub(crate) fn compare(state: &State, living: &BTreeMap<u64, BTreeSet<u64>>) -> BTreeMap<u64, Difference> {
    let mut wanted: BTreeMap<u64, BTreeMap<u64, String>> = BTreeMap::new();
    for (name, topic) in &state.topics {
        for (number, partition) in topic.partitions.iter().enumerate() {
            let names = wanted.entry(partition.shard()).or_default();
            names.insert(partition.id, format!("{name}/{number}"));
        }
    }
    let mut differences = BTreeMap::new();
    for (shard, living) in living {
        let wanted = wanted.remove(shard).unwrap_or_default();
        let mut difference = Difference::default();
        for partition in living.iter().filter(|partition| !wanted.contains_key(partition)) {
            let given_out = *partition < state.next_partition;
            if given_out { &mut difference.delete } else { &mut difference.unknown }.push(*partition);
        }
        difference.create = wanted.into_iter().filter(|(id, _)| !living.contains(id)).collect();
        if difference != Difference::default() {
            differences.insert(*shard, difference);
        }
    }
    differences
}

/// Carries the differences out. A shard that takes nothing (read-only, full) is left as it is.
pub(crate) async fn reconcile(node: &Node) -> Result<(), ReconcileError> {
    let living = node.data_shards().into_iter().map(|(id, wal)| {
        let partitions = wal.partitions().into_iter().map(|(partition, _)| partition).collect();
        (id, partitions)
    });
    let living = living.collect();
    for (shard, difference) in node.metadata.read(|state| compare(state, &living)) {
        carry_out(node, shard, difference).await?;
    }
    Ok(())
}

/// Makes a shard that this node has begun to lead agree with the metadata.
pub(crate) async fn agree(node: &Node, shard: u64) {
    let Some(wal) = node.wal(shard) else { return };
    let living = wal.partitions().into_iter().map(|(partition, _)| partition).collect();
    let living = [(shard, living)].into();
    let difference = node.metadata.read(|state| compare(state, &living)).remove(&shard).unwrap_or_default();
    if let Err(error) = carry_out(node, shard, difference).await {
        tracing::warn!(shard, %error, "the shard does not agree with the metadata yet");
    }
}

async fn carry_out(node: &Node, shard: u64, difference: Difference) -> Result<(), ReconcileError> {
    if let Some(wal) = node.wal(shard) {
        for partition in difference.unknown {
            tracing::error!(shard, partition, "a partition that the metadata never knew: left as it is");
        }
        if !matches!(wal.status(), Status::Running | Status::Full) {
            tracing::warn!(shard, "the shard takes nothing, so it stays different from the metadata");
            return Ok(());
        }
        let create = difference.create.into_iter().map(|(partition, name)| {
            tracing::info!(shard, partition, name, "a partition of the metadata is missing: created");
            Control::CreatePartition { partition, name }
        });
        let delete = difference.delete.into_iter().map(|partition| {
            tracing::info!(shard, partition, "the topic of this partition was deleted: deleted");
            Control::DeletePartition { partition }
        });
        for control in create.chain(delete) {
            wal.control(control).await.map_err(|source| ReconcileError { shard, source })?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidelog_meta::{Command, Retention};

    fn state() -> State {
        let mut state = State::default();
        let retention = Retention::default();
        for command in [
            Command::OpenShard { shard: 1, class: retention },
            Command::OpenShard { shard: 2, class: retention },
            Command::CreateTopic { name: "a".into(), id: "a".repeat(32), retention, shards: vec![1, 2, 1] },
            Command::CreateTopic { name: "b".into(), id: "b".repeat(32), retention, shards: vec![1] },
            Command::DeleteTopic { name: "b".into(), id: "b".repeat(32) },
        ] {
            state.apply(&command).unwrap();
        }
        state
    }

    fn living(shards: &[(u64, &[u64])]) -> BTreeMap<u64, BTreeSet<u64>> {
        shards.iter().map(|(shard, ids)| (*shard, ids.iter().copied().collect())).collect()
    }

    #[test]
    fn shards_that_agree_are_left_alone() {
        assert!(compare(&state(), &living(&[(1, &[1, 3]), (2, &[2])])).is_empty());
    }

    #[test]
    fn a_partition_that_a_crash_kept_from_its_shard_is_created_there() {
        let found = compare(&state(), &living(&[(1, &[1]), (2, &[2])]));
        let create = vec![(3, "a/2".to_owned())];
        assert_eq!(found, BTreeMap::from([(1, Difference { create, ..Difference::default() })]));
    }

    #[test]
    fn a_partition_of_a_deleted_topic_is_deleted_and_a_stranger_is_not() {
        let found = compare(&state(), &living(&[(1, &[1, 3, 4, 9]), (2, &[2])]));
        let known = Difference { delete: vec![4], unknown: vec![9], ..Difference::default() };
        assert_eq!(found, BTreeMap::from([(1, known)]));
    }
}
