//! A cluster is balanced by few moves, and then nothing is wanted any more.

use proptest::prelude::*;

use super::*;
use crate::cluster_tests::{register, span_on};
use crate::spread::tests::facts;
use crate::{Carried, Classes, Command, NewSpan};

fn nodes(count: u64) -> State {
    let mut state = State::default();
    for node in 1..=count {
        state.apply(&register(node, "")).unwrap();
    }
    state
}

/// A shard that node 1 alone holds.
fn open_shard(state: &mut State, shard: u64, class: Retention) {
    state.apply(&Command::OpenShard { shard, class }).unwrap();
    state.apply(&Command::OpenFirstSpan { shard, span: span_on(&[1], shard as u8), base: 1 }).unwrap();
}

fn known(count: u64) -> Facts {
    let free: Vec<(u64, u64)> = (1..=count).map(|node| (node, 9)).collect();
    facts(&free)
}

/// Carries out what is wanted until nothing is; gives how many leaders and partitions were moved, and how many spans
/// went on with another holder.
fn settle(state: &mut State, facts: &Facts) -> (usize, usize, usize) {
    settle_by(&Audit::default(), state, facts)
}

fn settle_by(audit: &Audit, state: &mut State, facts: &Facts) -> (usize, usize, usize) {
    let (mut leaders, mut partitions, mut joined) = (0, 0, 0);
    for round in 0u64.. {
        assert!(round < 1000, "it never comes to rest");
        let wanted = audit.wanted(state, facts);
        if wanted.is_empty() {
            break;
        }
        for one in wanted {
            match one {
                Wanted::Close { shard, epoch, next } => {
                    let last = state.last_span(shard).unwrap().clone();
                    leaders += usize::from(next.leader != last.leader);
                    let other = |replica: &&Replica| !last.replicas.contains(replica);
                    joined += next.replicas.iter().filter(other).count();
                    let salt = u128::from(round + 1000).to_be_bytes();
                    let (leader, end, next) = (last.leader, last.base + 5, next.with_salt(salt));
                    let close = Command::LeaderClose { shard, epoch, leader, end, chain: end, next };
                    state.apply(&close).unwrap();
                }
                Wanted::Move { name, id, partition, from, to } => {
                    partitions += 1;
                    let at = 7 * u64::from(partition) + round + 1;
                    let (epoch, start) = (state.last_span(from).unwrap().epoch, 0);
                    let (topic, id_too, producers) = (name.clone(), id.clone(), Carried::default());
                    let go =
                        Command::MovePartition { name, id, partition, from, epoch, to, at, start, producers };
                    state.apply(&go).unwrap();
                    let (name, id) = (topic, id_too);
                    state.apply(&Command::TakePartition { name, id, partition, shard: to }).unwrap();
                }
                Wanted::Propose(command) => {
                    state.apply(&command).unwrap();
                }
                Wanted::Open { shard, after: None, place } => {
                    let span = place.with_salt(u128::from(round + 200_000).to_be_bytes());
                    state.apply(&Command::OpenFirstSpan { shard, span, base: 1 }).unwrap();
                }
                Wanted::Renew { shard, epoch } => {
                    let last = state.last_span(shard).unwrap().clone();
                    let (leader, end, replicas) = (last.leader, last.base + 5, last.replicas);
                    let salt = u128::from(round + 100_000).to_be_bytes();
                    let next = NewSpan { replicas, quorum: last.quorum, leader, salt };
                    let close = Command::LeaderClose { shard, epoch, leader, end, chain: end, next };
                    state.apply(&close).unwrap();
                }
                Wanted::Copy { shard, epoch, old, new, .. } => {
                    let manifest = crate::Manifest([1; 16]);
                    state.apply(&Command::SwapReplica { shard, epoch, old, new, manifest }).unwrap();
                }
                other => panic!("{other:?}"),
            }
        }
    }
    (leaders, partitions, joined)
}

fn excess(loads: &[usize]) -> usize {
    let most = allowed(loads.iter().sum(), loads.len());
    loads.iter().map(|load| load.saturating_sub(most)).sum()
}

fn lack(loads: &[usize]) -> usize {
    let least = least(loads.iter().sum(), loads.len());
    loads.iter().map(|load| least.saturating_sub(*load)).sum()
}

/// By node.
fn loads_of(counts: BTreeMap<u64, usize>) -> Vec<usize> {
    counts.into_values().collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn partitions_come_within_a_fifth_of_the_mean_with_as_few_moves_as_that_takes(
        loads in prop::collection::vec(0..30usize, 1..7),
    ) {
        let mut state = nodes(1);
        let shards: Vec<u64> = (1..=loads.len() as u64).collect();
        for shard in &shards {
            let class = Retention::default();
            state.apply(&Command::OpenShard { shard: *shard, class }).unwrap();
            state.apply(&Command::OpenFirstSpan { shard: *shard, span: span_on(&[1], *shard as u8), base: 0 }).unwrap();
        }
        for (shard, load) in shards.iter().zip(&loads).filter(|(_, load)| **load > 0) {
            let (name, id) = (format!("t{shard}"), format!("{shard:032x}"));
            let create = Command::CreateTopic { name, id, retention: Retention::default(), shards: vec![*shard; *load] };
            state.apply(&create).unwrap();
        }
        let (_, moved, _) = settle(&mut state, &known(1));
        prop_assert_eq!(moved, excess(&loads).max(lack(&loads)));
        let after: Vec<usize> = state.loads().into_values().collect();
        prop_assert_eq!(excess(&after) + lack(&after), 0, "{:?}", after);
        prop_assert!(state.skew().partitions <= 20, "{:?}", after);
        state.verify().unwrap();
    }

    #[test]
    fn copies_and_leaders_come_within_a_fifth_of_the_mean_and_little_is_moved(
        led in prop::collection::vec((0..6u64, 1..6u64), 1..24),
    ) {
        let mut state = nodes(6);
        for (shard, (first, step)) in (1u64..).zip(&led) {
            state.apply(&Command::OpenShard { shard, class: Retention::default() }).unwrap();
            let holders: Vec<u64> = (0..3).map(|at| 1 + (first + at * if step % 2 == 0 { 1 } else { *step }) % 6).collect();
            let mut distinct = holders.clone();
            distinct.sort_unstable();
            distinct.dedup();
            let holders = if distinct.len() == 3 { holders } else { vec![1 + first, 1 + (first + 1) % 6, 1 + (first + 2) % 6] };
            let mut span = span_on(&holders, shard as u8);
            span.leader.node = holders[0];
            state.apply(&Command::OpenFirstSpan { shard, span, base: 0 }).unwrap();
        }
        let all: Vec<u64> = (1..=6).collect();
        let of = |state: &State| (loads_of(leads(state, &all)), loads_of(held(state, &all)));
        let before = of(&state);
        let (moved, _, joined) = settle(&mut state, &known(6));
        let (led, held) = of(&state);
        prop_assert_eq!(excess(&led) + lack(&led), 0, "{:?} from {:?}", led, before);
        prop_assert_eq!(excess(&held) + lack(&held), 0, "{:?} from {:?}", held, before);
        let (skewed, enough) = (state.skew(), excess(&before.0) + lack(&before.0));
        prop_assert!(skewed.leaders <= 20 && skewed.copies <= 20, "{:?}", skewed);
        prop_assert!(moved <= 2 * enough + joined, "{} leaders and {} copies moved from {:?}", moved, joined, before);
        let copies = excess(&before.1).max(lack(&before.1));
        prop_assert!(joined <= copies + enough, "{} copies moved from {:?}", joined, before);
        state.verify().unwrap();
    }
}

#[test]
fn what_is_merely_uneven_is_left_alone() {
    assert_eq!((allowed(10, 3), allowed(30, 3), allowed(1, 6), allowed(0, 3)), (4, 12, 1, 0));
    assert_eq!(uneven(&BTreeMap::from([(1, 12), (2, 9), (3, 9)])), None);
    assert_eq!(uneven(&BTreeMap::from([(1, 13), (2, 8), (3, 9)])), Some((1, 2)));
    assert_eq!((least(10, 3), least(18, 4), least(100, 1), least(2, 6), least(0, 3)), (3, 4, 80, 0, 0));
    assert_eq!(uneven(&BTreeMap::from([(1, 2), (2, 2), (3, 2), (4, 0)])), Some((1, 4)));
    let loads = |loads: [usize; 4]| (1..).zip(loads).collect::<BTreeMap<u64, usize>>();
    assert_eq!(
        [[5, 5, 4, 4], [6, 6, 6, 0], [0, 0, 0, 0], [1, 0, 0, 0]].map(|one| skew(&loads(one))),
        [0, 88, 0, 0]
    );
}

#[test]
fn a_fourth_node_gets_its_share_of_copies_and_leaders_and_no_more_is_moved() {
    let mut state = nodes(3);
    for shard in 1..=6u64 {
        state.apply(&Command::OpenShard { shard, class: Retention::default() }).unwrap();
        let mut span = span_on(&[1, 2, 3], shard as u8);
        span.leader.node = 1 + shard % 3;
        state.apply(&Command::OpenFirstSpan { shard, span, base: 0 }).unwrap();
    }
    assert_eq!(state.skew(), Skew::default());
    state.apply(&register(4, "")).unwrap();
    assert_eq!(state.skew(), Skew { leaders: 66, copies: 88, partitions: 0 });
    let (leaders, _, joined) = settle(&mut state, &known(4));
    assert_eq!((leaders, joined), (1, 4), "four copies and one leader are its share");
    assert_eq!(state.skew(), Skew::default());
}

#[test]
fn a_single_node_that_has_grown_to_three_is_evened_out() {
    let mut state = nodes(1);
    (1..=2).for_each(|shard| open_shard(&mut state, shard, Retention::default()));
    let class = |max_bytes| Retention { max_age_ms: None, max_bytes: Some(max_bytes) };
    (3..=4).for_each(|shard| open_shard(&mut state, shard, class(shard)));
    let create = |name: &str, id: u8, retention, shards| Command::CreateTopic {
        name: name.into(),
        id: format!("{id:032x}"),
        retention,
        shards,
    };
    state.apply(&create("t", 1, Retention::default(), [1, 2].repeat(6))).unwrap();
    state.apply(&create("__offsets", 2, class(3), vec![3])).unwrap();
    state.apply(&create("kept", 3, class(4), vec![4; 6])).unwrap();
    for node in 2..=3 {
        state.apply(&register(node, "")).unwrap();
    }
    let audit = Audit { classes: Classes { shards: 2, ..Classes::default() }, ..Audit::default() };
    let (_, partitions, _) = settle_by(&audit, &mut state, &known(3));
    let of_class = |class| by_class(&state).remove(&class).unwrap().into_values().collect::<Vec<_>>();
    assert_eq!(of_class(Retention::default()), [2; 6]);
    assert_eq!((of_class(class(3)), of_class(class(4))), (vec![1], vec![2; 3]), "one shard for each node");
    let all: Vec<u64> = (1..=3).collect();
    let leaders = loads_of(leads(&state, &all));
    assert_eq!((leaders.iter().sum::<usize>(), excess(&leaders), lack(&leaders)), (10, 0, 0));
    assert_eq!(partitions, 12, "and no more are moved than that takes");
    assert_eq!(state.partition("__offsets", 0).unwrap().shard(), 3);
    state.verify().unwrap();
}

#[test]
fn while_a_partition_is_on_its_way_no_other_one_leaves() {
    let mut state = nodes(1);
    (1..=2).for_each(|shard| open_shard(&mut state, shard, Retention::default()));
    let (name, id) = (String::from("t"), "a".repeat(32));
    let (retention, shards) = (Retention::default(), vec![1; 4]);
    state.apply(&Command::CreateTopic { name: name.clone(), id: id.clone(), retention, shards }).unwrap();
    let wanted = |state: &State| Audit::default().wanted(state, &known(1));
    let first = wanted(&state);
    assert!(matches!(first[..], [Wanted::Move { partition: 0, from: 1, to: 2, .. }]), "{first:?}");
    let (topic, topic_id, producers) = (name.clone(), id.clone(), Carried::default());
    let go = Command::MovePartition {
        name,
        id,
        partition: 0,
        from: 1,
        epoch: 1,
        to: 2,
        at: 9,
        start: 0,
        producers,
    };
    state.apply(&go).unwrap();
    assert_eq!(wanted(&state), []);
    let take = Command::TakePartition { name: topic, id: topic_id, partition: 0, shard: 2 };
    state.apply(&take).unwrap();
    assert!(matches!(wanted(&state)[..], [Wanted::Move { partition: 1, .. }]));
}

#[test]
fn a_shard_of_an_older_epoch_begins_a_new_span_before_a_partition_comes() {
    let mut state = nodes(1);
    (1..=2).for_each(|shard| open_shard(&mut state, shard, Retention::default()));
    let (name, id, retention) = ("t".into(), "a".repeat(32), Retention::default());
    state.apply(&Command::CreateTopic { name, id, retention, shards: vec![2; 4] }).unwrap();
    let found = Audit::default().wanted(&state, &known(1));
    assert_eq!(found, [Wanted::Renew { shard: 1, epoch: 1 }]);
    let (_, moved, _) = settle(&mut state, &known(1));
    assert_eq!(moved, 2);
}

#[test]
fn a_node_that_nothing_was_on_becomes_a_holder_before_it_leads() {
    let mut state = nodes(2);
    for shard in 1..=4 {
        state.apply(&Command::OpenShard { shard, class: Retention::default() }).unwrap();
        state.apply(&Command::OpenFirstSpan { shard, span: span_on(&[1, 2], shard as u8), base: 0 }).unwrap();
    }
    let audit = Audit { spread: crate::Spread { replicas: 2, ..Default::default() }, ..Audit::default() };
    let found = audit.wanted(&state, &known(2));
    assert!(matches!(&found[..], [Wanted::Close { next, .. }] if next.leader.node == 2), "{found:?}");
    state.apply(&register(3, "")).unwrap();
    let mut alone = nodes(3);
    for shard in 1..=4 {
        alone.apply(&Command::OpenShard { shard, class: Retention::default() }).unwrap();
        let mut span = span_on(&[1, 2], shard as u8);
        span.leader.node = 1 + shard % 2;
        alone.apply(&Command::OpenFirstSpan { shard, span, base: 0 }).unwrap();
    }
    let found = audit.wanted(&alone, &known(3));
    assert!(
        matches!(&found[..], [Wanted::Close { shard: 1, next, .. }]
        if next.replicas.iter().any(|replica| replica.node == 3) && next.leader.node == 2),
        "{found:?}"
    );
}
