//! The span that follows: who leads it, who holds it.
//!
//! # Invariants
//! - The leader holds what it must know to go on: offsets and producers of the shard's partitions. They stand in the newest
//!   sealed span with two frames or more, at whose head the table of everything before is, and in the spans behind it.
//! - Whoever held the span before takes part first: then nothing has to be copied to serve readers.
//! - As many holders as are wanted; else three, two, one, as many as take new copies (ruling 10). A shard that was on three
//!   disks never goes on with one.

use std::collections::{BTreeMap, BTreeSet};

use crate::span::{Process, Replica, Span};

/// A node that takes new copies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taker {
    /// With its directory.
    pub replica: Replica,
    /// Its present life.
    pub incarnation: u64,
}

/// What is known when a span is to follow.
#[derive(Clone, Copy, Debug)]
pub struct Succession<'a> {
    /// The shard's spans; the last one has ended, or is about to.
    pub spans: &'a BTreeMap<u32, Span>,
    /// Where the last one is about to end; `None` when it is sealed.
    pub end: Option<u64>,
    /// Who has all of it.
    pub survivors: &'a [Replica],
    /// Who takes new copies, the best first.
    pub takers: &'a [Taker],
    /// How many holders are wanted.
    pub wanted: usize,
    /// How many there must be.
    pub least: usize,
}

/// The span that is to follow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Next {
    /// Who holds it, the leader first.
    pub replicas: Vec<Replica>,
    /// How many of them acknowledge.
    pub quorum: usize,
    /// Who leads it.
    pub leader: Process,
}

/// The spans before `epoch` whose frames its leader must know: from the newest one with frames back to one that tells.
pub fn needed(spans: &BTreeMap<u32, Span>, epoch: u32) -> Vec<&Span> {
    let mut needed = Vec::new();
    for span in spans.range(..epoch).rev().map(|(_, span)| span) {
        let frames = span.end().map_or(0, |end| end.lsn.saturating_sub(span.base.lsn));
        if frames > 0 {
            needed.push(span);
        }
        if tells(frames) {
            break;
        }
    }
    needed
}

/// Whether a span with so many frames tells what a leader must know: it stands behind the opening frame.
fn tells(frames: u64) -> bool {
    frames > 1
}

impl Succession<'_> {
    /// Who leads and holds the next span; `None`: nobody can, now.
    pub fn next(&self) -> Option<Next> {
        let able = self.able();
        let (mut order, others): (Vec<&Taker>, Vec<&Taker>) =
            self.takers.iter().partition(|taker| self.survivors.contains(&taker.replica));
        order.extend(others);
        let lead =
            order.iter().position(|taker| able.as_ref().is_none_or(|able| able.contains(&taker.replica)))?;
        let leader = order.remove(lead);
        order.insert(0, leader);
        let count = [self.wanted, 3, 2, 1];
        let count =
            count.into_iter().find(|count| *count <= order.len() && *count <= self.wanted.max(self.least))?;
        if count < self.least {
            return None;
        }
        let replicas = order[..count].iter().map(|taker| taker.replica).collect();
        let leader = Process { node: leader.replica.node, incarnation: leader.incarnation };
        Some(Next { replicas, quorum: count / 2 + 1, leader })
    }

    /// Who holds everything that a leader must know; `None`: nothing is to be known, anybody may lead.
    fn able(&self) -> Option<BTreeSet<Replica>> {
        let mut able: Option<BTreeSet<Replica>> = None;
        let mut must_hold = |holders: &[Replica]| {
            let holders: BTreeSet<Replica> = holders.iter().copied().collect();
            able = Some(
                able.take().map_or(holders.clone(), |able| able.intersection(&holders).copied().collect()),
            );
        };
        let last = self.spans.values().next_back().filter(|last| last.end().is_none());
        let frames = last.zip(self.end).map_or(0, |(last, end)| end.saturating_sub(last.base.lsn));
        if frames > 0 {
            must_hold(self.survivors);
        }
        if !tells(frames) {
            for span in needed(self.spans, u32::MAX) {
                must_hold(&span.replicas);
            }
        }
        able
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::made::{replica, span};
    use crate::span::{Place, SpanState};

    fn takers(nodes: &[u64]) -> Vec<Taker> {
        nodes.iter().map(|node| Taker { replica: replica(*node), incarnation: 10 + node }).collect()
    }

    /// Spans of these holders with so many frames, one after the other; the last one is open.
    fn chain(spans: &[(&[u64], u64)]) -> BTreeMap<u32, Span> {
        let mut base = 0;
        let count = spans.len();
        let made = spans.iter().zip(1..).map(|((nodes, frames), epoch)| {
            let at = |lsn| Place { lsn, chain: lsn };
            let state = if epoch as usize == count {
                SpanState::Open
            } else {
                SpanState::Sealed { end: at(base + frames) }
            };
            let replicas = nodes.iter().map(|node| replica(*node)).collect();
            let span = Span { epoch, base: at(base), replicas, state, ..span(3, 2) };
            base += frames;
            (epoch, span)
        });
        made.collect()
    }

    fn next(
        spans: &BTreeMap<u32, Span>,
        end: u64,
        survivors: &[u64],
        nodes: &[u64],
        wanted: usize,
    ) -> Option<(u64, Vec<u64>, usize)> {
        let survivors: Vec<Replica> = survivors.iter().map(|node| replica(*node)).collect();
        let takers = takers(nodes);
        let succession =
            Succession { spans, end: Some(end), survivors: &survivors, takers: &takers, wanted, least: 2 };
        let next = succession.next()?;
        assert_eq!(next.leader.incarnation, 10 + next.leader.node);
        Some((next.leader.node, next.replicas.iter().map(|replica| replica.node).collect(), next.quorum))
    }

    #[test]
    fn survivors_lead_and_hold_first_and_others_fill_up() {
        let spans = chain(&[(&[1, 2, 3], 5)]);
        assert_eq!(next(&spans, 5, &[2, 3], &[5, 4, 3, 2], 3), Some((3, vec![3, 2, 5], 2)));
        assert_eq!(next(&spans, 5, &[2, 3], &[4, 3], 3), Some((3, vec![3, 4], 2)), "two of two");
        assert_eq!(next(&spans, 5, &[2, 3], &[3], 3), None, "never one after three");
        assert_eq!(next(&spans, 5, &[2, 3], &[4, 5, 6], 3), None, "nobody knows where offsets go on");
        assert_eq!(
            next(&spans, 5, &[2], &[1, 2, 3, 4], 5),
            Some((2, vec![2, 1, 3], 2)),
            "three where five are not"
        );
    }

    #[test]
    fn who_leads_behind_an_empty_span_holds_the_one_that_tells() {
        let spans = chain(&[(&[1, 2, 3], 4), (&[2, 3, 4], 1), (&[3, 4, 5], 0)]);
        assert_eq!(next(&spans, 5, &[4, 5], &[5, 4, 2, 3], 3), Some((2, vec![2, 5, 4], 2)), "1 is not there");
        assert_eq!(
            next(&spans, 6, &[4, 5], &[5, 4, 2, 3], 3),
            None,
            "the frame of the last is not on 2 and 3"
        );
        assert_eq!(
            next(&spans, 7, &[4, 5], &[5, 4, 2, 3], 3),
            Some((5, vec![5, 4, 2], 2)),
            "it tells itself"
        );
        let needed: Vec<u32> = needed(&spans, 3).iter().map(|span| span.epoch).collect();
        assert_eq!(needed, [2, 1]);
    }

    #[test]
    fn in_a_shard_without_frames_anybody_leads() {
        let spans = chain(&[(&[1, 2, 3], 0)]);
        assert_eq!(next(&spans, 0, &[1], &[4, 5], 3), Some((4, vec![4, 5], 2)));
    }
}
