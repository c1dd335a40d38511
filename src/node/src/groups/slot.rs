//! A group with those who wait for it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use super::coordinator::Groups;
use super::error::GroupError;
use super::event::{Answer, Event, Ticket};
use super::group::Group;

/// A group that has, or is about to have, members.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) id: String,
    seat: Mutex<Seat>,
}

/// What one event at a time may touch.
#[derive(Debug)]
pub(super) struct Seat {
    pub(super) group: Group,
    pub(super) waiting: BTreeMap<Ticket, oneshot::Sender<Answer>>,
    /// The earliest time for which the group will be woken.
    pub(super) armed: Option<i64>,
    /// Another node coordinates by now: nothing happens to this group any more.
    pub(super) closed: bool,
}

impl Slot {
    pub(super) fn new(id: &str, group: Group) -> Arc<Slot> {
        let seat = Seat { group, waiting: BTreeMap::new(), armed: None, closed: false };
        Arc::new(Slot { id: id.to_owned(), seat: Mutex::new(seat) })
    }

    /// Never held across an await.
    pub(super) fn seat(&self) -> MutexGuard<'_, Seat> {
        self.seat.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request that waits for its answer. Dropped without one, it tells the group that nobody waits.
#[derive(Debug)]
pub(super) struct Waiting<'a> {
    pub(super) groups: &'a Groups,
    pub(super) slot: Arc<Slot>,
    pub(super) ticket: Ticket,
    pub(super) answer: oneshot::Receiver<Answer>,
    pub(super) done: bool,
}

impl Waiting<'_> {
    /// The answer; an error when the node stops before there is one.
    pub(super) async fn answered(mut self) -> Result<Answer, GroupError> {
        let mut stopping = self.groups.stopping.clone();
        tokio::select! {
            biased;
            answer = &mut self.answer => {
                self.done = true;
                answer.map_err(|_| GroupError::CoordinatorNotAvailable)
            }
            _ = stopping.wait_for(|stopping| *stopping) => Err(GroupError::CoordinatorNotAvailable),
        }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if self.done {
            return;
        }
        let mut seat = self.slot.seat();
        if seat.waiting.remove(&self.ticket).is_some() {
            self.groups.step(&self.slot, &mut seat, Event::Abandon(self.ticket));
        }
    }
}
