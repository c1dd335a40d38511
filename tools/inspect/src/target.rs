//! The place that is written to: new files in new folders, synced before anything is said about them.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::error::InspectError;

/// Bytes that are gathered before they are written.
const GATHER: usize = 1024 * 1024;

/// The new directory, or a stand-in that writes nothing.
#[derive(Debug)]
pub(crate) struct Target {
    path: PathBuf,
    dry: bool,
}

/// A folder in it.
#[derive(Debug)]
pub(crate) struct Folder {
    path: PathBuf,
    dry: bool,
}

/// A new file in a folder; in a dry run it is only counted.
#[derive(Debug)]
pub(crate) struct NewFile {
    path: PathBuf,
    file: Option<BufWriter<File>>,
    len: u64,
}

impl Target {
    /// Makes the directory.
    pub(crate) fn new(path: &Path, dry: bool) -> Result<Target, InspectError> {
        let target = Target { path: path.to_owned(), dry };
        target.folder(&[])?;
        Ok(target)
    }

    /// Makes a folder and those above it in the target.
    pub(crate) fn folder(&self, parts: &[&str]) -> Result<Folder, InspectError> {
        let path = parts.iter().fold(self.path.clone(), |path, part| path.join(part));
        if !self.dry {
            let made = DirBuilder::new().recursive(true).mode(0o750).create(&path);
            made.map_err(|cause| written(&path, cause))?;
        }
        Ok(Folder { path, dry: self.dry })
    }

    /// Makes all names durable.
    pub(crate) fn finish(&self) -> Result<(), InspectError> {
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
    pub(crate) fn create(&self, name: &str) -> Result<NewFile, InspectError> {
        let path = self.path.join(name);
        if self.dry { Ok(NewFile { path, file: None, len: 0 }) } else { NewFile::create(&path) }
    }
}

impl NewFile {
    /// Makes a file that must not be there.
    pub(crate) fn create(path: &Path) -> Result<NewFile, InspectError> {
        let made = OpenOptions::new().write(true).create_new(true).mode(0o640).open(path);
        let file = BufWriter::with_capacity(GATHER, made.map_err(|cause| written(path, cause))?);
        Ok(NewFile { path: path.to_owned(), file: Some(file), len: 0 })
    }

    /// Appends bytes.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<(), InspectError> {
        self.len += bytes.len() as u64;
        match &mut self.file {
            Some(file) => file.write_all(bytes).map_err(|cause| written(&self.path, cause)),
            None => Ok(()),
        }
    }

    /// Bytes so far.
    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// Makes it durable.
    pub(crate) fn finish(self) -> Result<u64, InspectError> {
        if let Some(file) = self.file {
            let synced =
                file.into_inner().map_err(|error| error.into_error()).and_then(|file| file.sync_all());
            synced.map_err(|cause| written(&self.path, cause))?;
        }
        Ok(self.len)
    }
}

/// A target that exists, or lies in the source, is refused.
pub(crate) fn refuse_unsafe(source: &Path, target: &Path) -> Result<(), InspectError> {
    let refuse = |why: &str| Err(InspectError::Unsafe { path: target.to_owned(), why: why.to_owned() });
    if std::fs::symlink_metadata(target).is_ok() {
        return refuse("it exists; give a new place");
    }
    let parent = match target.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    };
    let failed = |cause| InspectError::list(&parent, cause);
    let (parent, source) = (parent.canonicalize().map_err(failed)?, source.canonicalize().map_err(failed)?);
    if parent.starts_with(&source) {
        return refuse("it lies in the source, which is never written to");
    }
    Ok(())
}

/// A failed write to the target.
fn written(path: &Path, cause: io::Error) -> InspectError {
    InspectError::Write { path: path.to_owned(), cause }
}

impl Write for NewFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if let Some(file) = &mut self.file {
            file.write_all(bytes)?;
        }
        self.len += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.as_mut().map_or(Ok(()), Write::flush)
    }
}
