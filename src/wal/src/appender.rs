//! The appender: one write in flight, everything that waits in it, answers in LSN order after it.
//!
//! # Durability
//! A frame is published (answered, shown to readers) only after `write_at` on a file opened for durable writes
//! has returned without error. After the first error nothing is published any more.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use tidelog_format::Salt;
use tidelog_format::block::{BLOCK, BLOCK_U64};
use tidelog_format::end_block::EndBlock;
use tidelog_format::entry::{EntryKind, Row};
use tidelog_format::frame::{FrameBuilder, Stamp};
use tidelog_format::index::SealedAs;
use tidelog_format::opening::{Opening, Predecessor};
use tidelog_format::trailer::Digest;
use tidelog_io::random::Entropy;
use tidelog_io::{Buf, Disk, DiskFile, Fault, IoError};

use crate::error::AppendError;
use crate::gather::{BESIDE, Filling, Offsets, Pending, Placed};
use crate::keeper::{Keeper, ToSeal};
use crate::queue::{Item, Work};
use crate::segments::{Active, Segment, SegmentId};
use crate::shared::{Shared, Status};
use crate::stats::Stats;
use crate::wal::Durable;

/// What a new segment takes over from the one before.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Continuation {
    pub(crate) next_lsn: u64,
    pub(crate) chain: u64,
    pub(crate) predecessor: Option<Predecessor>,
    pub(crate) last_append_time: i64,
}

struct Writing<F> {
    id: SegmentId,
    file: Rc<F>,
    salt: Salt,
    next_salt: Salt,
    base_lsn: u64,
    /// Where the next frame goes, bytes.
    position: u64,
    first_lsn_of_last_write: u64,
    synced: bool,
    digest: Digest,
    /// The opening frame is still to be written.
    unopened: Option<Opening>,
}

/// A frame on its way.
struct Written {
    buf: Buf,
    frames_len: usize,
    pending: Vec<Pending>,
    lsn: u64,
    block: u32,
    append_time: i64,
    end: u64,
    padding: usize,
}

pub(crate) struct Appender<D: Disk> {
    disk: D,
    shared: Arc<Shared>,
    keeper: Rc<Keeper<D>>,
    entropy: Entropy,
    cluster: [u8; 16],
    epoch: u32,
    offsets: Offsets,
    writing: Option<Writing<D::File>>,
    from: Continuation,
    filling: Filling,
    free: Vec<Buf>,
    held: Option<Item>,
    /// Salt that the last segment of this span announced for the next one.
    next_salt: Option<Salt>,
    mark: Option<Buf>,
}

impl<D: Disk> Appender<D> {
    pub(crate) fn new(
        disk: D,
        keeper: Rc<Keeper<D>>,
        identity: ([u8; 16], u32),
        entropy: Entropy,
        from: Continuation,
    ) -> Appender<D> {
        let shared = Arc::clone(&keeper.shared);
        let capacity = shared.options.gather_bytes + BESIDE;
        let rows =
            shared.state().index.partitions().map(|row| (row.partition, row.next_offset)).collect::<Vec<_>>();
        Appender {
            filling: Filling::new(disk.buffer(capacity)),
            free: vec![disk.buffer(capacity), disk.buffer(capacity)],
            mark: Some(disk.buffer(BLOCK)),
            disk,
            shared,
            keeper,
            entropy,
            cluster: identity.0,
            epoch: identity.1,
            offsets: Offsets::new(rows.into_iter()),
            writing: None,
            from,
            held: None,
            next_salt: None,
        }
    }

    /// Appends until the shard is closed; then seals. After a failure, answers with its cause until closed.
    pub(crate) async fn run(mut self) {
        let failed = match self.work().await {
            Ok(()) => self.finish().await.err(),
            Err(error) => Some(error),
        };
        if let Some(error) = failed {
            self.shared.poison(Arc::new(error));
        }
        self.refuse_until_closed().await;
    }

    /// The loop. While a write is in flight, the one before it is published and the next frame fills.
    async fn work(&mut self) -> Result<(), IoError> {
        let mut done: Option<Written> = None;
        loop {
            self.gather();
            if self.filling.is_empty() {
                if let Some(written) = done.take() {
                    self.publish(written);
                } else if self.roll_asked() {
                    self.roll()?;
                } else if self.refusing() || !self.idle().await? {
                    return Ok(());
                }
                continue;
            }
            let fits = self.fits();
            if !fits {
                if let Some(written) = done.take() {
                    self.publish(written);
                }
                if !self.next_segment().await? {
                    continue;
                }
            }
            let Some((file, buf, len, position, written)) = self.close_frame() else { continue };
            let begun = Instant::now();
            let disk = self.disk.clone();
            let write = async { (file.write_at(buf, len, position).await, begun.elapsed()) };
            let meanwhile = async {
                if let Some(before) = done.take() {
                    // Until the kernel has this write, work here would only delay it.
                    disk.submitted().await;
                    self.publish(before);
                    self.gather();
                }
            };
            let (((result, buf), took), ()) = tokio::join!(write, meanwhile);
            match result {
                Ok(()) => {
                    self.shared.stats.wrote(took);
                    done = Some(Written { buf, ..written });
                }
                Err(error) => {
                    self.fail(written.pending, &error);
                    return Err(error);
                }
            }
        }
    }

    fn refusing(&self) -> bool {
        matches!(self.shared.state().status, Status::Poisoned(_) | Status::ReadOnly(_) | Status::Closed)
    }

    /// Lays what waits into the frame.
    fn gather(&mut self) {
        let full = matches!(self.shared.state().status, Status::Full);
        while let Some(item) = self.held.take().or_else(|| self.shared.queue.pop()) {
            if full && matches!(item.work, Work::Batch { .. }) && !self.keeper.has_next() {
                self.refuse(item, AppendError::Full);
                continue;
            }
            match self.offsets.place(item, &mut self.filling, self.epoch, &self.shared.queue) {
                Placed::Done => {}
                Placed::Held(item) => {
                    self.held = Some(item);
                    break;
                }
            }
        }
        self.shared.stats.queue_bytes.store(self.shared.queue.bytes(), std::sync::atomic::Ordering::Relaxed);
    }

    fn refuse(&self, item: Item, error: AppendError) {
        self.shared.queue.release(item.cost);
        // A producer that is gone needs no answer.
        let _ = item.reply.send(Err(error));
    }

    fn roll_asked(&self) -> bool {
        matches!(self.held, Some(Item { work: Work::Roll, .. }))
    }

    /// Whether the frame and an end block fit behind the last frame.
    fn fits(&self) -> bool {
        let opening = |writing: &Writing<D::File>| if writing.unopened.is_some() { BLOCK_U64 } else { 0 };
        self.writing.as_ref().is_some_and(|writing| {
            let behind = writing.position + opening(writing) + self.filling.builder.len() as u64 + BLOCK_U64;
            behind <= self.shared.options.segment_bytes || writing.position == 0
        })
    }

    /// Answers a request to end the segment.
    fn roll(&mut self) -> Result<(), IoError> {
        if let Some(Item { work: Work::Roll, reply, cost }) = self.held.take() {
            self.end_segment();
            self.shared.queue.release(cost);
            let durable =
                Durable { lsn: self.from.next_lsn, base_offset: 0, append_time: self.from.last_append_time };
            // Whoever asked may be gone.
            let _ = reply.send(Ok(durable));
        }
        Ok(())
    }

    /// Ends the segment and goes on in the next one; false when there is no room for it, and then the frame's
    /// entries were refused.
    async fn next_segment(&mut self) -> Result<bool, IoError> {
        self.end_segment();
        if matches!(self.shared.state().status, Status::Full) && !self.keeper.has_next() {
            self.refuse_frame(&AppendError::Full);
            return Ok(false);
        }
        let (id, file) = match self.keeper.next_file().await {
            Ok(next) => next,
            Err(error) if error.kind() == Fault::Full => {
                self.shared.set_full(true);
                self.keeper.want_next();
                self.refuse_frame(&AppendError::Full);
                return Ok(false);
            }
            Err(error) => {
                let pending = std::mem::take(&mut self.filling.pending);
                self.fail(pending, &error);
                return Err(error);
            }
        };
        let salt = self.next_salt.take().unwrap_or_else(|| self.entropy.salt());
        let next_salt = self.entropy.salt();
        let mut opening =
            Opening::new(self.cluster, self.shared.shard, id.number, self.shared.options.segment_bytes);
        opening.predecessor = self.from.predecessor;
        opening.next_salt = next_salt;
        self.writing = Some(Writing {
            id,
            file,
            salt,
            next_salt,
            base_lsn: self.from.next_lsn,
            position: 0,
            first_lsn_of_last_write: self.from.next_lsn,
            synced: true,
            digest: Digest::default(),
            unopened: Some(opening),
        });
        tracing::debug!(
            shard = self.shared.shard,
            number = id.number,
            lsn = self.from.next_lsn,
            "segment begun"
        );
        Ok(true)
    }

    /// Takes the active segment out of use: its index becomes the footer that the keeper writes.
    fn end_segment(&mut self) {
        let Some(writing) = self.writing.take_if(|writing| writing.unopened.is_none()) else {
            return;
        };
        self.next_salt = Some(writing.next_salt);
        let mut state = self.shared.state_mut();
        state.active = None;
        let footer = Arc::new(state.index.seal(&SealedAs {
            salt: writing.salt,
            base_lsn: writing.base_lsn,
            next_lsn: self.from.next_lsn,
            chain: self.from.chain,
            epoch: writing.id.epoch,
            block_index: u32::try_from(writing.position / BLOCK_U64).unwrap_or(u32::MAX),
        }));
        let segment = Segment {
            id: writing.id,
            len: writing.position,
            footer: Some(Arc::clone(&footer)),
            sealed: false,
        };
        state.segments.insert(segment);
        self.shared
            .stats
            .segments
            .store(state.segments.len() as u64 + 1, std::sync::atomic::Ordering::Relaxed);
        drop(state);
        self.from.predecessor = Some(Predecessor {
            epoch: writing.id.epoch,
            number: writing.id.number,
            last_lsn: self.from.next_lsn - 1,
            chain: self.from.chain,
        });
        let digest = writing.digest.value();
        self.keeper.seal_later(ToSeal { id: writing.id, file: writing.file, footer, digest });
    }

    /// Closes the frame behind the last one: gives file, buffer, length and position of the write.
    #[expect(
        clippy::type_complexity,
        reason = "the parts of one write, taken apart at once by the only caller"
    )]
    fn close_frame(&mut self) -> Option<(Rc<D::File>, Buf, usize, u64, Written)> {
        let append_time = self.shared.clock.now_ms().max(self.from.last_append_time);
        let writing = self.writing.as_mut()?;
        let next_buf =
            self.free.pop().unwrap_or_else(|| Buf::heap(self.shared.options.gather_bytes + BESIDE));
        let mut filled = std::mem::replace(&mut self.filling, Filling::new(next_buf));
        let first_lsn = self.from.next_lsn;
        let mut from = self.from;
        let mut at = 0;
        let stamp = |from: &Continuation, at: usize, writing: &Writing<D::File>| Stamp {
            salt: writing.salt,
            lsn: from.next_lsn,
            // On one node all that was written before this write is committed.
            committed_lsn: first_lsn,
            chain: from.chain,
            append_time,
            epoch: writing.id.epoch,
            block_index: block_of(writing.position + at as u64),
        };
        if let Some(opening) = writing.unopened.take() {
            let end = tidelog_format::block::HEADER_LEN + filled.builder.body_len();
            filled.buf.copy_within(..end, BLOCK);
            let closed = open_segment(&mut filled.buf[..BLOCK], &opening, &stamp(&from, 0, writing));
            (from.next_lsn, from.chain) = (from.next_lsn + 1, closed.next_chain);
            at = BLOCK;
        }
        let payload = filled.builder.body_len() + filled.builder.entries() * tidelog_format::entry::ROW_LEN;
        let lsn = from.next_lsn;
        let closed = filled.builder.close(&mut filled.buf[at..], &stamp(&from, at, writing));
        (from.next_lsn, from.chain) = (from.next_lsn + 1, closed.next_chain);
        from.last_append_time = append_time;
        let frames_len = at + closed.len;
        let position = writing.position;
        writing.position += frames_len as u64;
        writing.first_lsn_of_last_write = first_lsn;
        writing.synced = false;
        end_block(writing, &from, false).encode(block_mut(&mut filled.buf, frames_len)?);
        self.from = from;
        let written = Written {
            buf: Buf::heap(0),
            frames_len,
            pending: filled.pending,
            lsn,
            block: block_of(position + at as u64),
            append_time,
            end: writing.position,
            padding: closed.len - payload,
        };
        Some((Rc::clone(&writing.file), filled.buf, frames_len + BLOCK, position, written))
    }

    /// Shows a durable frame to readers and answers its producers.
    fn publish(&mut self, written: Written) {
        let Written { buf, frames_len, pending, lsn, block, append_time, end, padding } = written;
        if let Some(writing) = &mut self.writing {
            writing.digest.update(&buf[..frames_len]);
            let active = Active { id: writing.id, salt: writing.salt, end };
            self.note(active, &pending, block, append_time);
        }
        if buf.capacity() == self.shared.options.gather_bytes + BESIDE {
            self.free.push(buf);
        }
        let stats = &self.shared.stats;
        Stats::add(&stats.frame_bytes, frames_len as u64);
        Stats::add(&stats.padding_bytes, padding as u64);
        stats.next_lsn.store(lsn + 1, std::sync::atomic::Ordering::Relaxed);
        for pending in pending {
            if pending.kind == EntryKind::Batch {
                Stats::add(&stats.batches, 1);
                Stats::add(&stats.records, u64::from(pending.row.count));
                Stats::add(&stats.batch_bytes, u64::from(pending.row.length));
            }
            self.shared.queue.release(pending.cost);
            let durable = Durable { lsn, base_offset: pending.row.base_offset, append_time };
            // A producer that is gone needs no answer.
            let _ = pending.reply.send(Ok(durable));
        }
        let half = self.shared.options.segment_bytes / 2;
        if end >= half {
            self.keeper.want_next();
        }
    }

    fn note(&self, active: Active, pending: &[Pending], block: u32, append_time: i64) {
        let mut state = self.shared.state_mut();
        state.active = Some(active);
        state.index.note_time(append_time);
        for entry in pending {
            let row = &entry.row;
            if entry.kind == EntryKind::Batch {
                state.index.note_batch(block, row, entry.times);
                let next = row.base_offset + u64::from(row.count);
                let limit = self.shared.options.tail_bytes;
                state.tail.push(row.partition, row.base_offset, next, entry.body.clone(), limit);
            } else {
                state.index.note_control(entry.kind, row);
                if entry.kind == EntryKind::PartitionDeleted {
                    state.tail.forget(row.partition);
                }
            }
            state.wake(row.partition);
        }
    }

    /// Sleeps until there is work; false when the shard is to be closed. Marks the last write as synced when
    /// nothing comes for a while.
    async fn idle(&mut self) -> Result<bool, IoError> {
        if self.shared.queue.is_closed() && self.shared.queue.is_empty() {
            return Ok(false);
        }
        let unmarked = self.writing.as_ref().is_some_and(|writing| !writing.synced);
        tokio::select! {
            biased;
            () = self.shared.queue.ready() => return Ok(true),
            () = tokio::time::sleep(self.shared.options.sync_mark_after), if unmarked => {}
        }
        self.rewrite_end(false).await?;
        Stats::add(&self.shared.stats.sync_marks, 1);
        Ok(true)
    }

    /// Rewrites the end block: what it ended is known to be durable.
    async fn rewrite_end(&mut self, clean: bool) -> Result<(), IoError> {
        let Some(writing) = self.writing.as_mut().filter(|writing| writing.unopened.is_none()) else {
            return Ok(());
        };
        let mut buf = self.mark.take().unwrap_or_else(|| Buf::heap(BLOCK));
        if let Some(block) = block_mut(&mut buf, 0) {
            let end = EndBlock { synced: true, ..end_block(writing, &self.from, clean) };
            end.encode(block);
        }
        let (result, buf) = writing.file.write_at(buf, BLOCK, writing.position).await;
        self.mark = Some(buf);
        writing.synced = true;
        result
    }

    /// Clean stop: mark, then seal all that is open.
    async fn finish(&mut self) -> Result<(), IoError> {
        self.rewrite_end(true).await?;
        self.end_segment();
        self.writing = None;
        self.keeper.stop().await;
        Ok(())
    }

    /// Answers the frame's entries with `error`; nothing of them was written.
    fn refuse_frame(&mut self, error: &AppendError) {
        for pending in std::mem::take(&mut self.filling.pending) {
            self.shared.queue.release(pending.cost);
            // A producer that is gone needs no answer.
            let _ = pending.reply.send(Err(error.clone()));
        }
        self.filling.builder = FrameBuilder::default();
        let state = self.shared.state();
        self.offsets = Offsets::new(state.index.partitions().map(|row| (row.partition, row.next_offset)));
    }

    fn fail(&self, pending: Vec<Pending>, error: &IoError) {
        let cause = Arc::new(error.clone());
        for pending in pending {
            self.shared.queue.release(pending.cost);
            // A producer that is gone needs no answer.
            let _ = pending.reply.send(Err(AppendError::OutcomeUnknown { cause: Arc::clone(&cause) }));
        }
    }

    /// After a failure, or at the end: nothing is written any more, everyone gets the reason.
    async fn refuse_until_closed(&mut self) {
        let reason = |shared: &Shared| shared.state().status.refusal(true).unwrap_or(AppendError::Closed);
        self.refuse_frame(&reason(&self.shared));
        loop {
            while let Some(item) = self.held.take().or_else(|| self.shared.queue.pop()) {
                self.refuse(item, reason(&self.shared));
            }
            if self.shared.queue.is_closed() {
                break;
            }
            self.shared.queue.ready().await;
        }
        self.shared.state_mut().status = Status::Closed;
    }
}

fn block_of(position: u64) -> u32 {
    u32::try_from(position / BLOCK_U64).unwrap_or(u32::MAX)
}

fn block_mut(buf: &mut [u8], at: usize) -> Option<&mut [u8; BLOCK]> {
    buf.get_mut(at..)?.first_chunk_mut()
}

fn end_block<F>(writing: &Writing<F>, from: &Continuation, clean: bool) -> EndBlock {
    EndBlock {
        salt: writing.salt,
        next_lsn: from.next_lsn,
        first_lsn: writing.first_lsn_of_last_write,
        chain: from.chain,
        epoch: writing.id.epoch,
        block_index: block_of(writing.position),
        synced: false,
        clean,
    }
}

fn open_segment(block: &mut [u8], opening: &Opening, stamp: &Stamp) -> tidelog_format::frame::Closed {
    let body = opening.encode();
    let length = u32::try_from(body.len()).unwrap_or(u32::MAX);
    let row = Row { partition: 0, base_offset: 0, length, count: 0, kind: EntryKind::Opening as u8 };
    let mut builder = FrameBuilder::default();
    builder.push(block, row, &body);
    builder.close(block, stamp)
}
