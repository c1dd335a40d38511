//! The groups of a node: finds the group, lets one event after the other happen to it, hands the answers out.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use tidelog_io::clock::Clock;
use tokio::sync::{mpsc, oneshot, watch};

use super::error::GroupError;
use super::event::*;
use super::group::{Group, GroupState, MemberDescription};
use super::journal::{self, Job};
use super::offsets::{Change, Committed, Offsets, Place};
use super::settings::GroupSettings;
use super::slot::{Seat, Slot, Waiting};
use super::timers::{self, Timers};
use crate::failure::Failure;
use crate::node::Node;
use crate::routing::seat;

/// Commits that may wait for the writer; who comes then waits to wait.
const WAITING_COMMITS: usize = 1_000;
/// Bytes that the name of a group may have.
const MAX_GROUP_ID: usize = 1_024;

/// What happened since the start.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    /// Generations begun.
    pub(crate) rebalances: AtomicU64,
    /// Members taken out for their silence.
    pub(crate) expired: AtomicU64,
    /// Offsets committed.
    pub(crate) commits: AtomicU64,
}

/// A group as people see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct GroupDescription {
    pub(crate) state: GroupState,
    pub(crate) generation: i32,
    pub(crate) protocol_type: String,
    pub(crate) protocol: String,
    pub(crate) leader: String,
    pub(crate) members: Vec<MemberDescription>,
}

/// Whether this node coordinates the groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// It does, as the leader of the topic of offsets in this epoch; without one there is no topic yet.
    Serves(Option<u32>),
    /// Another node does, or nobody yet.
    Elsewhere,
    /// The committed offsets are being read.
    Loads,
    /// They could not be read in this epoch: better no answer than a wrong one.
    Unreadable(Option<u32>),
}

/// All groups of a node.
#[derive(Debug)]
pub(crate) struct Groups {
    settings: Arc<GroupSettings>,
    clock: Clock,
    slots: Mutex<BTreeMap<String, Arc<Slot>>>,
    pub(super) timers: Timers,
    pub(super) offsets: RwLock<Offsets>,
    pub(super) stopping: watch::Receiver<bool>,
    pub(crate) counts: Counts,
    jobs: mpsc::Sender<Job>,
    /// Taken by the task that writes.
    writer: Mutex<Option<mpsc::Receiver<Job>>>,
    standing: Mutex<Standing>,
    /// Held while the groups are taken up or laid down.
    turning: tokio::sync::Mutex<()>,
    read_bytes: AtomicU64,
    last_ticket: AtomicU64,
}

impl Groups {
    /// No groups yet.
    pub(crate) fn new(settings: &GroupSettings, clock: &Clock, stopping: watch::Receiver<bool>) -> Groups {
        let (jobs, writer) = mpsc::channel(WAITING_COMMITS);
        Groups {
            settings: Arc::new(settings.clone()),
            clock: clock.clone(),
            slots: Mutex::default(),
            timers: Timers::default(),
            offsets: RwLock::default(),
            stopping,
            counts: Counts::default(),
            jobs,
            writer: Mutex::new(Some(writer)),
            standing: Mutex::new(Standing::Loads),
            turning: tokio::sync::Mutex::default(),
            read_bytes: AtomicU64::new(0),
            last_ticket: AtomicU64::new(0),
        }
    }

    /// Takes over what was read at start.
    pub(super) fn restored(&self, offsets: Offsets, read_bytes: u64) {
        *self.offsets.write().unwrap_or_else(PoisonError::into_inner) = offsets;
        self.read_bytes.store(read_bytes, Ordering::Relaxed);
    }

    pub(super) fn standing(&self) -> Standing {
        *self.standing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn stand(&self, standing: Standing) {
        *self.standing.lock().unwrap_or_else(PoisonError::into_inner) = standing;
    }

    /// Forgets all groups, whose members will hear so and look for their coordinator.
    fn lay_down(&self, standing: Standing) {
        self.stand(standing);
        let slots = std::mem::take(&mut *self.slots.lock().unwrap_or_else(PoisonError::into_inner));
        for slot in slots.values() {
            let mut seat = slot.seat();
            seat.closed = true;
            seat.waiting.clear();
        }
        *self.offsets.write().unwrap_or_else(PoisonError::into_inner) = Offsets::default();
    }

    /// A member joins; waits for the others.
    pub(crate) async fn join(&self, group: &str, join: Join) -> Result<Joined, JoinRefused> {
        let member_id = join.member_id.clone();
        let refused = |error| JoinRefused { error, member_id: member_id.clone() };
        let event = |ticket| Event::Join(ticket, join.clone());
        match self.ask(group, true, event).await.map_err(refused)? {
            Answer::Join(result) => result.map(|joined| *joined),
            _ => Err(refused(GroupError::CoordinatorNotAvailable)),
        }
    }

    /// A member asks for its assignment; waits for the leader.
    pub(crate) async fn sync(&self, group: &str, sync: Sync) -> Result<Synced, GroupError> {
        match self.ask(group, false, |ticket| Event::Sync(ticket, sync.clone())).await? {
            Answer::Sync(result) => result,
            _ => Err(GroupError::CoordinatorNotAvailable),
        }
    }

    /// A member lives.
    pub(crate) async fn heartbeat(&self, group: &str, caller: Caller) -> Result<(), GroupError> {
        self.ask(group, false, |ticket| Event::Heartbeat(ticket, caller.clone())).await?.done()
    }

    /// Members leave.
    pub(crate) async fn leave(
        &self,
        group: &str,
        leavers: Vec<Leaver>,
    ) -> Result<Vec<Result<(), GroupError>>, GroupError> {
        match self.ask(group, false, |ticket| Event::Leave(ticket, leavers.clone())).await {
            Ok(Answer::Leave(result)) => result,
            Ok(_) => Err(GroupError::CoordinatorNotAvailable),
            Err(error) => Err(error),
        }
    }

    /// Commits offsets for a caller; durable when it is answered. What is refused alone was taken out before.
    pub(crate) async fn commit(
        &self,
        group: &str,
        caller: Caller,
        offsets: Vec<(Place, Committed)>,
    ) -> Result<(), GroupError> {
        let simple = caller.generation < 0 && caller.member_id.is_empty();
        match self.ask(group, false, |ticket| Event::Commit(ticket, caller.clone())).await {
            Ok(answer) => answer.done()?,
            // Nobody is a member: then those may commit who do not want to be.
            Err(GroupError::UnknownMember) if simple => {}
            Err(GroupError::UnknownMember) if caller.generation >= 0 => {
                return Err(GroupError::IllegalGeneration);
            }
            Err(error) => return Err(error),
        }
        self.set_offsets(group, offsets).await
    }

    /// Sets offsets of a group, whoever asks.
    pub(crate) async fn set_offsets(
        &self,
        group: &str,
        offsets: Vec<(Place, Committed)>,
    ) -> Result<(), GroupError> {
        self.check(group)?;
        let have = self.look(|all| all.len());
        if have.saturating_add(offsets.len()) > self.settings.offsets {
            let known =
                |place: &Place| self.look(|all| all.group(group).is_some_and(|of| of.contains_key(place)));
            if offsets.iter().any(|(place, _)| !known(place)) {
                return Err(GroupError::OverLimit);
            }
        }
        let count = offsets.len() as u64;
        let change =
            |(place, committed)| Change { group: group.to_owned(), place, committed: Some(committed) };
        self.change(offsets.into_iter().map(change).collect()).await?;
        self.counts.commits.fetch_add(count, Ordering::Relaxed);
        Ok(())
    }

    /// Deletes an empty group with its offsets.
    pub(crate) async fn delete(&self, group: &str) -> Result<(), GroupError> {
        match self.ask(group, false, Event::Delete).await {
            Ok(answer) => {
                answer.done()?;
                self.retire(group);
            }
            Err(GroupError::UnknownMember) if self.look(|all| all.group(group).is_some()) => {}
            Err(GroupError::UnknownMember) => return Err(GroupError::NotFound),
            Err(error) => return Err(error),
        }
        self.change(self.look(|all| all.removals(|of, _| of == group))).await
    }

    /// Lets go of all offsets in a topic that was deleted, if they are kept here.
    pub(crate) async fn forget_topic(&self, topic: &str) -> Result<(), GroupError> {
        self.change(self.look(|all| all.removals(|_, place| place.0 == topic))).await
    }

    async fn change(&self, changes: Vec<Change>) -> Result<(), GroupError> {
        if changes.is_empty() {
            return Ok(());
        }
        let (reply, answer) = oneshot::channel();
        let gone = GroupError::CoordinatorNotAvailable;
        self.jobs.send(Job { changes, reply }).await.map_err(|_| gone)?;
        answer.await.map_err(|_| gone)?
    }

    pub(super) fn apply(&self, changes: Vec<Change>) {
        let mut offsets = self.offsets.write().unwrap_or_else(PoisonError::into_inner);
        changes.into_iter().for_each(|change| offsets.apply(change));
    }

    /// Looks at the committed offsets.
    fn look<T>(&self, look: impl FnOnce(&Offsets) -> T) -> T {
        look(&self.offsets.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The committed offsets of a group; empty when it has none.
    pub(crate) fn committed(&self, group: &str) -> Result<BTreeMap<Place, Committed>, GroupError> {
        self.check(group)?;
        Ok(self.look(|all| all.group(group).cloned().unwrap_or_default()))
    }

    /// Whether requests about this group can be answered.
    pub(crate) fn check(&self, group: &str) -> Result<(), GroupError> {
        if group.is_empty() || group.len() > MAX_GROUP_ID {
            return Err(GroupError::InvalidGroupId);
        }
        if *self.stopping.borrow() {
            return Err(GroupError::CoordinatorNotAvailable);
        }
        match self.standing() {
            Standing::Serves(_) => Ok(()),
            Standing::Elsewhere => Err(GroupError::NotCoordinator),
            Standing::Loads => Err(GroupError::Loading),
            Standing::Unreadable(_) => Err(GroupError::CoordinatorNotAvailable),
        }
    }

    /// The groups that there are, by name, with what each is.
    pub(crate) fn list(&self) -> Vec<(String, GroupDescription)> {
        let mut names: BTreeSet<String> = self.look(|all| all.groups().cloned().collect());
        names.extend(self.slots.lock().unwrap_or_else(PoisonError::into_inner).keys().cloned());
        names.into_iter().filter_map(|name| self.describe(&name).map(|group| (name, group))).collect()
    }

    /// What a group is; `None` when there is none.
    pub(crate) fn describe(&self, group: &str) -> Option<GroupDescription> {
        if let Some(slot) = self.slot(group) {
            let group = &slot.seat().group;
            return Some(GroupDescription {
                state: group.state(),
                generation: group.generation(),
                protocol_type: group.protocol_type().to_owned(),
                protocol: group.protocol().to_owned(),
                leader: group.leader().to_owned(),
                members: group.describe(),
            });
        }
        self.look(|all| all.group(group).is_some()).then(|| GroupDescription {
            state: GroupState::Empty,
            generation: 0,
            protocol_type: String::new(),
            protocol: String::new(),
            leader: String::new(),
            members: Vec::new(),
        })
    }

    /// Groups with members or about to have some, their members, and committed offsets.
    pub(crate) fn sizes(&self) -> (usize, usize, usize) {
        let slots: Vec<Arc<Slot>> =
            self.slots.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect();
        let members = slots.iter().map(|slot| slot.seat().group.len()).sum();
        (slots.len(), members, self.look(Offsets::len))
    }

    fn slot(&self, group: &str) -> Option<Arc<Slot>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner).get(group).cloned()
    }

    fn slot_or_new(&self, id: &str) -> Result<Arc<Slot>, GroupError> {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(slot) = slots.get(id) {
            return Ok(Arc::clone(slot));
        }
        if slots.len() >= self.settings.groups {
            tracing::warn!(
                group = id,
                max = self.settings.groups,
                "no room for another group: groups.groups"
            );
            return Err(GroupError::OverLimit);
        }
        let slot = Slot::new(id, Group::new(Arc::clone(&self.settings)));
        slots.insert(id.to_owned(), Arc::clone(&slot));
        Ok(slot)
    }

    /// Lets an event happen to a group and waits for its answer. Without a group nobody is a member.
    async fn ask(
        &self,
        id: &str,
        create: bool,
        event: impl Fn(Ticket) -> Event,
    ) -> Result<Answer, GroupError> {
        let waiting = loop {
            self.check(id)?;
            let slot = if create {
                self.slot_or_new(id)?
            } else {
                self.slot(id).ok_or(GroupError::UnknownMember)?
            };
            if let Some(waiting) = self.enter(slot, &event) {
                break waiting;
            }
        };
        waiting.answered().await
    }

    /// `None` when the group has just ended.
    fn enter(&self, slot: Arc<Slot>, event: &impl Fn(Ticket) -> Event) -> Option<Waiting<'_>> {
        let ticket = self.last_ticket.fetch_add(1, Ordering::Relaxed);
        let (reply, answer) = oneshot::channel();
        let idle = {
            let mut seat = slot.seat();
            if seat.closed || seat.group.state() == GroupState::Dead {
                return None;
            }
            seat.waiting.insert(ticket, reply);
            self.step(&slot, &mut seat, event(ticket));
            seat.group.is_idle()
        };
        if idle {
            self.retire(&slot.id);
        }
        Some(Waiting { groups: self, slot, ticket, answer, done: false })
    }

    /// Lets an event happen and carries its effects out.
    pub(super) fn step(&self, slot: &Slot, seat: &mut Seat, event: Event) {
        for effect in seat.group.step(self.clock.now_ms(), event) {
            match effect {
                Effect::Answer(ticket, answer) => {
                    if let Some(waiting) = seat.waiting.remove(&ticket) {
                        // Who has gone meanwhile says so itself.
                        let _ = waiting.send(answer);
                    }
                }
                Effect::Rebalanced { generation, members } => {
                    self.counts.rebalances.fetch_add(1, Ordering::Relaxed);
                    tracing::info!(group = slot.id, generation, members, "consumer group: new generation");
                }
                Effect::Expired { member_id } => {
                    self.counts.expired.fetch_add(1, Ordering::Relaxed);
                    tracing::info!(group = slot.id, member_id, "consumer group: a silent member is out");
                }
            }
        }
        let next = seat.group.next_deadline();
        if let Some(at) = next.filter(|at| seat.armed.is_none_or(|armed| *at < armed)) {
            seat.armed = Some(at);
            self.timers.arm(at, &slot.id);
        }
    }

    /// A group's time has come.
    pub(super) fn tick(&self, group: &str) {
        let Some(slot) = self.slot(group) else { return };
        let mut seat = slot.seat();
        seat.armed = None;
        self.step(&slot, &mut seat, Event::Tick);
        let idle = seat.group.is_idle();
        drop(seat);
        if idle {
            self.retire(group);
        }
    }

    /// Forgets a group without members; its offsets stay. Who has found it meanwhile sees that it is dead.
    fn retire(&self, group: &str) {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(slot) = slots.get(group) else { return };
        let mut seat = slot.seat();
        if !seat.group.is_idle() {
            return;
        }
        if seat.group.state() == GroupState::Empty {
            seat.group.step(self.clock.now_ms(), Event::Delete(Ticket::MAX));
        }
        drop(seat);
        slots.remove(group);
    }
}

impl Answer {
    fn done(self) -> Result<(), GroupError> {
        match self {
            Answer::Done(result) => result,
            _ => Err(GroupError::CoordinatorNotAvailable),
        }
    }
}

/// Takes the groups up where this node has come to lead the topic of their offsets, and lays them down where it leads it no
/// more. A node that is alone needs no topic to begin.
pub(crate) async fn follow(node: &Node) {
    let groups = &node.groups;
    let _turn = groups.turning.lock().await;
    let leads = match node.topic(journal::OFFSETS_TOPIC) {
        Some(topic) => topic.partition(0).ok().and_then(|one| one.led().ok()).map(|wal| Some(wal.epoch())),
        None => node.metadata.member().is_none().then_some(None),
    };
    let standing = groups.standing();
    let Some(epoch) = leads else {
        if standing != Standing::Elsewhere {
            groups.lay_down(Standing::Elsewhere);
            tracing::info!("another node coordinates the consumer groups");
        }
        return;
    };
    match standing {
        Standing::Serves(known) | Standing::Unreadable(known) if known == epoch => return,
        // The topic was begun by what is in memory.
        Standing::Serves(None) => return groups.stand(Standing::Serves(epoch)),
        _ => groups.lay_down(Standing::Loads),
    }
    match journal::restore(node).await {
        Ok(()) => groups.stand(Standing::Serves(epoch)),
        Err(failure) => {
            groups.stand(Standing::Unreadable(epoch));
            tracing::error!(
                cause = failure.message,
                "committed offsets cannot be read: no consumer groups are served"
            );
        }
    }
}

/// Which node coordinates the groups; nobody while the topic of their offsets has no leader. The topic is made when there
/// is none and this node is not alone.
///
/// # Errors
/// It cannot be made now.
pub(crate) async fn coordinator(node: &Node) -> Result<Option<u64>, Failure> {
    let topic = match node.topic(journal::OFFSETS_TOPIC) {
        Some(topic) => topic,
        None if node.metadata.member().is_none() => return Ok(Some(node.me.node)),
        None => {
            let topic = journal::make_topic(node).await?;
            follow(node).await;
            topic
        }
    };
    let partition = topic.partition(0)?;
    if partition.led().is_ok() {
        // It may have come to lead a moment ago.
        follow(node).await;
        return Ok(Some(node.me.node));
    }
    Ok(node.metadata.read(|state| seat(state, partition.shard).leader))
}

/// Starts the tasks of the groups; called once.
pub(crate) fn start(node: &Arc<Node>) {
    let writer = node.groups.writer.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(jobs) = writer {
        let read_bytes = node.groups.read_bytes.load(Ordering::Relaxed);
        tokio::spawn(journal::run(Arc::clone(node), jobs, read_bytes));
        tokio::spawn(timers::run(Arc::clone(node)));
    }
}
