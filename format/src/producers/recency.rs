//! Rows in the order in which they were last written to: a list within a vector, so that a steady state allocates
//! nothing.

use super::row::Row;

/// No slot.
const NONE: u32 = u32::MAX;

#[derive(Clone, Debug)]
struct Slot {
    /// `None`: free, and `newer` is the next free slot.
    row: Option<Row>,
    older: u32,
    newer: u32,
}

#[derive(Clone, Debug)]
pub(super) struct Recency {
    slots: Vec<Slot>,
    free: u32,
    oldest: u32,
    newest: u32,
}

impl Default for Recency {
    fn default() -> Recency {
        Recency { slots: Vec::new(), free: NONE, oldest: NONE, newest: NONE }
    }
}

fn index(slot: u32) -> usize {
    crate::le::index(slot)
}

impl Recency {
    fn slot(&mut self, slot: u32) -> Option<&mut Slot> {
        self.slots.get_mut(index(slot))
    }

    pub(super) fn get(&self, slot: u32) -> Option<&Row> {
        self.slots.get(index(slot))?.row.as_ref()
    }

    pub(super) fn get_mut(&mut self, slot: u32) -> Option<&mut Row> {
        self.slot(slot)?.row.as_mut()
    }

    pub(super) fn oldest(&self) -> Option<&Row> {
        self.get(self.oldest)
    }

    /// Puts a row behind the newest.
    pub(super) fn push(&mut self, row: Row) -> u32 {
        let taken = self.free;
        let slot = match self.slot(taken) {
            Some(free) => {
                free.row = Some(row);
                self.free = free.newer;
                taken
            }
            None => {
                self.slots.push(Slot { row: Some(row), older: NONE, newer: NONE });
                // Rows are bounded far below what a u32 counts.
                u32::try_from(self.slots.len() - 1).unwrap_or(NONE)
            }
        };
        self.link(slot);
        slot
    }

    /// Makes a row the newest.
    pub(super) fn touch(&mut self, slot: u32) {
        if self.newest != slot {
            self.unlink(slot);
            self.link(slot);
        }
    }

    pub(super) fn remove(&mut self, slot: u32) -> Option<Row> {
        self.get(slot)?;
        self.unlink(slot);
        let free = self.free;
        let freed = self.slot(slot)?;
        freed.newer = free;
        let row = freed.row.take();
        self.free = slot;
        row
    }

    pub(super) fn pop_oldest(&mut self) -> Option<Row> {
        self.remove(self.oldest)
    }

    /// Visits rows from the newest on, for as long as `visit` says so.
    pub(super) fn newest_while(&mut self, mut visit: impl FnMut(&mut Row) -> bool) {
        let mut at = self.newest;
        while let Some(slot) = self.slot(at) {
            at = slot.older;
            if !slot.row.as_mut().is_some_and(&mut visit) {
                return;
            }
        }
    }

    fn link(&mut self, slot: u32) {
        let before = std::mem::replace(&mut self.newest, slot);
        if let Some(linked) = self.slot(slot) {
            (linked.older, linked.newer) = (before, NONE);
        }
        match self.slot(before) {
            Some(before) => before.newer = slot,
            None => self.oldest = slot,
        }
    }

    fn unlink(&mut self, slot: u32) {
        let Some((older, newer)) = self.slot(slot).map(|linked| (linked.older, linked.newer)) else { return };
        match self.slot(older) {
            Some(older) => older.newer = newer,
            None => self.oldest = newer,
        }
        match self.slot(newer) {
            Some(newer) => newer.older = older,
            None => self.newest = older,
        }
    }
}
