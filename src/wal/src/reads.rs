//! The disk's side of reading: takes reads from whoever wants bytes of a segment, on a thread that may be another than
//! that of the shard's writer.
//!
//! # Limits
//! [`AT_ONCE`] reads of a shard are at the disk at once; more wait their turn. While the shard is written it is one, of at
//! most [`BESIDE_WRITES`] bytes, so that a write waits for that much and no more; and readers get half of the time, so
//! that the disk does not spend all of it on them.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tidelog_format::block::round_up;
use tidelog_io::{Access, Disk, DiskFile, IoError};
use tokio::sync::{Semaphore, mpsc, oneshot};

use crate::error::ReadError;
use crate::read_buffers::Lent;
use crate::segments::SegmentId;
use crate::shared::Shared;
use crate::stats::Stats;

/// Reads of one shard that are at the disk at once.
const AT_ONCE: u32 = 4;
/// Longest read while the shard is written, bytes.
pub(crate) const BESIDE_WRITES: usize = 256 * 1024;
/// The shard is written as long as its last commit is not older.
const LATELY: Duration = Duration::from_millis(20);
/// Shortest pause of the readers: the runtime's timers know milliseconds only.
const PAUSE: Duration = Duration::from_millis(1);
/// Files kept open for reading.
const OPEN_FILES: usize = 64;

/// A read for the thread that reads.
pub(crate) struct ReadJob {
    id: SegmentId,
    position: u64,
    len: usize,
    into: Lent,
    reply: oneshot::Sender<Result<(Lent, usize), IoError>>,
}

/// A read on its way.
pub(crate) struct Reading(oneshot::Receiver<Result<(Lent, usize), IoError>>);

impl Reading {
    /// The buffer and how many bytes of it were read.
    pub(crate) async fn arrived(self) -> Result<(Lent, usize), ReadError> {
        Ok(self.0.await.map_err(|_| ReadError::Closed)??)
    }
}

/// What a shard's readers want from its disk, see [`crate::Engine::take_reads`].
pub struct Reads {
    pub(crate) shared: Arc<Shared>,
    pub(crate) jobs: mpsc::Receiver<ReadJob>,
    /// On another thread than the writer's, where pauses cost the writer nothing and help it.
    pub(crate) paced: bool,
}

type Files<F> = Rc<RefCell<OpenFiles<F>>>;

/// Files that are open for reading.
struct OpenFiles<F> {
    by_id: HashMap<SegmentId, Rc<F>>,
    /// Of [`Shared::replaced`], when they were opened.
    replaced: u64,
}

/// How readers and the writer share the disk.
struct Pace {
    commits: u64,
    /// When another number of commits was seen.
    changed: Option<Instant>,
    /// Time that reads beside writes have taken, less the pauses since.
    owed: Duration,
}

impl Pace {
    fn new() -> Pace {
        Pace { commits: 0, changed: None, owed: Duration::ZERO }
    }

    /// Whether the shard is written now; readers are told so for the length of what they ask for.
    fn is_written(&mut self, shared: &Shared) -> bool {
        let commits = Stats::get(&shared.stats.commits);
        if commits != self.commits {
            (self.commits, self.changed) = (commits, Some(Instant::now()));
        }
        let is_written = self.changed.is_some_and(|changed| changed.elapsed() < LATELY);
        shared.is_written.store(is_written, Ordering::Relaxed);
        is_written
    }

    /// After a read beside writes that took so long: the disk is the writer's as long again.
    async fn pause(&mut self, took: Duration) {
        self.owed += took;
        if self.owed >= PAUSE {
            let begun = Instant::now();
            tokio::time::sleep(PAUSE).await;
            self.owed = self.owed.saturating_sub(begun.elapsed());
        }
    }
}

impl Reads {
    /// Serves them through `disk` until the shard is closed. Must run where `tokio::task::spawn_local` works; `disk` is
    /// another way to the files of the shard's own.
    pub async fn serve<D: Disk>(mut self, disk: D) {
        let files: Files<D::File> = Rc::new(RefCell::new(OpenFiles { by_id: HashMap::new(), replaced: 0 }));
        let turns = Arc::new(Semaphore::new(AT_ONCE as usize));
        let mut closed = self.shared.closed.subscribe();
        let mut pace = Pace::new();
        loop {
            let job = tokio::select! {
                job = self.jobs.recv() => job,
                _ = closed.wait_for(|closed| *closed) => return,
            };
            let alone = self.paced && pace.is_written(&self.shared);
            let wanted = if alone { AT_ONCE } else { 1 };
            let turn = Arc::clone(&turns).acquire_many_owned(wanted).await;
            let (Some(job), Ok(turn)) = (job, turn) else { return };
            let reading = read(disk.clone(), Rc::clone(&files), Arc::clone(&self.shared), job);
            if alone {
                let begun = Instant::now();
                reading.await;
                pace.pause(begun.elapsed()).await;
                continue;
            }
            tokio::task::spawn_local(async move {
                reading.await;
                drop(turn);
            });
        }
    }
}

async fn read<D: Disk>(disk: D, files: Files<D::File>, shared: Arc<Shared>, job: ReadJob) {
    Stats::add(&shared.stats.disk_reads, 1);
    let result = match open(&disk, &files, &shared, job.id).await {
        Ok(file) => {
            let (buf, empty) = job.into.lend();
            let (result, buf) = file.read_at(buf, job.len, job.position).await;
            let filled = empty.back(buf);
            result.map(|read| (filled, read))
        }
        Err(error) => Err(error),
    };
    // A reader that is gone needs no answer.
    let _ = job.reply.send(result);
}

async fn open<D: Disk>(
    disk: &D,
    files: &Files<D::File>,
    shared: &Shared,
    id: SegmentId,
) -> Result<Rc<D::File>, IoError> {
    let replaced = shared.replaced.load(Ordering::Relaxed);
    if files.borrow().replaced != replaced {
        *files.borrow_mut() = OpenFiles { by_id: HashMap::new(), replaced };
    }
    if let Some(file) = files.borrow().by_id.get(&id) {
        return Ok(Rc::clone(file));
    }
    let file = Rc::new(disk.open(&id.path(&shared.dir), Access::Read).await?);
    let mut open = files.borrow_mut();
    if open.replaced != replaced {
        return Ok(file);
    }
    let files = &mut open.by_id;
    {
        // A released segment's file is another's by now, or without bytes.
        let state = shared.state();
        let active = state.active.map(|active| active.id);
        files.retain(|id, _| active == Some(*id) || state.segments.get(id.number).is_some());
    }
    if files.len() >= OPEN_FILES {
        files.clear();
    }
    files.insert(id, Rc::clone(&file));
    Ok(file)
}

fn job(shared: &Shared, id: SegmentId, position: u64, len: usize) -> (ReadJob, Reading) {
    let (reply, answer) = oneshot::channel();
    let len = round_up(len);
    (ReadJob { id, position, len, into: shared.read_buffers.take(len), reply }, Reading(answer))
}

/// Reads `len` bytes.
pub(crate) async fn read_bytes(
    shared: &Shared,
    id: SegmentId,
    position: u64,
    len: usize,
) -> Result<(Lent, usize), ReadError> {
    let (job, reading) = job(shared, id, position, len);
    shared.reads.send(job).await.map_err(|_| ReadError::Closed)?;
    reading.arrived().await
}

/// Begins to read `len` bytes that nobody waits for yet; not when others wait already.
pub(crate) fn read_ahead(shared: &Shared, id: SegmentId, position: u64, len: usize) -> Option<Reading> {
    let (job, reading) = job(shared, id, position, len);
    shared.reads.try_send(job).ok().map(|()| reading)
}
