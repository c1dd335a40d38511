//! Which backend works here, found by trying it.

use crate::{Access, BLOCK, Disk, DiskFile, Fault, IoError, block_on_posix, block_on_uring, random};
use std::fmt;
use std::io;
use std::path::Path;

/// How the name of a trial's file begins. A process that was killed in its trial leaves one behind.
pub const TRIAL: &str = ".tidelog-trial-";

/// A backend for real disks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BackendKind {
    /// io_uring, see [`crate::uring`].
    Uring,
    /// Positional system calls on a thread pool, see [`crate::posix`].
    Posix,
}

impl fmt::Display for BackendKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            BackendKind::Uring => "uring",
            BackendKind::Posix => "posix",
        })
    }
}

/// The backend to use, and why if it is not the best one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chosen {
    /// The backend that passed the trial.
    pub kind: BackendKind,
    /// Why the faster one was passed over; None if it was not, or if the caller asked for this one.
    pub reason: Option<String>,
}

/// Tries a durable write in `dir` (which must exist) with the wanted backend, or with io_uring first and posix
/// second when `wanted` is None. The trial file is removed again. Blocks for a few milliseconds; callable from
/// inside a runtime.
///
/// # Errors
/// When the wanted backend, or without a wish none, can write in `dir`.
pub fn choose(dir: &Path, wanted: Option<BackendKind>) -> Result<Chosen, IoError> {
    if let Some(kind) = wanted {
        return attempt(dir, kind).map(|()| Chosen { kind, reason: None });
    }
    match attempt(dir, BackendKind::Uring) {
        Ok(()) => Ok(Chosen { kind: BackendKind::Uring, reason: None }),
        Err(error) => {
            attempt(dir, BackendKind::Posix)?;
            Ok(Chosen {
                kind: BackendKind::Posix,
                reason: Some(format!("io_uring does not work here: {error}")),
            })
        }
    }
}

/// On a thread of its own, because a runtime cannot be started inside another.
fn attempt(dir: &Path, kind: BackendKind) -> Result<(), IoError> {
    let name = random::salt().iter().fold(String::from(TRIAL), |name, byte| format!("{name}{byte:02x}"));
    let path = dir.join(name);
    let work = || match kind {
        BackendKind::Uring => block_on_uring(async |disk| write_and_read_back(&disk, &path).await)?,
        BackendKind::Posix => block_on_posix(async |disk| write_and_read_back(&disk, &path).await)?,
    };
    let done = std::thread::scope(|scope| scope.spawn(work).join());
    done.unwrap_or_else(|_| {
        Err(IoError::new("trial", dir, io::Error::other("the trial of the backend panicked")))
    })
}

async fn write_and_read_back<D: Disk>(disk: &D, path: &Path) -> Result<(), IoError> {
    let file = disk.create(path, Access::Durable).await?;
    let result = transfer(disk, &file, path).await;
    drop(file);
    match disk.remove(path).await {
        // Another process that starts here took it for one that was left behind.
        Err(error) if error.kind() == Fault::NotFound => result,
        removed => result.and(removed),
    }
}

async fn transfer<D: Disk>(disk: &D, file: &D::File, path: &Path) -> Result<(), IoError> {
    let mut buf = disk.buffer(BLOCK);
    buf.fill(0xA5);
    let (written, mut buf) = file.write_at(buf, BLOCK, 0).await;
    written?;
    buf.fill(0);
    let (read, buf) = file.read_at(buf, BLOCK, 0).await;
    if read? == BLOCK && buf.iter().all(|byte| *byte == 0xA5) {
        return Ok(());
    }
    Err(IoError::new("trial", path, io::Error::other("what was read back is not what was written")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_choice_leaves_nothing_behind_and_gives_a_reason_when_it_falls_back() {
        let dir = tempfile::tempdir().unwrap();
        let chosen = choose(dir.path(), None).unwrap();
        assert_eq!(chosen.reason.is_some(), chosen.kind == BackendKind::Posix);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_wish_for_posix_is_granted_without_a_reason() {
        let dir = tempfile::tempdir().unwrap();
        let chosen = choose(dir.path(), Some(BackendKind::Posix)).unwrap();
        assert_eq!(chosen, Chosen { kind: BackendKind::Posix, reason: None });
    }

    #[test]
    fn a_missing_directory_is_an_error_of_that_directory() {
        let dir = tempfile::tempdir().unwrap();
        let error = choose(&dir.path().join("absent"), None).unwrap_err();
        assert_eq!(error.kind(), Fault::NotFound);
    }

    #[test]
    fn it_may_be_asked_inside_a_runtime() {
        let dir = tempfile::tempdir().unwrap();
        block_on_posix(async |_| choose(dir.path(), None).unwrap()).unwrap();
    }
}
