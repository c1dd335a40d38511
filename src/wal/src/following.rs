//! A follower's writer: puts the frames that a leader has made into this disk's segments, byte for byte where the leader
//! has them, and shows them to readers when they are committed.
//!
//! # Durability
//! [`FrameWriter::write`] returns after the synchronous write that holds the frames has. After the first error nothing
//! more is written. Where the span ends is decided elsewhere, so this never seals the segment that is being written: the
//! next start, or [`crate::end_shard`], does.
//!
//! # Invariants
//! - One write in flight, laid out as the leader's own: a frame and its end block, the opening frame before the first one.
//! - Only what continues this disk's end is written: next LSN, matching chain value, the leader's place in the file.

use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use tidelog_format::block::{BLOCK, BLOCK_U64};
use tidelog_format::entry::EntryKind;
use tidelog_format::frame::{Frame, FrameHeader};
use tidelog_format::opening::Opening;
use tidelog_format::scan::{Expect, Found, scan_unverified};
use tidelog_io::{Buf, Disk, DiskFile, Fault, IoError};
use tokio::sync::{mpsc, oneshot};

use crate::error::AppendError;
use crate::keeper::Keeper;
use crate::segments::{Active, SegmentId};
use crate::shared::{Shared, Status};
use crate::stats::Stats;
use crate::writing::{Continuation, Writing, end_segment};

/// A frame as its leader has made it, all its checksums verified. Cheap to clone.
#[derive(Debug, Clone)]
pub struct ReadyFrame {
    /// The header.
    pub header: FrameHeader,
    /// Chain value of the frame behind it.
    pub next_chain: u64,
    /// All its bytes.
    pub bytes: Bytes,
}

impl ReadyFrame {
    /// Of a frame that was read from a disk. No checksum covers its padding, so that is what its leader has made it, zero,
    /// whatever the disk has made of it since.
    pub(crate) fn read(frame: &Frame<'_>) -> ReadyFrame {
        let mut bytes = BytesMut::from(frame.bytes());
        bytes[frame.payload_len()..].fill(0);
        ReadyFrame { header: frame.header, next_chain: frame.next_chain(), bytes: bytes.freeze() }
    }

    fn opens_segment(&self) -> bool {
        self.header.block_index == 0
    }

    /// What the bytes hold. `None` when they are not the header's, which whoever verified them has ruled out.
    pub(crate) fn view(&self) -> Option<Frame<'_>> {
        let place = Expect { block_index: self.header.block_index, ..Expect::default() };
        match scan_unverified(&self.bytes, &place) {
            Found::Frame(frame) if frame.header == self.header => Some(frame),
            _ => None,
        }
    }
}

enum Job {
    Write { frames: Vec<ReadyFrame>, doubted: bool, reply: oneshot::Sender<Result<(), AppendError>> },
}

/// Hands a follower's frames to the thread of its shard.
#[derive(Clone)]
pub struct FrameWriter {
    jobs: mpsc::Sender<Job>,
    committed: Arc<AtomicU64>,
    shared: Arc<Shared>,
}

impl std::fmt::Debug for FrameWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "FrameWriter(shard {})", self.shared.shard)
    }
}

impl FrameWriter {
    /// Writes frames behind the end, with one synchronous write: one frame, or an opening frame and one more. `doubted`:
    /// frames that this disk may have acknowledged once are missing behind them still, so no end block is written, and a
    /// restart finds the doubt again.
    ///
    /// # Errors
    /// They do not continue the end: nothing was written. Or the write failed: nothing is written any more.
    pub async fn write(&self, frames: Vec<ReadyFrame>, doubted: bool) -> Result<(), AppendError> {
        let (reply, answer) = oneshot::channel();
        let job = Job::Write { frames, doubted, reply };
        self.jobs.send(job).await.map_err(|_| AppendError::Closed)?;
        answer.await.unwrap_or(Err(AppendError::Closed))
    }

    /// LSNs below are committed: what of them is on this disk is shown to readers.
    pub fn commit(&self, lsn: u64) {
        if self.committed.fetch_max(lsn, Ordering::Relaxed) < lsn {
            self.shared.queue.wake();
        }
    }
}

/// The worker behind a [`FrameWriter`].
pub(crate) struct Following<D: Disk> {
    disk: D,
    shared: Arc<Shared>,
    keeper: Rc<Keeper<D>>,
    epoch: u32,
    jobs: mpsc::Receiver<Job>,
    from: Continuation,
    writing: Option<Writing<D::File>>,
    /// The end is doubted, so it gets no mark.
    doubted: bool,
    /// On this disk, and not known to be committed.
    written: VecDeque<ReadyFrame>,
    committed: Arc<AtomicU64>,
    buf: Buf,
}

/// Jobs that may wait: the rules have one write of a shard in flight.
const JOBS: usize = 2;

impl<D: Disk> Following<D> {
    /// Goes on at `from`, in `writing` if a segment was begun; frames in it that are not known to be committed are in
    /// `written`.
    pub(crate) fn new(
        disk: D,
        keeper: Rc<Keeper<D>>,
        from: Continuation,
        writing: Option<Writing<D::File>>,
        written: VecDeque<ReadyFrame>,
        committed: u64,
    ) -> (Following<D>, FrameWriter) {
        let (send, jobs) = mpsc::channel(JOBS);
        let shared = Arc::clone(&keeper.shared);
        let committed = Arc::new(AtomicU64::new(committed));
        let writer =
            FrameWriter { jobs: send, committed: Arc::clone(&committed), shared: Arc::clone(&shared) };
        let (buf, epoch) = (disk.buffer(BLOCK), shared.epoch);
        let following = Following {
            disk,
            shared,
            keeper,
            epoch,
            jobs,
            from,
            writing,
            doubted: true,
            written,
            committed,
            buf,
        };
        (following, writer)
    }

    /// Works until the shard is closed.
    pub(crate) async fn run(mut self) {
        self.show();
        loop {
            let unmarked = self.is_unmarked();
            let mark_after = self.shared.options.sync_mark_after;
            tokio::select! {
                biased;
                job = self.jobs.recv() => match job {
                    Some(Job::Write { frames, doubted, reply }) => {
                        let done = self.write(frames, doubted).await;
                        // Whoever asked may be gone.
                        let _ = reply.send(done);
                    }
                    None => break,
                },
                () = self.shared.queue.ready() => {}
                () = tokio::time::sleep(mark_after), if unmarked => self.mark().await,
            }
            self.show();
            if self.shared.queue.is_closed() {
                break;
            }
        }
        if self.is_unmarked() {
            self.mark().await;
        }
        self.keeper.stop().await;
        self.shared.state_mut().status = Status::Closed;
    }

    /// Whether the last write has an end block that does not say yet that it is durable.
    fn is_unmarked(&self) -> bool {
        !self.doubted && self.writing.as_ref().is_some_and(|writing| !writing.synced)
    }

    async fn write(&mut self, frames: Vec<ReadyFrame>, doubted: bool) -> Result<(), AppendError> {
        match self.shared.state().status.clone() {
            Status::Following => {}
            other => return Err(other.refusal(true).unwrap_or(AppendError::Closed)),
        }
        if let Some(first) = frames.first().filter(|first| first.opens_segment()) {
            self.next_segment(first).await?;
        }
        self.check(&frames)?;
        let Some(writing) = &self.writing else { return Err(UNLIKE) };
        let (file, position) = (Rc::clone(&writing.file), writing.position);
        let len = self.lay(&frames, doubted);
        let begun = Instant::now();
        let buf = std::mem::replace(&mut self.buf, Buf::heap(0));
        let (result, buf) = file.write_at(buf, len, position).await;
        self.buf = buf;
        if let Err(error) = result {
            return Err(self.failed(error));
        }
        self.doubted = doubted;
        self.shared.stats.wrote(begun.elapsed());
        self.shared.stats.next_lsn.store(self.from.next_lsn, Ordering::Relaxed);
        self.written.extend(frames);
        Ok(())
    }

    /// Whether the frames continue the end where the leader has them.
    fn check(&self, frames: &[ReadyFrame]) -> Result<(), AppendError> {
        let Some(writing) = &self.writing else { return Err(UNLIKE) };
        let (mut lsn, mut chain, mut position) = (self.from.next_lsn, self.from.chain, writing.position);
        for frame in frames {
            let header = &frame.header;
            let there = (header.lsn, header.chain, u64::from(header.block_index) * BLOCK_U64, header.epoch);
            if there != (lsn, chain, position, self.epoch)
                || header.salt != writing.salt
                || frame.view().is_none()
            {
                return Err(UNLIKE);
            }
            (lsn, chain, position) = (lsn + 1, frame.next_chain, position + frame.bytes.len() as u64);
        }
        Ok(())
    }

    /// Lays frames and end block into the buffer, and goes on behind them; bytes of the write.
    fn lay(&mut self, frames: &[ReadyFrame], doubted: bool) -> usize {
        let frames_len: usize = frames.iter().map(|frame| frame.bytes.len()).sum();
        if self.buf.capacity() < frames_len + BLOCK {
            self.buf = self.disk.buffer(frames_len + BLOCK);
        }
        let first_lsn = self.from.next_lsn;
        let mut at = 0;
        for frame in frames {
            self.buf[at..at + frame.bytes.len()].copy_from_slice(&frame.bytes);
            at += frame.bytes.len();
            self.from.next_lsn = frame.header.lsn + 1;
            self.from.chain = frame.next_chain;
            self.from.last_append_time = frame.header.append_time;
        }
        if let Some(writing) = &mut self.writing {
            writing.digest.update(&self.buf[..frames_len]);
            writing.wrote(first_lsn, frames_len as u64);
            match doubted {
                true => self.buf[frames_len..frames_len + BLOCK].fill(0),
                false => writing.put_end_block(&mut self.buf[frames_len..], &self.from, false, false),
            }
        }
        frames_len + BLOCK
    }

    /// Ends the segment, all of which is committed when its leader begins another one, and begins the next as `first` says.
    async fn next_segment(&mut self, first: &ReadyFrame) -> Result<(), AppendError> {
        let frame = first.view().ok_or(UNLIKE)?;
        let entry = frame.entries().next().filter(|entry| entry.kind() == Some(EntryKind::Opening));
        let opening = Opening::decode(entry.ok_or(UNLIKE)?.body).map_err(|_| UNLIKE)?;
        self.committed.fetch_max(first.header.committed_lsn, Ordering::Relaxed);
        self.show();
        let here = (first.header.lsn, first.header.chain, first.header.epoch, opening.shard);
        if here != (self.from.next_lsn, self.from.chain, self.epoch, self.shared.shard)
            || !self.written.is_empty()
        {
            return Err(UNLIKE);
        }
        if let Some(writing) = self.writing.take() {
            end_segment(&self.shared, &self.keeper, writing, &mut self.from);
        }
        let (id, file) = match self.keeper.next_file(Some(opening.number)).await {
            Ok(next) => next,
            // Nothing is written yet: the same frames come again.
            Err(error) if error.kind() == Fault::Full => return Err(AppendError::Full),
            Err(error) => return Err(self.failed(error)),
        };
        if id != (SegmentId { number: opening.number, epoch: self.epoch }) {
            return Err(UNLIKE);
        }
        self.writing = Some(Writing::begin_copy(id, file, first.header.salt, &opening, &self.from));
        tracing::debug!(
            shard = self.shared.shard,
            number = id.number,
            lsn = first.header.lsn,
            "segment begun"
        );
        Ok(())
    }

    fn failed(&self, error: IoError) -> AppendError {
        let cause = Arc::new(error);
        self.shared.poison(Arc::clone(&cause));
        AppendError::OutcomeUnknown { cause }
    }

    /// Marks the last write as synced.
    async fn mark(&mut self) {
        let Some(writing) = &mut self.writing else { return };
        let mut buf = std::mem::replace(&mut self.buf, Buf::heap(0));
        writing.put_end_block(&mut buf, &self.from, true, false);
        let (result, buf) = writing.file.write_at(buf, BLOCK, writing.position).await;
        writing.synced = true;
        self.buf = buf;
        match result {
            Ok(()) => Stats::add(&self.shared.stats.sync_marks, 1),
            Err(error) => {
                self.failed(error);
            }
        }
    }

    /// Shows what is committed to readers.
    fn show(&mut self) {
        let committed = self.committed.load(Ordering::Relaxed);
        let Some(writing) = &self.writing else { return };
        while let Some(frame) = pop_committed(&mut self.written, committed) {
            let Some(view) = frame.view() else { continue };
            let mut state = self.shared.state_mut();
            let end = frame.header.end_position();
            state.active = Some(Active { id: writing.id, salt: writing.salt, end });
            state.index.note_frame(&view);
            for entry in view.entries() {
                let row = entry.row;
                match entry.kind() {
                    Some(EntryKind::Batch) => {
                        let next = row.base_offset.saturating_add(u64::from(row.count));
                        let body = frame.bytes.slice(entry.at..entry.at + entry.body.len());
                        state.tail.push(row.partition, row.base_offset, next, body);
                        Stats::add(&self.shared.stats.batches, 1);
                        Stats::add(&self.shared.stats.records, u64::from(row.count));
                    }
                    Some(EntryKind::PartitionDeleted | EntryKind::PartitionTaken) => {
                        state.tail.forget(row.partition);
                    }
                    _ => {}
                }
                state.wake(row.partition);
            }
            state.tail.trim();
            drop(state);
            self.shared.stats.committed_lsn.store(frame.header.lsn + 1, Ordering::Relaxed);
            if end >= self.shared.options.segment_bytes / 2 {
                self.keeper.want_next();
            }
        }
    }
}

/// Takes the first of frames in their order, if it is committed.
pub(crate) fn pop_committed(frames: &mut VecDeque<ReadyFrame>, committed: u64) -> Option<ReadyFrame> {
    frames.front().filter(|first| first.header.lsn < committed)?;
    frames.pop_front()
}

const UNLIKE: AppendError = AppendError::Invalid(
    "frames of a leader do not continue what is on this disk: nothing was written. This is a defect of Tidelog, please report it",
);
