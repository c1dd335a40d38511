//! The two traits everything above sees a disk through.

use crate::{Buf, IoError};
use std::path::Path;

/// Alignment of positions, lengths and buffers, in bytes.
pub const BLOCK: usize = 4096;

/// Most bytes one read or write may move (1 GiB: the largest segment; the kernel itself stops just below 2 GiB).
pub const MAX_TRANSFER: usize = 1 << 30;

/// Result of a read or write together with the buffer that was lent to it.
pub type Outcome<T> = (Result<T, IoError>, Buf);

/// How a file is opened. All bypass the page cache where the file system can.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Access {
    /// Read only (`O_RDONLY | O_DIRECT`).
    Read,
    /// Read and write; a write that returned `Ok` is durable (`O_RDWR | O_DIRECT | O_DSYNC`).
    Durable,
    /// Read and write without a sync per write, for filling ahead (`O_RDWR | O_DIRECT`);
    /// [`DiskFile::sync`] makes it durable.
    Bulk,
}

/// One name in a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirEntry {
    /// File name without its directory; bytes that are not UTF-8 are shown as U+FFFD.
    pub name: String,
    /// Length in bytes; 0 for a directory.
    pub len: u64,
    /// Whether it is a directory.
    pub is_dir: bool,
}

/// A disk (more exactly: a way to the file system). Cheap to clone; lives on one thread's runtime.
#[allow(async_fn_in_trait, reason = "futures stay on their thread by design")]
pub trait Disk: Clone + 'static {
    /// An open file of this backend; closed when dropped.
    type File: DiskFile;

    /// `"uring"`, `"posix"` or `"sim"`.
    fn name(&self) -> &'static str;

    /// A zeroed buffer of `capacity` bytes (rounded up to a multiple of [`BLOCK`], at least one), from the
    /// registered arena when it has room, else from the heap. It returns to the arena when dropped.
    fn buffer(&self, capacity: usize) -> Buf;

    /// Opens an existing file. `NotFound` if it does not exist.
    async fn open(&self, path: &Path, access: Access) -> Result<Self::File, IoError>;

    /// Creates a new, empty file. `Invalid` if the name exists. The name is durable after [`Disk::sync_dir`].
    async fn create(&self, path: &Path, access: Access) -> Result<Self::File, IoError>;

    /// Renames without overwriting: `Invalid` if `to` exists. Durable after `sync_dir` of both directories.
    async fn rename(&self, from: &Path, to: &Path) -> Result<(), IoError>;

    /// Removes a file (not a directory). Durable after `sync_dir`.
    async fn remove(&self, path: &Path) -> Result<(), IoError>;

    /// Makes the names in directory `path` durable.
    async fn sync_dir(&self, path: &Path) -> Result<(), IoError>;

    /// Creates a directory with its missing parents and makes each new name durable.
    async fn create_dir_all(&self, path: &Path) -> Result<(), IoError>;

    /// The names in `dir`, sorted by name in byte order.
    async fn list(&self, dir: &Path) -> Result<Vec<DirEntry>, IoError>;

    /// Waits until the kernel has every operation that was started before on this disk. Work on the disk's thread
    /// that is done after it, and not before, does not delay them.
    async fn submitted(&self) {
        tokio::task::yield_now().await;
    }

    /// Bytes an unprivileged process may still write to the file system of `path`; `u64::MAX` where the file
    /// system does not count.
    async fn free_space(&self, path: &Path) -> Result<u64, IoError>;
}

/// An open file. Positions and lengths are multiples of [`BLOCK`] (`Invalid` otherwise), at most
/// [`MAX_TRANSFER`] bytes and never more than the buffer's capacity.
///
/// A future dropped before it completed does not stop its operation: buffer and file stay alive until the
/// kernel is done, the buffer is then freed, and nobody learns how it ended.
#[allow(async_fn_in_trait, reason = "futures stay on their thread by design")]
#[expect(clippy::len_without_is_empty, reason = "a question to the file system, not a container")]
pub trait DiskFile: 'static {
    /// Writes bytes `[0, len)` of `buf` at `pos`: all of them or an error ([`crate::Fault::ShortWrite`] if the
    /// kernel took only a part). Durable on return if the file was opened [`Access::Durable`].
    async fn write_at(&self, buf: Buf, len: usize, pos: u64) -> Outcome<()>;

    /// Reads up to `len` bytes at `pos` into `buf[0..]` and tells how many; fewer than `len` only at the end
    /// of the file, then any number. Bytes of the buffer behind the count are unspecified.
    async fn read_at(&self, buf: Buf, len: usize, pos: u64) -> Outcome<usize>;

    /// Makes data and metadata (length) of the file durable. Never retry a failed one.
    async fn sync(&self) -> Result<(), IoError>;

    /// Length in bytes.
    async fn len(&self) -> Result<u64, IoError>;

    /// Grows with zeros (unwritten, sparse) or shrinks. Durable after `sync`.
    async fn set_len(&self, len: u64) -> Result<(), IoError>;
}

/// Refuses a transfer whose place, length or buffer does not fit, before it reaches a backend.
pub(crate) fn check_transfer(
    operation: &'static str,
    path: &Path,
    buf: &Buf,
    len: usize,
    pos: u64,
) -> Result<(), IoError> {
    let reason = if !len.is_multiple_of(BLOCK) || !pos.is_multiple_of(BLOCK as u64) {
        "position and length must be multiples of 4096"
    } else if len > buf.capacity() {
        "longer than the buffer"
    } else if len > MAX_TRANSFER {
        "longer than one transfer may be"
    } else if pos.checked_add(len as u64).is_none_or(|end| i64::try_from(end).is_err()) {
        "beyond the largest file position"
    } else {
        return Ok(());
    };
    Err(IoError::invalid(operation, path, reason).at(pos, len as u64))
}
