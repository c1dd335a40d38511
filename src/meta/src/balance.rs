//! Balance: partitions over the shards of their class, leaders over the nodes. Only where nothing is to be mended.
//!
//! # Purpose
//! Nobody carries more than a fifth above the mean, and no more is moved than that takes: each move takes one from
//! whoever has too much, to whoever has least. What is merely uneven is left alone: a move costs a closed span or a
//! partition's pause.

use std::collections::BTreeMap;

use crate::audit::{Audit, Wanted};
use crate::member::NodeState;
use crate::span::{Leader, Replica, Span, SpanState};
use crate::spread::{Facts, Place};
use crate::state::State;
use crate::topic::Retention;

/// Most that one may carry when `sum` is spread over so many: a fifth above the mean, and the mean rounded up in any case.
fn allowed(sum: usize, over: usize) -> usize {
    (sum * 6 / (5 * over.max(1))).max(sum.div_ceil(over.max(1)))
}

/// Who carries too much, and who carries least; equals by their number.
fn uneven(loads: &BTreeMap<u64, usize>) -> Option<(u64, u64)> {
    let most = allowed(loads.values().sum(), loads.len());
    let (from, load) = loads.iter().max_by_key(|(number, load)| (**load, std::cmp::Reverse(**number)))?;
    let (to, _) = loads.iter().min_by_key(|(number, load)| (**load, **number))?;
    (*load > most && from != to).then_some((*from, *to))
}

impl Audit {
    /// What would balance the cluster, [`Audit::moves`] things at most.
    pub(crate) fn balance(&self, state: &State, facts: &Facts) -> Vec<Wanted> {
        let mut wanted = self.leader_moves(state, facts);
        wanted.extend(self.partition_moves(state));
        wanted.truncate(self.moves);
        wanted
    }

    /// Partitions of shards that carry too many, to the shard of their class that carries fewest.
    fn partition_moves(&self, state: &State) -> Vec<Wanted> {
        let mut by_class: BTreeMap<Retention, BTreeMap<u64, usize>> = BTreeMap::new();
        for (shard, load) in state.loads() {
            let Some(class) = state.shards.get(&shard) else { continue };
            by_class.entry(*class).or_default().insert(shard, load);
        }
        let mut wanted = Vec::new();
        for loads in by_class.values_mut() {
            let mut moved = Vec::new();
            while wanted.len() < self.moves
                && let Some((from, to)) = uneven(loads)
                && let Some((one, id)) = partition_in(state, from, to, &moved)
            {
                *loads.entry(from).or_default() -= 1;
                *loads.entry(to).or_default() += 1;
                moved.push(id);
                wanted.push(one);
            }
        }
        wanted
    }

    /// Leaders of nodes that lead too much, to holders of the same span that lead little; where there is none, such a node
    /// becomes a holder first.
    fn leader_moves(&self, state: &State, facts: &Facts) -> Vec<Wanted> {
        let takers = facts.takers(state, &self.spread);
        let mut leads: BTreeMap<u64, usize> = takers.iter().map(|node| (*node, 0)).collect();
        for (_, span) in open(state) {
            if let Some(led) = leads.get_mut(&span.leader.node) {
                *led += 1;
            }
        }
        let (mut wanted, mut touched) = (Vec::new(), Vec::new());
        while wanted.len() < self.moves
            && let Some((from, to)) = uneven(&leads)
            && let Some((shard, epoch, next)) = hand_over(state, &leads, &touched, from, to)
        {
            let leader = next.leader.node;
            touched.push(shard);
            *leads.entry(from).or_default() -= 1;
            *leads.entry(leader).or_default() += 1;
            wanted.push(Wanted::Close { shard, epoch, next });
            if leader == from {
                // Whoever joins leads later; nothing more is known now.
                break;
            }
        }
        wanted
    }
}

/// Open spans, with their shards.
fn open(state: &State) -> impl Iterator<Item = (u64, &Span)> {
    let last = state.chains.iter().filter_map(|(shard, chain)| Some((*shard, chain.last()?)));
    last.filter(|(_, span)| span.state == SpanState::Open)
}

/// A span that `from` leads, and where it is to go on: led by a holder that leads little, or held by `to`.
fn hand_over(
    state: &State,
    leads: &BTreeMap<u64, usize>,
    touched: &[u64],
    from: u64,
    to: u64,
) -> Option<(u64, u32, Place)> {
    let most = allowed(leads.values().sum(), leads.len());
    let led: Vec<(u64, &Span)> =
        open(state).filter(|(shard, span)| span.leader.node == from && !touched.contains(shard)).collect();
    let little = |node: u64| leads.get(&node).copied().filter(|load| *load < most);
    let idlest = |span: &Span| {
        span.replicas.iter().filter_map(|replica| Some((little(replica.node)?, replica.node))).min()
    };
    let fit = led.iter().filter_map(|(shard, span)| Some((idlest(span)?, *shard, *span)));
    if let Some(((_, node), shard, span)) = fit.min_by_key(|(idlest, shard, _)| (*idlest, *shard)) {
        return Some((shard, span.epoch, led_by(state, span, node)?));
    }
    let (shard, span) = led.first()?;
    Some((*shard, span.epoch, joined_by(state, span, to, leads)?))
}

/// A partition that goes on in another shard, which is not the one of those that move already.
fn partition_in(state: &State, from: u64, to: u64, moved: &[u64]) -> Option<(Wanted, u64)> {
    for (name, topic) in &state.topics {
        for (partition, one) in (0u32..).zip(&topic.partitions) {
            if one.shard() == from && !moved.contains(&one.id) {
                let (name, id) = (name.clone(), topic.id.clone());
                return Some((Wanted::Move { name, id, partition, from, to }, one.id));
            }
        }
    }
    None
}

/// The same holders, as far as they take new copies, with another leader.
fn led_by(state: &State, span: &Span, node: u64) -> Option<Place> {
    place(state, span.replicas.iter().map(|replica| replica.node).collect(), node)
}

/// The same leader, and `node` in the place of the holder that leads most besides it.
fn joined_by(state: &State, span: &Span, node: u64, leads: &BTreeMap<u64, usize>) -> Option<Place> {
    let others = span.replicas.iter().map(|replica| replica.node).filter(|other| *other != span.leader.node);
    let busy = others.max_by_key(|other| (leads.get(other).copied().unwrap_or(0), *other));
    let mut nodes: Vec<u64> = span.replicas.iter().map(|replica| replica.node).collect();
    match busy {
        Some(busy) => nodes.retain(|other| *other != busy),
        None => return None,
    }
    nodes.push(node);
    place(state, nodes, span.leader.node)
}

fn place(state: &State, nodes: Vec<u64>, leader: u64) -> Option<Place> {
    let takes = |node: &u64| state.nodes.get(node).filter(|known| known.state == NodeState::ReadWrite);
    let mut replicas: Vec<Replica> =
        nodes.iter().filter_map(|node| Some(takes(node)?.replica(*node))).collect();
    replicas.sort_unstable();
    let quorum = u8::try_from(replicas.len() / 2 + 1).ok()?;
    let leader = Leader { node: leader, incarnation: takes(&leader)?.incarnation };
    (replicas.len() == nodes.len()).then_some(Place { replicas, quorum, leader })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::cluster_tests::{register, span_on};
    use crate::spread::tests::facts;
    use crate::{Command, Retention};

    fn nodes(count: u64) -> State {
        let mut state = State::default();
        for node in 1..=count {
            state.apply(&register(node, "")).unwrap();
        }
        state
    }

    fn known(count: u64) -> Facts {
        let free: Vec<(u64, u64)> = (1..=count).map(|node| (node, 9)).collect();
        facts(&free)
    }

    /// Carries out what is wanted until nothing is; gives how many leaders and partitions were moved, and how many spans
    /// were closed.
    fn settle(state: &mut State, facts: &Facts) -> (usize, usize, usize) {
        let (mut leaders, mut partitions, mut closed) = (0, 0, 0);
        for round in 0u64.. {
            assert!(round < 1000, "it never comes to rest");
            let wanted = Audit::default().wanted(state, facts);
            if wanted.is_empty() {
                break;
            }
            for one in wanted {
                match one {
                    Wanted::Close { shard, epoch, next } => {
                        let last = state.last_span(shard).unwrap().clone();
                        leaders += usize::from(next.leader != last.leader);
                        closed += 1;
                        let salt = u128::from(round + 1000).to_be_bytes();
                        let (leader, end, next) = (last.leader, last.base + 5, next.with_salt(salt));
                        let close = Command::LeaderClose { shard, epoch, leader, end, chain: end, next };
                        state.apply(&close).unwrap();
                    }
                    Wanted::Move { name, id, partition, from, to } => {
                        partitions += 1;
                        let at = 7 * u64::from(partition) + round + 1;
                        state.apply(&Command::MovePartition { name, id, partition, from, to, at }).unwrap();
                    }
                    Wanted::Copy { shard, epoch, old, new, .. } => {
                        let manifest = crate::Manifest([1; 16]);
                        state.apply(&Command::SwapReplica { shard, epoch, old, new, manifest }).unwrap();
                    }
                    other => panic!("{other:?}"),
                }
            }
        }
        (leaders, partitions, closed)
    }

    fn excess(loads: &[usize]) -> usize {
        let most = allowed(loads.iter().sum(), loads.len());
        loads.iter().map(|load| load.saturating_sub(most)).sum()
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
            prop_assert_eq!(moved, excess(&loads));
            let after: Vec<usize> = state.loads().into_values().collect();
            prop_assert_eq!(excess(&after), 0, "{:?}", after);
            state.verify().unwrap();
        }

        #[test]
        fn leaders_come_within_a_fifth_of_the_mean_and_none_moves_twice(
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
            let leads = |state: &State| {
                let count = |node| state.chains.values().filter(|chain| chain.last().unwrap().leader.node == node).count();
                (1..=6).map(count).collect::<Vec<usize>>()
            };
            let before = leads(&state);
            let (moved, _, closed) = settle(&mut state, &known(6));
            prop_assert_eq!(excess(&leads(&state)), 0, "{:?} from {:?}", leads(&state), before);
            prop_assert_eq!(moved, excess(&before), "from {:?}", before);
            prop_assert!(closed <= 2 * moved, "{} spans closed to move {} leaders", closed, moved);
            state.verify().unwrap();
        }
    }

    #[test]
    fn what_is_merely_uneven_is_left_alone() {
        assert_eq!((allowed(10, 3), allowed(30, 3), allowed(1, 6), allowed(0, 3)), (4, 12, 1, 0));
        assert_eq!(uneven(&BTreeMap::from([(1, 12), (2, 9), (3, 9)])), None);
        assert_eq!(uneven(&BTreeMap::from([(1, 13), (2, 8), (3, 9)])), Some((1, 2)));
    }

    #[test]
    fn a_node_that_nothing_was_on_becomes_a_holder_before_it_leads() {
        let mut state = nodes(2);
        for shard in 1..=4 {
            state.apply(&Command::OpenShard { shard, class: Retention::default() }).unwrap();
            state
                .apply(&Command::OpenFirstSpan { shard, span: span_on(&[1, 2], shard as u8), base: 0 })
                .unwrap();
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
        assert_eq!(audit.wanted(&alone, &known(3)), [], "two, two and none: the mean rounded up");
    }
}
