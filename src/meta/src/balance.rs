//! Balance: partitions over the shards of their class, copies of what is written and leaders over the nodes. Only where no
//! span that is written is to be mended.
//!
//! # Purpose
//! Nobody carries more than a fifth above the mean, or a fifth below it, and no more is moved than that takes: each move
//! takes one from whoever has most, to whoever has least. What is merely uneven is left alone: a move costs a closed span or
//! a partition's pause. Sealed spans stay where they are: a node that is new fills with what is written from then on.

use std::collections::BTreeMap;

use crate::audit::{Audit, Wanted};
use crate::command::Command;
use crate::member::NodeState;
use crate::span::{Leader, Replica, Span, SpanState};
use crate::spread::{Facts, Place};
use crate::state::State;
use crate::topic::Retention;

/// Most that one may carry when `sum` is spread over so many: a fifth above the mean, and the mean rounded up in any case.
fn allowed(sum: usize, over: usize) -> usize {
    (sum * 6 / (5 * over.max(1))).max(sum.div_ceil(over.max(1)))
}

/// Least that one should carry: the mean rounded down, less a fifth of the mean.
fn least(sum: usize, over: usize) -> usize {
    let over = over.max(1);
    (5 * over * (sum / over)).saturating_sub(sum).div_ceil(5 * over)
}

/// Who carries most and who carries least, where one carries too much or too little; equals by their number.
fn uneven(loads: &BTreeMap<u64, usize>) -> Option<(u64, u64)> {
    let sum = loads.values().sum();
    let (from, most) = loads.iter().max_by_key(|(number, load)| (**load, std::cmp::Reverse(**number)))?;
    let (to, fewest) = loads.iter().min_by_key(|(number, load)| (**load, **number))?;
    let is_uneven = *most > allowed(sum, loads.len()) || *fewest < least(sum, loads.len());
    (is_uneven && from != to).then_some((*from, *to))
}

/// How far the worst one is from as even as can be, in percent of the mean.
fn skew(loads: &BTreeMap<u64, usize>) -> u64 {
    let (sum, over): (usize, usize) = (loads.values().sum(), loads.len());
    if sum == 0 {
        return 0;
    }
    let most = loads.values().max().copied().unwrap_or(0);
    let fewest = loads.values().min().copied().unwrap_or(0);
    let off = most.saturating_sub(sum.div_ceil(over)).max((sum / over).saturating_sub(fewest));
    (100 * off * over / sum) as u64
}

/// How far a cluster is from being balanced, in percent: of those that carry too much or too little, the worst one's
/// distance from as even as can be, by the mean. What is below 20 is left alone.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Skew {
    /// Of the spans that are written, those that each node leads.
    pub leaders: u64,
    /// Of the spans that are written, those of which each node holds a copy.
    pub copies: u64,
    /// Partitions of the shards that keep records equally long.
    pub partitions: u64,
}

impl State {
    /// How far the nodes that take something new, and the shards, are from being balanced.
    pub fn skew(&self) -> Skew {
        let nodes: Vec<u64> = self.takers().map(|(number, _)| number).collect();
        let partitions = by_class(self).values().map(skew).max().unwrap_or(0);
        Skew { leaders: skew(&leads(self, &nodes)), copies: skew(&held(self, &nodes)), partitions }
    }
}

/// How many open spans each of these nodes leads.
fn leads(state: &State, nodes: &[u64]) -> BTreeMap<u64, usize> {
    count(nodes, open(state).map(|(_, span)| span.leader.node))
}

/// How many open spans each of these nodes holds.
fn held(state: &State, nodes: &[u64]) -> BTreeMap<u64, usize> {
    count(nodes, open(state).flat_map(|(_, span)| span.replicas.iter().map(|replica| replica.node)))
}

fn count(nodes: &[u64], each: impl Iterator<Item = u64>) -> BTreeMap<u64, usize> {
    let mut counts: BTreeMap<u64, usize> = nodes.iter().map(|node| (*node, 0)).collect();
    for node in each {
        if let Some(count) = counts.get_mut(&node) {
            *count += 1;
        }
    }
    counts
}

/// How many partitions each shard carries, by what the shards keep.
fn by_class(state: &State) -> BTreeMap<Retention, BTreeMap<u64, usize>> {
    let mut by_class: BTreeMap<Retention, BTreeMap<u64, usize>> = BTreeMap::new();
    for (shard, load) in state.loads() {
        let Some(class) = state.shards.get(&shard) else { continue };
        by_class.entry(*class).or_default().insert(shard, load);
    }
    by_class
}

impl Audit {
    /// What would balance the cluster, [`Audit::moves`] things at most.
    pub(crate) fn balance(&self, state: &State, facts: &Facts) -> Vec<Wanted> {
        let takers = facts.takers(state, &self.spread);
        let mut wanted: Vec<Wanted> = copy_move(state, &takers).into_iter().collect();
        if wanted.is_empty() {
            wanted = self.leader_moves(state, &takers);
        }
        match self.another_shard(state, takers.len()) {
            Some(another) => wanted.push(another),
            None => wanted.extend(self.partition_moves(state)),
        }
        wanted.truncate(self.moves);
        wanted
    }

    /// One more shard for the topics without limits, where there are more nodes than when they were made. Each other class
    /// has one.
    fn another_shard(&self, state: &State, nodes: usize) -> Option<Wanted> {
        let class = Retention::default();
        let of_class = |shard: u64| state.shards.get(&shard) == Some(&class);
        let have = state.shards.keys().filter(|shard| of_class(**shard)).count();
        let topics = state.topics.iter().filter(|(name, _)| !is_internal(name));
        let partitions = topics.flat_map(|(_, topic)| &topic.partitions).filter(|one| of_class(one.shard()));
        let useful = (self.shards * nodes).min(partitions.count());
        let open = || Wanted::Propose(Command::OpenShard { shard: state.next_shard, class });
        (have > 0 && have < useful).then(open)
    }

    /// Partitions of shards that carry too many, to the shard of their class that carries fewest. One that has left arrives
    /// before the next one leaves.
    fn partition_moves(&self, state: &State) -> Vec<Wanted> {
        let mut wanted = Vec::new();
        let mut partitions = state.topics.values().flat_map(|topic| &topic.partitions);
        if partitions.any(|partition| partition.handed().is_some()) {
            return wanted;
        }
        for loads in by_class(state).values_mut() {
            let mut moved = Vec::new();
            while wanted.len() < self.moves
                && let Some((from, to)) = uneven(loads)
                && let Some((one, id)) = partition_in(state, from, to, &moved)
            {
                let epoch = |shard| state.last_span(shard).map_or(0, |span| span.epoch);
                if epoch(to) <= epoch(from) {
                    wanted.push(Wanted::Renew { shard: to, epoch: epoch(to) });
                    break;
                }
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
    fn leader_moves(&self, state: &State, takers: &[u64]) -> Vec<Wanted> {
        let mut leads = leads(state, takers);
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

/// A span that goes on with a copy on the node that holds fewest of those that are written, in the place of one on the node
/// that holds most: what is written from then on is there. Its leader stays, unless it is that node itself.
fn copy_move(state: &State, takers: &[u64]) -> Option<Wanted> {
    let held = held(state, takers);
    let (from, to) = uneven(&held)?;
    let leads = leads(state, takers);
    let moves = open(state).filter(|(_, span)| span.is_on(from) && !span.is_on(to));
    let (shard, span) = moves.min_by_key(|(shard, span)| (span.leader.node == from, *shard))?;
    let mut nodes: Vec<u64> =
        span.replicas.iter().map(|replica| replica.node).filter(|node| *node != from).collect();
    let idlest = nodes.iter().copied().min_by_key(|node| (leads.get(node).copied(), *node));
    let leader = if span.leader.node == from { idlest? } else { span.leader.node };
    nodes.push(to);
    Some(Wanted::Close { shard, epoch: span.epoch, next: place(state, nodes, leader)? })
}

/// A span whose leader changes, and where it goes on. Where no span of `from` can be led by who leads too little, others
/// between them hand on: the last one first, so that each has room for what it gets. Where that does not help either, `to`
/// is to hold a span of `from` first.
fn hand_over(
    state: &State,
    leads: &BTreeMap<u64, usize>,
    touched: &[u64],
    from: u64,
    to: u64,
) -> Option<(u64, u32, Place)> {
    let sum = leads.values().sum();
    let (most, least) = (allowed(sum, leads.len()), least(sum, leads.len()));
    // Where nobody leads too much, somebody leads too little: nobody else needs more.
    let bound = if leads.get(&from).is_some_and(|load| *load > most) { most } else { least };
    let spans: Vec<(u64, &Span)> = open(state).filter(|(shard, _)| !touched.contains(shard)).collect();
    // How a node can be given a leader: who gives, and which span.
    let mut reached: BTreeMap<u64, (u64, &Span)> = BTreeMap::new();
    let mut givers = vec![from];
    while !givers.is_empty() {
        let mut next = BTreeMap::new();
        for (shard, span) in spans.iter().filter(|(_, span)| givers.contains(&span.leader.node)) {
            let known = |node: &u64| *node != from && leads.contains_key(node) && !reached.contains_key(node);
            for node in span.replicas.iter().map(|replica| replica.node).filter(known) {
                next.entry(node).or_insert((*shard, *span));
            }
        }
        let little = next.iter().filter_map(|(node, given)| {
            let load = leads.get(node).copied().filter(|load| *load < bound)?;
            Some((load, *node, *given))
        });
        if let Some((_, node, (shard, span))) = little.min_by_key(|(load, node, _)| (*load, *node)) {
            return Some((shard, span.epoch, led_by(state, span, node)?));
        }
        givers = next.keys().copied().collect();
        reached.extend(next);
    }
    let (shard, span) = spans.into_iter().find(|(_, span)| span.leader.node == from && !span.is_on(to))?;
    Some((shard, span.epoch, joined_by(state, span, to, leads)?))
}

/// Whether only the nodes themselves write a topic.
fn is_internal(topic: &str) -> bool {
    topic.starts_with("__")
}

/// A partition that goes on in another shard, which is not the one of those that move already. Internal topics stay: their
/// records tell a node what it coordinates. So does a topic whose retention was changed since: it is another class's.
fn partition_in(state: &State, from: u64, to: u64, moved: &[u64]) -> Option<(Wanted, u64)> {
    for (name, topic) in state.topics.iter().filter(|(name, _)| !is_internal(name)) {
        if state.shards.get(&to) != Some(&topic.retention) {
            continue;
        }
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

/// The same leader, and `node` in the place of the holder that holds most besides it, if copies are even then too: else
/// they would be moved back.
fn joined_by(state: &State, span: &Span, node: u64, leads: &BTreeMap<u64, usize>) -> Option<Place> {
    let nodes: Vec<u64> = leads.keys().copied().collect();
    let mut held = held(state, &nodes);
    let others = span.replicas.iter().map(|replica| replica.node).filter(|other| *other != span.leader.node);
    let busy = others.max_by_key(|other| (held.get(other).copied().unwrap_or(0), *other))?;
    let fewer = held.entry(busy).or_default();
    *fewer = fewer.saturating_sub(1);
    *held.entry(node).or_default() += 1;
    if uneven(&held).is_some() {
        return None;
    }
    let stay = span.replicas.iter().map(|replica| replica.node).filter(|other| *other != busy);
    place(state, stay.chain([node]).collect(), span.leader.node)
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
    use crate::{Carried, NewSpan, Retention};

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
                        let go = Command::MovePartition {
                            name,
                            id,
                            partition,
                            from,
                            epoch,
                            to,
                            at,
                            start,
                            producers,
                        };
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
        for shard in 1..=2 {
            state.apply(&Command::OpenShard { shard, class: Retention::default() }).unwrap();
            let span = span_on(&[1], shard as u8);
            state.apply(&Command::OpenFirstSpan { shard, span, base: 1 }).unwrap();
        }
        let class = Retention { max_age_ms: None, max_bytes: Some(1 << 40) };
        state.apply(&Command::OpenShard { shard: 3, class }).unwrap();
        state.apply(&Command::OpenFirstSpan { shard: 3, span: span_on(&[1], 3), base: 1 }).unwrap();
        let create = |name: &str, id: u8, retention, shards| Command::CreateTopic {
            name: name.into(),
            id: format!("{id:032x}"),
            retention,
            shards,
        };
        state.apply(&create("t", 1, Retention::default(), [1, 2].repeat(6))).unwrap();
        state.apply(&create("__offsets", 2, class, vec![3])).unwrap();
        for node in 2..=3 {
            state.apply(&register(node, "")).unwrap();
        }
        let audit = Audit { shards: 2, ..Audit::default() };
        let (_, partitions, _) = settle_by(&audit, &mut state, &known(3));
        let of_class = by_class(&state).remove(&Retention::default()).unwrap();
        assert_eq!(of_class.into_values().collect::<Vec<_>>(), [2; 6]);
        let all: Vec<u64> = (1..=3).collect();
        let leaders = loads_of(leads(&state, &all));
        assert_eq!((leaders.iter().sum::<usize>(), excess(&leaders), lack(&leaders)), (7, 0, 0));
        assert_eq!(partitions, 8, "and no more are moved than that takes");
        assert_eq!(state.partition("__offsets", 0).unwrap().shard(), 3);
        state.verify().unwrap();
    }

    #[test]
    fn while_a_partition_is_on_its_way_no_other_one_leaves() {
        let mut state = nodes(1);
        for shard in 1..=2 {
            state.apply(&Command::OpenShard { shard, class: Retention::default() }).unwrap();
            let span = span_on(&[1], shard as u8);
            state.apply(&Command::OpenFirstSpan { shard, span, base: 1 }).unwrap();
        }
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
        for shard in 1..=2 {
            state.apply(&Command::OpenShard { shard, class: Retention::default() }).unwrap();
            let span = span_on(&[1], shard as u8);
            state.apply(&Command::OpenFirstSpan { shard, span, base: 1 }).unwrap();
        }
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
        let found = audit.wanted(&alone, &known(3));
        assert!(
            matches!(&found[..], [Wanted::Close { shard: 1, next, .. }]
            if next.replicas.iter().any(|replica| replica.node == 3) && next.leader.node == 2),
            "{found:?}"
        );
    }
}
