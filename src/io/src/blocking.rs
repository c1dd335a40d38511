//! File system calls that may block: plain functions, and how an async backend runs them.

use crate::disk::{Access, DirEntry};
use crate::error::IoError;
use std::ffi::CString;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::mem::ManuallyDrop;
use std::ops::Deref;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Runs a blocking call on the runtime's thread pool. If the future is dropped, the call still runs to its end.
pub(crate) async fn run<T: Send + 'static>(
    operation: &'static str,
    path: &Path,
    call: impl FnOnce(&Path) -> io::Result<T> + Send + 'static,
) -> Result<T, IoError> {
    let owned: PathBuf = path.to_owned();
    let result = tokio::task::spawn_blocking(move || call(&owned)).await;
    result
        .map_err(io::Error::other)
        .and_then(|done| done)
        .map_err(|cause| IoError::new(operation, path, cause))
}

/// An open file. Closing the last handle of a removed large file frees its blocks, which takes tens of
/// milliseconds, so that is left to the runtime's thread pool.
#[derive(Debug)]
pub(crate) struct Opened {
    file: ManuallyDrop<File>,
    /// Whether the page cache is bypassed.
    pub(crate) direct: bool,
}

impl Opened {
    fn new(file: File, direct: bool) -> Opened {
        Opened { file: ManuallyDrop::new(file), direct }
    }
}

impl Deref for Opened {
    type Target = File;

    fn deref(&self) -> &File {
        &self.file
    }
}

impl Drop for Opened {
    fn drop(&mut self) {
        // SAFETY: taken once, here, and the field is not touched afterwards.
        let file = unsafe { ManuallyDrop::take(&mut self.file) };
        let removed = file.metadata().is_ok_and(|found| found.nlink() == 0 && found.blocks() > 0);
        if removed && let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn_blocking(move || drop(file));
        }
    }
}

/// Opens or creates (exclusively), with `O_DIRECT` where the file system takes it.
pub(crate) fn open(path: &Path, access: Access, create: bool) -> io::Result<Opened> {
    let sync_flag = if access == Access::Durable { libc::O_DSYNC } else { 0 };
    let attempt = |flags: i32| {
        OpenOptions::new()
            .read(true)
            .write(access != Access::Read || create)
            .create_new(create)
            .mode(0o640)
            .custom_flags(flags)
            .open(path)
    };
    match attempt(sync_flag | libc::O_DIRECT) {
        Ok(file) => Ok(Opened::new(file, true)),
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
            // Refusing O_DIRECT, Linux may have created the name before it said no.
            if create {
                remove_if_empty(path);
            }
            attempt(sync_flag).map(|file| Opened::new(file, false))
        }
        Err(error) => Err(error),
    }
}

fn remove_if_empty(path: &Path) {
    if std::fs::symlink_metadata(path).is_ok_and(|found| found.is_file() && found.len() == 0) {
        let _ = std::fs::remove_file(path);
    }
}

/// Renames without overwriting.
pub(crate) fn rename(from: &Path, to: &Path) -> io::Result<()> {
    let (from_c, to_c) = (c_path(from)?, c_path(to)?);
    // SAFETY: both pointers are NUL-terminated strings that live until the call returns.
    let answer = unsafe {
        libc::syscall(
            libc::SYS_renameat2,
            libc::AT_FDCWD,
            from_c.as_ptr(),
            libc::AT_FDCWD,
            to_c.as_ptr(),
            libc::RENAME_NOREPLACE,
        )
    };
    if answer == 0 {
        return Ok(());
    }
    let error = io::Error::last_os_error();
    match error.raw_os_error() {
        // The file system lacks the flag: look first. The directory lock keeps other processes away.
        Some(libc::EINVAL | libc::ENOSYS) if std::fs::symlink_metadata(to).is_err() => {
            std::fs::rename(from, to)
        }
        Some(libc::EINVAL | libc::ENOSYS) => Err(io::Error::from_raw_os_error(libc::EEXIST)),
        _ => Err(error),
    }
}

/// Makes the names in a directory durable.
pub(crate) fn sync_dir(path: &Path) -> io::Result<()> {
    let dir = OpenOptions::new().read(true).custom_flags(libc::O_DIRECTORY).open(path)?;
    dir.sync_all()
}

/// Creates missing directories from the top down, syncing the parent of each one made.
pub(crate) fn create_dir_all(path: &Path) -> io::Result<()> {
    let mut missing = Vec::new();
    let mut at = path;
    while !at.as_os_str().is_empty() {
        match std::fs::metadata(at) {
            Ok(found) if found.is_dir() => break,
            Ok(_) => return Err(io::Error::from_raw_os_error(libc::ENOTDIR)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => missing.push(at),
            Err(error) => return Err(error),
        }
        let Some(parent) = at.parent() else { break };
        at = parent;
    }
    for dir in missing.into_iter().rev() {
        match DirBuilder::new().mode(0o750).create(dir) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => sync_dir(parent_of(dir))?,
        }
    }
    Ok(())
}

/// The directory that holds the name of `path`.
pub(crate) fn parent_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// Names of a directory, sorted. A name that vanishes meanwhile is left out.
pub(crate) fn list(dir: &Path) -> io::Result<Vec<DirEntry>> {
    let mut entries = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        let found = match entry.metadata() {
            Ok(found) => found,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        let len = if found.is_dir() { 0 } else { found.len() };
        let name = entry.file_name().to_string_lossy().into_owned();
        entries.push(DirEntry { name, len, is_dir: found.is_dir() });
    }
    entries.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(entries)
}

/// Bytes an unprivileged process may still write; `u64::MAX` where the file system does not count (ramfs).
pub(crate) fn free_space(path: &Path) -> io::Result<u64> {
    let path_c = c_path(path)?;
    // SAFETY: all-zero bytes are a valid statvfs, a plain C struct of integers.
    let mut found: libc::statvfs = unsafe { std::mem::zeroed() };
    // SAFETY: the path is NUL-terminated and `found` is writable; both live until the call returns.
    if unsafe { libc::statvfs(path_c.as_ptr(), &mut found) } != 0 {
        return Err(io::Error::last_os_error());
    }
    if found.f_blocks == 0 {
        return Ok(u64::MAX);
    }
    Ok(found.f_bavail.saturating_mul(found.f_frsize))
}

fn c_path(path: &Path) -> io::Result<CString> {
    CString::new(path.as_os_str().as_bytes()).map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))
}
