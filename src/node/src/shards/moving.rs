//! Another node leads, on purpose: at a stop, when somebody asks for it, and to balance the cluster.
//!
//! # Invariants
//! Nothing is left unclear by it: the span ends when all that was framed is committed and its successor has all of it. What
//! waits meanwhile is refused with "another node leads", so that clients send it there.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tidelog_meta::NodeState;
use tidelog_replica::follower::WINDOW_FRAMES;
use tidelog_replica::leader;
use tidelog_replica::span::{Replica, SpanState};

use super::TICK;
use super::held::{Held, Input, Rules};

/// A successor has so long to get the rest of what was framed; nothing more is framed meanwhile.
const HAND_OVER: Duration = Duration::from_millis(200);
/// A holder from which nothing was heard for so long is not made the leader.
const SILENT: Duration = Duration::from_millis(1000);
/// How long the metadata has to say who leads.
const PATIENCE: Duration = Duration::from_secs(5);

/// Why a node was not made the leader of a shard.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unmoved {
    /// This process does not lead the shard.
    #[error("this node does not lead shard {0}")]
    NotLed(u64),
    /// Only who has the records can go on with them.
    #[error(
        "node {to} does not hold the last span of shard {shard}, nodes {} do: one of those can lead it",
        list(holders)
    )]
    NotAHolder { shard: u64, to: u64, holders: Vec<u64> },
    /// It takes no new spans.
    #[error("node {to} takes no new spans: it is {state:?}")]
    TakesNothing { to: u64, state: NodeState },
    /// Producers would wait until it has all of it.
    #[error(
        "node {to} is behind in shard {shard}: it lacks {frames} frames, or does not answer. Wait until it has caught up"
    )]
    Behind { shard: u64, to: u64, frames: u64 },
    /// Meanwhile the span was ended for another reason.
    #[error("node {leader} leads shard {shard} now: its last span was ended for another reason meanwhile")]
    Elsewhere { shard: u64, leader: u64 },
    /// Nobody knows yet.
    #[error("the metadata did not say in time who leads shard {0}: the move may still take place")]
    Unknown(u64),
}

fn list(nodes: &[u64]) -> String {
    nodes.iter().map(u64::to_string).collect::<Vec<_>>().join(", ")
}

impl Held {
    /// Has another holder lead the shard from now on, and waits until the metadata says so.
    ///
    /// # Errors
    /// [`Unmoved`]. Only with its last two the span has ended, or may have.
    pub(crate) async fn move_leader(self: &Arc<Held>, to: u64) -> Result<(), Unmoved> {
        let Some(epoch) = self.begin_move(to)? else { return Ok(()) };
        let shard = self.shard;
        let (mut versions, end) = (self.around.meta.watch(), Instant::now() + PATIENCE);
        loop {
            {
                let rules = self.rules();
                match rules.last.as_ref().filter(|last| last.epoch > epoch) {
                    Some(last) if last.leader.node == to => return Ok(()),
                    Some(last) => return Err(Unmoved::Elsewhere { shard, leader: last.leader.node }),
                    None => {}
                }
                if let Some(leader) = rules.leader_of(epoch).filter(|leader| leader.leads())
                    && !leader.is_handing_over()
                {
                    let replica = leader.span().replicas.iter().find(|replica| replica.node == to);
                    let frames = replica.and_then(|replica| leader.lacks(replica)).unwrap_or(0);
                    return Err(Unmoved::Behind { shard, to, frames });
                }
            }
            if Instant::now() >= end {
                return Err(Unmoved::Unknown(shard));
            }
            tokio::select! {
                _ = versions.changed() => {}
                () = tokio::time::sleep(TICK) => {}
            }
        }
    }

    /// Begins to hand over to a node; gives the epoch of the span that ends by it, none when the node leads already.
    fn begin_move(self: &Arc<Held>, to: u64) -> Result<Option<u32>, Unmoved> {
        let (shard, mut rules) = (self.shard, self.rules());
        let leader = rules.leader.as_ref().filter(|leader| leader.leads()).ok_or(Unmoved::NotLed(shard))?;
        let span = leader.span();
        if to == self.around.me.node {
            return Ok(None);
        }
        let holders: Vec<u64> = span.replicas.iter().map(|replica| replica.node).collect();
        let Some(replica) = span.replicas.iter().find(|replica| replica.node == to).copied() else {
            return Err(Unmoved::NotAHolder { shard, to, holders });
        };
        let state = rules.state.nodes.get(&to).map_or(NodeState::Gone, |known| known.state);
        if state != NodeState::ReadWrite {
            return Err(Unmoved::TakesNothing { to, state });
        }
        let frames = leader.lacks(&replica).unwrap_or(0);
        // A span that has just begun has heard from nobody yet.
        let silent = !self.around.is_alive(&rules.state, to)
            || leader.laggards(self.around.now(), SILENT).contains(&replica);
        if silent || frames > WINDOW_FRAMES as u64 {
            return Err(Unmoved::Behind { shard, to, frames });
        }
        let epoch = span.epoch;
        let others = holders.into_iter().filter(|node| *node != to);
        let takes =
            |node: &u64| rules.state.nodes.get(node).is_some_and(|known| known.state == NodeState::ReadWrite);
        let onward: Vec<u64> = std::iter::once(to).chain(others.filter(takes)).collect();
        self.begin_hand_over(&mut rules, Some(replica), Some(onward));
        Ok(Some(epoch))
    }

    /// This node is about to stop. Has the shard's last span end as soon as its successor has all of it, if this process leads it,
    /// or as soon as it does if it is named to, and others hold it too; whether that is so. Once: a span that comes back is not
    /// sent on again, for the others may be stopping as well.
    pub(super) fn hand_over(self: &Arc<Held>) -> bool {
        let mut rules = self.rules();
        if rules.left.is_some() {
            return true;
        }
        if !self.is_to_hand_over(&rules) {
            return false;
        }
        if let Some(epoch) = rules.stays_leader().map(|leader| leader.span().epoch) {
            rules.left = Some(epoch);
            self.begin_hand_over(&mut rules, None, None);
        }
        true
    }

    /// Whether this process leads the shard's last span, or is named to, and others could lead the next one.
    fn is_to_hand_over(&self, rules: &Rules) -> bool {
        let me = self.around.me.process();
        let named = rules.last.as_ref().filter(|last| last.state == SpanState::Open && last.is_led_by(&me));
        named.is_some_and(|span| span.replicas.len() > 1) && self.around.could_hold(&rules.state) > 1
    }

    /// Whether nothing of the shard is to be waited for before this node stops: another node leads what this one has led, and
    /// has said so itself. That the metadata names it is not enough: whoever leads the metadata may know that alone, and take it
    /// along.
    pub(super) fn has_left(&self) -> bool {
        let rules = self.rules();
        let Some(left) = rules.left else { return !self.is_to_hand_over(&rules) };
        let me = &self.around.me;
        rules.last.as_ref().filter(|last| last.epoch > left).is_some_and(|last| {
            let holds = last.replicas.contains(&me.replica());
            rules.heard_of >= last.epoch || !holds || last.is_led_by(&me.process())
        })
    }

    pub(super) fn begin_hand_over(
        self: &Arc<Held>,
        rules: &mut Rules,
        to: Option<Replica>,
        onward: Option<Vec<u64>>,
    ) {
        self.around.metrics.hand_overs.inc();
        rules.onward = onward;
        let until = self.around.now() + HAND_OVER;
        self.run(rules, Input::Lead(leader::Event::HandOver { to, until }));
    }

    /// The successor did not come so far in time: this process leads on.
    pub(super) fn leads_on(&self, rules: &mut Rules) {
        if !rules.leader.as_ref().is_some_and(|leader| leader.leads()) {
            return;
        }
        rules.onward = None;
        tracing::info!(shard = self.shard, "the shard was not handed over: its successor lacks frames");
        if let Some(wal) = &rules.leading {
            wal.wake();
        }
    }
}

impl Rules {
    /// Who leads a span here and is not about to hand it over.
    pub(super) fn stays_leader(&self) -> Option<&leader::Leader> {
        self.leader.as_ref().filter(|leader| leader.leads() && !leader.is_handing_over())
    }

    pub(super) fn is_handing_over(&self) -> bool {
        self.leader.as_ref().is_some_and(leader::Leader::is_handing_over)
    }
}
