//! What is asked of the metadata for a shard. An answer that is not clear is none: the metadata is read, and what it shows
//! is an event like any other.

use std::sync::Arc;

use tidelog_io::random;
use tidelog_meta::{Command, Illegal, Leader, NewSpan, Outcome, SpanState};
use tidelog_replica::follower;
use tidelog_replica::leader;
use tidelog_replica::sealer::{self, Sealer, Substitute};
use tidelog_replica::span::{Place, Replica, Span};

use super::held::{Held, Input, Rules, Sealing};
use super::view;

impl Held {
    /// Makes a promise durable.
    pub(super) fn keep(self: &Arc<Held>, promised: u32) {
        let held = Arc::clone(self);
        self.around.runtime.spawn(async move {
            match held.around.beside.keep([(held.shard, promised)].into()).await {
                Ok(()) => held.step(Input::Follow(follower::Event::Kept { promised })),
                Err(error) => held.failed("a promise could not be kept", &error),
            }
        });
    }

    /// Reads the metadata for this shard, if it is not being read.
    pub(super) fn refresh(self: &Arc<Held>, rules: &mut Rules) {
        if std::mem::replace(&mut rules.refreshing, true) {
            return;
        }
        let held = Arc::clone(self);
        self.around.runtime.spawn(async move {
            held.read_metadata().await;
            held.rules().refreshing = false;
        });
    }

    async fn read_metadata(self: &Arc<Held>) {
        match self.around.meta.read().await {
            Ok(state) => self.look(&state, true),
            Err(error) => tracing::debug!(shard = self.shard, %error, "the metadata could not be read"),
        }
    }

    /// Begins to seal the shard's last span.
    pub(super) fn begin_seal(self: &Arc<Held>, rules: &mut Rules, epoch: u32) {
        if std::mem::replace(&mut rules.beginning, true) {
            return;
        }
        let (held, token) = (Arc::clone(self), random::Entropy::system().u64());
        self.around.runtime.spawn(async move {
            let command = Command::BeginSeal { shard: held.shard, epoch, token };
            let asked = held.around.meta.propose(command).await;
            if !matches!(asked, Err(_) | Ok(Outcome::Illegal(_))) {
                held.read_metadata().await;
                held.coordinate(epoch, token);
            }
            held.rules().beginning = false;
        });
    }

    /// The attempt is this node's if the metadata carries its token.
    fn coordinate(self: &Arc<Held>, epoch: u32, token: u64) {
        let mut rules = self.rules();
        let listed = rules.state.span(self.shard, epoch).map(|span| span.state);
        let Some(SpanState::Sealing { attempt, token: found }) = listed else { return };
        let Some(span) = view::span(&rules.state, self.shard, epoch).filter(|_| found == token) else {
            return;
        };
        tracing::info!(shard = self.shard, epoch, attempt, "this node finds out where the span ends");
        self.around.metrics.seals_begun.inc();
        let (sealer, effects) = Sealer::new(span, attempt, self.around.now());
        rules.sealing = Some(Sealing { sealer, committing: false });
        self.carry_out(&mut rules, effects);
    }

    /// The span that is to follow, if there can be one now. `end`: where the last one is about to end.
    pub(super) fn next_span(
        &self,
        rules: &Rules,
        survivors: &[Replica],
        end: Option<u64>,
    ) -> Option<NewSpan> {
        let salt = random::salt();
        let takers = self.around.takers(&rules.state, usize::from(salt[0]));
        let wanted = (takers, self.around.spread);
        view::next_span(&rules.state, self.shard, survivors, end, wanted, salt)
    }

    /// The span that is to follow the one that is led here. Whoever leads it has all of this one, so that nobody waits;
    /// without a reason to change, that is this node.
    pub(super) fn span_after(&self, rules: &Rules, span: &Span, end: u64) -> Option<NewSpan> {
        let salt = random::salt();
        let mut takers = self.around.takers(&rules.state, usize::from(salt[0]));
        let wished =
            |onward: &&Vec<u64>| onward.iter().all(|node| takers.iter().any(|one| one.node == *node));
        match rules.onward.as_ref().filter(wished) {
            Some(onward) => {
                let place = |node: u64| onward.iter().position(|one| *one == node);
                takers.retain(|taker| place(taker.node).is_some());
                takers.sort_by_key(|taker| place(taker.node));
            }
            None => {
                let leaves = self.around.is_leaving();
                let leader = rules.leader_of(span.epoch);
                takers.sort_by_key(|taker| {
                    let has_all = leader.is_some_and(|leader| leader.lacks(taker) == Some(0));
                    let full = !self.around.has_room(taker.node);
                    (full, !has_all, (taker.node == self.around.me.node) == leaves)
                });
            }
        }
        let wanted = (takers, self.around.spread);
        view::next_span(&rules.state, self.shard, &span.replicas, Some(end), wanted, salt)
    }

    pub(super) fn ask_to_commit(
        self: &Arc<Held>,
        rules: &mut Rules,
        attempt: u32,
        end: Place,
        survivors: &[Replica],
        substitutes: &[Substitute],
    ) {
        let Some(sealing) = rules.sealing.as_mut().filter(|sealing| !sealing.committing) else { return };
        sealing.committing = true;
        let epoch = sealing.sealer.span().epoch;
        let next = self.next_span(rules, survivors, Some(end.lsn));
        let substitutes = substitutes.iter().map(view::listed_substitute).collect();
        let (shard, end, chain) = (self.shard, end.lsn, end.chain);
        let command = Command::CommitSeal { shard, epoch, attempt, end, chain, substitutes, next };
        let held = Arc::clone(self);
        self.around.runtime.spawn(async move {
            let outcome = held.around.meta.propose(command).await;
            if let Some(sealing) = held.rules().sealing.as_mut() {
                sealing.committing = false;
            }
            match outcome {
                Ok(Outcome::Applied { .. }) => {
                    held.step(Input::Seal(sealer::Event::Committed { done: true }));
                    held.read_metadata().await;
                }
                // What the metadata shows now decides: the attempt may be over, or only the next span was not possible.
                _ => held.read_metadata().await,
            }
        });
    }

    /// Asks the metadata to end the span that is led here.
    pub(super) fn ask_to_close(self: &Arc<Held>, rules: &mut Rules, span: Span, end: Place) {
        if std::mem::replace(&mut rules.closing, true) {
            return;
        }
        self.around.metrics.closes.inc();
        let next = self.span_after(rules, &span, end.lsn);
        let held = Arc::clone(self);
        self.around.runtime.spawn(async move {
            let outcome = match next {
                Some(next) => {
                    let leader = Leader { node: span.leader.node, incarnation: span.leader.incarnation };
                    let (shard, epoch) = (held.shard, span.epoch);
                    let (end, chain) = (end.lsn, end.chain);
                    let command = Command::LeaderClose { shard, epoch, leader, end, chain, next };
                    held.around.meta.propose(command).await.ok()
                }
                None => None,
            };
            held.rules().closing = false;
            match outcome {
                Some(Outcome::Applied { .. }) => held.step(Input::Lead(leader::Event::Closed { done: true })),
                Some(Outcome::Illegal(Illegal::BeingSealed { .. } | Illegal::Sealed { .. })) => {
                    held.step(Input::Lead(leader::Event::Closed { done: false }));
                }
                _ => {}
            }
            held.read_metadata().await;
        });
    }

    /// A span that was sealed with none to follow it gets one.
    pub(super) fn open_next(self: &Arc<Held>, rules: &mut Rules, after: u32) {
        if !rules.follower.is_whole(after) {
            return;
        }
        let Some(span) = self.next_span(rules, &[self.around.me.replica()], None) else { return };
        let held = Arc::clone(self);
        self.around.runtime.spawn(async move {
            let command = Command::OpenNextSpan { shard: held.shard, after, span };
            let _ = held.around.meta.propose(command).await;
            held.read_metadata().await;
        });
    }
}
