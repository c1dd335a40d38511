//! What can go wrong with a disk, told with path, operation, position and cause.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What kind of failure it was; decided from the operating system's error number, never from text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fault {
    /// The device or the file system failed (EIO and everything unexpected). Poison what was being written.
    Io,
    /// No space, quota or file size left.
    Full,
    /// The file or a directory on the way to it does not exist.
    NotFound,
    /// The kernel wrote fewer bytes than asked; how many of them are durable is unknown.
    ShortWrite,
    /// The file system is mounted (or was remounted) read-only.
    ReadOnly,
    /// Permission refused.
    Denied,
    /// The caller's fault: unaligned, too long, the name exists already, not a directory, wrong access.
    Invalid,
}

impl Fault {
    fn of(cause: &io::Error) -> Fault {
        match cause.raw_os_error() {
            Some(libc::ENOSPC | libc::EDQUOT | libc::EFBIG) => Fault::Full,
            Some(libc::ENOENT) => Fault::NotFound,
            Some(libc::EROFS) => Fault::ReadOnly,
            Some(libc::EACCES | libc::EPERM) => Fault::Denied,
            Some(
                libc::EEXIST
                | libc::EINVAL
                | libc::ENOTDIR
                | libc::EISDIR
                | libc::ENAMETOOLONG
                | libc::ENOTEMPTY
                | libc::EBADF,
            ) => Fault::Invalid,
            Some(_) => Fault::Io,
            None => Fault::of_kind(cause.kind()),
        }
    }

    fn of_kind(kind: io::ErrorKind) -> Fault {
        match kind {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Fault::Full,
            io::ErrorKind::NotFound => Fault::NotFound,
            io::ErrorKind::ReadOnlyFilesystem => Fault::ReadOnly,
            io::ErrorKind::PermissionDenied => Fault::Denied,
            io::ErrorKind::WriteZero => Fault::ShortWrite,
            io::ErrorKind::InvalidInput | io::ErrorKind::AlreadyExists => Fault::Invalid,
            _ => Fault::Io,
        }
    }

    fn advice(self) -> &'static str {
        match self {
            Fault::Io => "check the device and the kernel's messages",
            Fault::Full => "free space on this file system or raise the quota",
            Fault::NotFound => "check that the path exists",
            Fault::ShortWrite => "check free space and file size limits",
            Fault::ReadOnly => "remount the file system read-write after checking it",
            Fault::Denied => "give the server's user access to this path",
            Fault::Invalid => "the request itself was wrong",
        }
    }
}

/// A failed disk operation: what, where, why. Cheap to clone, so that a first cause can be kept and shown.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{operation} of {path}{place} failed: {source}; {advice}", path = path.display(), advice = fault.advice())]
pub struct IoError {
    operation: &'static str,
    path: PathBuf,
    place: Place,
    fault: Fault,
    source: Arc<io::Error>,
}

#[derive(Debug, Clone, Copy)]
struct Place(Option<(u64, u64)>);

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some((position, len)) => write!(f, " ({len} bytes at {position})"),
            None => Ok(()),
        }
    }
}

impl IoError {
    /// An error of `operation` ("write", "open", ...) on `path`; the fault is derived from `cause`.
    pub fn new(operation: &'static str, path: &Path, cause: io::Error) -> IoError {
        let fault = Fault::of(&cause);
        IoError { operation, path: path.to_owned(), place: Place(None), fault, source: Arc::new(cause) }
    }

    /// An error that is the caller's fault, with the reason in words.
    pub fn invalid(operation: &'static str, path: &Path, reason: &'static str) -> IoError {
        IoError::new(operation, path, io::Error::new(io::ErrorKind::InvalidInput, reason))
    }

    /// A write of `len` bytes at `position` of which the kernel took only `written`.
    pub fn short_write(path: &Path, position: u64, len: u64, written: u64) -> IoError {
        let cause = io::Error::new(io::ErrorKind::WriteZero, format!("only {written} bytes were written"));
        IoError::new("write", path, cause).at(position, len)
    }

    /// Adds the position and length (bytes) the operation was about.
    #[must_use]
    pub fn at(mut self, position: u64, len: u64) -> IoError {
        self.place = Place(Some((position, len)));
        self
    }

    /// What kind of failure it was.
    pub fn kind(&self) -> Fault {
        self.fault
    }

    /// The operation that failed: "open", "create", "read", "write", "sync", "rename", ...
    pub fn operation(&self) -> &'static str {
        self.operation
    }

    /// The path as it was given to the operation.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Position in bytes, if the operation had one.
    pub fn position(&self) -> Option<u64> {
        self.place.0.map(|(position, _)| position)
    }

    /// Length in bytes, if the operation had one.
    #[expect(clippy::len_without_is_empty, reason = "the length of the operation, not of a container")]
    pub fn len(&self) -> Option<u64> {
        self.place.0.map(|(_, len)| len)
    }

    /// The operating system's error.
    pub fn cause(&self) -> &io::Error {
        &self.source
    }

    /// The name to be created exists already (its kind is [`Fault::Invalid`]).
    pub fn is_already_exists(&self) -> bool {
        self.source.kind() == io::ErrorKind::AlreadyExists
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_tells_what_where_why_and_what_to_do() {
        let cause = io::Error::from_raw_os_error(libc::ENOSPC);
        let error = IoError::new("write", Path::new("/d/seg"), cause).at(4096, 8192);
        assert_eq!(error.kind(), Fault::Full);
        let text = error.to_string();
        for part in ["write of /d/seg", "8192 bytes at 4096", "No space left", "free space"] {
            assert!(text.contains(part), "{text} lacks {part}");
        }
        assert_eq!((error.position(), error.len()), (Some(4096), Some(8192)));
    }

    #[test]
    fn the_kind_comes_from_the_error_number() {
        for (number, fault) in [
            (libc::EIO, Fault::Io),
            (libc::EDQUOT, Fault::Full),
            (libc::ENOENT, Fault::NotFound),
            (libc::EROFS, Fault::ReadOnly),
            (libc::EACCES, Fault::Denied),
            (libc::EEXIST, Fault::Invalid),
        ] {
            let error = IoError::new("open", Path::new("x"), io::Error::from_raw_os_error(number));
            assert_eq!(error.kind(), fault, "errno {number}");
        }
        assert_eq!(IoError::short_write(Path::new("x"), 0, 8192, 4096).kind(), Fault::ShortWrite);
    }
}
