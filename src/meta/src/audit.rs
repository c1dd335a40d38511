//! The auditor: from the state, and from what is heard of nodes, to what ought to be done. Pure; whoever leads the
//! metadata's group asks it again and again and carries out what it wants. Everything it wants is conditional, so two
//! auditors at once, or one with old facts, do no harm.

use std::collections::{BTreeMap, BTreeSet};

use crate::command::Command;
use crate::copies::is_short;
use crate::member::NodeState;
use crate::placement::Classes;
use crate::span::{Replica, Span};
use crate::spread::{Facts, Place, Spread, over_racks, place_span};
use crate::state::State;

/// Something that ought to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// Find out where a span ends, and go on at `next` if there is such a place: its leader is gone.
    Seal {
        /// The shard.
        shard: u64,
        /// Epoch of its last span.
        epoch: u32,
        /// Where it may go on.
        next: Option<Place>,
    },
    /// Ask a living leader to close its span and go on at `next`: a holder is gone, or the place is not the best.
    Close {
        /// The shard.
        shard: u64,
        /// Epoch of its last span.
        epoch: u32,
        /// Where it goes on.
        next: Place,
    },
    /// Open a span behind the sealed one, or the first: with a salt it is a command.
    Open {
        /// The shard.
        shard: u64,
        /// Epoch of the span before, if there is one.
        after: Option<u32>,
        /// Where.
        place: Place,
    },
    /// Copy a sealed span to another node and swap the replicas.
    Copy {
        /// The shard.
        shard: u64,
        /// Epoch of the span.
        epoch: u32,
        /// Who holds it no longer then; absent when the copy is one more.
        old: Option<Replica>,
        /// Where to.
        new: Replica,
        /// From any of these.
        sources: Vec<Replica>,
    },
    /// Ask the leader of `from` to end a partition there; whoever leads `to` goes on with it. The leader knows the offset
    /// and proposes [`Command::MovePartition`].
    Move {
        /// The topic's name.
        name: String,
        /// Which one of that name.
        id: String,
        /// Number of the partition within the topic.
        partition: u32,
        /// The shard that takes its records now.
        from: u64,
        /// The shard that is to take them.
        to: u64,
    },
    /// Ask the leader of a shard to end its span and go on in the same place: a partition is to come there, and the leader
    /// epochs of a partition grow.
    Renew {
        /// The shard.
        shard: u64,
        /// Epoch of its last span.
        epoch: u32,
    },
    /// Propose a command.
    Propose(Command),
}

/// How the auditor judges.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Audit {
    /// How spans are spread.
    pub spread: Spread,
    /// A holder of an open span that was silent for so long is replaced, if another node could take its place. Default
    /// 10 s: a restart is over by then.
    pub patience_ms: u64,
    /// What a node holds is copied elsewhere when it was silent for so long. Default 10 min.
    pub grace_ms: u64,
    /// The most moves for balance to be wanted at once. Default 1.
    pub moves: usize,
    /// Over how many shards partitions are spread, where there are enough of them. Default: those that there are.
    pub classes: Classes,
}

impl Default for Audit {
    fn default() -> Audit {
        Audit {
            spread: Spread::default(),
            patience_ms: 10_000,
            grace_ms: 600_000,
            moves: 1,
            classes: Classes::default(),
        }
    }
}

impl Audit {
    /// What ought to be done, most urgent first: directories that are gone, then shards that cannot be written, then open
    /// spans that lost a holder, then sealed spans by how few copies are left, then lost nodes that nothing depends on any
    /// more. Where all spans that are written are as they should be, what would balance the cluster.
    pub fn wanted(&self, state: &State, facts: &Facts) -> Vec<Wanted> {
        let mut wanted = lost(state, facts);
        wanted.extend(self.unwritable(state, facts));
        wanted.extend(self.open_spans(state, facts));
        // Copies take their time, and some cannot be made before a node is back.
        let calm = wanted.is_empty();
        wanted.extend(self.copies(state, facts));
        wanted.extend(self.emptied(state));
        if calm {
            wanted.extend(self.balance(state, facts));
        }
        wanted
    }

    /// Spans whose leader is gone, and shards without an open span.
    fn unwritable(&self, state: &State, facts: &Facts) -> Vec<Wanted> {
        let mut wanted = Vec::new();
        for shard in state.shards.keys().copied() {
            let place = || place_span(state, facts, &self.spread, shard);
            match state.last_span(shard) {
                Some(span) if span.is_unsealed() && !self.is_led(state, facts, span) => {
                    wanted.push(Wanted::Seal { shard, epoch: span.epoch, next: place() });
                }
                Some(span) if span.is_unsealed() => {}
                before => {
                    let after = before.map(|span| span.epoch);
                    wanted.extend(place().map(|place| Wanted::Open { shard, after, place }));
                }
            }
        }
        wanted
    }

    /// Whether a span's leader lives, in the life in which it leads, and nobody seals the span.
    fn is_led(&self, state: &State, facts: &Facts, span: &Span) -> bool {
        let node = state.nodes.get(&span.leader.node);
        let same_life =
            node.is_some_and(|node| node.state.counts() && node.incarnation == span.leader.incarnation);
        let being_sealed = span.state != crate::span::SpanState::Open;
        same_life && !being_sealed && facts.is_alive(span.leader.node, &self.spread)
    }

    /// Open spans with a living leader that lost a holder, are on a node that is to be emptied, or could have more.
    fn open_spans(&self, state: &State, facts: &Facts) -> Vec<Wanted> {
        let mut wanted = Vec::new();
        for shard in state.chains.keys().copied() {
            let Some(span) = state.last_span(shard) else { continue };
            if !span.is_unsealed() || !self.is_led(state, facts, span) {
                continue;
            }
            let state_of = |replica: &Replica| state.nodes.get(&replica.node).map(|node| node.state);
            let stays = |replica: &Replica| state_of(replica).is_some_and(NodeState::stays);
            let heard = |replica: &Replica| {
                facts.nodes.get(&replica.node).is_some_and(|heard| heard.silent_ms <= self.patience_ms)
            };
            let healthy = span.replicas.iter().filter(|replica| stays(replica) && heard(replica)).count();
            let must_end = !span.replicas.iter().all(stays);
            let next = place_span(state, facts, &self.spread, shard);
            // Who is away for a while costs nothing: its place is kept unless somebody else could take it.
            let better = |next: &Place| {
                let so_many = next.replicas.len();
                so_many > healthy || must_end && so_many == healthy
            };
            wanted.extend(next.filter(better).map(|next| Wanted::Close { shard, epoch: span.epoch, next }));
        }
        wanted
    }

    /// Sealed spans that have too few copies that count, or a copy on a node that is to be emptied.
    fn copies(&self, state: &State, facts: &Facts) -> Vec<Wanted> {
        let takers = facts.takers(state, &self.spread);
        let mut endangered: Vec<(usize, u64, u32, Wanted)> = Vec::new();
        let mut given: BTreeMap<u64, usize> = BTreeMap::new();
        for (shard, span) in state.spans().filter(|(_, span)| span.sealed().is_some()) {
            let (good, bad): (Vec<Replica>, Vec<Replica>) =
                span.replicas.iter().partition(|replica| self.keeps(state, facts, replica.node));
            let sources = self.sources(state, facts, span);
            let stays = |node| self.keeps(state, facts, node);
            if sources.is_empty() || !is_short(span, stays, &takers, self.spread.replicas) {
                continue;
            }
            let Some(new) = self.target(state, span, &takers, &given) else { continue };
            *given.entry(new.node).or_default() += 1;
            // One that is lost before one that could still be read.
            let counts = |one: &&Replica| state.nodes.get(&one.node).is_some_and(|node| node.state.counts());
            let (epoch, old) = (span.epoch, bad.iter().min_by_key(counts).copied());
            let copy = Wanted::Copy { shard, epoch, old, new, sources };
            endangered.push((good.len(), shard, epoch, copy));
        }
        endangered.sort_by_key(|(left, shard, epoch, _)| (*left, *shard, *epoch));
        endangered.into_iter().map(|(.., copy)| copy).collect()
    }

    /// Whether a copy on a node may stay: the node counts, is not being emptied, and was not silent for the grace.
    fn keeps(&self, state: &State, facts: &Facts, node: u64) -> bool {
        let counts = state.nodes.get(&node).is_some_and(|node| node.state.stays());
        // A node of which nothing was heard since this auditor began is given the grace, too, by its caller.
        let heard = facts.nodes.get(&node).is_some_and(|heard| heard.silent_ms <= self.grace_ms);
        counts && heard
    }

    /// Who can give a span away: living nodes whose copies are believed.
    fn sources(&self, state: &State, facts: &Facts, span: &Span) -> Vec<Replica> {
        let gives = |replica: &&Replica| {
            let counts = state.nodes.get(&replica.node).is_some_and(|node| node.state.counts());
            counts && facts.is_alive(replica.node, &self.spread)
        };
        span.replicas.iter().filter(gives).copied().collect()
    }

    /// Where a copy goes: a node that has none, on a rack that has none if possible, that was not given much just now.
    fn target(
        &self,
        state: &State,
        span: &Span,
        takers: &[u64],
        given: &BTreeMap<u64, usize>,
    ) -> Option<Replica> {
        let mut free: Vec<u64> = takers.iter().copied().filter(|node| !span.is_on(*node)).collect();
        free.sort_by_key(|node| given.get(node).copied().unwrap_or(0));
        let holders = span.replicas.iter().filter_map(|replica| state.nodes.get(&replica.node));
        let racks: BTreeSet<String> = holders.map(|node| node.info.rack.clone()).collect();
        let node = *over_racks(state, &free, &racks, 1).first()?;
        Some(state.nodes.get(&node)?.replica(node))
    }

    /// Nodes whose directory is lost, and that nothing depends on any more. Who is being emptied is removed by people, who
    /// may think better of it.
    fn emptied(&self, state: &State) -> Vec<Wanted> {
        let holds: BTreeSet<u64> =
            state.spans().flat_map(|(_, span)| &span.replicas).map(|replica| replica.node).collect();
        let leaving = state
            .nodes
            .iter()
            .filter(|(number, node)| node.state == NodeState::DataLoss && !holds.contains(number));
        leaving
            .map(|(number, node)| {
                let (was, to) = (node.state, NodeState::Gone);
                Wanted::Propose(Command::SetNodeState { node: *number, was, state: to })
            })
            .collect()
    }
}

/// Nodes whose directory is gone: they count no more, and what they held is copied without waiting for them.
fn lost(state: &State, facts: &Facts) -> Vec<Wanted> {
    let counting = state.nodes.iter().filter(|(_, node)| node.state.counts());
    let lost = counting.filter(|(number, _)| facts.lost.contains(number));
    lost.map(|(number, node)| {
        let (was, state) = (node.state, NodeState::DataLoss);
        Wanted::Propose(Command::SetNodeState { node: *number, was, state })
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster_tests::{cluster, replica, span_on};
    use crate::spread::tests::facts;
    use crate::{Applied, Leader, Manifest, Retention};

    const ALL: [(u64, u64); 5] = [(1, 9), (2, 8), (3, 7), (4, 6), (5, 5)];

    fn silent(facts: &mut Facts, node: u64, ms: u64) {
        facts.nodes.get_mut(&node).unwrap().silent_ms = ms;
    }

    fn close(state: &mut State, epoch: u32, nodes: &[u64], salt: u8) {
        let leader = state.last_span(1).unwrap().leader;
        let next = span_on(nodes, salt);
        let close = Command::LeaderClose { shard: 1, epoch, leader, end: 5, chain: 50, next };
        assert!(matches!(state.apply(&close), Ok(Applied::Opened(_))));
    }

    #[test]
    fn a_healthy_cluster_is_left_alone() {
        assert_eq!(Audit::default().wanted(&cluster(), &facts(&ALL)), []);
    }

    #[test]
    fn the_open_spans_of_a_dead_leader_are_sealed_at_once_and_its_sealed_ones_copied_after_the_grace() {
        let mut state = cluster();
        close(&mut state, 1, &[1, 2, 3], 2);
        let mut known = facts(&ALL);
        silent(&mut known, 1, 5_000);
        let audit = Audit::default();
        let found = audit.wanted(&state, &known);
        assert!(
            matches!(&found[..], [Wanted::Seal { shard: 1, epoch: 2, next: Some(next) }]
                if next.leader.node == 2 && next.replicas.len() == 3),
            "{found:?}"
        );
        silent(&mut known, 1, 600_001);
        let found = audit.wanted(&state, &known);
        let copy = Wanted::Copy {
            shard: 1,
            epoch: 1,
            old: Some(replica(1)),
            new: replica(4),
            sources: vec![replica(2), replica(3)],
        };
        assert_eq!(found[1..], [copy]);
    }

    #[test]
    fn a_leader_of_a_former_life_is_as_good_as_dead() {
        let mut state = cluster();
        let start = Command::StartNode {
            node: 1,
            store: replica(1).store,
            incarnation: 2,
            generation: 2,
            info: state.nodes[&1].info.clone(),
        };
        state.apply(&start).unwrap();
        let found = Audit::default().wanted(&state, &facts(&ALL));
        assert!(matches!(found[..], [Wanted::Seal { shard: 1, epoch: 1, next: Some(_) }]), "{found:?}");
    }

    #[test]
    fn a_dead_follower_is_replaced_by_a_new_span_of_the_living_leader() {
        let state = cluster();
        let mut known = facts(&ALL);
        silent(&mut known, 3, 5_000);
        assert_eq!(Audit::default().wanted(&state, &known), [], "it may be starting again");
        silent(&mut known, 3, 10_001);
        let found = Audit::default().wanted(&state, &known);
        assert!(
            matches!(&found[..], [Wanted::Close { epoch: 1, next, .. }] if next.leader.node == 1),
            "{found:?}"
        );
    }

    #[test]
    fn the_span_with_the_fewest_copies_is_copied_first_and_targets_take_turns() {
        let mut state = cluster();
        close(&mut state, 1, &[1, 2, 3], 2);
        close(&mut state, 2, &[1, 4, 5], 3);
        close(&mut state, 3, &[1, 4, 5], 4);
        let mut known = facts(&ALL);
        silent(&mut known, 2, 700_000);
        silent(&mut known, 3, 700_000);
        silent(&mut known, 4, 700_000);
        let found = Audit::default().wanted(&state, &known);
        let copies: Vec<u32> = found
            .iter()
            .filter_map(|wanted| match wanted {
                Wanted::Copy { epoch, .. } => Some(*epoch),
                _ => None,
            })
            .collect();
        assert_eq!(copies, [1, 2], "span 3 has no node left to go to");
    }

    #[test]
    fn a_holder_that_is_away_keeps_its_place_where_nobody_else_could_take_it() {
        let state = cluster();
        let mut known = facts(&ALL[..3]);
        silent(&mut known, 3, 500_000);
        assert_eq!(Audit::default().wanted(&state, &known), []);
    }

    #[test]
    fn a_draining_node_is_emptied_and_then_people_decide() {
        let mut state = cluster();
        close(&mut state, 1, &[1, 2, 3], 2);
        let set = |was, to| Command::SetNodeState { node: 3, was, state: to };
        state.apply(&set(NodeState::ReadWrite, NodeState::Draining)).unwrap();
        let audit = Audit::default();
        let known = facts(&ALL);
        let found = audit.wanted(&state, &known);
        assert!(matches!(&found[..], [Wanted::Close { .. }, Wanted::Copy { old: Some(old), .. }]
            if old.node == 3));
        close(&mut state, 2, &[1, 2, 4], 3);
        for epoch in [1, 2] {
            let swap = Command::SwapReplica {
                shard: 1,
                epoch,
                old: Some(replica(3)),
                new: replica(4),
                manifest: Manifest([1; 16]),
            };
            state.apply(&swap).unwrap();
        }
        assert_eq!(audit.wanted(&state, &known), []);
        state.apply(&set(NodeState::Draining, NodeState::Gone)).unwrap();
        assert_eq!(audit.wanted(&state, &known), []);
    }

    #[test]
    fn a_lost_directory_counts_no_more_and_what_it_held_is_copied_at_once() {
        let mut state = cluster();
        close(&mut state, 1, &[1, 2, 4], 2);
        let mut known = facts(&ALL);
        known.lost.insert(3);
        let audit = Audit::default();
        let found = audit.wanted(&state, &known);
        let lost = Command::SetNodeState { node: 3, was: NodeState::ReadWrite, state: NodeState::DataLoss };
        assert_eq!(found, [Wanted::Propose(lost.clone())]);
        state.apply(&lost).unwrap();
        let found = audit.wanted(&state, &known);
        assert!(matches!(found[..], [Wanted::Copy { epoch: 1, old: Some(old), .. }] if old == replica(3)));
        let swap = Command::SwapReplica {
            shard: 1,
            epoch: 1,
            old: Some(replica(3)),
            new: replica(5),
            manifest: Manifest([1; 16]),
        };
        state.apply(&swap).unwrap();
        let gone = Command::SetNodeState { node: 3, was: NodeState::DataLoss, state: NodeState::Gone };
        assert_eq!(audit.wanted(&state, &known), [Wanted::Propose(gone)]);
    }

    #[test]
    fn a_draining_leader_hands_over() {
        let mut state = cluster();
        let drain = Command::SetNodeState { node: 1, was: NodeState::ReadWrite, state: NodeState::Draining };
        state.apply(&drain).unwrap();
        let found = Audit::default().wanted(&state, &facts(&ALL));
        assert!(matches!(&found[..], [Wanted::Close { next, .. }] if next.leader.node == 2), "{found:?}");
    }

    #[test]
    fn what_a_lone_node_stored_gets_more_copies_when_others_join() {
        let mut state = State::default();
        state.apply(&crate::cluster_tests::register(1, "")).unwrap();
        state.apply(&Command::OpenShard { shard: 1, class: Retention::default() }).unwrap();
        state.apply(&Command::OpenFirstSpan { shard: 1, span: span_on(&[1], 1), base: 0 }).unwrap();
        for node in 2..=3 {
            state.apply(&crate::cluster_tests::register(node, "")).unwrap();
        }
        let known = facts(&ALL[..3]);
        let audit = Audit::default();
        let found = audit.wanted(&state, &known);
        assert!(matches!(&found[..], [Wanted::Close { next, .. }] if next.replicas.len() == 3));
        let leader = Leader { node: 1, incarnation: 1 };
        let next = span_on(&[1, 2, 3], 2);
        state.apply(&Command::LeaderClose { shard: 1, epoch: 1, leader, end: 5, chain: 50, next }).unwrap();
        let found = audit.wanted(&state, &known);
        assert!(matches!(found[..], [Wanted::Copy { epoch: 1, old: None, .. }]), "{found:?}");
    }
}
