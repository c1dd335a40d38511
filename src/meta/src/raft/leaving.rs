//! A member that leads and is about to stop has another voter lead, so that nobody has to find out that it is gone: that
//! takes as long as an election, and nothing can be decided meanwhile.
//!
//! # How
//! openraft has no command for it. It asks a voter that has every entry to stand for election. That one votes for itself, and
//! the member that makes room votes for it too: a leader's own lease is counted from when it began to lead. These are two of
//! three votes, whatever the third one says, who still believes in the old leader and refuses. Of five it may take an ordinary
//! election.
//!
//! # Invariants
//! Meanwhile no command is taken: an entry more than the candidate has would cost it the vote. Whoever proposes is told that
//! nobody leads and asks again.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::group::Group;
use super::links::{self, Carrier};
use super::standing::Standing;
use super::{Voter, voter_id};
use crate::span::StoreId;

/// Between two voters that are asked.
const STEP: Duration = Duration::from_millis(100);

/// While this is kept, no command is taken.
struct Silence<'a>(&'a AtomicBool);

impl<'a> Silence<'a> {
    fn begin(makes_room: &'a AtomicBool) -> Silence<'a> {
        makes_room.store(true, Ordering::Relaxed);
        Silence(makes_room)
    }
}

impl Drop for Silence<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

impl Group {
    /// Has another voter lead, if this member does and there is one; whether another one leads then. Gives up after `patience`,
    /// and leads on if it still can.
    pub async fn make_room(&self, carrier: &impl Carrier, patience: Duration) -> bool {
        let standing = self.standing();
        if !standing.leads || standing.voters.len() < 2 {
            return false;
        }
        tokio::time::timeout(patience, self.until_another_leads(carrier)).await.is_ok()
    }

    async fn until_another_leads(&self, carrier: &impl Carrier) {
        self.until_lease_is_over().await;
        let _silence = Silence::begin(&self.makes_room);
        let mut metrics = self.raft.metrics();
        for turn in 0.. {
            let standing = self.standing();
            if let Some(next) = successor(&standing, self.store, turn) {
                tracing::debug!(next = %next.store, term = standing.term, "a voter is asked to lead the metadata's group");
                let asked = links::ask_to_stand(carrier, next, standing.term);
                // Whether it stands shows in who leads.
                let _ = tokio::time::timeout(STEP, asked).await;
            }
            let another = metrics
                .wait_for(|now| now.current_leader.is_some_and(|leader| leader != voter_id(self.store)));
            match tokio::time::timeout(STEP, another).await {
                Ok(Ok(_)) => return,
                // It has stopped.
                Ok(Err(_)) => return,
                Err(_) => {}
            }
        }
    }

    /// A leader refuses its own vote to others for as long after its election as others refuse theirs.
    async fn until_lease_is_over(&self) {
        let since =
            self.raft.with_raft_state(|state| state.vote_last_modified().map(|at| at.elapsed())).await;
        if let Ok(Some(since)) = since {
            tokio::time::sleep(self.lease.saturating_sub(since)).await;
        }
    }
}

/// Whom to ask: a voter that has all entries, as far as that is known; another one in each turn.
fn successor(standing: &Standing, me: StoreId, turn: usize) -> Option<&Voter> {
    if !standing.leads {
        return None;
    }
    let has_all = |voter: &&Voter| voter.store != me && standing.lag(voter.store) == Some(0);
    let able: Vec<&Voter> = standing.voters.iter().filter(has_all).collect();
    able.get(turn.checked_rem(able.len())?).copied()
}
