//! Reads frames from segment files: the ring thread reads bytes, the caller's thread parses them.

use std::collections::HashMap;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use tidelog_format::block::{BLOCK_U64, round_up};
use tidelog_format::frame::Frame;
use tidelog_format::scan::{Expect, Found, scan_unverified};
use tidelog_format::{Damage, Salt};
use tidelog_io::{Access, Buf, Disk, DiskFile, IoError};
use tokio::sync::{mpsc, oneshot};

use crate::error::ReadError;
use crate::keeper::Keeper;
use crate::segments::SegmentId;
use crate::shared::Shared;
use crate::stats::Stats;

/// Least first read of a window, bytes; it doubles up to [`WINDOW`].
const FIRST_WINDOW: usize = 64 * 1024;
/// Largest first read, for a reader that wants that much.
const LARGEST_FIRST: usize = 2 * 1024 * 1024;
const WINDOW: usize = 1024 * 1024;
/// Files kept open for reading.
const OPEN_FILES: usize = 64;

/// A read for the ring thread.
pub(crate) struct ReadJob {
    pub(crate) id: SegmentId,
    pub(crate) position: u64,
    pub(crate) len: usize,
    pub(crate) reply: oneshot::Sender<Result<(Buf, usize), IoError>>,
}

/// Serves reads on the ring thread, each as a task of its own.
pub(crate) async fn serve<D: Disk>(disk: D, keeper: Rc<Keeper<D>>, mut jobs: mpsc::Receiver<ReadJob>) {
    while let Some(job) = jobs.recv().await {
        let (disk, keeper) = (disk.clone(), Rc::clone(&keeper));
        tokio::task::spawn_local(async move {
            Stats::add(&keeper.shared.stats.disk_reads, 1);
            let result = match open(&disk, &keeper, job.id).await {
                Ok(file) => {
                    let (result, buf) = file.read_at(Buf::heap(job.len), job.len, job.position).await;
                    result.map(|read| (buf, read))
                }
                Err(error) => Err(error),
            };
            // A reader that is gone needs no answer.
            let _ = job.reply.send(result);
        });
    }
}

async fn open<D: Disk>(disk: &D, keeper: &Keeper<D>, id: SegmentId) -> Result<Rc<D::File>, IoError> {
    if let Some(file) = keeper.readers.borrow().get(&id) {
        return Ok(Rc::clone(file));
    }
    let file = Rc::new(disk.open(&id.path(&keeper.shared.dir), Access::Read).await?);
    let mut readers: std::cell::RefMut<'_, HashMap<_, _>> = keeper.readers.borrow_mut();
    if readers.len() >= OPEN_FILES {
        readers.clear();
    }
    readers.insert(id, Rc::clone(&file));
    Ok(file)
}

/// Reads `len` bytes through the ring thread.
pub(crate) async fn read_bytes(
    shared: &Shared,
    id: SegmentId,
    position: u64,
    len: usize,
) -> Result<(Buf, usize), ReadError> {
    let (reply, answer) = oneshot::channel();
    let job = ReadJob { id, position, len: round_up(len), reply };
    shared.reads.send(job).await.map_err(|_| ReadError::Closed)?;
    Ok(answer.await.map_err(|_| ReadError::Closed)??)
}

/// Walks frames forward through a part of a segment that is known to be durable.
pub(crate) struct Frames {
    shared: Arc<Shared>,
    id: SegmentId,
    expect: Expect,
    /// Bytes behind the last frame that may be read.
    until: u64,
    window: Buf,
    window_at: u64,
    filled: usize,
    next_window: usize,
}

impl Frames {
    /// For a reader that wants about so many bytes: they come in one read, with what stands around them.
    pub(crate) fn wanting(self, bytes: usize) -> Frames {
        let around = bytes.saturating_add(bytes / 8 + FIRST_WINDOW).min(LARGEST_FIRST);
        Frames { next_window: round_up(around.max(FIRST_WINDOW)), ..self }
    }

    /// Starts at the frame in `block`.
    pub(crate) fn new(
        shared: &Arc<Shared>,
        id: SegmentId,
        salt: Option<Salt>,
        block: u32,
        until: u64,
    ) -> Frames {
        Frames {
            shared: Arc::clone(shared),
            id,
            expect: Expect { block_index: block, salt, epoch: Some(id.epoch), ..Expect::default() },
            until,
            window: Buf::heap(0),
            window_at: u64::from(block) * BLOCK_U64,
            filled: 0,
            next_window: FIRST_WINDOW,
        }
    }

    fn position(&self) -> u64 {
        u64::from(self.expect.block_index) * BLOCK_U64
    }

    /// Gives the next frame with its table verified to `visit`; false at the end.
    pub(crate) async fn next(
        &mut self,
        mut visit: impl FnMut(&Frame<'_>) -> Result<(), Damage>,
    ) -> Result<bool, ReadError> {
        let mut needed = round_up(1);
        loop {
            let position = self.position();
            if position >= self.until {
                return Ok(false);
            }
            let skip = usize::try_from(position - self.window_at).unwrap_or(usize::MAX);
            if skip.saturating_add(needed) > self.filled {
                self.refill(position, needed).await?;
                continue;
            }
            match scan_unverified(&self.window[skip..self.filled], &self.expect) {
                Found::Frame(frame) => {
                    let next = Expect::after(&frame);
                    visit(&frame).map_err(|damage| self.corrupt(damage))?;
                    self.expect = next;
                    return Ok(true);
                }
                Found::Need(more) => needed = more,
                Found::DamagedHeader(damage) | Found::DamagedBody(_, damage) => {
                    return Err(self.corrupt(damage));
                }
                Found::Unsupported(source) => {
                    return Err(ReadError::Unsupported { file: self.id.path(&self.shared.dir), source });
                }
                Found::Virgin | Found::Stale(_) | Found::End(_) | Found::Footer(_) | Found::Trailer(_) => {
                    return Err(self.corrupt(Damage::Magic));
                }
            }
        }
    }

    async fn refill(&mut self, position: u64, needed: usize) -> Result<(), ReadError> {
        let rest = usize::try_from(self.until - position).unwrap_or(usize::MAX);
        if needed > rest {
            return Err(self.corrupt(Damage::Truncated { needed: needed as u64 }));
        }
        let len = self.next_window.max(needed).min(rest);
        self.next_window = (self.next_window * 2).min(WINDOW.max(self.next_window));
        let (window, filled) = read_bytes(&self.shared, self.id, position, len).await?;
        if filled < needed {
            return Err(self.corrupt(Damage::Truncated { needed: needed as u64 }));
        }
        (self.window, self.window_at, self.filled) = (window, position, filled.min(len));
        Ok(())
    }

    fn corrupt(&self, damage: Damage) -> ReadError {
        ReadError::Corrupt { file: self.file(), position: self.position(), damage }
    }

    pub(crate) fn file(&self) -> std::path::PathBuf {
        let dir: &Path = &self.shared.dir;
        self.id.path(dir)
    }
}
