//! When a holder gives a leader up: it may be wrong, and nothing but the time of a failover depends on it.
//!
//! # Purpose
//! Every holder of a shard's last span watches it. A span whose leader is silent is sealed, a sealed one that none follows
//! is followed. Holders wait differently long, so that usually one of them is first; when two are, their attempts race,
//! and the metadata takes the newest.

use std::time::Duration;

use crate::span::{Replica, Span, SpanState};

/// The shortest patience: nine appends without content that did not come, and three heartbeats.
const PATIENCE: Duration = Duration::from_millis(900);
/// So much more for each later one of the holders.
const STAGGER: Duration = Duration::from_millis(150);
/// A leader that stopped on this node itself is waited for so much less.
const STOPPED: Duration = Duration::from_millis(600);
/// A seal that is under way here gets so many patiences before another attempt is begun.
const SEALING: u32 = 4;

/// What ought to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Suspect {
    /// Nobody leads the span: begin to seal it.
    Seal,
    /// The span is sealed and none follows: open one.
    Follow,
}

/// What a holder thinks of the leader of a shard's last span.
#[derive(Clone, Copy, Debug)]
pub struct Suspicion {
    heard: Duration,
    patience: Duration,
}

impl Suspicion {
    /// Of the holder `number`, just begun.
    pub fn new(number: u64, now: Duration) -> Suspicion {
        let later = u32::try_from(number % 7).unwrap_or(0);
        Suspicion { heard: now, patience: PATIENCE + STAGGER * later }
    }

    /// The leader has sent something.
    pub fn heard(&mut self, now: Duration) {
        self.heard = now;
    }

    /// Nobody else holds the span, and nobody leads it: nothing is to be waited for.
    pub fn alone(&mut self, now: Duration) {
        self.heard = now.saturating_sub(self.patience);
    }

    /// The leader is this node, and it has stopped without an end to its span.
    pub fn stopped(&mut self, now: Duration) {
        self.heard = now.saturating_sub(STOPPED);
    }

    /// What ought to be done about the shard's last span; `leads` and `seals`: this node does so. Says it once, and again
    /// after the same patience.
    pub fn suspects(
        &mut self,
        now: Duration,
        me: &Replica,
        last: &Span,
        leads: bool,
        seals: bool,
    ) -> Option<Suspect> {
        let patience = if seals { self.patience * SEALING } else { self.patience };
        // A node that came with another directory is as good a coordinator, and may be the only one that is left.
        let concerned = last.replicas.iter().any(|replica| replica.node == me.node);
        if leads || !concerned || now < self.heard + patience {
            return None;
        }
        self.heard = now;
        Some(match last.state {
            SpanState::Open | SpanState::Sealing { .. } => Suspect::Seal,
            SpanState::Sealed { .. } => Suspect::Follow,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::made::{replica, span};

    const BEGUN: Duration = Duration::from_secs(10);

    #[test]
    fn a_silent_leader_is_suspected_once_and_again_after_the_same_time() {
        let last = span(3, 2);
        let mut suspicion = Suspicion::new(2, BEGUN);
        let patience = Duration::from_millis(1200);
        let mut look = |after| suspicion.suspects(BEGUN + after, &replica(2), &last, false, false);
        assert_eq!(look(patience - Duration::from_millis(1)), None);
        assert_eq!(look(patience), Some(Suspect::Seal));
        assert_eq!(look(patience), None);
        assert_eq!(look(patience * 2), Some(Suspect::Seal));
        suspicion.heard(BEGUN + patience * 3);
        assert_eq!(suspicion.suspects(BEGUN + patience * 3, &replica(2), &last, false, false), None);
    }

    #[test]
    fn a_leader_is_not_suspected_by_itself_nor_by_strangers_and_a_seal_gets_its_time() {
        let mut last = span(3, 2);
        let late = BEGUN + Duration::from_secs(3);
        let look = |me: u64, leads, seals, last: &Span| {
            Suspicion::new(1, BEGUN).suspects(late, &replica(me), last, leads, seals)
        };
        assert_eq!(look(1, true, false, &last), None);
        assert_eq!(look(9, false, false, &last), None);
        assert_eq!(look(1, false, true, &last), None);
        assert_eq!(look(1, false, false, &last), Some(Suspect::Seal));
        last.state = SpanState::Sealed { end: last.base };
        assert_eq!(look(1, false, false, &last), Some(Suspect::Follow));
    }

    #[test]
    fn a_leader_that_stopped_here_is_waited_for_less() {
        let mut suspicion = Suspicion::new(7, BEGUN);
        suspicion.stopped(BEGUN);
        let soon = BEGUN + Duration::from_millis(300);
        assert_eq!(suspicion.suspects(soon, &replica(2), &span(3, 2), false, false), Some(Suspect::Seal));
    }
}
