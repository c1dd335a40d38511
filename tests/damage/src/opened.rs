//! What the real node makes of a damaged superblock.

use std::fs;
use std::path::Path;

use tempfile::TempDir;
use tidelog_format::name;
use tidelog_io::block_on_posix;
use tidelog_io::clock::Clock;
use tidelog_io::random::Entropy;
use tidelog_wal::Store;

use crate::build::CLUSTER;
use crate::directory::Directory;

/// The epoch in which the directory is opened, or why it is not.
pub(crate) fn open(directory: &Directory) -> std::io::Result<Result<u32, Refusal>> {
    let memory = Path::new("/dev/shm");
    let root = if memory.is_dir() { TempDir::new_in(memory)? } else { TempDir::new()? };
    fs::create_dir(root.path().join(name::SHARDS))?;
    if let Some(bytes) = directory.files.get(name::SUPERBLOCK) {
        fs::write(root.path().join(name::SUPERBLOCK), bytes.as_slice())?;
    }
    let opened = block_on_posix(async |disk| {
        let clock = Clock::manual(1_700_000_000_000);
        Store::open(&disk, root.path(), &Entropy::seeded(1), &clock).await
    });
    let store = match opened.map_err(std::io::Error::other)? {
        Ok(store) => store,
        Err(error) => return Ok(Err(Refusal::Named(error.to_string()))),
    };
    if store.cluster() != CLUSTER || store.store_id() != [5; 16] {
        return Ok(Err(Refusal::Wrong("the directory has another identity".to_owned())));
    }
    Ok(Ok(store.epoch()))
}

/// Why it is not opened.
pub(crate) enum Refusal {
    Named(String),
    Wrong(String),
}
