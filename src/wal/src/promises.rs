//! The promise journal of a data directory, on the thread of its disk. The format and its judgement are in
//! [`tidelog_format::promise`].
//!
//! # Durability
//! [`PromiseFile::keep`] returns when the promises are on the disk. A journal that is written anew is put in place whole:
//! written under another name and synced before the old one goes, so that one of the two names always holds all of it.

use std::path::PathBuf;

use tidelog_format::block::BLOCK;
use tidelog_format::name;
use tidelog_format::promise::{self, JOURNAL, Journal, Promise, Promises, Read};
use tidelog_format::verdict::{Grade, Verdict};
use tidelog_format::walk::Cause;
use tidelog_io::random::Entropy;
use tidelog_io::{Access, Buf, Disk, DiskFile, Fault, IoError};

use crate::error::StoreError;

/// What was found of the journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PromisesFound {
    /// Nothing: the directory is new, or the journal is lost.
    Missing,
    /// All that was ever promised.
    All,
    /// All but perhaps the last write, which a crash may have torn or rot taken: to be completed from the metadata.
    Unproved,
    /// Damage where it was durable: what was promised is not known.
    Damaged {
        /// Where and what.
        what: String,
    },
}

/// The journal.
#[derive(Debug)]
pub struct PromiseFile<D: Disk> {
    disk: D,
    dir: PathBuf,
    cluster: [u8; 16],
    entropy: Entropy,
    promises: Promises,
    /// Open behind a proved end.
    open: Option<(D::File, Journal)>,
}

impl<D: Disk> PromiseFile<D> {
    /// Reads the journal of a data directory that this process has locked.
    ///
    /// # Errors
    /// A failing disk, a newer format.
    pub async fn open(
        disk: D,
        dir: PathBuf,
        cluster: [u8; 16],
        entropy: Entropy,
    ) -> Result<(PromiseFile<D>, PromisesFound), StoreError> {
        let mut file = PromiseFile { disk, dir, cluster, entropy, promises: Promises::new(), open: None };
        let found = match file.read(name::PROMISES).await? {
            Some(read) => {
                // One that was to take its place and did not; all of it is in the old one.
                file.remove(name::NEW_PROMISES).await?;
                file.take(name::PROMISES, read).await?
            }
            None => file.take_new().await?,
        };
        Ok((file, found))
    }

    /// The highest promise of each shard.
    pub fn promises(&self) -> &Promises {
        &self.promises
    }

    /// Makes promises durable, all with one write. Lower ones than those that stand change nothing.
    ///
    /// # Errors
    /// A failing disk: then nothing may be answered that depends on them.
    pub async fn keep(&mut self, promises: &Promises) -> Result<(), IoError> {
        for (shard, epoch) in promises {
            promise::raise(&mut self.promises, Promise { shard: *shard, epoch: *epoch });
        }
        // Whatever happens to the write, the journal is not gone on with behind it unless it has returned.
        if let Some((file, mut journal)) = self.open.take()
            && let Some(write) = journal.keep(promises)
        {
            write_at(&file, &write.bytes, write.position).await?;
            self.open = Some((file, journal));
            return Ok(());
        }
        self.begin_anew().await
    }

    /// Writes the journal anew with all that is known: where it is missing, or its end is not proved, or it is full.
    ///
    /// # Errors
    /// A failing disk.
    pub async fn begin_anew(&mut self) -> Result<(), IoError> {
        self.open = None;
        let (journal, bytes) = Journal::begin(self.cluster, self.entropy.salt(), &self.promises);
        self.remove(name::NEW_PROMISES).await?;
        let new = self.dir.join(name::NEW_PROMISES);
        let file = self.disk.create(&new, Access::Durable).await?;
        write_at(&file, &bytes, 0).await?;
        file.sync().await?;
        drop(file);
        self.disk.sync_dir(&self.dir).await?;
        self.remove(name::PROMISES).await?;
        self.disk.sync_dir(&self.dir).await?;
        self.disk.rename(&new, &self.dir.join(name::PROMISES)).await?;
        self.disk.sync_dir(&self.dir).await?;
        let file = self.disk.open(&self.dir.join(name::PROMISES), Access::Durable).await?;
        self.open = Some((file, journal));
        Ok(())
    }

    /// A damaged journal goes to lost+found, byte for byte, and makes room for one that is begun anew.
    ///
    /// # Errors
    /// A failing disk.
    pub async fn put_aside(&mut self, lost_and_found: PathBuf) -> Result<PathBuf, IoError> {
        self.open = None;
        self.disk.create_dir_all(&lost_and_found).await?;
        let suffix: String = self.entropy.salt()[..4].iter().map(|byte| format!("{byte:02x}")).collect();
        let kept_in = lost_and_found.join(format!("promises-{suffix}.bytes"));
        self.disk.rename(&self.dir.join(name::PROMISES), &kept_in).await?;
        self.disk.sync_dir(&lost_and_found).await?;
        self.disk.sync_dir(&self.dir).await?;
        Ok(kept_in)
    }

    /// Only the new name is there: a crash fell between the old one's end and the renaming, or into the very first write.
    async fn take_new(&mut self) -> Result<PromisesFound, StoreError> {
        let Some(read) = self.read(name::NEW_PROMISES).await? else { return Ok(PromisesFound::Missing) };
        if read.outcome.verdict != Verdict::End(Grade::Proved) || read.opening.is_none() {
            return Ok(PromisesFound::Missing);
        }
        let (from, to) = (self.dir.join(name::NEW_PROMISES), self.dir.join(name::PROMISES));
        self.disk.rename(&from, &to).await?;
        self.disk.sync_dir(&self.dir).await?;
        self.take(name::PROMISES, read).await
    }

    async fn take(&mut self, name: &str, read: Read) -> Result<PromisesFound, StoreError> {
        let path = self.dir.join(name);
        let Read { promises, opening, outcome, journal } = read;
        if let Cause::Unsupported(source) = outcome.cause {
            return Err(StoreError::Newer { file: path, source });
        }
        let ours = |opening: &tidelog_format::opening::Opening| {
            (opening.cluster, opening.shard) == (self.cluster, JOURNAL)
        };
        let foreign = opening.as_ref().is_some_and(|opening| !ours(opening));
        if opening.is_none() || foreign || outcome.verdict == Verdict::Corrupt {
            let what = match foreign {
                true => "it belongs to another cluster".to_owned(),
                false => format!("at byte {}: {:?}", outcome.position, outcome.cause),
            };
            return Ok(PromisesFound::Damaged { what });
        }
        self.promises = promises;
        if outcome.verdict != Verdict::End(Grade::Proved) {
            return Ok(PromisesFound::Unproved);
        }
        self.open = Some((self.disk.open(&path, Access::Durable).await?, journal));
        Ok(PromisesFound::All)
    }

    async fn read(&self, name: &str) -> Result<Option<Read>, IoError> {
        let file = match self.disk.open(&self.dir.join(name), Access::Read).await {
            Ok(file) => file,
            Err(error) if error.kind() == Fault::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let len = usize::try_from(file.len().await?).unwrap_or(usize::MAX).min(MOST);
        let blocks = len.div_ceil(BLOCK).max(1) * BLOCK;
        let (read, buf) = file.read_at(Buf::heap(blocks), blocks, 0).await;
        Ok(Some(promise::read(&buf[..read?.min(len)])))
    }

    async fn remove(&self, name: &str) -> Result<(), IoError> {
        match self.disk.remove(&self.dir.join(name)).await {
            Err(error) if error.kind() != Fault::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

/// Most bytes of a journal that are read: half a million shards.
const MOST: usize = 64 * 1024 * 1024;

async fn write_at<F: DiskFile>(file: &F, bytes: &[u8], position: u64) -> Result<(), IoError> {
    let mut buf = Buf::heap(bytes.len());
    buf[..bytes.len()].copy_from_slice(bytes);
    file.write_at(buf, bytes.len(), position).await.0
}
