//! What lies where: finds superblock, shards and segments under a path. Lists, opens nothing.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use tidelog_format::name;
use tidelog_format::promise::JOURNAL;
use tidelog_format::record_format::escaped;

use crate::error::InspectError;
use crate::promises::is_journal;

/// Epoch and number of a promise journal (SPEC.md, section 10).
const JOURNAL_ID: (u32, u64) = (0, 1);

/// A segment's file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SegmentFile {
    pub(crate) path: PathBuf,
    /// Epoch and number by its name; `None` for a file that was given by another name.
    pub(crate) id: Option<(u32, u64)>,
}

/// A shard's folder.
#[derive(Debug)]
pub(crate) struct ShardFolder {
    /// The shard by the folder's name.
    pub(crate) shard: Option<u64>,
    pub(crate) path: PathBuf,
    /// In the order of epoch and number.
    pub(crate) segments: Vec<SegmentFile>,
    /// Names that are not Tidelog's, escaped.
    pub(crate) strangers: Vec<String>,
}

/// Everything under the path that was asked for.
#[derive(Debug)]
pub(crate) struct Tree {
    /// File of the superblock; only for a data directory, where it must be.
    pub(crate) superblock: Option<PathBuf>,
    pub(crate) shards: Vec<ShardFolder>,
    /// The promise journal, as if it were a shard's only segment.
    pub(crate) journal: Option<ShardFolder>,
    /// Files that recovery cut off.
    pub(crate) cut_off: Vec<String>,
    /// Whether the path is a single file, of whose neighbours nothing is known.
    pub(crate) lone: bool,
}

impl Tree {
    /// Finds what `path` is.
    pub(crate) fn find(path: &Path) -> Result<Tree, InspectError> {
        let found = std::fs::metadata(path).map_err(|cause| InspectError::list(path, cause))?;
        if found.is_file() {
            return Ok(Tree::of_file(path));
        }
        let superblock = path.join(name::SUPERBLOCK);
        let shards = path.join(name::SHARDS);
        if superblock.is_file() || shards.is_dir() {
            return Tree::of_data_directory(path, superblock, &shards);
        }
        let folder = ShardFolder::list(path)?;
        if folder.segments.is_empty() && !is_in_shards(path) {
            return Err(InspectError::Nothing(path.to_owned()));
        }
        Ok(Tree { superblock: None, shards: vec![folder], journal: None, cut_off: Vec::new(), lone: false })
    }

    fn of_file(path: &Path) -> Tree {
        let name = path.file_name().and_then(|name| name.to_str());
        let journal = name.filter(|name| is_journal(name)).map(|_| JOURNAL_ID);
        let id = journal.or_else(|| name.and_then(name::parse_segment));
        let segment = SegmentFile { path: path.to_owned(), id };
        let folder = ShardFolder {
            shard: None,
            path: path.parent().unwrap_or(path).to_owned(),
            segments: vec![segment],
            strangers: Vec::new(),
        };
        Tree { superblock: None, shards: vec![folder], journal: None, cut_off: Vec::new(), lone: true }
    }

    fn of_data_directory(path: &Path, superblock: PathBuf, shards: &Path) -> Result<Tree, InspectError> {
        let mut folders = Vec::new();
        if shards.is_dir() {
            for (entry, is_dir) in list(shards)? {
                if is_dir && shard_number(&entry).is_some() {
                    folders.push(ShardFolder::list(&entry)?);
                }
            }
        }
        folders.sort_by_key(|folder| folder.shard);
        let lost = path.join(name::LOST_AND_FOUND);
        let cut_off = if lost.is_dir() { list(&lost)? } else { Vec::new() };
        Ok(Tree {
            superblock: Some(superblock),
            shards: folders,
            journal: ShardFolder::of_journal(path),
            cut_off: cut_off.iter().map(|(path, _)| shown_name(path)).collect(),
            lone: false,
        })
    }
}

impl ShardFolder {
    /// Lists a shard's folder.
    pub(crate) fn list(path: &Path) -> Result<ShardFolder, InspectError> {
        let mut segments = Vec::new();
        let mut strangers = Vec::new();
        for (entry, is_dir) in list(path)? {
            let name = entry.file_name().and_then(|name| name.to_str());
            match name.and_then(name::parse_segment) {
                Some(id) if !is_dir => segments.push(SegmentFile { path: entry, id: Some(id) }),
                _ if is_dir && matches!(name, Some(name::SPARE | name::COPIES)) => {}
                _ => strangers.push(shown_name(&entry)),
            }
        }
        segments.sort_by_key(|segment| segment.id);
        strangers.sort();
        Ok(ShardFolder { shard: shard_number(path), path: path.to_owned(), segments, strangers })
    }

    /// The promise journal of a data directory, by its old name or by the one that it is to lose.
    pub(crate) fn of_journal(dir: &Path) -> Option<ShardFolder> {
        let names = [name::PROMISES, name::NEW_PROMISES].map(|name| dir.join(name));
        let path = names.into_iter().find(|path| path.is_file())?;
        let segments = vec![SegmentFile { path, id: Some(JOURNAL_ID) }];
        Some(ShardFolder { shard: Some(JOURNAL), path: dir.to_owned(), segments, strangers: Vec::new() })
    }

    /// Lists it again; a folder that is gone holds nothing.
    pub(crate) fn relist(&self) -> Result<Vec<SegmentFile>, InspectError> {
        match ShardFolder::list(&self.path) {
            Ok(folder) => Ok(folder.segments),
            Err(InspectError::NotFound(_)) => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }
}

/// A path for people and JSON: no escape sequences.
pub(crate) fn shown(path: &Path) -> String {
    escaped(path.as_os_str().as_bytes())
}

fn shown_name(path: &Path) -> String {
    path.file_name().map_or_else(String::new, |name| escaped(name.as_bytes()))
}

fn shard_number(path: &Path) -> Option<u64> {
    let name = path.file_name()?.to_str()?;
    let number: u64 = name.parse().ok()?;
    (number.to_string() == name).then_some(number)
}

fn is_in_shards(path: &Path) -> bool {
    let parent = path.parent().and_then(Path::file_name);
    shard_number(path).is_some() && parent.is_some_and(|name| name == name::SHARDS)
}

/// The entries of a folder and whether they are folders; what is neither file nor folder is left out, so that
/// no pipe or device is ever opened.
fn list(path: &Path) -> Result<Vec<(PathBuf, bool)>, InspectError> {
    let failed = |cause| InspectError::list(path, cause);
    let mut found = Vec::new();
    for entry in std::fs::read_dir(path).map_err(failed)? {
        let entry = entry.map_err(failed)?.path();
        // An entry that vanishes meanwhile is as if it had never been listed.
        if let Ok(metadata) = std::fs::metadata(&entry)
            && (metadata.is_dir() || metadata.is_file())
        {
            found.push((entry, metadata.is_dir()));
        }
    }
    Ok(found)
}
