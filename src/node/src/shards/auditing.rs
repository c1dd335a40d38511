//! What ought to be done about spans, by the metadata's auditor: every node asks it, and does what concerns itself. A leader
//! ends the span that should go on elsewhere; a node that is to have a copy makes it.
//!
//! # Invariants
//! The auditor is pure, and what it wants states what it builds on: nodes that have heard different things of each other do
//! nothing twice.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tidelog_io::random;
use tidelog_meta::{Audit, Command, Facts, Heard, Place, State, Wanted};
use tidelog_replica::leader::Leader;
use tidelog_wal::FIRST_LSN;

use super::held::{Held, Rules};
use super::partitions::Leaving;
use super::{Around, Shards};
use crate::spans::replica_of;

/// The auditor is asked at most so often, when something has changed.
const LEAST: Duration = Duration::from_millis(500);
/// And so often when nothing has.
const MOST: Duration = Duration::from_secs(3);
/// Copies that are made here at once because the auditor wants them.
const COPIES: i64 = 4;
/// A span that was to end and did not is left alone for so long: its producers wait for a moment each time.
const REST: Duration = Duration::from_secs(10);
/// A node that has just made room for other leaders is made none for so long: it may be about to stop.
const MADE_ROOM: Duration = Duration::from_secs(5);
/// And one for which there was no better place for so long.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

impl Shards {
    /// Asks the auditor until the node stops.
    pub(super) async fn audit(self) {
        let audit = Audit { spread: self.around.spread(), classes: self.around.classes, ..Audit::default() };
        // When each node was there last; one that never was since the start counts from the start.
        let mut there: BTreeMap<u64, Instant> = BTreeMap::new();
        let mut seats = Seats::default();
        let mut changed = self.around.meta.watch();
        loop {
            let state = self.around.meta.recent();
            let facts = self.around.facts(&state, &mut there);
            seats.look(&state);
            for wanted in audit.wanted(&state, &facts) {
                if !matches!(&wanted, Wanted::Close { next, .. } if seats.has_made_room(next.leader.node)) {
                    self.act(&state, &facts, wanted);
                }
            }
            let next = async {
                tokio::time::sleep(LEAST).await;
                // An error is the end of the node.
                let _ = tokio::time::timeout(MOST - LEAST, changed.changed()).await;
            };
            tokio::select! {
                () = next => {}
                () = self.around.stopped() => return,
            }
        }
    }

    fn act(&self, state: &Arc<State>, facts: &Facts, wanted: Wanted) {
        let me = self.around.me.node;
        match wanted {
            Wanted::Close { shard, epoch, next } => {
                if let Some(held) = self.get(shard).filter(|held| held.may_go_on(epoch)) {
                    // Without a quorum there would be no next one, and producers would wait for it: that there is one is
                    // seen just before.
                    self.around.runtime.spawn(async move {
                        if held.around.meta.read().await.is_ok() {
                            held.go_on_at(epoch, &next);
                        }
                    });
                }
            }
            Wanted::Copy { shard, epoch, old, new, .. } if new.node == me => {
                if let Some(held) = self.get(shard)
                    && self.around.metrics.copies.get() < COPIES
                {
                    held.become_holder(epoch, old.as_ref().map(replica_of));
                }
            }
            Wanted::Move { name, id, partition: number, from, to } => {
                if let Some(held) = self.get(from).filter(|held| held.leads_now()) {
                    self.around.runtime.spawn(held.let_leave(Leaving { name, id, number, to }));
                }
            }
            Wanted::Renew { shard, epoch } => {
                if let Some(held) = self.get(shard) {
                    held.renew(epoch);
                }
            }
            Wanted::Propose(command @ Command::SetNodeState { .. }) if self.is_first(facts) => {
                self.propose(state, command, "a lost node that nothing depends on any more is let go");
            }
            Wanted::Propose(command @ (Command::OpenShard { .. } | Command::SetShardClass { .. }))
                if self.is_first(facts) =>
            {
                self.propose(state, command, "partitions are to be spread over one more shard");
            }
            Wanted::Open { shard, after: None, place } if self.is_first(facts) => {
                let span = place.with_salt(random::salt());
                let command = Command::OpenFirstSpan { shard, span, base: FIRST_LSN };
                self.propose(state, command, "the first span of a shard opens");
            }
            // A leader that is gone is found by those who hold the span.
            _ => {}
        }
    }

    /// Whether this node does what any one may do.
    fn is_first(&self, facts: &Facts) -> bool {
        let first = facts.nodes.iter().find(|(_, heard)| heard.silent_ms == 0);
        first.is_some_and(|(first, _)| *first == self.around.me.node)
    }

    fn propose(&self, state: &State, command: Command, why: &'static str) {
        let around = Arc::clone(&self.around);
        tracing::info!(?command, version = state.version, why, "the auditor asks for a change");
        self.around.runtime.spawn(async move { around.meta.propose(command).await });
    }
}

/// Who led what at the last look, and when a node led something less than before.
#[derive(Default)]
struct Seats {
    leaders: BTreeMap<u64, u64>,
    made_room: BTreeMap<u64, Instant>,
}

impl Seats {
    fn look(&mut self, state: &State) {
        for (shard, span) in state.chains.iter().filter_map(|(shard, chain)| Some((*shard, chain.last()?))) {
            let before = self.leaders.insert(shard, span.leader.node);
            if let Some(before) = before.filter(|before| *before != span.leader.node) {
                self.made_room.insert(before, Instant::now());
            }
        }
    }

    fn has_made_room(&self, node: u64) -> bool {
        self.made_room.get(&node).is_some_and(|at| at.elapsed() < MADE_ROOM)
    }
}

impl Around {
    /// What is known of the nodes: who is there, and for how long the others were not.
    fn facts(&self, state: &State, there: &mut BTreeMap<u64, Instant>) -> Facts {
        let now = Instant::now();
        let mut facts = Facts::default();
        for node in state.nodes.keys().copied() {
            let at = there.entry(node).or_insert(now);
            let silent_ms = if self.is_alive(state, node) {
                *at = now;
                0
            } else {
                // More than nothing, however soon it is asked.
                u64::try_from(now.duration_since(*at).as_millis()).unwrap_or(u64::MAX).max(1)
            };
            facts.nodes.insert(node, Heard { silent_ms, free_bytes: self.room(node) });
        }
        facts
    }
}

impl Held {
    /// Whether the span is led here, and may be ended only because it would be better elsewhere.
    fn may_go_on(&self, epoch: u32) -> bool {
        self.rules().may_end(epoch, self.around.now()).is_some()
    }

    /// Whether this process leads the shard, and is not about to hand it over.
    fn leads_now(&self) -> bool {
        self.rules().stays_leader().is_some()
    }

    /// Has the span that is led here end, and another one follow in its place.
    fn renew(&self, epoch: u32) {
        let (mut rules, now) = (self.rules(), self.around.now());
        if rules.may_end(epoch, now).is_some() {
            rules.long = Some(epoch);
            rules.rests_until = now + REST;
            tracing::info!(
                shard = self.shard,
                epoch,
                "a partition is to come here: the span goes on at a new epoch"
            );
        }
    }

    /// Has the span that is led here go on at another place, if that can be done now and makes a difference.
    fn go_on_at(self: &Arc<Held>, epoch: u32, next: &Place) {
        let mut rules = self.rules();
        let now = self.around.now();
        let Some(leader) = rules.may_end(epoch, now) else { return };
        let (span, committed) = (leader.span().clone(), leader.committed());
        let to = next.replicas.iter().find(|replica| replica.node == next.leader.node).map(replica_of);
        let to = to.filter(|to| span.replicas.contains(to));
        let others =
            next.replicas.iter().map(|replica| replica.node).filter(|node| *node != next.leader.node);
        let onward: Vec<u64> = std::iter::once(next.leader.node).chain(others).collect();
        rules.onward = Some(onward);
        let differs = self.span_after(&rules, &span, committed).is_some_and(|after| {
            let same_holders = after.replicas.iter().all(|one| span.replicas.contains(&replica_of(one)))
                && after.replicas.len() == span.replicas.len();
            !same_holders || after.leader.node != span.leader.node
        });
        if !differs {
            (rules.onward, rules.rests_until) = (None, now + LOOK_AGAIN);
            return;
        }
        rules.rests_until = now + REST;
        let onward = rules.onward.take();
        tracing::info!(shard = self.shard, epoch, ?onward, "the span goes on at another place");
        self.begin_hand_over(&mut rules, to, onward);
    }

    /// Makes a copy of a sealed span, in the place of a holder that goes.
    fn become_holder(self: &Arc<Held>, epoch: u32, old: Option<tidelog_replica::span::Replica>) {
        let mut rules = self.rules();
        let now = self.around.now();
        if rules.not_before.get(&epoch).is_none_or(|before| now >= *before) {
            self.copy_instead(&mut rules, epoch, old);
        }
    }
}

impl Rules {
    /// Who leads the span here, if it may be ended now only because it would be better elsewhere.
    fn may_end(&self, epoch: u32, now: Duration) -> Option<&Leader> {
        self.stays_leader().filter(|leader| leader.span().epoch == epoch && now >= self.rests_until)
    }

    /// A new span has begun: it may be ended for a good reason at once.
    pub(super) fn forget_wishes(&mut self) {
        (self.onward, self.rests_until) = (None, Duration::ZERO);
    }
}
