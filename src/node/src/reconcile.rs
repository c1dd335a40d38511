//! # Purpose
//! Makes the data shards agree with the metadata: at start, when a shard begins to be led here, and when partitions were
//! made, deleted, trimmed or moved. A crash may fall between a metadata command and what follows from it in a data shard;
//! metadata comes first, so it is right.
//!
//! # Invariants
//! Of a shard that others hold too only one change goes on at a time ([`Node::shard_turn`]), by what the metadata says within
//! that turn: a partition that has left is not taken for one that is missing.

use std::collections::BTreeMap;

use bytes::Bytes;
use tidelog_meta::{Command, Illegal, State};
use tidelog_wal::{AppendError, Control, PartitionState, Status, Wal};

use crate::metadata::ChangeError;
use crate::node::Node;

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
    /// Partitions that go on here after they were in another shard.
    pub(crate) take: Vec<Taken>,
    /// What is to be said of those that go on here.
    pub(crate) arrived: Vec<Command>,
    /// Partitions whose records below an offset are not wanted any more.
    pub(crate) trim: Vec<(u64, u64)>,
    /// Partitions whose topic was deleted, or of which nothing is wanted here any more.
    pub(crate) delete: Vec<u64>,
    /// Partitions that the metadata never knew.
    pub(crate) unknown: Vec<u64>,
}

/// A partition that goes on in a shard.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Taken {
    pub(crate) partition: u64,
    /// The offset of its next record.
    pub(crate) at: u64,
    pub(crate) producers: Vec<u8>,
}

/// Partitions that live in a shard.
pub(crate) type Living = BTreeMap<u64, PartitionState>;

/// Compares the metadata with the partitions that live in each shard.
pub(crate) fn compare(state: &State, living: &BTreeMap<u64, Living>) -> BTreeMap<u64, Difference> {
    let mut differences: BTreeMap<u64, (Difference, Living)> =
        living.iter().map(|(shard, living)| (*shard, (Difference::default(), living.clone()))).collect();
    for (name, topic) in &state.topics {
        for (number, partition) in (0u32..).zip(&topic.partitions) {
            let of_it = differences.iter_mut().filter(|(shard, _)| partition.is_in(**shard));
            for (shard, (difference, living)) in of_it {
                let here = living.remove(&partition.id);
                if partition.shard() == *shard {
                    let arrived = || {
                        let (name, id, shard) = (name.clone(), topic.id.clone(), *shard);
                        Command::TakePartition { name, id, partition: number, shard }
                    };
                    difference.of_last_place(partition, here, &format!("{name}/{number}"), arrived);
                }
                let start = partition.start();
                if here.is_some_and(|here| here.log_start < start.min(here.next_offset)) {
                    difference.trim.push((partition.id, start));
                }
            }
        }
    }
    for (difference, strangers) in differences.values_mut() {
        for partition in strangers.keys() {
            let given_out = *partition < state.next_partition;
            if given_out { &mut difference.delete } else { &mut difference.unknown }.push(*partition);
        }
    }
    let differences = differences.into_iter().map(|(shard, (difference, _))| (shard, difference));
    differences.filter(|(_, difference)| *difference != Difference::default()).collect()
}

impl Difference {
    /// What a partition lacks in the shard that takes its records.
    fn of_last_place(
        &mut self,
        partition: &tidelog_meta::Partition,
        here: Option<PartitionState>,
        name: &str,
        arrived: impl Fn() -> Command,
    ) {
        let id = partition.id;
        let from = partition.placed().last().map_or(0, |placed| placed.from);
        let next = here.map_or(0, |here| here.next_offset);
        if let Some(handed) = partition.handed() {
            // A record behind the offset at which it comes is of a leader that had taken it. Without one it is taken, again
            // maybe: the same is said twice then.
            if here.is_none() || next <= handed.at {
                let producers = handed.producers.bytes().to_vec();
                self.take.push(Taken { partition: id, at: handed.at, producers });
            }
            self.arrived.push(arrived());
        } else if here.is_none() && from == 0 {
            self.create.push((id, name.to_owned()));
        } else if here.is_none() || next < from {
            // What said that it had come here is lost with what was accepted as lost: its offsets are not given out twice.
            self.take.push(Taken { partition: id, at: from, producers: Vec::new() });
        }
    }
}

/// Carries the differences out at a start. A shard that takes nothing (read-only, full) is left as it is.
pub(crate) async fn reconcile(node: &Node) -> Result<(), ReconcileError> {
    for (shard, wal) in node.data_shards() {
        carry_out(node, shard, &wal, difference(node, shard, &wal)).await?;
    }
    Ok(())
}

/// Makes a shard that this node leads agree with the metadata.
pub(crate) async fn agree(node: &Node, shard: u64) {
    let turn = node.shard_turn(shard);
    let _turn = match &turn {
        Some(turn) => Some(turn.lock().await),
        None => None,
    };
    agree_in_turn(node, shard).await;
}

/// The same, if nobody else is about to do it.
pub(crate) async fn agree_if_idle(node: &Node, shard: u64) {
    let Some(turn) = node.shard_turn(shard) else { return };
    if let Ok(_turn) = turn.try_lock() {
        agree_in_turn(node, shard).await;
    }
}

/// The same for whoever has the shard's turn.
pub(crate) async fn agree_in_turn(node: &Node, shard: u64) {
    let Some(wal) = node.wal(shard).filter(Wal::is_led) else { return };
    let difference = difference(node, shard, &wal);
    if difference == Difference::default() {
        return;
    }
    if let Err(error) = carry_out(node, shard, &wal, difference).await {
        tracing::warn!(shard, %error, "the shard does not agree with the metadata yet");
    }
}

fn difference(node: &Node, shard: u64, wal: &Wal) -> Difference {
    let living = [(shard, wal.partitions().into_iter().collect())].into();
    node.metadata.read(|state| compare(state, &living)).remove(&shard).unwrap_or_default()
}

async fn carry_out(node: &Node, shard: u64, wal: &Wal, difference: Difference) -> Result<(), ReconcileError> {
    let Difference { create, take, arrived, trim, delete, unknown } = difference;
    for partition in unknown {
        tracing::error!(shard, partition, "a partition that the metadata never knew: left as it is");
    }
    if !matches!(wal.status(), Status::Running | Status::Full) {
        tracing::warn!(shard, "the shard takes nothing, so it stays different from the metadata");
        return Ok(());
    }
    let come = !take.is_empty();
    let create = create.into_iter().map(|(partition, name)| {
        tracing::info!(shard, partition, name, "a partition of the metadata is missing: created");
        Control::CreatePartition { partition, name }
    });
    let take = take.into_iter().map(|Taken { partition, at, producers }| {
        tracing::info!(shard, epoch = wal.epoch(), partition, at, "the partition goes on here");
        Control::TakePartition { partition, offset: at, producers: Bytes::from(producers) }
    });
    let delete = delete.into_iter().map(|partition| {
        tracing::info!(shard, partition, "nothing of this partition is wanted here: deleted");
        Control::DeletePartition { partition }
    });
    let trim = trim.into_iter().map(|(partition, offset)| Control::Trim { partition, offset });
    let failed = |source| ReconcileError { shard, source };
    let mut begun = Vec::new();
    for control in create.chain(take).chain(trim).chain(delete) {
        begun.push(wal.begin_control(control).await.map_err(failed)?);
    }
    for one in begun {
        one.await.map_err(failed)?;
    }
    if come {
        // Those who wait for it look again.
        node.has_rerouted();
    }
    for command in arrived {
        match node.metadata.propose(command).await {
            Ok(_) => node.count_arrival(),
            // Somebody has said so before.
            Err(ChangeError::Illegal(Illegal::NotUnderWay { .. })) => {}
            Err(error) => {
                tracing::info!(shard, %error, "that a partition has come is not in the metadata yet")
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidelog_meta::{Carried, Leader, NewSpan, NodeInfo, Replica, Retention, StoreId};

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

    /// The same, and partition 1 has moved from shard 1 to shard 2 at offset 50, with 30 as the first that is wanted.
    fn moved() -> State {
        let mut state = state();
        let store = StoreId([1; 16]);
        let info = NodeInfo { address: "a:1".into(), ..NodeInfo::default() };
        let register = Command::RegisterNode { node: 1, store, incarnation: 1, generation: 1, info };
        state.apply(&register).unwrap();
        for shard in [1, 2] {
            let leader = Leader { node: 1, incarnation: 1 };
            let replicas = vec![Replica { node: 1, store }];
            let span = NewSpan { replicas, quorum: 1, leader, salt: [shard as u8; 16] };
            state.apply(&Command::OpenFirstSpan { shard, span, base: 1 }).unwrap();
        }
        let go = Command::MovePartition {
            name: "a".into(),
            id: "a".repeat(32),
            partition: 0,
            from: 1,
            epoch: 1,
            to: 2,
            at: 50,
            start: 30,
            producers: Carried::from(vec![7]),
        };
        state.apply(&go).unwrap();
        state
    }

    fn arrived() -> Command {
        Command::TakePartition { name: "a".into(), id: "a".repeat(32), partition: 0, shard: 2 }
    }

    /// A partition with its first wanted and its next offset.
    type Row = (u64, u64, u64);

    /// By shard.
    fn living(shards: &[(u64, &[Row])]) -> BTreeMap<u64, Living> {
        let state = |(id, log_start, next_offset): &Row| {
            let (log_start, next_offset) = (*log_start, *next_offset);
            (*id, PartitionState { log_start, next_offset, active_bytes: 0 })
        };
        shards.iter().map(|(shard, ids)| (*shard, ids.iter().map(state).collect())).collect()
    }

    #[test]
    fn shards_that_agree_are_left_alone() {
        let living = living(&[(1, &[(1, 0, 9), (3, 0, 0)]), (2, &[(2, 3, 5)])]);
        assert!(compare(&state(), &living).is_empty());
    }

    #[test]
    fn a_partition_that_a_crash_kept_from_its_shard_is_created_there() {
        let found = compare(&state(), &living(&[(1, &[(1, 0, 9)]), (2, &[(2, 0, 0)])]));
        let create = vec![(3, "a/2".to_owned())];
        assert_eq!(found, BTreeMap::from([(1, Difference { create, ..Difference::default() })]));
    }

    #[test]
    fn a_partition_of_a_deleted_topic_is_deleted_and_a_stranger_is_not() {
        let all = [(1, 0, 9), (3, 0, 0), (4, 0, 1), (9, 0, 1)];
        let found = compare(&state(), &living(&[(1, &all), (2, &[(2, 0, 0)])]));
        let known = Difference { delete: vec![4], unknown: vec![9], ..Difference::default() };
        assert_eq!(found, BTreeMap::from([(1, known)]));
    }

    #[test]
    fn a_partition_that_moved_is_taken_where_it_goes_and_stays_where_its_records_are() {
        let found = compare(&moved(), &living(&[(1, &[(1, 30, 50), (3, 0, 0)]), (2, &[(2, 0, 0)])]));
        let take = vec![Taken { partition: 1, at: 50, producers: vec![7] }];
        let taken = Difference { take, arrived: vec![arrived()], ..Difference::default() };
        assert_eq!(found, BTreeMap::from([(2, taken)]));
    }

    #[test]
    fn a_partition_that_was_taken_before_a_crash_is_only_told() {
        let found = compare(&moved(), &living(&[(2, &[(1, 50, 51), (2, 0, 0)])]));
        let told = Difference { arrived: vec![arrived()], ..Difference::default() };
        assert_eq!(found, BTreeMap::from([(2, told)]));
        // Before its first record it is taken again: that changes nothing.
        let found = compare(&moved(), &living(&[(2, &[(1, 50, 50), (2, 0, 0)])]));
        assert_eq!(found[&2].take.len(), 1);
        let mut state = moved();
        state.apply(&arrived()).unwrap();
        assert!(compare(&state, &living(&[(2, &[(1, 50, 50), (2, 0, 0)])])).is_empty());
    }

    #[test]
    fn where_nothing_of_a_partition_is_wanted_any_more_it_is_deleted_and_else_trimmed() {
        let mut state = moved();
        let trim = |offset| Command::Trim { name: "a".into(), id: "a".repeat(32), partition: 0, offset };
        let there: (u64, &[Row]) = (1, &[(1, 30, 50), (3, 0, 0)]);
        state.apply(&trim(40)).unwrap();
        let found = compare(&state, &living(&[there]));
        assert_eq!(found[&1], Difference { trim: vec![(1, 40)], ..Difference::default() });
        state.apply(&trim(50)).unwrap();
        let found = compare(&state, &living(&[there]));
        assert_eq!(found[&1], Difference { delete: vec![1], ..Difference::default() });
    }
}
