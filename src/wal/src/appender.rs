//! The appender: one write in flight, everything that waits in it, answers in LSN order after it.
//!
//! # Durability
//! A frame is published (answered, shown to readers) only after `write_at` on a file opened for durable writes
//! has returned without error and [`Commits`] says that it is committed. After the first error nothing more is written.

use std::collections::{BTreeMap, VecDeque};
use std::hint::black_box;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use bytes::Bytes;
use tidelog_format::Salt;
use tidelog_format::block::{BLOCK, round_up};
use tidelog_format::entry::{EntryKind, Row};
use tidelog_format::frame::FrameBuilder;
use tidelog_format::opening::Opening;
use tidelog_io::random::Entropy;
use tidelog_io::{Buf, Disk, DiskFile, Fault, IoError};

use crate::commits::Commits;
use crate::error::AppendError;
use crate::gather::{BESIDE, Filling, Offsets, Pending, Placed};
use crate::keeper::Keeper;
use crate::queue::{Item, Work};
use crate::shared::{Shared, Status};
use crate::stats::Stats;
use crate::wal::Durable;
use crate::writing::{Continuation, Framed, Write, Writing, end_segment};

/// So many are kept: one frame fills while another is written and a third is published.
const EMPTIED: usize = 3;

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
    /// What held the answers of frames that are published, empty.
    emptied: Vec<Vec<Pending>>,
    held: Option<Item>,
    /// Salt of the span's first segment, then what each segment announced for the next one.
    next_salt: Option<Salt>,
    /// What the span's first frame begins with, until it is framed.
    start: Vec<(Row, Bytes)>,
    commits: Box<dyn Commits>,
    /// Frames on this disk that are not published yet, in their order.
    written: VecDeque<Framed>,
    /// Bytes on this disk that the segment's digest lacks.
    undigested: VecDeque<Undigested>,
    mark: Option<Buf>,
}

/// A single entry's frame is digested at once up to this size; all others while the next write is under way, so that nobody
/// waits for the sum of bytes that are on the disk.
const DIGESTED_AT_ONCE: usize = 32 * 1024;

/// What was written.
struct Undigested {
    buf: Buf,
    /// Bytes of it that are frames.
    len: usize,
}

/// What an appender begins with, beside what recovery found.
pub(crate) struct Beginning {
    pub(crate) cluster: [u8; 16],
    pub(crate) epoch: u32,
    pub(crate) salt: Option<Salt>,
    pub(crate) start: Vec<(Row, Bytes)>,
    pub(crate) writable: Option<BTreeMap<u64, u64>>,
    pub(crate) commits: Box<dyn Commits>,
}

impl<D: Disk> Appender<D> {
    pub(crate) fn new(
        disk: D,
        keeper: Rc<Keeper<D>>,
        beginning: Beginning,
        entropy: Entropy,
        from: Continuation,
    ) -> Appender<D> {
        let shared = Arc::clone(&keeper.shared);
        let capacity = shared.options.gather_bytes + BESIDE;
        let Beginning { cluster, epoch, salt, start, writable, commits } = beginning;
        let offsets = Offsets::new(&shared.state().index, from.next_lsn, writable.as_ref());
        Appender {
            filling: first_filling(
                disk.buffer(capacity + start.iter().map(|(_, body)| round_up(body.len())).sum::<usize>()),
                &start,
            ),
            free: vec![disk.buffer(capacity), disk.buffer(capacity)],
            emptied: Vec::new(),
            mark: Some(disk.buffer(BLOCK)),
            disk,
            shared,
            keeper,
            entropy,
            cluster,
            epoch,
            offsets,
            writing: None,
            from,
            held: None,
            next_salt: salt,
            start,
            commits,
            written: VecDeque::new(),
            undigested: VecDeque::new(),
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
        loop {
            if self.commits.is_over() {
                self.leave();
                return Ok(());
            }
            self.gather();
            if self.filling.is_empty() {
                if self.publish() {
                    continue;
                }
                if self.roll_asked() && self.written.is_empty() {
                    self.roll();
                } else if self.refusing() || !self.idle().await? {
                    return Ok(());
                }
                continue;
            }
            if !self.may_frame() {
                self.until_committed().await;
                continue;
            }
            if !self.fits() && !self.next_segment().await? {
                continue;
            }
            self.write_frame().await?;
        }
    }

    /// Whether a frame may be made now. A segment ends only when all of it is committed: its footer says what is in it.
    fn may_frame(&mut self) -> bool {
        if !self.fits() {
            self.publish();
        }
        self.commits.may_frame(self.filling.builder.len()) && (self.fits() || self.written.is_empty())
    }

    /// Waits for more to be committed than the own disk can bring about.
    async fn until_committed(&mut self) {
        if !self.publish() {
            self.shared.queue.ready().await;
        }
    }

    /// Closes the frame, writes it, and publishes what came before meanwhile.
    async fn write_frame(&mut self) -> Result<(), IoError> {
        let Some((file, write, framed)) = self.close_frame() else { return Ok(()) };
        let (opening, frame) = framed.made(&write.buf);
        if !self.commits.framed(opening, frame) {
            let why = "another process may write this shard now, and this one not any more";
            let fenced = IoError::invalid("append", &self.shared.dir, why);
            self.fail(framed.pending, Some(framed.lsn), &fenced);
            return Err(fenced);
        }
        let begun = Instant::now();
        let disk = self.disk.clone();
        let write = async { (file.write_at(write.buf, write.len, write.position).await, begun.elapsed()) };
        let meanwhile = async {
            if !self.written.is_empty() || !self.undigested.is_empty() {
                // Until the kernel has this write, work here would only delay it.
                disk.submitted().await;
                self.publish();
                self.digest();
                self.trim_tail();
                self.gather();
                self.warm(&framed);
            }
        };
        let (((result, buf), took), ()) = tokio::join!(write, meanwhile);
        if let Err(error) = result {
            self.commits.failed();
            self.fail(framed.pending, Some(framed.lsn), &error);
            return Err(error);
        }
        self.commits.written();
        self.shared.stats.wrote(took);
        self.shared.stats.next_lsn.store(framed.lsn + 1, Ordering::Relaxed);
        let len = framed.frames_len();
        self.undigested.push_back(Undigested { buf, len });
        if framed.pending.len() <= 1 && len <= DIGESTED_AT_ONCE {
            self.digest();
            self.trim_tail();
        }
        self.written.push_back(framed);
        Ok(())
    }

    /// Somebody else leads now, or is going to: that is what those are told who wait to be written.
    fn leave(&self) {
        let mut state = self.shared.state_mut();
        if matches!(state.status, Status::Running | Status::Full) {
            state.status = Status::Following;
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
            match self.offsets.place(item, &mut self.filling, self.epoch, &self.shared) {
                Placed::Done => {}
                Placed::Held(item) => {
                    self.held = Some(item);
                    break;
                }
            }
        }
        self.shared.stats.queue_bytes.store(self.shared.queue.bytes(), Ordering::Relaxed);
    }

    fn refuse(&self, item: Item, error: AppendError) {
        self.shared.queue.release(item.cost);
        item.reply.send(Err(error));
    }

    fn roll_asked(&self) -> bool {
        matches!(self.held, Some(Item { work: Work::Roll, .. }))
    }

    /// Whether the frame and an end block fit behind the last frame.
    fn fits(&self) -> bool {
        let segment_bytes = self.shared.options.segment_bytes;
        self.writing.as_ref().is_some_and(|writing| writing.fits(self.filling.builder.len(), segment_bytes))
    }

    /// Answers a request to end the segment.
    fn roll(&mut self) {
        if let Some(Item { work: Work::Roll, reply, cost }) = self.held.take() {
            self.end_segment();
            self.shared.queue.release(cost);
            let durable = Durable {
                lsn: self.from.next_lsn,
                base_offset: 0,
                append_time: Some(self.from.last_append_time),
                duplicate: false,
            };
            reply.send(Ok(durable));
        }
    }

    /// Ends the segment and goes on in the next one; false when there is no room for it, and then the frame's
    /// entries were refused.
    async fn next_segment(&mut self) -> Result<bool, IoError> {
        self.end_segment();
        if matches!(self.shared.state().status, Status::Full) && !self.keeper.has_next() {
            self.refuse_frame(&AppendError::Full);
            return Ok(false);
        }
        let (id, file) = match self.keeper.next_file(None).await {
            Ok(next) => next,
            Err(error) if error.kind() == Fault::Full => {
                self.shared.set_full(true);
                self.keeper.want_next();
                self.refuse_frame(&AppendError::Full);
                return Ok(false);
            }
            Err(error) => {
                let pending = std::mem::take(&mut self.filling.pending);
                self.fail(pending, None, &error);
                return Err(error);
            }
        };
        let salt = self.next_salt.take().unwrap_or_else(|| self.entropy.salt());
        let segment_bytes = self.shared.options.segment_bytes;
        let opening = Opening {
            predecessor: self.from.predecessor,
            next_salt: self.entropy.salt(),
            ..Opening::new(self.cluster, self.shared.shard, id.number, segment_bytes)
        };
        self.writing = Some(Writing::begin(id, file, salt, opening, &self.from));
        tracing::debug!(
            shard = self.shared.shard,
            number = id.number,
            lsn = self.from.next_lsn,
            "segment begun"
        );
        Ok(true)
    }

    /// Counts what was written into the segment's digest, and frees its buffers.
    fn digest(&mut self) {
        for Undigested { buf, len } in self.undigested.drain(..) {
            if let Some(writing) = &mut self.writing {
                writing.digest.update(&buf[..len]);
            }
            if buf.capacity() == self.shared.options.gather_bytes + BESIDE {
                self.free.push(buf);
            }
        }
    }

    /// Takes the active segment out of use: its index becomes the footer that the keeper writes.
    fn end_segment(&mut self) {
        self.digest();
        let Some(writing) = self.writing.take_if(|writing| writing.is_opened()) else {
            return;
        };
        self.next_salt = Some(writing.next_salt);
        end_segment(&self.shared, &self.keeper, writing, &mut self.from);
        self.shared.cursors.forget_old();
    }

    /// Closes the frame and leaves an empty one to fill.
    fn close_frame(&mut self) -> Option<(Rc<D::File>, Write, Framed)> {
        let append_time = self.shared.clock.now_ms().max(self.from.last_append_time);
        let writing = self.writing.as_mut()?;
        let capacity = self.shared.options.gather_bytes + BESIDE;
        let buf = self.free.pop().unwrap_or_else(|| Buf::heap(capacity));
        let next = (buf, self.emptied.pop().unwrap_or_default());
        self.start = Vec::new();
        let committed = self.commits.committed();
        let (write, framed) =
            writing.close_frame(&mut self.filling, next, &mut self.from, append_time, committed);
        self.offsets.framed(framed.lsn, framed.blocks);
        Some((Rc::clone(&writing.file), write, framed))
    }

    /// Publishes what is committed; whether that was anything.
    fn publish(&mut self) -> bool {
        let committed = self.commits.committed();
        let before = self.written.len();
        while self.written.front().is_some_and(|first| first.lsn < committed) {
            if let Some(first) = self.written.pop_front() {
                self.show(first);
            }
        }
        self.written.len() != before
    }

    /// Shows a committed frame to readers and answers its producers.
    fn show(&mut self, framed: Framed) {
        self.note(&framed);
        let frames_len = framed.frames_len();
        let Framed { mut pending, lsn, append_time, active, padding, .. } = framed;
        let stats = &self.shared.stats;
        Stats::add(&stats.frame_bytes, frames_len as u64);
        Stats::add(&stats.padding_bytes, padding as u64);
        stats.committed_lsn.store(lsn + 1, Ordering::Relaxed);
        let mut released = 0;
        for pending in pending.drain(..) {
            if pending.kind == EntryKind::Batch {
                Stats::add(&stats.batches, 1);
                Stats::add(&stats.records, u64::from(pending.row.count));
                Stats::add(&stats.batch_bytes, u64::from(pending.row.length));
            }
            released += pending.cost;
            let base_offset = pending.row.base_offset;
            let durable = Durable { lsn, base_offset, append_time: Some(append_time), duplicate: false };
            pending.reply.send(Ok(durable));
        }
        self.shared.queue.release(released);
        if self.emptied.len() < EMPTIED {
            self.emptied.push(pending);
        }
        self.offsets.published(lsn, &self.shared.queue);
        let half = self.shared.options.segment_bytes / 2;
        if active.end >= half {
            self.keeper.want_next();
        }
    }

    /// Frees what the tail holds beyond its bound. Not while producers wait for what it makes room for.
    fn trim_tail(&self) {
        self.shared.state_mut().tail.trim();
    }

    /// Looks up what [`Appender::note`] is going to change, so that it is in the processor's cache when producers wait for
    /// it: of thousands of partitions, none is. Costs nothing, for the disk writes meanwhile.
    fn warm(&self, framed: &Framed) {
        let state = self.shared.state();
        for Pending { row, .. } in &framed.pending {
            let noted = state.index.partition(row.partition);
            black_box(noted.and_then(|noted| noted.positions.last()).map(|last| last.offset));
            black_box(state.tail.next_offset(row.partition));
        }
    }

    fn note(&self, framed: &Framed) {
        let mut state = self.shared.state_mut();
        state.active = Some(framed.active);
        state.index.note_time(framed.append_time);
        for entry in &framed.pending {
            let row = &entry.row;
            if entry.kind == EntryKind::Batch {
                state.index.note_batch(framed.block, row, entry.times);
                if let Some(numbered) = &entry.numbered {
                    state.index.note_numbered(numbered, row, framed.lsn);
                }
                let next = row.base_offset + u64::from(row.count);
                state.tail.push(row.partition, row.base_offset, next, entry.body.clone());
            } else if entry.kind == EntryKind::PartitionTaken {
                state.index.take_partition(row, &entry.body, framed.lsn);
                // What is there of it does not stand directly before what comes now.
                state.tail.forget(row.partition);
            } else {
                state.index.note_control(entry.kind, row);
                if entry.kind == EntryKind::PartitionDeleted {
                    state.tail.forget(row.partition);
                }
            }
            state.wake(row.partition);
        }
        state.index.end_frame(framed.blocks);
        self.shared.stats.producers.store(state.index.producers().len() as u64, Ordering::Relaxed);
    }

    /// Sleeps until there is work; false when the shard is to be closed. Marks the last write as synced when
    /// nothing comes for a while.
    async fn idle(&mut self) -> Result<bool, IoError> {
        if self.shared.queue.is_closed() && self.shared.queue.is_empty() && self.written.is_empty() {
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
        let Some(writing) = self.writing.as_mut().filter(|writing| writing.is_opened()) else {
            return Ok(());
        };
        let mut buf = self.mark.take().unwrap_or_else(|| Buf::heap(BLOCK));
        writing.put_end_block(&mut buf, &self.from, true, clean);
        let (result, buf) = writing.file.write_at(buf, BLOCK, writing.position).await;
        self.mark = Some(buf);
        writing.synced = true;
        result
    }

    /// Clean stop: mark, then seal all that is open, if that is this disk's to decide.
    async fn finish(&mut self) -> Result<(), IoError> {
        let ends = self.commits.ends_here();
        self.rewrite_end(ends).await?;
        if ends {
            self.end_segment();
        }
        self.writing = None;
        self.keeper.stop().await;
        Ok(())
    }

    /// Answers the frame's entries with `error`; nothing of them was written.
    fn refuse_frame(&mut self, error: &AppendError) {
        let refused = std::mem::take(&mut self.filling.pending);
        self.offsets.take_back(&self.shared.state().index, &refused);
        for pending in refused {
            self.shared.queue.release(pending.cost);
            pending.reply.send(Err(error.clone()));
        }
        self.filling.builder = FrameBuilder::default();
        for (row, body) in &self.start {
            self.filling.lay(*row, body);
        }
        self.offsets.refuse_echoes(None, error, &self.shared.queue);
    }

    /// Answers the entries of a frame that could not be written, and their duplicates: those of batches in frames up
    /// to `lsn`, or all.
    fn fail(&mut self, pending: Vec<Pending>, lsn: Option<u64>, error: &IoError) {
        let error = AppendError::OutcomeUnknown { cause: Arc::new(error.clone()) };
        for pending in pending {
            self.shared.queue.release(pending.cost);
            pending.reply.send(Err(error.clone()));
        }
        self.offsets.refuse_echoes(lsn, &error, &self.shared.queue);
    }

    /// What is on this disk and not committed stays so: nobody knows whether it will be.
    fn give_up_written(&mut self) {
        self.publish();
        for framed in std::mem::take(&mut self.written) {
            let cause = IoError::invalid(
                "commit",
                &self.shared.dir,
                "the shard stopped before a quorum had the batch",
            );
            self.fail(framed.pending, Some(framed.lsn), &cause);
        }
    }

    /// After a failure, or at the end: nothing is written any more, everyone gets the reason.
    async fn refuse_until_closed(&mut self) {
        let reason = |shared: &Shared| shared.state().status.refusal(true).unwrap_or(AppendError::Closed);
        self.give_up_written();
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

/// The span's first frame, which begins with what is said about the span.
fn first_filling(buf: Buf, start: &[(Row, Bytes)]) -> Filling {
    let mut filling = Filling::new(buf);
    for (row, body) in start {
        filling.lay(*row, body);
    }
    filling
}
