//! Disk through plain positional system calls on a thread pool.
//!
//! # Purpose
//! Works wherever Linux does: in containers whose seccomp profile forbids io_uring, on file systems without
//! `O_DIRECT`. Slower for small writes, since each hops to a thread and back.
//!
//! # Durability
//! Durable files are opened `O_DSYNC`. Where the file system refuses `O_DIRECT` the page cache is used and each
//! durable write is followed by an fdatasync.

use crate::blocking::{self, Opened};
use crate::disk::check_transfer;
use crate::{Access, Buf, DirEntry, Disk, DiskFile, IoError, Outcome};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Threads that may be inside file system calls at once, per runtime.
const MAX_BLOCKING_THREADS: usize = 64;

/// The posix backend. Stateless; needs a tokio runtime around it, see [`block_on_posix`].
#[derive(Debug, Clone, Default)]
pub struct Posix {
    _private: (),
}

/// A file of [`Posix`].
#[derive(Debug, Clone)]
pub struct PosixFile {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    opened: Opened,
    path: PathBuf,
    access: Access,
}

/// Runs `body` on a current-thread tokio runtime with a LocalSet (so `spawn_local` and timers work) and gives it
/// the posix disk. Tasks still running when `body` ends are dropped.
///
/// # Errors
/// When no runtime can be made (out of file descriptors or threads).
///
/// # Panics
/// Inside another runtime, and when `body` panics.
pub fn block_on_posix<T>(body: impl AsyncFnOnce(Posix) -> T) -> Result<T, IoError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(MAX_BLOCKING_THREADS)
        .build()
        .map_err(|cause| IoError::new("start of a runtime", Path::new("posix"), cause))?;
    let local = tokio::task::LocalSet::new();
    Ok(local.block_on(&runtime, body(Posix::default())))
}

impl Posix {
    async fn open_with(&self, path: &Path, access: Access, create: bool) -> Result<PosixFile, IoError> {
        let operation = if create { "create" } else { "open" };
        let opened = blocking::run(operation, path, move |path| blocking::open(path, access, create)).await?;
        Ok(PosixFile { inner: Arc::new(Inner { opened, path: path.to_owned(), access }) })
    }
}

impl Disk for Posix {
    type File = PosixFile;

    fn name(&self) -> &'static str {
        "posix"
    }

    fn buffer(&self, capacity: usize) -> Buf {
        Buf::heap(capacity)
    }

    async fn open(&self, path: &Path, access: Access) -> Result<PosixFile, IoError> {
        self.open_with(path, access, false).await
    }

    async fn create(&self, path: &Path, access: Access) -> Result<PosixFile, IoError> {
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

    async fn free_space(&self, path: &Path) -> Result<u64, IoError> {
        blocking::run("free space", path, blocking::free_space).await
    }
}

impl DiskFile for PosixFile {
    async fn write_at(&self, buf: Buf, len: usize, pos: u64) -> Outcome<()> {
        self.transfer("write", buf, len, pos, move |inner, buf| inner.write(&buf[..len], pos)).await
    }

    async fn read_at(&self, buf: Buf, len: usize, pos: u64) -> Outcome<usize> {
        self.transfer("read", buf, len, pos, move |inner, buf| inner.read(&mut buf[..len], pos)).await
    }

    async fn sync(&self) -> Result<(), IoError> {
        let inner = Arc::clone(&self.inner);
        blocking::run("sync", &self.inner.path, move |_| inner.opened.sync_all()).await
    }

    async fn len(&self) -> Result<u64, IoError> {
        let found = self.inner.opened.metadata();
        found.map(|found| found.len()).map_err(|cause| IoError::new("length", &self.inner.path, cause))
    }

    async fn set_len(&self, len: u64) -> Result<(), IoError> {
        let inner = Arc::clone(&self.inner);
        let done = blocking::run("set length", &self.inner.path, move |_| inner.opened.set_len(len)).await;
        done.map_err(|error| error.at(0, len))
    }
}

impl PosixFile {
    /// Lends buffer and file to a pool thread, which keeps both even if this future is dropped.
    async fn transfer<T: Send + 'static>(
        &self,
        operation: &'static str,
        mut buf: Buf,
        len: usize,
        pos: u64,
        call: impl FnOnce(&Inner, &mut Buf) -> Result<T, IoError> + Send + 'static,
    ) -> Outcome<T> {
        if let Err(error) = check_transfer(operation, &self.inner.path, &buf, len, pos) {
            return (Err(error), buf);
        }
        let (inner, capacity) = (Arc::clone(&self.inner), buf.capacity());
        let work = move || {
            let result = call(&inner, &mut buf);
            (result, buf)
        };
        match tokio::task::spawn_blocking(work).await {
            Ok(outcome) => outcome,
            // The pool thread died or the runtime is going down, and the buffer with it.
            Err(gone) => {
                let error = IoError::new(operation, &self.inner.path, io::Error::other(gone));
                (Err(error.at(pos, len as u64)), Buf::heap(capacity))
            }
        }
    }
}

impl Inner {
    fn write(&self, bytes: &[u8], pos: u64) -> Result<(), IoError> {
        let fail = |cause| IoError::new("write", &self.path, cause).at(pos, bytes.len() as u64);
        let written = uninterrupted(|| self.opened.write_at(bytes, pos)).map_err(fail)?;
        if written < bytes.len() {
            return Err(IoError::short_write(&self.path, pos, bytes.len() as u64, written as u64));
        }
        if self.access == Access::Durable && !self.opened.direct {
            self.opened.sync_data().map_err(fail)?;
        }
        Ok(())
    }

    fn read(&self, bytes: &mut [u8], pos: u64) -> Result<usize, IoError> {
        let len = bytes.len() as u64;
        let mut done = 0;
        while done < bytes.len() {
            let read = uninterrupted(|| self.opened.read_at(&mut bytes[done..], pos + done as u64))
                .map_err(|cause| IoError::new("read", &self.path, cause).at(pos, len))?;
            done += read;
            // A part of a block comes only from the end of the file, and O_DIRECT could not go on from there.
            if read == 0 || !read.is_multiple_of(crate::BLOCK) {
                break;
            }
        }
        Ok(done)
    }
}

fn uninterrupted(mut call: impl FnMut() -> io::Result<usize>) -> io::Result<usize> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}
