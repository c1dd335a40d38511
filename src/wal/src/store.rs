//! A data directory: its lock and its identity.

use std::path::{Path, PathBuf};

use tidelog_format::block::BLOCK;
use tidelog_format::name;
use tidelog_format::superblock::{SUPERBLOCK_LEN, Superblock, SuperblockError};
use tidelog_io::clock::Clock;
use tidelog_io::lock::DirLock;
use tidelog_io::random::Entropy;
use tidelog_io::{Access, Buf, Disk, DiskFile, Fault, IoError, TRIAL};

use crate::error::StoreError;
use crate::older;

/// An open data directory. The lock is held until it is dropped.
#[derive(Debug)]
pub struct Store {
    dir: PathBuf,
    superblock: Superblock,
    /// What the superblock said before this start; `None` in a new directory.
    found: Option<Superblock>,
    epoch: u32,
    _lock: DirLock,
}

impl Store {
    /// Opens a data directory, making it when it is empty or missing, and raises its incarnation durably.
    ///
    /// # Errors
    /// Held by another process, not a data directory, damaged or newer superblock, one that is older than the metadata
    /// beside it, a failing disk.
    pub async fn open<D: Disk>(
        disk: &D,
        dir: &Path,
        entropy: &Entropy,
        clock: &Clock,
    ) -> Result<Store, StoreError> {
        Store::open_in(disk, dir, None, entropy, clock).await
    }

    /// The same for a directory of this cluster, if one is given. A new directory begins in it, as node 0: its number is
    /// the cluster's to give, and stands in the cluster's metadata.
    ///
    /// # Errors
    /// As [`Store::open`], and [`StoreError::OtherCluster`].
    pub async fn open_in<D: Disk>(
        disk: &D,
        dir: &Path,
        cluster: Option<[u8; 16]>,
        entropy: &Entropy,
        clock: &Clock,
    ) -> Result<Store, StoreError> {
        disk.create_dir_all(dir).await?;
        let lock = DirLock::acquire(&dir.join(name::LOCK))?;
        sweep_trials(disk, dir).await?;
        let path = dir.join(name::SUPERBLOCK);
        let file = match disk.open(&path, Access::Durable).await {
            Ok(file) => file,
            Err(error) if error.kind() == Fault::NotFound => {
                refuse_foreign(disk, dir).await?;
                disk.create(&path, Access::Durable).await?
            }
            Err(error) => return Err(error.into()),
        };
        let found = read(&file, &path).await?;
        let (mut superblock, is_new) = match found {
            Some((superblock, true)) => (superblock, false),
            // The copy that is lost may have held the next incarnation, whose epoch is in use then.
            Some((superblock, false)) => {
                tracing::warn!(file = %path.display(), "one copy of the superblock is damaged: written anew");
                (Superblock { incarnation: superblock.incarnation + 1, ..superblock }, false)
            }
            None => {
                // The file was made and nothing was written: there is nothing else in the directory yet.
                refuse_foreign(disk, dir).await?;
                (fresh(entropy, clock), true)
            }
        };
        match cluster {
            Some(there) if is_new => (superblock.cluster, superblock.node) = (there, 0),
            Some(there) if there != superblock.cluster => {
                return Err(StoreError::OtherCluster {
                    dir: dir.to_owned(),
                    here: superblock.cluster,
                    there,
                });
            }
            _ => {}
        }
        let newest = older::newest_start(disk, dir, superblock.incarnation).await?;
        let found = (!is_new).then_some(superblock);
        superblock.incarnation = superblock.incarnation.max(newest) + 1;
        let exhausted = || StoreError::Exhausted { dir: dir.to_owned(), count: superblock.incarnation };
        let epoch = u32::try_from(superblock.incarnation)
            .ok()
            .filter(|epoch| *epoch < u32::MAX / 2)
            .ok_or_else(exhausted)?;
        write(&file, &mut superblock).await?;
        if is_new {
            write(&file, &mut superblock).await?;
            file.sync().await?;
            disk.sync_dir(dir).await?;
        }
        Ok(Store { dir: dir.to_owned(), superblock, found, epoch, _lock: lock })
    }

    /// The superblock's file, to be written again while the process runs.
    ///
    /// # Errors
    /// A failing disk.
    pub async fn superblock_file<D: Disk>(&self, disk: &D) -> Result<SuperblockFile<D::File>, IoError> {
        let file = disk.open(&self.dir.join(name::SUPERBLOCK), Access::Durable).await?;
        Ok(SuperblockFile { file, superblock: self.superblock, found: self.found })
    }

    /// The superblock's generation before this start wrote it; `None` in a new directory.
    pub fn found_generation(&self) -> Option<u64> {
        self.found.map(|found| found.generation)
    }

    /// The superblock's generation since this start.
    pub fn generation(&self) -> u64 {
        self.superblock.generation
    }

    /// The cluster's id.
    pub fn cluster(&self) -> [u8; 16] {
        self.superblock.cluster
    }

    /// Identity of this directory.
    pub fn store_id(&self) -> [u8; 16] {
        self.superblock.store
    }

    /// Number of the node that began with this directory: 1, or 0 where it began in a cluster that it joined, whose
    /// metadata knows the number.
    pub fn node(&self) -> u64 {
        self.superblock.node
    }

    /// Process starts so far, this one included.
    pub fn incarnation(&self) -> u64 {
        self.superblock.incarnation
    }

    /// Epoch of the metadata shard's span while a node is alone: its incarnation, which grows with every start and is
    /// durable before anything is written. Data shards get theirs from the metadata.
    pub fn epoch(&self) -> u32 {
        self.epoch
    }

    /// The directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// A shard's folder.
    pub fn shard_dir(&self, shard: u64) -> PathBuf {
        self.dir.join(name::SHARDS).join(shard.to_string())
    }

    /// Folder of bytes that recovery cut off.
    pub fn lost_and_found(&self) -> PathBuf {
        self.dir.join(name::LOST_AND_FOUND)
    }

    /// Shards that have a segment here, ascending. From the first start on a shard has one: where there is none, all of
    /// them were taken away.
    ///
    /// # Errors
    /// A failing disk.
    pub async fn shards_on_disk<D: Disk>(&self, disk: &D) -> Result<Vec<u64>, IoError> {
        let mut shards = Vec::new();
        let entries = match disk.list(&self.dir.join(name::SHARDS)).await {
            Ok(entries) => entries,
            Err(error) if error.kind() == Fault::NotFound => Vec::new(),
            Err(error) => return Err(error),
        };
        for entry in entries.iter().filter(|entry| entry.is_dir) {
            let Ok(shard) = entry.name.parse::<u64>() else { continue };
            let files = disk.list(&self.shard_dir(shard)).await?;
            if files.iter().any(|file| name::parse_segment(&file.name).is_some()) {
                shards.push(shard);
            }
        }
        shards.sort_unstable();
        Ok(shards)
    }
}

/// Removes what a process left that was killed while it tried its disk: it stands where nothing else does at a first start.
async fn sweep_trials<D: Disk>(disk: &D, dir: &Path) -> Result<(), IoError> {
    for entry in disk.list(dir).await?.iter().filter(|entry| entry.name.starts_with(TRIAL)) {
        match disk.remove(&dir.join(&entry.name)).await {
            // Its process lives, and removed it.
            Err(error) if error.kind() == Fault::NotFound => {}
            removed => removed?,
        }
    }
    Ok(())
}

/// A superblock that is written again from time to time, so that a directory that went back in time is found out.
#[derive(Debug)]
pub struct SuperblockFile<F: DiskFile> {
    file: F,
    superblock: Superblock,
    found: Option<Superblock>,
}

impl<F: DiskFile> SuperblockFile<F> {
    /// Writes the next generation; gives it once it is durable.
    ///
    /// # Errors
    /// A failing disk.
    pub async fn raise(&mut self) -> Result<u64, IoError> {
        write(&self.file, &mut self.superblock).await?;
        Ok(self.superblock.generation)
    }

    /// Goes back to the generation that was found, for a directory that this process must not use: starts that are refused
    /// must not make it look younger. Their number still counts as incarnations.
    ///
    /// # Errors
    /// A failing disk.
    pub async fn take_back(&mut self) -> Result<(), IoError> {
        let Some(found) = self.found else { return Ok(()) };
        let void = u64::from(self.superblock.copy()) * BLOCK as u64;
        self.superblock = Superblock { incarnation: self.superblock.incarnation, ..found };
        self.superblock.generation -= 1;
        write(&self.file, &mut self.superblock).await?;
        self.file.write_at(Buf::heap(BLOCK), BLOCK, void).await.0
    }
}

async fn refuse_foreign<D: Disk>(disk: &D, dir: &Path) -> Result<(), StoreError> {
    let ours = [name::LOCK, name::SUPERBLOCK, "lost+found"];
    let foreign = disk.list(dir).await?.into_iter().any(|entry| !ours.contains(&entry.name.as_str()));
    if foreign { Err(StoreError::NotOurs { dir: dir.to_owned() }) } else { Ok(()) }
}

fn fresh(entropy: &Entropy, clock: &Clock) -> Superblock {
    Superblock {
        cluster: entropy.salt(),
        store: entropy.salt(),
        node: 1,
        incarnation: 0,
        generation: 0,
        created: clock.now_ms(),
    }
}

/// The superblock, and whether both of its copies are intact; `None` in a file that was never written.
async fn read<F: DiskFile>(file: &F, path: &Path) -> Result<Option<(Superblock, bool)>, StoreError> {
    let (read, buf) = file.read_at(Buf::heap(SUPERBLOCK_LEN), SUPERBLOCK_LEN, 0).await;
    let bytes = &buf[..read?];
    if bytes.iter().all(|byte| *byte == 0) {
        return Ok(None);
    }
    match Superblock::decode(bytes) {
        Ok(superblock) => Ok(Some((superblock, Superblock::is_whole(bytes)))),
        Err(source @ (SuperblockError::Damaged { .. } | SuperblockError::Unsupported(_))) => {
            Err(StoreError::Superblock { file: path.to_owned(), source })
        }
    }
}

/// Writes the next generation over the older copy.
async fn write<F: DiskFile>(file: &F, superblock: &mut Superblock) -> Result<(), IoError> {
    superblock.generation += 1;
    let mut buf = Buf::heap(BLOCK);
    if let Some(block) = buf.first_chunk_mut() {
        superblock.encode(block);
    }
    file.write_at(buf, BLOCK, u64::from(superblock.copy()) * BLOCK as u64).await.0
}
