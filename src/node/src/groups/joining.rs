//! Joining: who may, as whom, and whether it starts a rebalance.

use super::error::GroupError;
use super::event::{Answer, Join, JoinRefused, Joined, Ticket};
use super::group::{Group, GroupState};
use super::member::{Member, join_bytes, same_subscription};

impl Group {
    pub(super) fn join(&mut self, now: i64, ticket: Ticket, join: Join) {
        let id = join.member_id.clone();
        let result = match self.check_join(&join) {
            Err(error) => Err(error),
            Ok(()) if id.is_empty() => self.join_new(now, ticket, join),
            Ok(()) => self.join_known(now, ticket, join),
        };
        match result {
            Ok(None) => {}
            Ok(Some(joined)) => self.answer(ticket, Answer::Join(Ok(Box::new(joined)))),
            Err(error) => self.refuse(ticket, error, id),
        }
    }

    fn refuse(&mut self, ticket: Ticket, error: GroupError, member_id: String) {
        self.answer(ticket, Answer::Join(Err(JoinRefused { error, member_id })));
    }

    fn check_join(&self, join: &Join) -> Result<(), GroupError> {
        if self.state == GroupState::Dead {
            return Err(GroupError::CoordinatorNotAvailable);
        }
        let session = u32::try_from(join.session_ms).unwrap_or(0);
        if !(self.settings.min_session_ms..=self.settings.max_session_ms).contains(&session) {
            return Err(GroupError::InvalidSessionTimeout);
        }
        if join.protocol_type.is_empty() || join.protocols.is_empty() || !self.supports(join) {
            return Err(GroupError::InconsistentProtocol);
        }
        let (bytes, have) =
            (join_bytes(&join.protocols), self.members.values().map(Member::bytes).sum::<usize>());
        let over =
            bytes > self.settings.member_bytes || have.saturating_add(bytes) > self.settings.group_bytes;
        if over { Err(GroupError::OverLimit) } else { Ok(()) }
    }

    /// Whether the others share at least one protocol with it.
    fn supports(&self, join: &Join) -> bool {
        let replaced = join.instance_id.as_ref().and_then(|instance| self.instances.get(instance));
        let mut others = self
            .members
            .iter()
            .filter(|(id, _)| **id != join.member_id && Some(*id) != replaced)
            .map(|(_, member)| member)
            .peekable();
        if others.peek().is_none() {
            return true;
        }
        let others: Vec<&Member> = others.collect();
        join.protocol_type == self.protocol_type
            && join.protocols.iter().any(|wanted| {
                others.iter().all(|other| other.protocols.iter().any(|known| known.name == wanted.name))
            })
    }

    fn has_room(&self) -> bool {
        self.members.len() + self.pending.len() < self.settings.members
    }

    fn join_new(&mut self, now: i64, ticket: Ticket, join: Join) -> Result<Option<Joined>, GroupError> {
        let instance = join.instance_id.as_ref().and_then(|instance| self.instances.get(instance));
        if let Some(old) = instance.cloned() {
            return Ok(self.replace_static(now, ticket, join, &old));
        }
        if !self.has_room() {
            return Err(GroupError::GroupFull);
        }
        if join.instance_id.is_none() && join.id_round_trip {
            self.pending.insert(join.new_id.clone(), now.saturating_add(i64::from(join.session_ms)));
            self.somebody_came(now);
            self.refuse(ticket, GroupError::MemberIdRequired, join.new_id);
            return Ok(None);
        }
        let id = join.new_id.clone();
        self.add(now, ticket, id, join);
        Ok(None)
    }

    fn join_known(&mut self, now: i64, ticket: Ticket, join: Join) -> Result<Option<Joined>, GroupError> {
        let id = join.member_id.clone();
        if self.pending.remove(&id).is_some() {
            let taken =
                join.instance_id.as_ref().is_some_and(|instance| self.instances.contains_key(instance));
            if taken {
                return Err(GroupError::FencedInstance);
            }
            self.add(now, ticket, id, join);
            return Ok(None);
        }
        self.check_member(&id, join.instance_id.as_deref())?;
        let unchanged = self.members.get(&id).is_some_and(|member| member.protocols == join.protocols);
        let stays = match self.state {
            GroupState::CompletingRebalance => unchanged,
            // A leader that joins again wants new assignments: topics may have changed.
            GroupState::Stable => unchanged && self.leader != id,
            _ => false,
        };
        if stays {
            if let Some(member) = self.members.get_mut(&id) {
                member.heard(now);
            }
            return Ok(Some(self.joined(&id)));
        }
        self.join_again(now, ticket, &id, join);
        Ok(None)
    }

    fn add(&mut self, now: i64, ticket: Ticket, id: String, join: Join) {
        if self.members.is_empty() {
            self.protocol_type.clone_from(&join.protocol_type);
        }
        if let Some(instance) = &join.instance_id {
            self.instances.insert(instance.clone(), id.clone());
        }
        let mut member = Member::new(join, now);
        member.joining = Some(ticket);
        self.members.insert(id, member);
        if self.state == GroupState::PreparingRebalance {
            self.somebody_came(now);
        } else {
            self.prepare(now);
        }
    }

    fn join_again(&mut self, now: i64, ticket: Ticket, id: &str, join: Join) {
        if self.members.len() == 1 {
            self.protocol_type.clone_from(&join.protocol_type);
        }
        let Some(member) = self.members.get_mut(id) else { return };
        member.update(join, now);
        if let Some(earlier) = member.joining.replace(ticket) {
            // The client lost its connection and asks again: only the last one can be waiting.
            self.refuse(earlier, GroupError::RebalanceInProgress, id.to_owned());
        }
        if self.state != GroupState::PreparingRebalance {
            self.prepare(now);
        }
    }

    /// A static member came back under the same instance id: it gets a new member id, and the old one is fenced.
    fn replace_static(&mut self, now: i64, ticket: Ticket, join: Join, old: &str) -> Option<Joined> {
        let id = join.new_id.clone();
        let mut member = self.members.remove(old)?;
        self.fence_waiting(&mut member, old);
        if let Some(instance) = &join.instance_id {
            self.instances.insert(instance.clone(), id.clone());
        }
        let led = self.leader == old;
        if led {
            self.leader.clone_from(&id);
        }
        let before = member.metadata(&self.protocol);
        let only = self.members.is_empty();
        let new_type = join.protocol_type.clone();
        member.update(join, now);
        let same = same_subscription(&self.protocol_type, &before, &member.metadata(&self.protocol));
        let skips = member.skips_assignment;
        self.members.insert(id.clone(), member);
        if only {
            self.protocol_type = new_type;
        }
        let keeps = self.state == GroupState::Stable && same && self.choose_protocol() == self.protocol;
        if !keeps {
            if let Some(member) = self.members.get_mut(&id) {
                member.joining = Some(ticket);
            }
            if self.state != GroupState::PreparingRebalance {
                self.prepare(now);
            }
            return None;
        }
        Some(self.kept_place(&id, old, led, skips))
    }

    /// The place of a static member that came back without a rebalance. If it led, it must not assign again: old
    /// clients are told that someone else (their former id) leads, new ones that there is nothing to assign.
    fn kept_place(&self, id: &str, old: &str, led: bool, skips: bool) -> Joined {
        let mut joined = self.joined(id);
        if led && skips {
            joined.skip_assignment = true;
        } else if led {
            joined.leader = old.to_owned();
            joined.members = Vec::new();
        }
        joined
    }

    fn fence_waiting(&mut self, member: &mut Member, id: &str) {
        if let Some(ticket) = member.joining.take() {
            self.refuse(ticket, GroupError::FencedInstance, id.to_owned());
        }
        if let Some(ticket) = member.syncing.take() {
            self.answer(ticket, Answer::Sync(Err(GroupError::FencedInstance)));
        }
    }
}
