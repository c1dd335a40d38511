//! The phases of a rebalance, and what time alone does.

use bytes::Bytes;

use super::error::GroupError;
use super::event::{Answer, Effect, JoinRefused, Ticket};
use super::group::{Group, GroupState, Phase};
use super::member::Member;

impl Group {
    /// Begins a rebalance: everyone must join again.
    pub(super) fn prepare(&mut self, now: i64) {
        let first = self.state == GroupState::Empty;
        self.answer_syncs(now);
        self.state = GroupState::PreparingRebalance;
        self.sync_until = None;
        let longest = now.saturating_add(self.longest_rebalance());
        let delay = i64::from(self.settings.initial_delay_ms);
        self.phase = Some(if first && delay > 0 {
            Phase { until: now.saturating_add(delay).min(longest), initial_end: Some(longest) }
        } else {
            Phase { until: longest, initial_end: None }
        });
    }

    /// A new member, or one that will be: the first generation waits a little longer for the next one.
    pub(super) fn somebody_came(&mut self, now: i64) {
        let delay = i64::from(self.settings.initial_delay_ms);
        if let Some(Phase { until, initial_end: Some(end) }) = &mut self.phase {
            *until = now.saturating_add(delay).min(*end);
        }
    }

    fn longest_rebalance(&self) -> i64 {
        self.members.values().map(|member| member.rebalance_ms).max().unwrap_or(0)
    }

    /// Takes a member out, wherever the group stands.
    pub(super) fn remove(&mut self, now: i64, id: &str) {
        let Some(mut member) = self.members.remove(id) else { return };
        if let Some(instance) = &member.instance_id {
            self.instances.remove(instance);
        }
        if let Some(ticket) = member.joining.take() {
            let refused = JoinRefused { error: GroupError::UnknownMember, member_id: id.to_owned() };
            self.answer(ticket, Answer::Join(Err(refused)));
        }
        if let Some(ticket) = member.syncing.take() {
            self.answer(ticket, Answer::Sync(Err(GroupError::UnknownMember)));
        }
        if matches!(self.state, GroupState::Stable | GroupState::CompletingRebalance) {
            self.prepare(now);
        }
    }

    /// The one who waited has gone. It may come back: its session begins now.
    pub(super) fn abandon(&mut self, now: i64, ticket: Ticket) {
        for member in self.members.values_mut() {
            if member.joining == Some(ticket) {
                member.joining = None;
                member.heard(now);
            }
            if member.syncing == Some(ticket) {
                member.syncing = None;
                member.synced = false;
                member.heard(now);
            }
        }
    }

    /// Does everything that is due.
    pub(super) fn pass_time(&mut self, now: i64) {
        self.pending.retain(|_, until| *until > now);
        let is_dead = |member: &Member| member.dies_at().is_some_and(|at| at <= now);
        let dead: Vec<String> =
            self.members.iter().filter(|(_, member)| is_dead(member)).map(|(id, _)| id.clone()).collect();
        for member_id in dead {
            self.remove(now, &member_id);
            self.effects.push(Effect::Expired { member_id });
        }
        if self.sync_until.is_some_and(|until| until <= now) {
            self.sync_until = None;
            let late = self.members.iter().filter(|(_, member)| !member.synced);
            for id in late.map(|(id, _)| id.clone()).collect::<Vec<_>>() {
                self.remove(now, &id);
                self.effects.push(Effect::Expired { member_id: id });
            }
        }
        let due = self.phase.is_some_and(|phase| phase.until <= now);
        if self.state == GroupState::PreparingRebalance && (due || self.all_joined()) {
            self.complete(now);
        }
    }

    fn all_joined(&self) -> bool {
        let initial = self.phase.is_some_and(|phase| phase.initial_end.is_some());
        let everyone = || self.members.values().all(|member| member.joining.is_some());
        self.members.is_empty() || (!initial && self.pending.is_empty() && everyone())
    }

    /// Ends the wait for joins: a new generation of those who came, and of static members that may still come.
    fn complete(&mut self, now: i64) {
        let missing = |member: &Member| member.joining.is_none() && member.instance_id.is_none();
        let gone: Vec<String> =
            self.members.iter().filter(|(_, member)| missing(member)).map(|(id, _)| id.clone()).collect();
        for id in gone {
            self.remove(now, &id);
            self.effects.push(Effect::Expired { member_id: id });
        }
        if self.members.is_empty() {
            self.become_empty();
            return;
        }
        let is_there = |id: &str| self.members.get(id).is_some_and(|member| member.joining.is_some());
        let leader = if is_there(&self.leader) {
            Some(self.leader.clone())
        } else {
            self.members.keys().find(|id| is_there(id)).cloned()
        };
        let Some(leader) = leader else {
            // Only static members, and none has come: until one does or all have died.
            let until = now.saturating_add(self.longest_rebalance());
            self.phase = Some(Phase { until, initial_end: None });
            return;
        };
        self.leader = leader;
        self.begin_generation(now);
    }

    fn begin_generation(&mut self, now: i64) {
        // After 2^31 generations it begins anew; the members of the old one are long gone.
        self.generation = self.generation.checked_add(1).unwrap_or(1);
        self.protocol = self.choose_protocol();
        self.state = GroupState::CompletingRebalance;
        self.phase = None;
        self.sync_until = Some(now.saturating_add(self.longest_rebalance()));
        let mut waiting = Vec::new();
        for (id, member) in &mut self.members {
            member.assignment = Bytes::new();
            // A static member that is away has nothing to ask for; its session decides.
            member.synced = member.joining.is_none();
            if let Some(ticket) = member.joining.take() {
                member.heard(now);
                waiting.push((ticket, id.clone()));
            }
        }
        self.effects.push(Effect::Rebalanced { generation: self.generation, members: self.members.len() });
        for (ticket, id) in waiting {
            let joined = Box::new(self.joined(&id));
            self.answer(ticket, Answer::Join(Ok(joined)));
        }
    }

    fn become_empty(&mut self) {
        self.generation = self.generation.checked_add(1).unwrap_or(1);
        self.state = GroupState::Empty;
        self.phase = None;
        self.sync_until = None;
        self.protocol.clear();
        self.leader.clear();
    }

    /// The protocol that all members know and most prefer; among equals the one that the first member (by id) names
    /// first.
    pub(super) fn choose_protocol(&self) -> String {
        let knows = |member: &Member, name: &str| member.protocols.iter().any(|known| known.name == name);
        let common = |name: &str| self.members.values().all(|member| knows(member, name));
        let Some(first) = self.members.values().next() else { return String::new() };
        let candidates: Vec<&str> =
            first.protocols.iter().map(|one| one.name.as_str()).filter(|name| common(name)).collect();
        let votes = |name: &str| {
            let preferred = self.members.values().filter_map(|member| {
                member.protocols.iter().map(|one| one.name.as_str()).find(|one| candidates.contains(one))
            });
            preferred.filter(|vote| *vote == name).count()
        };
        let mut best = ("", 0);
        for name in &candidates {
            let votes = votes(name);
            if votes > best.1 {
                best = (name, votes);
            }
        }
        best.0.to_owned()
    }

    fn answer_syncs(&mut self, now: i64) {
        let mut waiting: Vec<Ticket> = Vec::new();
        for member in self.members.values_mut() {
            if let Some(ticket) = member.syncing.take() {
                // It was silent because it waited.
                member.heard(now);
                waiting.push(ticket);
            }
        }
        for ticket in waiting {
            self.answer(ticket, Answer::Sync(Err(GroupError::RebalanceInProgress)));
        }
    }
}
