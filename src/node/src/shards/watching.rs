//! What time brings: a leader that is silent is suspected, a span that stands still is ended.

use std::sync::Arc;
use std::time::Duration;

use tidelog_replica::leader::{self, Leader};
use tidelog_replica::sealer;
use tidelog_replica::suspicion::Suspect;

use super::held::{Held, Input, Rules};
use super::view;
use crate::spans::replica_of;

/// A holder that cannot be written for so long makes the leader end the span.
const LACKING: Duration = Duration::from_secs(1);
/// Of a span that cannot acknowledge because its other holders are silent for so long, the leader asks for another one.
const SILENT: Duration = Duration::from_millis(1500);
/// The metadata was read for sure at most so long ago where a span is ended that could go on: without a quorum it would have
/// no next one.
const SURE: Duration = Duration::from_millis(2500);
/// Between two looks at what is not urgent.
const LOOK: Duration = Duration::from_millis(100);

impl Held {
    /// Time has passed.
    pub(super) fn tick(self: &Arc<Held>) {
        let was_handing_over = self.rules().is_handing_over();
        self.step(Input::Lead(leader::Event::Tick));
        let mut rules = self.rules();
        if was_handing_over && !rules.is_handing_over() {
            self.leads_on(&mut rules);
        }
        let now = self.around.now();
        self.suspect(&mut rules, now);
        if now < rules.looked_at + LOOK {
            return;
        }
        rules.looked_at = now;
        if self.wants_another_span(&rules, now) {
            self.run(&mut rules, Input::Lead(leader::Event::Drain));
        }
        if let Some(sealing) = &rules.sealing {
            let (epoch, attempt) = (sealing.sealer.span().epoch, sealing.sealer.attempt());
            let lost = view::lost(&rules.state, self.shard, epoch);
            let takers = self.around.takers(&rules.state, usize::try_from(attempt).unwrap_or(0));
            self.run(&mut rules, Input::Seal(sealer::Event::Known { lost, takers }));
            self.run(&mut rules, Input::Seal(sealer::Event::Tick));
        }
        self.lead_if_named(&mut rules);
    }

    /// Whether the span that is led here should end, so that another one follows.
    fn wants_another_span(&self, rules: &Rules, now: Duration) -> bool {
        let Some(leader) = rules.leader.as_ref().filter(|leader| leader.leads()) else { return false };
        let span = leader.span();
        if self.around.is_leaving() {
            // The hand-over did not come to its end.
            return rules.left == Some(span.epoch)
                && !leader.is_handing_over()
                && span.replicas.len() > 1
                && self.around.could_hold(&rules.state) > 1;
        }
        if leader.lacks_a_copy(now, LACKING) {
            return true;
        }
        let answer = span.replicas.len() - leader.laggards(now, SILENT).len();
        let stands_still = answer < span.quorum;
        let long = rules.long == Some(span.epoch);
        (stands_still || long)
            && now < rules.sure_at + SURE
            && self.next_span(rules, &span.replicas, Some(leader.committed())).is_some_and(|next| {
                // The same holders would stand still again.
                long || next.replicas.iter().any(|one| !span.replicas.contains(&replica_of(one)))
                    || next.replicas.len() < span.replicas.len()
            })
    }

    fn suspect(self: &Arc<Held>, rules: &mut Rules, now: Duration) {
        let Some(last) = &rules.last else { return };
        let leads = rules.leader.as_ref().is_some_and(Leader::leads) || rules.starting;
        let seals = rules.sealing.is_some() || rules.beginning;
        let epoch = last.epoch;
        match rules.suspicion.suspects(now, &self.around.me.replica(), last, leads, seals) {
            Some(Suspect::Seal) => self.begin_seal(rules, epoch),
            Some(Suspect::Follow) => self.open_next(rules, epoch),
            None => {}
        }
    }
}
