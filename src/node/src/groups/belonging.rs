//! What members do between joining and leaving: sync, heartbeat, commit, leave.

use bytes::Bytes;

use super::error::GroupError;
use super::event::{Answer, Caller, Leaver, Sync, Synced, Ticket};
use super::group::{Group, GroupState};
use super::member::join_bytes;

impl Group {
    pub(super) fn sync(&mut self, now: i64, ticket: Ticket, sync: Sync) {
        let id = sync.caller.member_id.clone();
        if let Err(error) = self.check_sync(&sync) {
            self.answer(ticket, Answer::Sync(Err(error)));
            return;
        }
        let Some(member) = self.members.get_mut(&id) else { return };
        member.heard(now);
        member.synced = true;
        if self.state == GroupState::CompletingRebalance {
            if let Some(earlier) = member.syncing.replace(ticket) {
                self.answer(earlier, Answer::Sync(Err(GroupError::RebalanceInProgress)));
            }
            if id == self.leader {
                self.assign(now, sync.assignments);
            }
        } else {
            let synced = self.synced(&id);
            self.answer(ticket, Answer::Sync(Ok(synced)));
        }
        if self.members.values().all(|member| member.synced) {
            self.sync_until = None;
        }
    }

    fn check_sync(&self, sync: &Sync) -> Result<(), GroupError> {
        if self.state == GroupState::Dead {
            return Err(GroupError::CoordinatorNotAvailable);
        }
        self.check_member(&sync.caller.member_id, sync.caller.instance_id.as_deref())?;
        let other = |given: &Option<String>, own: &str| given.as_deref().is_some_and(|given| given != own);
        if other(&sync.protocol_type, &self.protocol_type) {
            return Err(GroupError::InconsistentProtocol);
        }
        self.check_caller(&sync.caller)?;
        if !matches!(self.state, GroupState::CompletingRebalance | GroupState::Stable) {
            return Err(GroupError::RebalanceInProgress);
        }
        if other(&sync.protocol, &self.protocol) {
            return Err(GroupError::InconsistentProtocol);
        }
        let kept: usize = self.members.values().map(|member| join_bytes(&member.protocols)).sum();
        let brought: usize = sync.assignments.iter().map(|(_, bytes)| bytes.len()).sum();
        let over = kept.saturating_add(brought) > self.settings.group_bytes;
        if over { Err(GroupError::OverLimit) } else { Ok(()) }
    }

    /// The leader has spoken: everyone who waits gets its part, who is not named gets none.
    fn assign(&mut self, now: i64, assignments: Vec<(String, Bytes)>) {
        for (id, assignment) in assignments {
            if let Some(member) = self.members.get_mut(&id) {
                member.assignment = assignment;
            }
        }
        self.state = GroupState::Stable;
        let mut waiting = Vec::new();
        for (id, member) in &mut self.members {
            if let Some(ticket) = member.syncing.take() {
                member.heard(now);
                waiting.push((ticket, id.clone()));
            }
        }
        for (ticket, id) in waiting {
            let synced = self.synced(&id);
            self.answer(ticket, Answer::Sync(Ok(synced)));
        }
    }

    fn synced(&self, id: &str) -> Synced {
        Synced {
            protocol_type: self.protocol_type.clone(),
            protocol: self.protocol.clone(),
            assignment: self.members.get(id).map(|member| member.assignment.clone()).unwrap_or_default(),
        }
    }

    pub(super) fn heartbeat(&mut self, now: i64, caller: &Caller) -> Result<(), GroupError> {
        if self.state == GroupState::Dead {
            return Err(GroupError::CoordinatorNotAvailable);
        }
        self.check_caller(caller)?;
        if let Some(member) = self.members.get_mut(&caller.member_id) {
            member.heard(now);
        }
        match self.state {
            GroupState::PreparingRebalance => Err(GroupError::RebalanceInProgress),
            _ => Ok(()),
        }
    }

    /// Members commit in their generation; those who are no members (they assign partitions themselves) while there
    /// are none.
    pub(super) fn commit(&mut self, now: i64, caller: &Caller) -> Result<(), GroupError> {
        match self.state {
            GroupState::Dead => return Err(GroupError::CoordinatorNotAvailable),
            GroupState::Empty if caller.generation < 0 => return Ok(()),
            _ => {}
        }
        self.check_caller(caller)?;
        if let Some(member) = self.members.get_mut(&caller.member_id) {
            member.heard(now);
        }
        match self.state {
            // Its partitions may be another's from here on.
            GroupState::CompletingRebalance => Err(GroupError::RebalanceInProgress),
            _ => Ok(()),
        }
    }

    pub(super) fn leave(&mut self, now: i64, ticket: Ticket, leavers: &[Leaver]) {
        if self.state == GroupState::Dead {
            return self.answer(ticket, Answer::Leave(Err(GroupError::CoordinatorNotAvailable)));
        }
        let left = leavers.iter().map(|leaver| self.leave_one(now, leaver)).collect();
        self.answer(ticket, Answer::Leave(Ok(left)));
    }

    fn leave_one(&mut self, now: i64, leaver: &Leaver) -> Result<(), GroupError> {
        let instance = leaver.instance_id.as_deref();
        let id = match instance.and_then(|instance| self.instances.get(instance)) {
            Some(id) if leaver.member_id.is_empty() => id.clone(),
            _ => leaver.member_id.clone(),
        };
        if self.pending.remove(&id).is_some() {
            return Ok(());
        }
        self.check_member(&id, instance)?;
        self.remove(now, &id);
        Ok(())
    }
}
