//! Where the partitions of a new topic go: on the least loaded shards of their retention class, and how many shards a class has.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use crate::command::Command;
use crate::state::State;
use crate::topic::{Retention, is_internal};

/// The most different retention settings that may be in use at once: each costs a shard.
pub(crate) const MAX_CLASSES: usize = 64;
/// Where there are so many shards no more are opened for a class that has one, unless it is the main class: each costs its holders
/// files that stand ready, and syncs.
const MANY: usize = 64;

/// Why a topic has no place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlacementError {
    /// Too many classes.
    #[error(
        "topics with {MAX_CLASSES} different retention settings exist; use one of those settings, or delete the topics of one"
    )]
    Classes,
    /// A class without a shard; cannot come from a plan that was carried out.
    #[error("no shard serves this retention")]
    NoShard,
}

/// Over how many shards the partitions of each retention class are spread.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Classes {
    /// What topics keep that do not say so themselves: the class of most of them.
    pub main: Retention,
    /// Shards of that class for each node. Of every other class there is one for each node. 0: those that there are.
    pub shards: usize,
}

impl Classes {
    /// How many shards so many partitions of a class are worth, where so many nodes take new spans.
    fn worth(&self, class: Retention, partitions: usize, nodes: usize) -> usize {
        let each = if class == self.main { self.shards } else { self.shards.min(1) };
        (each * nodes).min(partitions)
    }

    /// Commands that make room for `count` new partitions of a class on so many nodes. The main class gets all its shards with
    /// the first topic: others follow. A shard that carries nothing is taken over before a new one is opened. `mine` says which
    /// shards may be used.
    ///
    /// # Errors
    /// When there are too many classes.
    pub fn plan(
        &self,
        state: &State,
        class: Retention,
        (count, nodes): (u32, usize),
        mine: impl Fn(u64) -> bool,
    ) -> Result<Vec<Command>, PlacementError> {
        let partitions = match class == self.main {
            true => usize::MAX,
            false => spreadable(state).filter(|of| *of == class).count() + count as usize,
        };
        let wanted = self.worth(class, partitions, nodes).max(1);
        let in_use = used(state);
        let have = state.shards.iter().filter(|(shard, served)| **served == class && mine(**shard)).count();
        if have == 0 && in_use.len() >= MAX_CLASSES && !in_use.contains(&class) {
            return Err(PlacementError::Classes);
        }
        Ok(self.more(state, class, (have, wanted), mine))
    }

    /// One more shard for a class whose partitions are worth more than it has, on so many nodes.
    pub(crate) fn another(&self, state: &State, nodes: usize) -> Option<Command> {
        let mut partitions: BTreeMap<Retention, usize> = BTreeMap::new();
        for class in spreadable(state) {
            *partitions.entry(class).or_default() += 1;
        }
        partitions.into_iter().find_map(|(class, count)| {
            let have = state.shards.values().filter(|served| **served == class).count();
            let wanted = self.worth(class, count, nodes);
            self.more(state, class, (have, wanted), |_| true).into_iter().next()
        })
    }

    fn more(
        &self,
        state: &State,
        class: Retention,
        (have, wanted): (usize, usize),
        mine: impl Fn(u64) -> bool,
    ) -> Vec<Command> {
        if have >= wanted {
            return Vec::new();
        }
        let room = match class == self.main {
            true => usize::MAX,
            false => MANY.saturating_sub(state.shards.len()).max(usize::from(have == 0)),
        };
        let loads = state.loads();
        let idle = state.shards.iter().filter(|(shard, served)| {
            let spare = **served != class && **served != self.main;
            spare && loads.get(shard).is_none_or(|load| *load == 0) && mine(**shard)
        });
        let taken = idle.map(|(shard, _)| Command::SetShardClass { shard: *shard, class });
        let opened = (state.next_shard..).map(|shard| Command::OpenShard { shard, class });
        taken.chain(opened.take(room)).take(wanted - have).collect()
    }
}

/// The classes whose shards carry something.
fn used(state: &State) -> Vec<Retention> {
    let loads = state.loads().into_iter().filter(|(_, load)| *load > 0);
    let mut classes: Vec<Retention> =
        loads.filter_map(|(shard, _)| state.shards.get(&shard).copied()).collect();
    classes.sort_unstable();
    classes.dedup();
    classes
}

/// The class of each partition that could go to another shard of it: those of internal topics stay where they are, and so do those
/// of a topic whose retention was changed since.
fn spreadable(state: &State) -> impl Iterator<Item = Retention> {
    let topics = state.topics.iter().filter(|(name, _)| !is_internal(name));
    let partitions =
        topics.flat_map(|(_, topic)| topic.partitions.iter().map(|one| (topic.retention, one.shard())));
    partitions.filter(|(class, shard)| state.shards.get(shard) == Some(class)).map(|(class, _)| class)
}

/// The shard of each of `count` partitions, of those that `mine` allows.
///
/// # Errors
/// When no shard serves the class.
pub fn place(
    state: &State,
    class: Retention,
    count: u32,
    mine: impl Fn(u64) -> bool,
) -> Result<Vec<u64>, PlacementError> {
    let mut shards: BinaryHeap<Reverse<(usize, u64)>> = state
        .loads()
        .into_iter()
        .filter(|(shard, _)| state.shards.get(shard) == Some(&class) && mine(*shard))
        .map(|(shard, load)| Reverse((load, shard)))
        .collect();
    let mut placed = Vec::new();
    for _ in 0..count {
        let Reverse((load, shard)) = shards.pop().ok_or(PlacementError::NoShard)?;
        placed.push(shard);
        shards.push(Reverse((load + 1, shard)));
    }
    Ok(placed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn class(ms: u64) -> Retention {
        Retention { max_age_ms: Some(ms), max_bytes: None }
    }

    fn all(_: u64) -> bool {
        true
    }

    fn two() -> Classes {
        Classes { shards: 2, ..Classes::default() }
    }

    fn carry_out(state: &mut State, class: Retention) {
        for command in two().plan(state, class, (1, 1), all).unwrap() {
            state.apply(&command).unwrap();
        }
    }

    fn create(state: &mut State, n: u64, retention: Retention, count: u32) {
        carry_out(state, retention);
        let shards = place(state, retention, count, all).unwrap();
        let command =
            Command::CreateTopic { name: format!("t{n}"), id: format!("{n:032x}"), retention, shards };
        state.apply(&command).unwrap();
    }

    #[test]
    fn partitions_spread_evenly_over_the_shards_of_their_class() {
        let mut state = State::default();
        create(&mut state, 1, Retention::default(), 3);
        create(&mut state, 2, Retention::default(), 3);
        create(&mut state, 3, class(5), 4);
        assert_eq!(state.loads().into_values().collect::<Vec<_>>(), [3, 3, 4]);
        assert_eq!(two().plan(&state, class(5), (1, 1), all), Ok(vec![]));
    }

    #[test]
    fn a_class_that_nobody_uses_any_more_gives_its_shard_to_the_next_one() {
        let mut state = State::default();
        create(&mut state, 1, class(5), 1);
        state.apply(&Command::DeleteTopic { name: "t1".into(), id: format!("{:032x}", 1) }).unwrap();
        assert_eq!(
            two().plan(&state, class(6), (1, 1), all),
            Ok(vec![Command::SetShardClass { shard: 1, class: class(6) }])
        );
    }

    #[test]
    fn a_class_has_a_shard_for_each_node_as_far_as_it_has_partitions_and_the_main_one_as_many_as_are_set() {
        let state = State::default();
        let planned = |class, count, nodes| two().plan(&state, class, (count, nodes), all).unwrap().len();
        assert_eq!((planned(class(5), 1, 3), planned(class(5), 2, 3), planned(class(5), 9, 3)), (1, 2, 3));
        assert_eq!((planned(Retention::default(), 1, 3), planned(class(5), 9, 1)), (6, 1));
        let main = Classes { main: class(5), shards: 2 };
        assert_eq!(main.plan(&state, class(5), (1, 3), all).unwrap().len(), 6);
        assert_eq!(main.plan(&state, Retention::default(), (9, 3), all).unwrap().len(), 3);
    }

    #[test]
    fn there_is_an_end_to_classes_and_known_ones_still_work() {
        let mut state = State::default();
        for n in 0..MAX_CLASSES as u64 {
            create(&mut state, n, class(n + 1), 1);
        }
        assert_eq!(two().plan(&state, class(1000), (1, 1), all), Err(PlacementError::Classes));
        assert_eq!(two().plan(&state, class(1), (9, 3), all), Ok(vec![]), "with the shard that they have");
        assert_eq!(two().plan(&state, Retention::default(), (1, 3), all), Err(PlacementError::Classes));
        let main = Classes { main: class(1), shards: 2 };
        assert_eq!(
            main.plan(&state, class(1), (1, 3), all).unwrap().len(),
            5,
            "the main class is spread all the same"
        );
        state.apply(&Command::DeleteTopic { name: "t7".into(), id: format!("{:032x}", 7) }).unwrap();
        let taken = Command::SetShardClass { shard: 8, class: class(1) };
        assert_eq!(
            two().plan(&state, class(1), (9, 3), all),
            Ok(vec![taken]),
            "and so is one where a shard is idle"
        );
    }

    #[test]
    fn without_a_shard_there_is_no_place() {
        assert_eq!(place(&State::default(), class(1), 1, all), Err(PlacementError::NoShard));
    }

    #[test]
    fn a_node_gets_shards_of_its_own_and_leaves_those_of_others_alone() {
        let mut state = State::default();
        create(&mut state, 1, Retention::default(), 2);
        create(&mut state, 2, class(5), 1);
        state.apply(&Command::DeleteTopic { name: "t2".into(), id: format!("{:032x}", 2) }).unwrap();
        let second = |shard| shard > 3;
        let one = Classes { shards: 1, ..Classes::default() };
        let opened = |class| one.plan(&state, class, (1, 1), second).unwrap();
        assert_eq!(
            opened(Retention::default()),
            [Command::OpenShard { shard: 4, class: Retention::default() }]
        );
        assert_eq!(
            opened(class(6)),
            [Command::OpenShard { shard: 4, class: class(6) }],
            "an idle one is another's"
        );
        assert_eq!(place(&state, Retention::default(), 1, second), Err(PlacementError::NoShard));
    }
}
