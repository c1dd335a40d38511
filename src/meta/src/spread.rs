//! Which nodes hold a span, and who leads it. Pure: the same state and the same facts give the same answer.
//!
//! How many: as many as wanted if so many nodes can take it, else three, else two, of which both acknowledge; one only
//! where one is wanted, or where a cluster still is one node, and never where the shard had three. Where: the nodes with the most room first,
//! each rack once before any rack twice. Who leads: a node that holds the shard's span before, else the one that leads
//! least.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use crate::chains::WIDE;
use crate::span::{Leader, MAX_REPLICAS, NewSpan, Replica};
use crate::state::State;

/// What is known about nodes besides the metadata: from heartbeats, so it may be wrong. Nothing but placement and the
/// auditor's guesses depends on it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    /// By node; one that was never heard of is missing.
    pub nodes: BTreeMap<u64, Heard>,
    /// Nodes whose data directory is gone, by the word of the machine that had it or of an operator.
    pub lost: BTreeSet<u64>,
}

/// What was heard of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Heard {
    /// How long ago, ms.
    pub silent_ms: u64,
    /// Bytes that its disk still takes.
    pub free_bytes: u64,
}

/// How spans are spread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spread {
    /// Wanted replicas. Default 3.
    pub replicas: usize,
    /// A node that was silent for longer counts as dead. Default 1.5 s, three heartbeats.
    pub dead_after_ms: u64,
    /// A node with less room takes nothing new. Default 1 GiB.
    pub least_free: u64,
}

impl Default for Spread {
    fn default() -> Spread {
        Spread { replicas: 3, dead_after_ms: 1500, least_free: 1 << 30 }
    }
}

/// Where a span goes; with a salt it becomes a command's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Distinct nodes.
    pub replicas: Vec<Replica>,
    /// How many of them acknowledge.
    pub quorum: u8,
    /// One of them.
    pub leader: Leader,
}

impl Place {
    /// The span, with a salt that was never used.
    pub fn with_salt(self, salt: tidelog_format::Salt) -> NewSpan {
        NewSpan { replicas: self.replicas, quorum: self.quorum, leader: self.leader, salt }
    }
}

impl Facts {
    /// Whether a node is taken for alive.
    pub fn is_alive(&self, node: u64, spread: &Spread) -> bool {
        self.nodes.get(&node).is_some_and(|heard| heard.silent_ms <= spread.dead_after_ms)
    }

    /// Nodes that may get something new, those with the most room first. Of two with the same room the one that holds
    /// less, then the one with the lower number.
    pub(crate) fn takers(&self, state: &State, spread: &Spread) -> Vec<u64> {
        let mut held: BTreeMap<u64, usize> = BTreeMap::new();
        for replica in state.spans().flat_map(|(_, span)| &span.replicas) {
            *held.entry(replica.node).or_default() += 1;
        }
        let may = |node: &u64| {
            let has_room = self.nodes.get(node).is_some_and(|heard| heard.free_bytes >= spread.least_free);
            has_room && self.is_alive(*node, spread)
        };
        let mut takers: Vec<u64> = state.takers().map(|(number, _)| number).filter(may).collect();
        takers.sort_by_key(|node| {
            let free = self.nodes.get(node).map_or(0, |heard| heard.free_bytes >> 30);
            (Reverse(free), held.get(node).copied().unwrap_or(0), *node)
        });
        takers
    }
}

/// How many replicas a shard's next span gets when so many nodes can take one. `None`: the shard is read-only until
/// another node lives.
fn how_many(state: &State, shard: u64, takers: usize, wanted: usize) -> Option<usize> {
    let was_wide = state.chains.get(&shard).is_some_and(|chain| chain.widest >= WIDE);
    let least = if was_wide { 2 } else { 1 };
    let wanted = wanted.clamp(least, MAX_REPLICAS);
    [wanted, 3, 2, 1].into_iter().find(|n| *n <= takers && (least..=wanted).contains(n))
}

/// Where the next span of a shard goes. `None`: nowhere now, so the shard is read-only.
pub fn place_span(state: &State, facts: &Facts, spread: &Spread, shard: u64) -> Option<Place> {
    let takers = facts.takers(state, spread);
    let n = how_many(state, shard, takers.len(), spread.replicas)?;
    let chosen = over_racks(state, &takers, &BTreeSet::new(), n);
    let before = state.last_span(shard);
    let mut leads: BTreeMap<u64, usize> = BTreeMap::new();
    // The span that is followed does not count: its leader leads one less then.
    for (_, span) in state.spans().filter(|(other, span)| *other != shard && span.is_unsealed()) {
        *leads.entry(span.leader.node).or_default() += 1;
    }
    let leader = *chosen.iter().min_by_key(|node| {
        let is_new = !before.is_some_and(|span| span.is_on(**node));
        (is_new, leads.get(node).copied().unwrap_or(0), **node)
    })?;
    let incarnation = state.nodes.get(&leader)?.incarnation;
    let replicas = chosen.iter().filter_map(|node| Some(state.nodes.get(node)?.replica(*node))).collect();
    let quorum = u8::try_from(n / 2 + 1).ok()?;
    Some(Place { replicas, quorum, leader: Leader { node: leader, incarnation } })
}

/// The first `n` takers, each rack once before any rack twice; racks that are `used` come last.
pub(crate) fn over_racks(state: &State, takers: &[u64], used: &BTreeSet<String>, n: usize) -> Vec<u64> {
    let rack = |node: &u64| state.nodes.get(node).map_or(String::new(), |node| node.info.rack.clone());
    let mut times: BTreeMap<String, usize> = used.iter().map(|rack| (rack.clone(), 1)).collect();
    let mut left: Vec<u64> = takers.to_vec();
    let mut chosen = Vec::new();
    while chosen.len() < n {
        let best = left
            .iter()
            .enumerate()
            .min_by_key(|(at, node)| (times.get(&rack(node)).copied().unwrap_or(0), *at));
        let Some(at) = best.map(|(at, _)| at) else { break };
        let node = left.remove(at);
        *times.entry(rack(&node)).or_default() += 1;
        chosen.push(node);
    }
    chosen
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::cluster_tests::{cluster, register};
    use crate::{Command, NodeState, Retention};

    /// All nodes alive, each with so many GiB of room.
    pub(crate) fn facts(free: &[(u64, u64)]) -> Facts {
        let heard = |(node, gib): &(u64, u64)| (*node, Heard { silent_ms: 0, free_bytes: gib << 30 });
        Facts { nodes: free.iter().map(heard).collect(), ..Facts::default() }
    }

    fn nodes(place: &Place) -> Vec<u64> {
        place.replicas.iter().map(|replica| replica.node).collect()
    }

    #[test]
    fn the_roomiest_nodes_are_chosen_and_who_has_the_records_leads() {
        let place =
            place_span(&cluster(), &facts(&[(1, 5), (2, 9), (3, 1), (4, 8), (5, 7)]), &Spread::default(), 1);
        let place = place.unwrap();
        assert_eq!((nodes(&place), place.quorum, place.leader.node), (vec![2, 4, 5], 2, 2));
    }

    #[test]
    fn each_rack_is_used_once_before_any_is_used_twice() {
        let mut state = State::default();
        for (node, rack) in [(1, "a"), (2, "a"), (3, "a"), (4, "b"), (5, "c")] {
            state.apply(&register(node, rack)).unwrap();
        }
        state.apply(&Command::OpenShard { shard: 1, class: Retention::default() }).unwrap();
        let room = facts(&[(1, 9), (2, 8), (3, 7), (4, 2), (5, 1)]);
        let place = place_span(&state, &room, &Spread::default(), 1).unwrap();
        assert_eq!(nodes(&place), [1, 4, 5]);
        let five = Spread { replicas: 5, ..Spread::default() };
        assert_eq!(nodes(&place_span(&state, &room, &five, 1).unwrap()), [1, 4, 5, 2, 3]);
    }

    #[test]
    fn few_nodes_make_two_of_two_and_a_shard_that_had_three_never_goes_on_with_one() {
        let wide = cluster();
        let spread = Spread::default();
        let two = place_span(&wide, &facts(&[(1, 9), (4, 9)]), &spread, 1).unwrap();
        assert_eq!((nodes(&two), two.quorum), (vec![4, 1], 2));
        assert_eq!(place_span(&wide, &facts(&[(1, 9)]), &spread, 1), None);
        let mut lone = State::default();
        lone.apply(&register(1, "")).unwrap();
        lone.apply(&Command::OpenShard { shard: 1, class: Retention::default() }).unwrap();
        let one = place_span(&lone, &facts(&[(1, 9)]), &spread, 1).unwrap();
        assert_eq!((nodes(&one), one.quorum), (vec![1], 1), "a cluster starts with one node");
        let all_of_four = facts(&[(1, 9), (2, 9), (3, 9), (4, 9)]);
        let five = Spread { replicas: 5, ..spread };
        assert_eq!(place_span(&wide, &all_of_four, &five, 1).unwrap().replicas.len(), 3);
    }

    #[test]
    fn dead_full_and_leaving_nodes_get_nothing() {
        let mut state = cluster();
        let to = NodeState::Draining;
        state.apply(&Command::SetNodeState { node: 1, was: NodeState::ReadWrite, state: to }).unwrap();
        let mut known = facts(&[(1, 9), (2, 9), (3, 0), (4, 9), (5, 9)]);
        if let Some(heard) = known.nodes.get_mut(&2) {
            heard.silent_ms = 1501;
        }
        let place = place_span(&state, &known, &Spread::default(), 1).unwrap();
        assert_eq!(nodes(&place), [4, 5]);
    }

    #[test]
    fn every_place_is_one_that_the_state_takes() {
        for alive in 1..32_u64 {
            let mut state = cluster();
            let free: Vec<(u64, u64)> =
                (1..=5).filter(|node| alive >> (node - 1) & 1 == 1).map(|node| (node, 10 - node)).collect();
            for replicas in 1..=5 {
                let spread = Spread { replicas, ..Spread::default() };
                if let Some(place) = place_span(&state, &facts(&free), &spread, 1) {
                    let leader = Leader { node: 1, incarnation: 1 };
                    let next = place.with_salt([99; 16]);
                    let close = Command::LeaderClose { shard: 1, epoch: 1, leader, end: 0, chain: 0, next };
                    assert_eq!(state.check(&close), Ok(()), "{alive} {replicas}");
                }
            }
            state.apply(&Command::OpenShard { shard: 2, class: Retention::default() }).unwrap();
            let first = place_span(&state, &facts(&free), &Spread::default(), 2).unwrap();
            state
                .apply(&Command::OpenFirstSpan { shard: 2, span: first.with_salt([98; 16]), base: 0 })
                .unwrap();
        }
    }
}
