//! The place that is written to: new files in new folders, synced before anything is said about them.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{BufWriter, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::written;
use crate::error::InspectError;

/// Bytes that are gathered before they are written.
const GATHER: usize = 1024 * 1024;

/// The new directory, or a stand-in that writes nothing.
#[derive(Debug)]
pub(super) struct Target {
    path: PathBuf,
    dry: bool,
}

/// A folder in it.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    dry: bool,
}

/// A new file in a folder; in a dry run it is only counted.
#[derive(Debug)]
pub(super) struct NewFile {
    path: PathBuf,
    file: Option<BufWriter<File>>,
    len: u64,
}

impl Target {
    /// Makes the directory.
    pub(super) fn new(path: &Path, dry: bool) -> Result<Target, InspectError> {
        let target = Target { path: path.to_owned(), dry };
        target.folder(&[])?;
        Ok(target)
    }

    /// Makes a folder and those above it in the target.
    pub(super) fn folder(&self, parts: &[&str]) -> Result<Folder, InspectError> {
        let path = parts.iter().fold(self.path.clone(), |path, part| path.join(part));
        if !self.dry {
            let made = DirBuilder::new().recursive(true).mode(0o750).create(&path);
            made.map_err(|cause| written(&path, cause))?;
        }
        Ok(Folder { path, dry: self.dry })
    }

    /// Makes all names durable.
    pub(super) fn finish(&self) -> Result<(), InspectError> {
        if self.dry {
            return Ok(());
        }
        let mut folders = vec![self.path.clone()];
        while let Some(folder) = folders.pop() {
            let failed = |cause| written(&folder, cause);
            for entry in std::fs::read_dir(&folder).map_err(failed)? {
                let path = entry.map_err(failed)?.path();
                if path.is_dir() {
                    folders.push(path);
                }
            }
            File::open(&folder).and_then(|folder| folder.sync_all()).map_err(failed)?;
        }
        Ok(())
    }
}

impl Folder {
    /// Makes a file that must not be there.
    pub(super) fn create(&self, name: &str) -> Result<NewFile, InspectError> {
        let path = self.path.join(name);
        let file = if self.dry {
            None
        } else {
            let made = OpenOptions::new().write(true).create_new(true).mode(0o640).open(&path);
            Some(BufWriter::with_capacity(GATHER, made.map_err(|cause| written(&path, cause))?))
        };
        Ok(NewFile { path, file, len: 0 })
    }
}

impl NewFile {
    /// Appends bytes.
    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), InspectError> {
        self.len += bytes.len() as u64;
        match &mut self.file {
            Some(file) => file.write_all(bytes).map_err(|cause| written(&self.path, cause)),
            None => Ok(()),
        }
    }

    /// Bytes so far.
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// Makes it durable.
    pub(super) fn finish(self) -> Result<u64, InspectError> {
        if let Some(file) = self.file {
            let synced =
                file.into_inner().map_err(|error| error.into_error()).and_then(|file| file.sync_all());
            synced.map_err(|cause| written(&self.path, cause))?;
        }
        Ok(self.len)
    }
}
