//! What the inspector's `verify` says of a directory, and that it leaves it alone.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tempfile::TempDir;
use tidelog_format::name;
use tidelog_inspect::{Finding, findings};

use crate::directory::Directory;

/// A directory on a real file system that is made like the one at hand, file by file.
pub(crate) struct Inspector {
    root: TempDir,
    shown: Directory,
    /// There is a superblock, or there should be one.
    is_whole: bool,
    /// What is said of the intact directory.
    usual: Vec<String>,
}

/// What was said that is not said of the intact directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Inspection {
    Silent,
    /// Only notes.
    Noted(String),
    Named(String),
    /// It changed a file.
    Wrong(String),
}

impl Inspector {
    /// Where nothing reaches a disk, if there is such a place.
    pub(crate) fn new(intact: &Directory) -> std::io::Result<Inspector> {
        let memory = Path::new("/dev/shm");
        let root = if memory.is_dir() { TempDir::new_in(memory)? } else { TempDir::new()? };
        let is_whole = intact.files.contains_key(name::SUPERBLOCK);
        let mut inspector = Inspector { root, shown: Directory::default(), is_whole, usual: Vec::new() };
        inspector.show(intact)?;
        inspector.usual = inspector.said().iter().map(Finding::to_string).collect();
        Ok(inspector)
    }

    /// Writes what differs.
    fn show(&mut self, directory: &Directory) -> std::io::Result<()> {
        let gone = self.shown.files.keys().filter(|name| !directory.files.contains_key(*name));
        for name in gone {
            fs::remove_file(self.root.path().join(name))?;
        }
        for (name, bytes) in &directory.files {
            if self.shown.files.get(name).is_some_and(|shown| Arc::ptr_eq(shown, bytes)) {
                continue;
            }
            let path = self.root.path().join(name);
            if let Some(folder) = path.parent() {
                fs::create_dir_all(folder)?;
            }
            fs::write(path, bytes.as_slice())?;
        }
        self.shown = directory.clone();
        Ok(())
    }

    /// A directory without superblock is looked at shard by shard.
    fn said(&self) -> Vec<Finding> {
        let root = self.root.path();
        let paths: Vec<PathBuf> = match self.is_whole {
            true => vec![root.to_owned()],
            false => {
                self.shown.shards().iter().map(|shard| root.join(crate::directory::folder(*shard))).collect()
            }
        };
        let mut said = Vec::new();
        for path in paths {
            match findings(&path) {
                Ok(found) => said.extend(found),
                Err(error) => unreachable!("{} is there and could not be listed: {error}", path.display()),
            }
        }
        said
    }

    /// Length and times of all files: whatever writes to one changes its times.
    fn marks(&self) -> Vec<(&String, Option<[i64; 4]>)> {
        let mark = |name: &String| {
            let found = fs::metadata(self.root.path().join(name)).ok()?;
            Some([found.size() as i64, found.mtime_nsec(), found.ctime(), found.ctime_nsec()])
        };
        self.shown.files.keys().map(|name| (name, mark(name))).collect()
    }

    pub(crate) fn inspect(&mut self, directory: &Directory) -> std::io::Result<Inspection> {
        self.show(directory)?;
        let before = self.marks();
        let said = self.said();
        if self.marks() != before {
            return Ok(Inspection::Wrong("the inspector changed a file".to_owned()));
        }
        let new: Vec<_> = said.iter().filter(|found| !self.usual.contains(&found.to_string())).collect();
        let loud = new.iter().find(|found| found.is_loud()).map(|found| found.to_string());
        Ok(match (loud, new.first()) {
            (Some(loud), _) => Inspection::Named(loud),
            (None, Some(note)) => Inspection::Noted(note.to_string()),
            (None, None) => Inspection::Silent,
        })
    }
}
