//! One process per data directory.

use crate::IoError;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// An exclusive advisory lock (flock) on a file, held until dropped or until the process dies in whatever way.
/// The file stays behind; only the lock on it counts.
#[derive(Debug)]
pub struct DirLock {
    _file: File,
}

/// Why the lock was not taken.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Somebody else holds it.
    #[error(
        "{path} is locked by {holder}; stop that process, or use another directory",
        path = path.display(),
        holder = held_by.map_or_else(|| String::from("another process"), |pid| format!("process {pid}"))
    )]
    Held {
        /// The lock file.
        path: PathBuf,
        /// The process that wrote its number into the file, if that could be read.
        held_by: Option<u32>,
    },
    /// The lock file could not be opened, locked or written.
    #[error(transparent)]
    Io(#[from] IoError),
}

impl DirLock {
    /// Takes the lock on the file `path`, creating it if missing, and writes this process's number into it.
    ///
    /// # Errors
    /// [`LockError::Held`] at once if it is taken (also by this very process); [`LockError::Io`] otherwise.
    pub fn acquire(path: &Path) -> Result<DirLock, LockError> {
        let fail = |cause| IoError::new("lock", path, cause);
        let mut options = OpenOptions::new();
        let options = options.read(true).write(true).create(true).truncate(false).mode(0o640);
        let mut file = options.open(path).map_err(fail)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(LockError::Held { path: path.to_owned(), held_by: read_pid(&mut file) });
            }
            Err(TryLockError::Error(cause)) => return Err(fail(cause).into()),
        }
        let written = file.set_len(0).and_then(|()| file.rewind()).and_then(|()| {
            let line = format!("{}\n", std::process::id());
            file.write_all(line.as_bytes())
        });
        written.map_err(fail)?;
        Ok(DirLock { _file: file })
    }
}

fn read_pid(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.take(32).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_one_is_told_who_holds_the_lock_and_the_third_gets_it_after_the_drop() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let first = DirLock::acquire(&path).unwrap();
        let error = DirLock::acquire(&path).unwrap_err();
        assert!(error.to_string().contains(&format!("process {}", std::process::id())), "{error}");
        assert!(matches!(error, LockError::Held { held_by: Some(pid), .. } if pid == std::process::id()));
        drop(first);
        DirLock::acquire(&path).unwrap();
    }

    #[test]
    fn what_a_dead_process_left_in_the_file_does_not_hold_the_lock() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        std::fs::write(&path, "4294967295 and a longer line than a process number\n").unwrap();
        let _lock = DirLock::acquire(&path).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), format!("{}\n", std::process::id()));
    }

    #[test]
    fn a_missing_directory_is_an_error_with_its_path() {
        let error = DirLock::acquire(Path::new("/nonexistent/dir/lock")).unwrap_err();
        assert!(matches!(&error, LockError::Io(cause) if cause.kind() == crate::Fault::NotFound), "{error}");
    }
}
