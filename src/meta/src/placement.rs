//! Where the partitions of a new topic go: on the least loaded shards of their retention class.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::command::Command;
use crate::state::State;
use crate::topic::Retention;

/// The most different retention settings that may be in use at once: each costs a shard.
pub(crate) const MAX_CLASSES: usize = 64;

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

/// Commands that make room for a topic of this class on a node: the class without limits is spread over `spread` of its
/// shards, each other class has one. A shard that carries nothing is taken over before a new one is opened. `mine` says
/// which shards are the node's.
///
/// # Errors
/// When there are too many classes.
pub fn plan(
    state: &State,
    class: Retention,
    spread: u32,
    mine: impl Fn(u64) -> bool,
) -> Result<Vec<Command>, PlacementError> {
    let wanted = if class == Retention::default() { spread.max(1) as usize } else { 1 };
    let loads = state.loads();
    let have = state.shards.iter().filter(|(shard, served)| **served == class && mine(**shard)).count();
    let missing = wanted.saturating_sub(have);
    if missing == 0 {
        return Ok(Vec::new());
    }
    let is_idle = |shard: &u64| loads.get(shard).is_none_or(|load| *load == 0);
    let idle: Vec<u64> = state
        .shards
        .iter()
        .filter(|(_, served)| **served != class && **served != Retention::default())
        .filter(|(shard, _)| is_idle(shard) && mine(**shard))
        .map(|(shard, _)| *shard)
        .collect();
    let mut classes: Vec<&Retention> =
        state.shards.iter().filter(|(shard, _)| !is_idle(shard)).map(|(_, served)| served).collect();
    classes.sort_unstable();
    classes.dedup();
    if have == 0 && classes.len() >= MAX_CLASSES && !classes.contains(&&class) {
        return Err(PlacementError::Classes);
    }
    let taken = idle.into_iter().map(|shard| Command::SetShardClass { shard, class });
    let opened = (state.next_shard..).map(|shard| Command::OpenShard { shard, class });
    Ok(taken.chain(opened).take(missing).collect())
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

    fn carry_out(state: &mut State, class: Retention) {
        for command in plan(state, class, 2, all).unwrap() {
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
        assert_eq!(plan(&state, class(5), 2, all), Ok(vec![]));
    }

    #[test]
    fn a_class_that_nobody_uses_any_more_gives_its_shard_to_the_next_one() {
        let mut state = State::default();
        create(&mut state, 1, class(5), 1);
        state.apply(&Command::DeleteTopic { name: "t1".into(), id: format!("{:032x}", 1) }).unwrap();
        assert_eq!(
            plan(&state, class(6), 2, all),
            Ok(vec![Command::SetShardClass { shard: 1, class: class(6) }])
        );
    }

    #[test]
    fn there_is_an_end_to_classes_and_known_ones_still_work() {
        let mut state = State::default();
        for n in 0..MAX_CLASSES as u64 {
            create(&mut state, n, class(n + 1), 1);
        }
        assert_eq!(plan(&state, class(1000), 2, all), Err(PlacementError::Classes));
        assert_eq!(plan(&state, class(1), 2, all), Ok(vec![]));
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
        let opened = |class| plan(&state, class, 1, second).unwrap();
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
