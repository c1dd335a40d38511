//! How many copies a span has and should have: the one rule for status, metrics, and whoever makes copies.

use std::collections::BTreeSet;

use crate::span::Span;
use crate::spread::Spread;
use crate::state::State;

/// Whether a span has fewer copies that may stay than are wanted, as far as there are nodes that keep one or could take one.
pub(crate) fn is_short(span: &Span, stays: impl Fn(u64) -> bool, takers: &[u64], wanted: usize) -> bool {
    let stay: BTreeSet<u64> = span.replicas.iter().map(|one| one.node).filter(|node| stays(*node)).collect();
    let possible = stay.iter().chain(takers).collect::<BTreeSet<_>>().len();
    stay.len() < wanted.min(possible)
}

/// Why a node cannot be done without.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Needed {
    /// There would be too few nodes for what it holds.
    #[error(
        "node {node} holds span {epoch} of shard {shard}, which has {copies} copies, and {others} other nodes take copies: \
         add a node first"
    )]
    TooFewNodes {
        /// The node.
        node: u64,
        /// A shard that it holds.
        shard: u64,
        /// The span.
        epoch: u32,
        /// How many copies it has.
        copies: usize,
        /// How many other nodes take copies.
        others: usize,
    },
    /// Without its copy the others may lack acknowledged records.
    #[error(
        "records may be lost with node {node}: of span {epoch} of shard {shard} {left} other copies count, and {least} must, \
         so that one of them has everything. Bring back a node that holds it, or wait until it has been copied"
    )]
    LastCopies {
        /// The node.
        node: u64,
        /// A shard that it holds.
        shard: u64,
        /// The span.
        epoch: u32,
        /// How many copies would be left.
        left: usize,
        /// How many are needed to be sure.
        least: usize,
    },
}

impl State {
    /// How many spans of a shard have fewer copies that may stay than are wanted.
    pub fn spans_short(&self, shard: u64) -> usize {
        let takers: Vec<u64> = self.takers().map(|(node, _)| node).collect();
        let stays = |node| self.nodes.get(&node).is_some_and(|known| known.state.stays());
        let short = |span: &&Span| is_short(span, stays, &takers, Spread::default().replicas);
        self.chains.get(&shard).map_or(0, |chain| chain.spans.iter().filter(short).count())
    }

    /// Whether what a node holds can go to others, so that it may be emptied.
    ///
    /// # Errors
    /// There are too few of them.
    pub fn check_can_be_emptied(&self, node: u64) -> Result<(), Needed> {
        let others = self.takers().filter(|(number, _)| *number != node).count();
        let held = self.spans().filter(|(_, span)| span.is_on(node));
        let most = held.max_by_key(|(_, span)| span.replicas.len());
        match most {
            Some((shard, span)) if span.replicas.len() > others => {
                let copies = span.replicas.len();
                Err(Needed::TooFewNodes { node, shard, epoch: span.epoch, copies, others })
            }
            _ => Ok(()),
        }
    }

    /// Whether every acknowledged record is for sure on other nodes too, so that a node's copies may be given up.
    ///
    /// # Errors
    /// They may not be.
    pub fn check_can_be_lost(&self, node: u64) -> Result<(), Needed> {
        let counts =
            |other: u64| other != node && self.nodes.get(&other).is_some_and(|known| known.state.counts());
        for (shard, span) in self.spans().filter(|(_, span)| span.is_on(node)) {
            let left = span.replicas.iter().filter(|replica| counts(replica.node)).count();
            let least = span.copies_to_be_sure();
            if left < least {
                return Err(Needed::LastCopies { node, shard, epoch: span.epoch, left, least });
            }
        }
        Ok(())
    }
}

impl Span {
    /// Of how many holders one has everything for sure. Those that were there when it was written may lack what a quorum
    /// of them acknowledged; those that came later have all of it, and they are at most so many more than the quorum tells.
    fn copies_to_be_sure(&self) -> usize {
        let quorum = usize::from(self.quorum);
        let written_by = self.replicas.len().min((2 * quorum).saturating_sub(1));
        (written_by + 1).saturating_sub(quorum).max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster_tests::{cluster, register, span_on};
    use crate::{Command, Manifest, NodeState, Retention};

    fn set(state: &mut State, node: u64, to: NodeState) {
        let was = state.nodes[&node].state;
        state.apply(&Command::SetNodeState { node, was, state: to }).unwrap();
    }

    #[test]
    fn a_copy_on_a_node_that_is_emptied_is_one_too_few_if_another_node_could_have_it() {
        let mut state = cluster();
        assert_eq!(state.spans_short(1), 0);
        set(&mut state, 3, NodeState::Draining);
        assert_eq!(state.spans_short(1), 1);
        set(&mut state, 4, NodeState::Draining);
        set(&mut state, 5, NodeState::Draining);
        assert_eq!(state.spans_short(1), 0, "nobody could have it");
    }

    #[test]
    fn a_node_is_emptied_only_where_others_can_hold_what_it_holds() {
        let mut state = cluster();
        assert_eq!(state.check_can_be_emptied(1), Ok(()));
        assert_eq!(state.check_can_be_emptied(4), Ok(()), "it holds nothing");
        set(&mut state, 4, NodeState::Draining);
        set(&mut state, 5, NodeState::Draining);
        let needed = Needed::TooFewNodes { node: 1, shard: 1, epoch: 1, copies: 3, others: 2 };
        assert_eq!(state.check_can_be_emptied(1), Err(needed));
    }

    #[test]
    fn one_of_three_may_be_lost_and_not_two() {
        let mut state = cluster();
        assert_eq!(state.check_can_be_lost(1), Ok(()));
        set(&mut state, 1, NodeState::DataLoss);
        let needed = Needed::LastCopies { node: 2, shard: 1, epoch: 1, left: 1, least: 2 };
        assert_eq!(state.check_can_be_lost(2), Err(needed), "what 1 and 2 acknowledged 3 may lack");
        assert_eq!(state.check_can_be_lost(4), Ok(()));
    }

    #[test]
    fn what_was_written_by_one_or_two_of_two_is_whole_on_every_copy() {
        for (holders, quorum) in [(&[1][..], 1), (&[1, 2], 2)] {
            let mut state = State::default();
            for node in 1..=3 {
                state.apply(&register(node, "")).unwrap();
            }
            state.apply(&Command::OpenShard { shard: 1, class: Retention::default() }).unwrap();
            let span = crate::NewSpan { quorum, ..span_on(holders, 1) };
            state.apply(&Command::OpenFirstSpan { shard: 1, span, base: 0 }).unwrap();
            assert_eq!(state.check_can_be_lost(1).is_ok(), quorum == 2, "{holders:?}");
            let leader = state.last_span(1).unwrap().leader;
            let next = crate::NewSpan { quorum: 2, ..span_on(&[1, 2, 3], 2) };
            let close = Command::LeaderClose { shard: 1, epoch: 1, leader, end: 5, chain: 50, next };
            state.apply(&close).unwrap();
            let new = state.nodes[&3].replica(3);
            let manifest = Manifest([1; 16]);
            state.apply(&Command::SwapReplica { shard: 1, epoch: 1, old: None, new, manifest }).unwrap();
            assert_eq!(state.check_can_be_lost(1), Ok(()));
        }
    }
}
