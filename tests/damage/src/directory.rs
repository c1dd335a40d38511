//! A data directory in memory.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tidelog_format::name;
use tidelog_io::sim::Sim;

/// Where directories stand on the simulated disk.
const ROOT: &str = "/data";

/// Files by their path below the directory; clones share them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Directory {
    pub(crate) files: BTreeMap<String, Arc<Vec<u8>>>,
}

impl Directory {
    /// What lies on a simulated disk.
    pub(crate) fn of(sim: &Sim) -> Directory {
        let mut files = BTreeMap::new();
        for path in sim.files() {
            files.insert(below_root(&path), Arc::new(sim.read_file(&path).unwrap_or_default()));
        }
        Directory { files }
    }

    /// A simulated disk with these files.
    pub(crate) fn disk(&self) -> Sim {
        let sim = Sim::new(1);
        for (name, bytes) in &self.files {
            sim.write_file(on_disk(name), bytes);
        }
        sim
    }

    pub(crate) fn put(&mut self, name: &str, bytes: Vec<u8>) {
        self.files.insert(name.to_owned(), Arc::new(bytes));
    }

    /// Shards that have a segment here.
    pub(crate) fn shards(&self) -> Vec<u64> {
        let mut shards: Vec<u64> =
            self.files.keys().filter_map(|name| segment(name)).map(|at| at.0).collect();
        shards.dedup();
        shards
    }
}

/// Path on the simulated disk.
pub(crate) fn on_disk(name: &str) -> PathBuf {
    Path::new(ROOT).join(name)
}

/// The name of a path on the simulated disk.
pub(crate) fn below_root(path: &Path) -> String {
    path.strip_prefix(ROOT).unwrap_or(path).display().to_string()
}

/// A shard's folder below the directory.
pub(crate) fn folder(shard: u64) -> String {
    format!("{}/{shard}", name::SHARDS)
}

/// Shard, epoch and number of a segment by its path; `None` for everything else.
pub(crate) fn segment(path: &str) -> Option<(u64, u32, u64)> {
    let mut parts = path.split('/');
    let (Some(name::SHARDS), Some(shard), Some(file), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return None;
    };
    let (epoch, number) = name::parse_segment(file)?;
    Some((shard.parse().ok()?, epoch, number))
}

/// The path of a segment.
pub(crate) fn segment_path(shard: u64, epoch: u32, number: u64) -> String {
    format!("{}/{}", folder(shard), name::segment(epoch, number))
}

/// A number in a file, little-endian.
pub(crate) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes[at..at + 8].iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte))
}

/// One of four bytes.
pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u64 {
    bytes[at..at + 4].iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte))
}
