//! How a member stands in its group: who leads, who votes, how far everybody has come.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use openraft::{Membership, ServerState};

use super::group::Group;
use super::{Voter, voter_id};
use crate::span::StoreId;

/// How a member stands, as far as it knows now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// The member that leads; none while nobody is known to.
    pub leader: Option<Voter>,
    /// This member leads.
    pub leads: bool,
    /// This member has a vote.
    pub votes: bool,
    /// A quorum of the voters answers the leader, so that something can be decided. A member that does not lead goes by
    /// whether it hears from one that does.
    pub has_quorum: bool,
    /// The term: grows with every election.
    pub term: u64,
    /// Index of the last entry in this member's journal.
    pub last: u64,
    /// Index of the last entry that took effect here.
    pub applied: u64,
    /// Who decides, and goes on deciding when a few of them are lost. While others come to vote that is who did before:
    /// nothing is decided without most of those until the change is through.
    pub voters: Vec<Voter>,
    /// Who follows without a vote, or is about to get one.
    pub learners: Vec<Voter>,
    /// On the leader: the last entry that each member is known to have, by directory.
    pub matched: BTreeMap<StoreId, u64>,
    /// Why this member stopped by itself.
    pub broken: Option<String>,
}

impl Standing {
    /// Whether a directory is one of the group's.
    pub fn is_member(&self, store: StoreId) -> bool {
        self.voters.iter().chain(&self.learners).any(|voter| voter.store == store)
    }

    /// Entries that a member lacks, as the leader knows; `None` where nothing is known.
    pub fn lag(&self, store: StoreId) -> Option<u64> {
        self.matched.get(&store).map(|matched| self.last.saturating_sub(*matched))
    }
}

impl Group {
    /// How this member stands.
    pub fn standing(&self) -> Standing {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow();
        let membership = metrics.membership_config.membership();
        let voting = deciding(membership);
        let (mut voters, mut learners, mut matched) = (Vec::new(), Vec::new(), BTreeMap::new());
        for (id, voter) in membership.nodes() {
            if voting.contains(id) { &mut voters } else { &mut learners }.push(voter.clone());
            let known = metrics.replication.as_ref().and_then(|all| all.get(id));
            if let Some(at) = known {
                matched.insert(voter.store, at.map_or(0, |at| at.index));
            }
        }
        let leads = metrics.state == ServerState::Leader;
        let leader = metrics.current_leader.and_then(|leader| membership.get_node(&leader)).cloned();
        let hears = self.silence() < self.quorum_within;
        let acked = metrics.millis_since_quorum_ack.map(Duration::from_millis);
        let has_quorum = match (leads, voters.len()) {
            // Its own disk is all the quorum there is.
            (true, 1) => true,
            (true, _) => acked.is_some_and(|acked| acked < self.quorum_within),
            (false, _) => leader.is_some() && hears,
        };
        Standing {
            leads,
            votes: membership.voter_ids().any(|voter| voter == voter_id(self.store)),
            has_quorum,
            term: metrics.current_term,
            last: metrics.last_log_index.unwrap_or(0),
            applied: metrics.last_applied.map_or(0, |at| at.index),
            voters,
            learners,
            matched,
            broken: metrics.running_state.as_ref().err().map(ToString::to_string),
            leader,
        }
    }

    /// The member that leads, as far as this one knows.
    pub fn leader(&self) -> Option<Voter> {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow();
        let members = metrics.membership_config.membership();
        metrics.current_leader.and_then(|leader| members.get_node(&leader)).cloned()
    }
}

/// Without most of whom nothing is decided: the voters, or the ones before them while they change.
fn deciding(membership: &Membership<u64, Voter>) -> BTreeSet<u64> {
    membership.get_joint_config().first().cloned().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_about_to_vote_is_no_voter_until_the_change_is_through() {
        let three = BTreeSet::from([1, 2, 3]);
        let members = |sets: Vec<BTreeSet<u64>>| Membership::new(sets, three.clone());
        let alone = BTreeSet::from([1]);
        assert_eq!(deciding(&members(vec![alone.clone()])), alone);
        // The other two could not elect anybody if the first one were lost now.
        assert_eq!(deciding(&members(vec![alone.clone(), three.clone()])), alone);
        assert_eq!(deciding(&members(vec![three.clone()])), three);
    }
}
