//! Balance: partitions over the shards of their class, copies of what is written and leaders over the nodes. Only where no
//! span that is written is to be mended.
//!
//! # Purpose
//! Nobody carries more than a fifth above the mean, or a fifth below it, and no more is moved than that takes: each move
//! takes one from whoever has most, to whoever has least. What is merely uneven is left alone: a move costs a closed span or
//! a partition's pause. Sealed spans stay where they are: a node that is new fills with what is written from then on.

use std::collections::BTreeMap;

use crate::audit::{Audit, Wanted};
use crate::member::NodeState;
use crate::span::{Leader, Replica, Span, SpanState};
use crate::spread::{Facts, Place};
use crate::state::State;
use crate::topic::{Retention, is_internal};

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
        match self.classes.another(state, takers.len()) {
            Some(another) => wanted.push(Wanted::Propose(another)),
            None => wanted.extend(self.partition_moves(state)),
        }
        wanted.truncate(self.moves);
        wanted
    }

    /// Partitions of shards that carry too many, to the shard of their class that carries fewest. One that has left arrives
    /// before the next one leaves.
    fn partition_moves(&self, state: &State) -> Vec<Wanted> {
        let mut wanted = Vec::new();
        let mut partitions = state.partitions();
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
mod tests;
