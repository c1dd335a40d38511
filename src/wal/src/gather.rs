//! Lays what waits into one frame: stamps offsets, copies each batch once into the write buffer.

use std::collections::HashMap;

use bytes::Bytes;
use tidelog_format::block::{BLOCK, round_up};
use tidelog_format::entry::{EntryKind, ROW_LEN, Row};
use tidelog_format::frame::FrameBuilder;
use tidelog_format::producers::Numbered;
use tidelog_io::Buf;

use crate::error::AppendError;
use crate::queue::{Item, Queue, Reply, Work};

/// Room in a buffer beside the frame: an opening frame before it, an end block behind it.
pub(crate) const BESIDE: usize = 2 * BLOCK;

/// An entry in a frame whose answer is still to be given.
pub(crate) struct Pending {
    pub(crate) row: Row,
    pub(crate) kind: EntryKind,
    /// Base and largest timestamp, ms.
    pub(crate) times: (i64, i64),
    /// How the batch is numbered by an idempotent producer.
    pub(crate) numbered: Option<Numbered>,
    pub(crate) body: Bytes,
    pub(crate) reply: Reply,
    pub(crate) cost: u32,
}

/// A frame being filled.
pub(crate) struct Filling {
    pub(crate) buf: Buf,
    pub(crate) builder: FrameBuilder,
    pub(crate) pending: Vec<Pending>,
    /// Bytes the frame may have.
    limit: usize,
}

/// What became of an item.
pub(crate) enum Placed {
    /// It is in the frame, or was answered.
    Done,
    /// The frame is full: it comes first in the next one.
    Held(Item),
}

impl Filling {
    pub(crate) fn new(buf: Buf) -> Filling {
        let limit = buf.capacity() - BESIDE;
        Filling { buf, builder: FrameBuilder::default(), pending: Vec::new(), limit }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.pending.is_empty()
    }

    /// Whether an entry of `len` bytes goes in; an empty frame takes a larger buffer for it.
    fn make_room(&mut self, len: usize) -> bool {
        if self.builder.len_with(len) <= self.limit {
            return true;
        }
        if !self.is_empty() {
            return false;
        }
        self.buf = Buf::heap(round_up(self.builder.len_with(len) + ROW_LEN) + BESIDE);
        self.limit = self.buf.capacity() - BESIDE;
        true
    }

    fn push(&mut self, pending: Pending) {
        self.builder.push(&mut self.buf, pending.row, &pending.body);
        self.pending.push(pending);
    }
}

/// Offsets handed out so far: what is framed, durable or not.
#[derive(Default)]
pub(crate) struct Offsets {
    next: HashMap<u64, u64>,
}

impl Offsets {
    pub(crate) fn new(live: impl Iterator<Item = (u64, u64)>) -> Offsets {
        Offsets { next: live.collect() }
    }

    /// Places one item into the frame.
    pub(crate) fn place(&mut self, item: Item, filling: &mut Filling, epoch: u32, queue: &Queue) -> Placed {
        let Item { work, reply, cost } = item;
        let refuse = |reply: Reply, error| {
            queue.release(cost);
            // A producer that is gone needs no answer.
            let _ = reply.send(Err(error));
            Placed::Done
        };
        match work {
            Work::Batch { partition, mut batch } => {
                let Some(next) = self.next.get_mut(&partition) else {
                    return refuse(reply, AppendError::UnknownPartition(partition));
                };
                if !filling.make_room(batch.len()) {
                    return Placed::Held(Item { work: Work::Batch { partition, batch }, reply, cost });
                }
                let base_offset = *next;
                let count = batch.count();
                let Some(after) =
                    next.checked_add(u64::from(count)).filter(|after| i64::try_from(*after).is_ok())
                else {
                    return refuse(reply, AppendError::Invalid("the partition's offsets are used up"));
                };
                *next = after;
                batch.stamp(base_offset, epoch);
                let times = (batch.header().base_timestamp, batch.max_timestamp());
                let numbered = Numbered::of(batch.header());
                let body = batch.freeze();
                let length = u32::try_from(body.len()).unwrap_or(u32::MAX);
                let row = Row { partition, base_offset, length, count, kind: EntryKind::Batch as u8 };
                filling.push(Pending { row, kind: EntryKind::Batch, times, numbered, body, reply, cost });
            }
            Work::Control { kind, row, body } => {
                if !filling.make_room(body.len()) {
                    return Placed::Held(Item { work: Work::Control { kind, row, body }, reply, cost });
                }
                if let Err(error) = self.control(kind, &row) {
                    return refuse(reply, error);
                }
                let times = (i64::MAX, i64::MIN);
                filling.push(Pending { row, kind, times, numbered: None, body, reply, cost });
            }
            Work::Roll => return Placed::Held(Item { work: Work::Roll, reply, cost }),
        }
        Placed::Done
    }

    fn control(&mut self, kind: EntryKind, row: &Row) -> Result<(), AppendError> {
        match kind {
            EntryKind::PartitionCreated if self.next.contains_key(&row.partition) => {
                return Err(AppendError::Invalid("the partition lives already"));
            }
            EntryKind::PartitionCreated => {
                self.next.insert(row.partition, 0);
            }
            EntryKind::PartitionDeleted => {
                let gone = self.next.remove(&row.partition);
                gone.ok_or(AppendError::UnknownPartition(row.partition))?;
            }
            EntryKind::Trim => {
                let lives = self.next.contains_key(&row.partition);
                lives.then_some(()).ok_or(AppendError::UnknownPartition(row.partition))?;
            }
            _ => {}
        }
        Ok(())
    }
}
