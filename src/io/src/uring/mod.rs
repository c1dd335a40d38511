//! Disk through io_uring.
//!
//! # Purpose
//! One ring, one thread, one current-thread tokio runtime (tokio-uring). Reads, writes and syncs go through the
//! ring; operations on names run on the runtime's thread pool, since they can block for tens of milliseconds.
//!
//! # Durability
//! A durable write is a single `O_DSYNC` write: one submission, one completion, no separate flush.
//!
//! # Limits
//! One arena of up to 4 MiB is registered per ring; when the locked-memory limit is used up, less or nothing is
//! registered and buffers come from the heap, which costs a few percent. At most [`MAX_IN_FLIGHT`] operations are
//! in the kernel at once; more wait their turn. Work that hogs the thread without yielding holds everything back.
//! On a file system that refuses `O_DIRECT` the page cache is used, still with `O_DSYNC`.

mod flush;
mod ring;
#[cfg(test)]
mod tests;

pub use ring::MAX_IN_FLIGHT;

use crate::blocking::{self, Opened};
use crate::disk::check_transfer;
use crate::{Access, BLOCK, Buf, DirEntry, Disk, DiskFile, IoError, Outcome};
use ring::{Done, Ring};
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

/// The io_uring backend: a handle on the ring of this thread, see [`block_on_uring`].
#[derive(Clone)]
pub struct Uring {
    ring: Rc<Ring>,
}

/// A file of [`Uring`]. Stays open until the last clone and the last operation in flight are gone.
#[derive(Clone)]
pub struct UringFile {
    ring: Rc<Ring>,
    file: Arc<Opened>,
    path: Rc<PathBuf>,
}

/// Runs `body` on a tokio-uring runtime of this thread (`spawn_local` and tokio's timers work inside) and gives it
/// the disk. Tasks still running when `body` ends are dropped, and operations in flight are waited for.
///
/// # Errors
/// When no ring can be made: forbidden by seccomp or sysctl, too old a kernel, out of memory or descriptors.
///
/// # Panics
/// Inside another runtime, and when `body` panics.
pub fn block_on_uring<T>(body: impl AsyncFnOnce(Uring) -> T) -> Result<T, IoError> {
    ring::with_runtime(async |ring| body(Uring { ring }).await)
}

impl Uring {
    /// Bytes of memory registered with the ring; 0 when registration was refused.
    pub fn registered_bytes(&self) -> usize {
        self.ring.arena().map_or(0, |arena| arena.whole().1)
    }

    async fn open_with(&self, path: &Path, access: Access, create: bool) -> Result<UringFile, IoError> {
        let operation = if create { "create" } else { "open" };
        let opened = blocking::run(operation, path, move |path| blocking::open(path, access, create)).await?;
        let ring = Rc::clone(&self.ring);
        Ok(UringFile { ring, file: Arc::new(opened), path: Rc::new(path.to_owned()) })
    }
}

impl Disk for Uring {
    type File = UringFile;

    fn name(&self) -> &'static str {
        "uring"
    }

    fn buffer(&self, capacity: usize) -> Buf {
        let registered = self.ring.arena().and_then(|arena| arena.take(capacity));
        registered.unwrap_or_else(|| Buf::heap(capacity))
    }

    async fn open(&self, path: &Path, access: Access) -> Result<UringFile, IoError> {
        self.open_with(path, access, false).await
    }

    async fn create(&self, path: &Path, access: Access) -> Result<UringFile, IoError> {
        self.open_with(path, access, true).await
    }

    async fn rename(&self, from: &Path, to: &Path) -> Result<(), IoError> {
        let to = to.to_owned();
        blocking::run("rename", from, move |from| blocking::rename(from, &to)).await
    }

    async fn remove(&self, path: &Path) -> Result<(), IoError> {
        blocking::run("remove", path, |path| std::fs::remove_file(path)).await
    }

    async fn sync_dir(&self, path: &Path) -> Result<(), IoError> {
        blocking::run("sync of directory", path, blocking::sync_dir).await
    }

    async fn create_dir_all(&self, path: &Path) -> Result<(), IoError> {
        blocking::run("create of directory", path, blocking::create_dir_all).await
    }

    async fn list(&self, dir: &Path) -> Result<Vec<DirEntry>, IoError> {
        blocking::run("list", dir, blocking::list).await
    }

    async fn submitted(&self) {
        flush::pass_through().await;
    }

    async fn free_space(&self, path: &Path) -> Result<u64, IoError> {
        blocking::run("free space", path, blocking::free_space).await
    }
}

impl DiskFile for UringFile {
    async fn write_at(&self, buf: Buf, len: usize, pos: u64) -> Outcome<()> {
        if let Err(error) = check_transfer("write", &self.path, &buf, len, pos) {
            return (Err(error), buf);
        }
        let Done { result, buf } = self.ring.write(&self.file, buf, len, pos).await;
        let total = len as u64;
        let result = match result {
            Ok(written) if written == len => Ok(()),
            Ok(written) => Err(IoError::short_write(&self.path, pos, total, written as u64)),
            Err(cause) => Err(self.error("write", cause).at(pos, total)),
        };
        (result, buf)
    }

    async fn read_at(&self, mut buf: Buf, len: usize, pos: u64) -> Outcome<usize> {
        if let Err(error) = check_transfer("read", &self.path, &buf, len, pos) {
            return (Err(error), buf);
        }
        let mut done = 0;
        while done < len {
            let step = self.ring.read(&self.file, buf, done..len, pos + done as u64).await;
            buf = step.buf;
            match step.result {
                Ok(read) => {
                    done += read;
                    // A part of a block comes only from the end of the file; O_DIRECT could not go on from there.
                    if read == 0 || !read.is_multiple_of(BLOCK) {
                        break;
                    }
                }
                Err(cause) => return (Err(self.error("read", cause).at(pos, len as u64)), buf),
            }
        }
        (Ok(done), buf)
    }

    async fn sync(&self) -> Result<(), IoError> {
        self.ring.sync(&self.file).await.map_err(|cause| self.error("sync", cause))
    }

    async fn len(&self) -> Result<u64, IoError> {
        self.file.metadata().map(|found| found.len()).map_err(|cause| self.error("length", cause))
    }

    async fn set_len(&self, len: u64) -> Result<(), IoError> {
        let file = Arc::clone(&self.file);
        let done = blocking::run("set length", &self.path, move |_| file.set_len(len)).await;
        done.map_err(|error| error.at(0, len))
    }
}

impl UringFile {
    fn error(&self, operation: &'static str, cause: io::Error) -> IoError {
        IoError::new(operation, &self.path, cause)
    }
}
