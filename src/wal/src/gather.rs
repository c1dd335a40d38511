//! Lays what waits into one frame: judges sequences, stamps offsets, copies each batch once into the write buffer.

use std::collections::BTreeMap;

use bytes::Bytes;
use rustc_hash::FxHashMap;
use tidelog_format::batch::Batch;
use tidelog_format::block::{BLOCK, HEADER_LEN, round_up};
use tidelog_format::entry::{EntryKind, ROW_LEN, Row};
use tidelog_format::frame::FrameBuilder;
use tidelog_format::index::SegmentIndex;
use tidelog_format::partition_taken;
use tidelog_format::producers::{Judged, Numbered, Producers, SequenceError, Stored};
use tidelog_io::Buf;

use crate::echoes::{Echo, Echoes};
use crate::error::AppendError;
use crate::queue::{Item, Queue, Work};
use crate::reply::Reply;
use crate::shared::Shared;
use crate::stats::Stats;
use crate::wal::Durable;

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

    /// Gives what the frame was laid into and who waits for it, and goes on with other ones, both empty. The builder was
    /// made ready when the frame was closed; like them it keeps its memory.
    pub(crate) fn turn(&mut self, buf: Buf, pending: Vec<Pending>) -> (Buf, Vec<Pending>) {
        self.limit = buf.capacity() - BESIDE;
        (std::mem::replace(&mut self.buf, buf), std::mem::replace(&mut self.pending, pending))
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
        // A frame without producers may hold what its span begins with.
        let laid = HEADER_LEN + self.builder.body_len();
        let mut larger = Buf::heap(round_up(self.builder.len_with(len) + ROW_LEN) + BESIDE);
        larger[..laid].copy_from_slice(&self.buf[..laid]);
        self.buf = larger;
        self.limit = self.buf.capacity() - BESIDE;
        true
    }

    /// Lays down an entry that nobody waits for.
    pub(crate) fn lay(&mut self, row: Row, body: &[u8]) {
        self.builder.push(&mut self.buf, row, body);
    }

    fn push(&mut self, pending: Pending) {
        self.builder.push(&mut self.buf, pending.row, &pending.body);
        self.pending.push(pending);
    }
}

/// Offsets and sequences handed out so far: what is framed, durable or not.
pub(crate) struct Offsets {
    /// Of the partitions that take batches.
    next: FxHashMap<u64, u64>,
    /// Of those that live here and take none: they go on elsewhere.
    closed: FxHashMap<u64, u64>,
    producers: Producers,
    /// LSN that the frame being filled will have, unless a segment begins with it.
    lsn: u64,
    /// LSN behind the last frame that was published.
    published: u64,
    echoes: Echoes,
}

impl Offsets {
    /// What the index says; all frames below `lsn` are committed. Only `writable` partitions that have come far enough take
    /// batches.
    pub(crate) fn new(index: &SegmentIndex, lsn: u64, writable: Option<&BTreeMap<u64, u64>>) -> Offsets {
        let is_closed = |partition: &u64, next: &u64| {
            writable.is_some_and(|writable| writable.get(partition).is_none_or(|least| next < least))
        };
        let (closed, next) = next_offsets(index).into_iter().partition(|(id, next)| is_closed(id, next));
        Offsets {
            next,
            closed,
            producers: index.producers().clone(),
            lsn,
            published: lsn,
            echoes: Echoes::default(),
        }
    }

    /// Places one item into the frame.
    pub(crate) fn place(&mut self, item: Item, filling: &mut Filling, epoch: u32, shared: &Shared) -> Placed {
        let Item { work, reply, cost } = item;
        match work {
            Work::Batch { partition, batch } => {
                self.place_batch(partition, batch, (reply, cost), filling, epoch, shared)
            }
            Work::Control { kind, row, body } => {
                if !filling.make_room(body.len()) {
                    return Placed::Held(Item { work: Work::Control { kind, row, body }, reply, cost });
                }
                if let Err(error) = self.control(kind, &row, &body) {
                    return refuse(reply, cost, error, shared);
                }
                let times = (i64::MAX, i64::MIN);
                filling.push(Pending { row, kind, times, numbered: None, body, reply, cost });
                Placed::Done
            }
            Work::Close { partition } => {
                if !filling.make_room(0) {
                    return Placed::Held(Item { work: Work::Close { partition }, reply, cost });
                }
                if let Some(next) = self.next.remove(&partition) {
                    self.closed.insert(partition, next);
                } else if !self.closed.contains_key(&partition) {
                    return refuse(reply, cost, AppendError::UnknownPartition(partition), shared);
                }
                // It trims nothing: when it is committed, so is all that was taken before it.
                let kind = EntryKind::Trim;
                let row = Row { partition, base_offset: 0, length: 0, count: 0, kind: kind as u8 };
                let times = (i64::MAX, i64::MIN);
                filling.push(Pending { row, kind, times, numbered: None, body: Bytes::new(), reply, cost });
                Placed::Done
            }
            Work::Reopen { partition } => {
                if let Some(next) = self.closed.remove(&partition) {
                    self.next.insert(partition, next);
                }
                let (lsn, base_offset) = (self.lsn, 0);
                shared.queue.release(cost);
                reply.send(Ok(Durable { lsn, base_offset, append_time: None, duplicate: false }));
                Placed::Done
            }
            Work::Roll => Placed::Held(Item { work: Work::Roll, reply, cost }),
        }
    }

    fn place_batch(
        &mut self,
        partition: u64,
        mut batch: Batch,
        (reply, cost): (Reply, u32),
        filling: &mut Filling,
        epoch: u32,
        shared: &Shared,
    ) -> Placed {
        let Some(next) = self.next.get_mut(&partition) else {
            let error = match self.closed.contains_key(&partition) {
                true => AppendError::Moving(partition),
                false => AppendError::UnknownPartition(partition),
            };
            return refuse(reply, cost, error, shared);
        };
        let numbered = Numbered::of(batch.header());
        match numbered.map_or(Judged::New, |numbered| self.producers.check(partition, &numbered)) {
            Judged::New => {}
            Judged::Duplicate(original) => {
                return self.echo(partition, Echo { original, reply, cost }, shared);
            }
            Judged::Refused(error) => {
                count_refusal(&error, partition, self.lsn, shared);
                return refuse(reply, cost, error.into(), shared);
            }
        }
        if !filling.make_room(batch.len()) {
            return Placed::Held(Item { work: Work::Batch { partition, batch }, reply, cost });
        }
        let (base_offset, count) = (*next, batch.count());
        let after = next.checked_add(u64::from(count)).filter(|after| i64::try_from(*after).is_ok());
        let Some(after) = after else {
            return refuse(reply, cost, AppendError::Invalid("the partition's offsets are used up"), shared);
        };
        *next = after;
        if let Some(numbered) = &numbered {
            self.producers.note(partition, numbered, base_offset, self.lsn);
        }
        batch.stamp(base_offset, epoch);
        let times = (batch.header().base_timestamp, batch.max_timestamp());
        let body = batch.freeze();
        let length = u32::try_from(body.len()).unwrap_or(u32::MAX);
        let row = Row { partition, base_offset, length, count, kind: EntryKind::Batch as u8 };
        filling.push(Pending { row, kind: EntryKind::Batch, times, numbered, body, reply, cost });
        Placed::Done
    }

    /// Answers a duplicate, or lets it wait for its original.
    fn echo(&mut self, partition: u64, echo: Echo, shared: &Shared) -> Placed {
        let Stored { lsn, base_offset, first_sequence, .. } = echo.original;
        let durable = lsn < self.published;
        Stats::add(&shared.stats.duplicates, 1);
        tracing::debug!(
            shard = shared.shard,
            lsn,
            partition,
            base_offset,
            first_sequence,
            durable,
            "batch stored before"
        );
        if durable {
            echo.answer(&shared.queue);
        } else {
            self.echoes.push(echo);
        }
        Placed::Done
    }

    /// The frame was closed as `lsn`, so many blocks long; the next one begins to fill.
    pub(crate) fn framed(&mut self, lsn: u64, blocks: u32) {
        if lsn != self.lsn {
            self.producers.renumber(self.lsn, lsn);
            self.echoes.renumber(self.lsn, lsn);
        }
        self.producers.end_frame(blocks);
        self.lsn = lsn + 1;
    }

    /// All frames up to `lsn` are committed and shown.
    pub(crate) fn published(&mut self, lsn: u64, queue: &Queue) {
        self.published = lsn + 1;
        self.echoes.settle(lsn, |echo| echo.answer(queue));
    }

    /// Nothing of the frame being filled will be: all is as the index says. `refused` are its entries.
    pub(crate) fn take_back(&mut self, index: &SegmentIndex, refused: &[Pending]) {
        let taken = refused.iter().filter(|pending| pending.kind == EntryKind::PartitionTaken);
        self.closed.extend(taken.map(|pending| (pending.row.partition, 0)));
        let closed = std::mem::take(&mut self.closed);
        let parts =
            next_offsets(index).into_iter().partition(|(partition, _)| closed.contains_key(partition));
        (self.closed, self.next) = parts;
        self.producers = index.producers().clone();
    }

    /// Refuses the duplicates of batches in frames up to `lsn`; without one, all.
    pub(crate) fn refuse_echoes(&mut self, lsn: Option<u64>, error: &AppendError, queue: &Queue) {
        self.echoes.settle(lsn.unwrap_or(u64::MAX), |echo| echo.refuse(queue, error.clone()));
    }

    fn lives(&self, partition: u64) -> bool {
        self.next.contains_key(&partition) || self.closed.contains_key(&partition)
    }

    fn control(&mut self, kind: EntryKind, row: &Row, body: &[u8]) -> Result<(), AppendError> {
        match kind {
            EntryKind::PartitionCreated if self.lives(row.partition) => {
                return Err(AppendError::Invalid("the partition lives already"));
            }
            EntryKind::PartitionCreated => {
                self.next.insert(row.partition, 0);
            }
            EntryKind::PartitionDeleted => {
                let gone = self.next.remove(&row.partition).or(self.closed.remove(&row.partition));
                gone.ok_or(AppendError::UnknownPartition(row.partition))?;
            }
            EntryKind::PartitionTaken => self.take(row, body)?,
            EntryKind::Trim => {
                let lives = self.lives(row.partition);
                lives.then_some(()).ok_or(AppendError::UnknownPartition(row.partition))?;
            }
            _ => {}
        }
        Ok(())
    }
}

impl Offsets {
    /// A partition goes on here. Its offsets never fall.
    fn take(&mut self, row: &Row, body: &[u8]) -> Result<(), AppendError> {
        let (partition, at) = (row.partition, row.base_offset);
        // Said twice, before anything came behind it, it changes nothing.
        if self.next.get(&partition).is_some_and(|next| *next != at) {
            return Err(AppendError::Invalid("the partition takes batches here already"));
        }
        if self.closed.get(&partition).is_some_and(|next| *next > at) {
            return Err(AppendError::Invalid(
                "the partition has come further here than where it is to go on",
            ));
        }
        let rows = partition_taken::decode(partition, body);
        let rows =
            rows.map_err(|_| AppendError::Invalid("what is said of the partition's producers is damaged"))?;
        self.closed.remove(&partition);
        self.next.insert(partition, at);
        self.producers.take(partition, &rows, self.lsn);
        Ok(())
    }
}

fn next_offsets(index: &SegmentIndex) -> FxHashMap<u64, u64> {
    index.partitions().map(|row| (row.partition, row.next_offset)).collect()
}

fn refuse(reply: Reply, cost: u32, error: AppendError, shared: &Shared) -> Placed {
    shared.queue.release(cost);
    reply.send(Err(error));
    Placed::Done
}

fn count_refusal(error: &SequenceError, partition: u64, lsn: u64, shared: &Shared) {
    let stats = &shared.stats;
    let counter = match error {
        SequenceError::OutOfOrder { .. } => &stats.out_of_order,
        SequenceError::OldEpoch { .. } => &stats.old_epochs,
        SequenceError::Forgotten { .. } => &stats.forgotten,
    };
    Stats::add(counter, 1);
    tracing::debug!(shard = shared.shard, lsn, partition, %error, "batch refused");
}
