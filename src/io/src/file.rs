//! Plain blocking files, for offline tools and for small configuration-like files. Not for the data path.

use crate::blocking::{parent_of, sync_dir};
use crate::{IoError, random};
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// A file open for reading at any position, through the page cache. Leaves the access time alone where the
/// kernel lets it, so that inspecting a directory changes nothing in it.
#[derive(Debug)]
pub struct ReadFile {
    file: File,
    path: PathBuf,
}

impl ReadFile {
    /// Opens an existing file.
    ///
    /// # Errors
    /// `NotFound`, `Denied`, `Io`.
    pub fn open(path: &Path) -> Result<ReadFile, IoError> {
        let quiet = OpenOptions::new().read(true).custom_flags(libc::O_NOATIME).open(path);
        let file = match quiet {
            // Only the owner may leave the access time alone.
            Err(error) if error.raw_os_error() == Some(libc::EPERM) => File::open(path),
            result => result,
        };
        let file = file.map_err(|cause| IoError::new("open", path, cause))?;
        Ok(ReadFile { file, path: path.to_owned() })
    }

    /// Length in bytes, now.
    ///
    /// # Errors
    /// `Io`.
    #[expect(clippy::len_without_is_empty, reason = "a question to the file system, not a container")]
    pub fn len(&self) -> Result<u64, IoError> {
        self.file
            .metadata()
            .map(|found| found.len())
            .map_err(|cause| IoError::new("length", &self.path, cause))
    }

    /// Fills `bytes` from position `pos` (any alignment); fewer bytes than asked only at the end of the file.
    ///
    /// # Errors
    /// `Io`; `Invalid` for a directory.
    pub fn read_at(&self, bytes: &mut [u8], pos: u64) -> Result<usize, IoError> {
        fill(&self.file, &self.path, bytes, pos, 1)
    }
}

/// A file open for reading in whole blocks from its beginning to its end, around the page cache where the file system
/// lets it: what is read once shall not drive out what others read often, and a large file is read several times faster.
#[derive(Debug)]
pub struct DirectFile {
    file: File,
    path: PathBuf,
}

impl DirectFile {
    /// Opens an existing file.
    ///
    /// # Errors
    /// `NotFound`, `Denied`, `Io`.
    pub fn open(path: &Path) -> Result<DirectFile, IoError> {
        let attempt = |flags: i32| OpenOptions::new().read(true).custom_flags(flags).open(path);
        let mut file = attempt(libc::O_DIRECT | libc::O_NOATIME);
        for flags in [libc::O_DIRECT, libc::O_NOATIME, 0] {
            match file {
                // Only the owner may leave the access time alone; not every file system knows O_DIRECT.
                Err(error) if matches!(error.raw_os_error(), Some(libc::EPERM | libc::EINVAL)) => {
                    file = attempt(flags);
                }
                _ => break,
            }
        }
        let file = file.map_err(|cause| IoError::new("open", path, cause))?;
        Ok(DirectFile { file, path: path.to_owned() })
    }

    /// Fills `bytes` from position `pos`; fewer bytes than asked only at the end of the file. All of memory, length
    /// and position must be multiples of [`BLOCK`](crate::BLOCK), as a [`Buf`](crate::Buf) cut at blocks is.
    ///
    /// # Errors
    /// `Io`; `Invalid` where something is not aligned.
    pub fn read_blocks(&self, bytes: &mut [u8], pos: u64) -> Result<usize, IoError> {
        // A read that stops within a block has come to the end; another one would not be aligned.
        fill(&self.file, &self.path, bytes, pos, crate::BLOCK)
    }
}

/// Reads until `bytes` are full, the file ends, or a read stops within a unit of so many bytes.
fn fill(file: &File, path: &Path, bytes: &mut [u8], pos: u64, unit: usize) -> Result<usize, IoError> {
    let len = bytes.len() as u64;
    let mut done = 0;
    while done < bytes.len() && done.is_multiple_of(unit) {
        match file.read_at(&mut bytes[done..], pos.saturating_add(done as u64)) {
            Ok(0) => break,
            Ok(read) => done += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(cause) => return Err(IoError::new("read", path, cause).at(pos, len)),
        }
    }
    Ok(done)
}

/// Replaces the whole content of a small file so that after a crash it is either the old or the new one: writes a
/// temporary file beside it, syncs it, renames it over `path` and syncs the directory.
///
/// # Errors
/// Anything on the way; `path` then still has its old content, unless it was the last sync that failed.
pub fn write_atomic(path: &Path, bytes: &[u8]) -> Result<(), IoError> {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{:016x}.tmp", random::Entropy::system().u64()));
    let temporary = PathBuf::from(name);
    let written = write_new(&temporary, bytes).and_then(|()| std::fs::rename(&temporary, path));
    if let Err(cause) = written {
        let _ = std::fs::remove_file(&temporary);
        return Err(IoError::new("atomic write", path, cause));
    }
    let dir = parent_of(path);
    sync_dir(dir).map_err(|cause| IoError::new("sync of directory", dir, cause))
}

fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o640).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Fault;

    #[test]
    fn an_atomic_write_creates_and_replaces_and_leaves_no_temporary_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("settings");
        write_atomic(&path, b"first and longer").unwrap();
        write_atomic(&path, b"second").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"second");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_failed_atomic_write_cleans_up_and_keeps_the_old_content() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a-directory");
        std::fs::create_dir(&path).unwrap();
        assert!(write_atomic(&path, b"x").is_err(), "a file cannot replace a directory");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn reading_takes_any_position_and_stops_at_the_end() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        std::fs::write(&path, b"0123456789").unwrap();
        let file = ReadFile::open(&path).unwrap();
        assert_eq!(file.len().unwrap(), 10);
        let mut bytes = [0; 4];
        assert_eq!(file.read_at(&mut bytes, 3).unwrap(), 4);
        assert_eq!(&bytes, b"3456");
        assert_eq!(file.read_at(&mut bytes, 8).unwrap(), 2);
        assert_eq!(file.read_at(&mut bytes, 99).unwrap(), 0);
    }

    #[test]
    fn blocks_are_read_from_any_block_and_up_to_the_end() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        let content: Vec<u8> = (0..3 * crate::BLOCK + 77).map(|at| (at % 251) as u8).collect();
        std::fs::write(&path, &content).unwrap();
        let file = DirectFile::open(&path).unwrap();
        let mut bytes = crate::Buf::heap(4 * crate::BLOCK);
        for block in 0..5 {
            let from = (block * crate::BLOCK).min(content.len());
            let read = file.read_blocks(&mut bytes, (block * crate::BLOCK) as u64).unwrap();
            assert!(bytes[..read] == content[from..], "block {block}");
        }
    }

    #[test]
    fn a_missing_file_is_not_found() {
        assert_eq!(ReadFile::open(Path::new("/nonexistent")).unwrap_err().kind(), Fault::NotFound);
    }
}
