//! The machine of one group: what it knows, and which part answers which event.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use super::error::GroupError;
use super::event::{Answer, Caller, Effect, Event, Joined, JoinedMember, Ticket};
use super::member::Member;
use super::settings::GroupSettings;

/// Where a group stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum GroupState {
    /// No members.
    Empty,
    /// Waits for all members to join.
    PreparingRebalance,
    /// Waits for the leader's assignments.
    CompletingRebalance,
    /// Every member may have its assignment.
    Stable,
    /// Deleted; whoever comes makes a new one.
    Dead,
}

impl GroupState {
    /// As Kafka names it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            GroupState::Empty => "Empty",
            GroupState::PreparingRebalance => "PreparingRebalance",
            GroupState::CompletingRebalance => "CompletingRebalance",
            GroupState::Stable => "Stable",
            GroupState::Dead => "Dead",
        }
    }
}

/// When a rebalance stops waiting.
#[derive(Debug, Clone, Copy)]
pub(super) struct Phase {
    /// Now at the latest, unless somebody comes during an initial wait.
    pub(super) until: i64,
    /// The first generation of a group: waits although all who are known have joined, but not beyond this time.
    pub(super) initial_end: Option<i64>,
}

/// A group. Everything that happens goes through [`Group::step`].
#[derive(Debug)]
pub(crate) struct Group {
    pub(super) settings: Arc<GroupSettings>,
    pub(super) state: GroupState,
    pub(super) generation: i32,
    pub(super) protocol_type: String,
    pub(super) protocol: String,
    pub(super) leader: String,
    pub(super) members: BTreeMap<String, Member>,
    /// Member id of each static member's instance.
    pub(super) instances: BTreeMap<String, String>,
    /// Ids that were given out and have not come back, with the time when they are forgotten.
    pub(super) pending: BTreeMap<String, i64>,
    pub(super) phase: Option<Phase>,
    /// When those who have not asked for their assignment are taken out.
    pub(super) sync_until: Option<i64>,
    pub(super) effects: Vec<Effect>,
}

impl Group {
    /// A group without members.
    pub(crate) fn new(settings: Arc<GroupSettings>) -> Group {
        Group {
            settings,
            state: GroupState::Empty,
            generation: 0,
            protocol_type: String::new(),
            protocol: String::new(),
            leader: String::new(),
            members: BTreeMap::new(),
            instances: BTreeMap::new(),
            pending: BTreeMap::new(),
            phase: None,
            sync_until: None,
            effects: Vec::new(),
        }
    }

    /// Lets one thing happen at `now_ms`, which never decreases. The same events at the same times have the same
    /// effects.
    pub(crate) fn step(&mut self, now_ms: i64, event: Event) -> Vec<Effect> {
        match event {
            Event::Join(ticket, join) => self.join(now_ms, ticket, join),
            Event::Sync(ticket, sync) => self.sync(now_ms, ticket, sync),
            Event::Heartbeat(ticket, caller) => {
                let result = self.heartbeat(now_ms, &caller);
                self.answer(ticket, Answer::Done(result));
            }
            Event::Leave(ticket, leavers) => self.leave(now_ms, ticket, &leavers),
            Event::Commit(ticket, caller) => {
                let result = self.commit(now_ms, &caller);
                self.answer(ticket, Answer::Done(result));
            }
            Event::Abandon(ticket) => self.abandon(now_ms, ticket),
            Event::Delete(ticket) => self.delete(ticket),
            Event::Tick => {}
        }
        self.pass_time(now_ms);
        std::mem::take(&mut self.effects)
    }

    /// When time alone changes something.
    pub(crate) fn next_deadline(&self) -> Option<i64> {
        let sessions = self.members.values().filter_map(Member::dies_at);
        let phases = self.phase.map(|phase| phase.until).into_iter().chain(self.sync_until);
        sessions.chain(phases).chain(self.pending.values().copied()).min()
    }

    /// Where it stands.
    pub(crate) fn state(&self) -> GroupState {
        self.state
    }

    /// The generation; 0 before the first.
    pub(crate) fn generation(&self) -> i32 {
        self.generation
    }

    /// The protocol type; empty without members.
    pub(crate) fn protocol_type(&self) -> &str {
        &self.protocol_type
    }

    /// The chosen protocol; empty until there is one.
    pub(crate) fn protocol(&self) -> &str {
        &self.protocol
    }

    /// The leader's member id.
    pub(crate) fn leader(&self) -> &str {
        &self.leader
    }

    /// How many members there are.
    pub(crate) fn len(&self) -> usize {
        self.members.len()
    }

    /// Whether it holds nothing that would be missed.
    pub(crate) fn is_idle(&self) -> bool {
        matches!(self.state, GroupState::Empty | GroupState::Dead) && self.pending.is_empty()
    }

    /// All members, by id.
    pub(crate) fn describe(&self) -> Vec<MemberDescription> {
        let members = self.members.iter().map(|(id, member)| MemberDescription {
            member_id: id.clone(),
            instance_id: member.instance_id.clone(),
            client_id: member.client_id.clone(),
            client_host: member.client_host.clone(),
            metadata: member.metadata(&self.protocol),
            assignment: member.assignment.clone(),
        });
        members.collect()
    }

    pub(super) fn answer(&mut self, ticket: Ticket, answer: Answer) {
        self.effects.push(Effect::Answer(ticket, answer));
    }

    /// Whether the caller is who it says.
    pub(super) fn check_member(&self, id: &str, instance: Option<&str>) -> Result<(), GroupError> {
        if let Some(instance) = instance {
            match self.instances.get(instance) {
                None => return Err(GroupError::UnknownMember),
                Some(current) if current != id => return Err(GroupError::FencedInstance),
                Some(_) => {}
            }
        }
        if self.members.contains_key(id) { Ok(()) } else { Err(GroupError::UnknownMember) }
    }

    /// The same, and of the current generation.
    pub(super) fn check_caller(&self, caller: &Caller) -> Result<(), GroupError> {
        self.check_member(&caller.member_id, caller.instance_id.as_deref())?;
        if caller.generation == self.generation { Ok(()) } else { Err(GroupError::IllegalGeneration) }
    }

    /// A member's place in the current generation.
    pub(super) fn joined(&self, member_id: &str) -> Joined {
        let members = if member_id == self.leader { self.all_members() } else { Vec::new() };
        Joined {
            generation: self.generation,
            protocol_type: self.protocol_type.clone(),
            protocol: self.protocol.clone(),
            leader: self.leader.clone(),
            skip_assignment: false,
            member_id: member_id.to_owned(),
            members,
        }
    }

    pub(super) fn all_members(&self) -> Vec<JoinedMember> {
        let members = self.members.iter().map(|(id, member)| JoinedMember {
            member_id: id.clone(),
            instance_id: member.instance_id.clone(),
            metadata: member.metadata(&self.protocol),
        });
        members.collect()
    }

    fn delete(&mut self, ticket: Ticket) {
        let result = match self.state {
            GroupState::Empty => Ok(()),
            GroupState::Dead => Err(GroupError::NotFound),
            _ => Err(GroupError::NonEmpty),
        };
        if result.is_ok() {
            self.state = GroupState::Dead;
            self.pending.clear();
        }
        self.answer(ticket, Answer::Done(result));
    }
}

/// A member as people see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MemberDescription {
    pub(crate) member_id: String,
    pub(crate) instance_id: Option<String>,
    pub(crate) client_id: String,
    pub(crate) client_host: String,
    pub(crate) metadata: Bytes,
    pub(crate) assignment: Bytes,
}
