//! Files made ready ahead of use: recycled ones, or new ones filled with zeroes, so that a commit allocates
//! nothing. Their content has no meaning: a segment begins with its opening frame.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tidelog_format::block::BLOCK_U64;
use tidelog_format::name;
use tidelog_io::{Access, Buf, Disk, DiskFile, Fault, IoError};

use crate::segments::SegmentId;
use crate::stats::Stats;

/// Numbers of spares that were prepared segments begin here; those of new files count from 1 and stay below.
const PUT_AWAY: u64 = 1 << 62;

/// Number of the spare that a prepared segment becomes. An epoch has several such files when its first write was torn
/// while the next one was prepared already, and a number comes again in a later epoch: both make the name free.
pub(crate) fn number_put_away(id: SegmentId) -> u64 {
    const HALF: u64 = (1 << 31) - 1;
    PUT_AWAY | (u64::from(id.epoch) & HALF) << 31 | id.number & HALF
}

const PIECE: u64 = 1024 * 1024;

pub(crate) struct Spares<D: Disk> {
    disk: D,
    dir: PathBuf,
    spare_dir: PathBuf,
    segment_bytes: u64,
    /// Numbers of the spare files, all of full size and durable.
    ready: RefCell<Vec<u64>>,
    next_number: RefCell<u64>,
}

impl<D: Disk> Spares<D> {
    /// Takes stock of the spare folder. Files of another size are brought to it or removed when they are needed.
    pub(crate) async fn open(disk: D, dir: &Path, segment_bytes: u64) -> Result<Spares<D>, IoError> {
        let spare_dir = dir.join(name::SPARE);
        disk.create_dir_all(&spare_dir).await?;
        let mut ready = Vec::new();
        let mut next_number = 1;
        for entry in disk.list(&spare_dir).await? {
            let Some(number) = name::parse_spare(&entry.name) else { continue };
            if number < PUT_AWAY {
                next_number = next_number.max(number + 1);
            }
            if entry.len == segment_bytes {
                ready.push(number);
            } else {
                // A file that was being filled, or of another segment size: its content is without meaning.
                disk.remove(&spare_dir.join(&entry.name)).await?;
            }
        }
        Ok(Spares {
            disk,
            dir: dir.to_owned(),
            spare_dir,
            segment_bytes,
            ready: RefCell::new(ready),
            next_number: RefCell::new(next_number),
        })
    }

    pub(crate) fn len(&self) -> usize {
        self.ready.borrow().len()
    }

    fn number(&self) -> u64 {
        let mut next = self.next_number.borrow_mut();
        *next += 1;
        *next - 1
    }

    /// Whether there is room for one more file.
    ///
    /// # Errors
    /// [`Fault::Full`] when there is not.
    pub(crate) async fn check_room(&self) -> Result<(), IoError> {
        if self.disk.free_space(&self.dir).await? >= self.segment_bytes.saturating_add(PIECE) {
            return Ok(());
        }
        let cause = std::io::Error::from(std::io::ErrorKind::StorageFull);
        Err(IoError::new("fill", &self.spare_dir, cause))
    }

    /// Makes a spare by filling a new file with zeroes. It is `ready` only once it is durable at full size.
    pub(crate) async fn fill(&self, pause: Duration, stats: &Stats) -> Result<(), IoError> {
        self.check_room().await?;
        let number = self.number();
        let path = self.spare_dir.join(name::spare(number));
        let file = self.disk.create(&path, Access::Bulk).await?;
        let filled = self.fill_from(&file, 0, pause, stats).await;
        if let Err(error) = filled {
            drop(file);
            if error.kind() == Fault::Full {
                self.disk.remove(&path).await?;
            }
            return Err(error);
        }
        self.disk.sync_dir(&self.spare_dir).await?;
        self.ready.borrow_mut().push(number);
        Ok(())
    }

    async fn fill_from(
        &self,
        file: &D::File,
        from: u64,
        pause: Duration,
        stats: &Stats,
    ) -> Result<(), IoError> {
        let mut buf = Buf::heap(PIECE as usize);
        let mut position = from;
        while position < self.segment_bytes {
            let len = PIECE.min(self.segment_bytes - position);
            let (result, back) = file.write_at(buf, len as usize, position).await;
            result?;
            buf = back;
            position += len;
            Stats::add(&stats.filled_bytes, len);
            if !pause.is_zero() {
                tokio::time::sleep(pause).await;
            }
        }
        file.sync().await
    }

    /// Makes a spare of a segment's file that nobody wants any more.
    pub(crate) async fn recycle(&self, id: SegmentId, pause: Duration, stats: &Stats) -> Result<(), IoError> {
        let number = self.number();
        let path = self.spare_dir.join(name::spare(number));
        self.disk.rename(&id.path(&self.dir), &path).await?;
        // The segment's name goes before anything is written over its content.
        self.disk.sync_dir(&self.dir).await?;
        self.disk.sync_dir(&self.spare_dir).await?;
        let file = self.disk.open(&path, Access::Bulk).await?;
        // From the trailer on, and cut there first: a file of full size counts as ready, also for the start after a crash, and
        // with a trailer as its last block it would read as a sealed segment under its next name.
        let whole = file.len().await?.min(self.segment_bytes);
        let from = whole.saturating_sub(BLOCK_U64) / BLOCK_U64 * BLOCK_U64;
        file.set_len(from).await?;
        self.fill_from(&file, from, pause, stats).await?;
        self.ready.borrow_mut().push(number);
        Stats::add(&stats.recycled, 1);
        Ok(())
    }

    /// Removes a segment's file that is not needed as a spare, in steps that do not stall the writer.
    pub(crate) async fn remove(&self, id: SegmentId, pause: Duration) -> Result<(), IoError> {
        let number = self.number();
        let path = self.spare_dir.join(name::spare(number));
        self.disk.rename(&id.path(&self.dir), &path).await?;
        self.disk.sync_dir(&self.dir).await?;
        self.disk.sync_dir(&self.spare_dir).await?;
        let file = self.disk.open(&path, Access::Bulk).await?;
        let mut len = file.len().await?;
        while len > 0 {
            len = len.saturating_sub(8 * PIECE);
            file.set_len(len).await?;
            if !pause.is_zero() {
                tokio::time::sleep(pause).await;
            }
        }
        drop(file);
        self.disk.remove(&path).await
    }

    /// Gives a spare the segment's name and opens it. Without a spare: a new, empty file, grown by the writes.
    pub(crate) async fn take(&self, id: SegmentId) -> Result<D::File, IoError> {
        let spare = self.ready.borrow_mut().pop();
        let path = id.path(&self.dir);
        let file = match spare {
            Some(number) => {
                self.disk.rename(&self.spare_dir.join(name::spare(number)), &path).await?;
                self.disk.sync_dir(&self.spare_dir).await?;
                self.disk.open(&path, Access::Durable).await?
            }
            None => self.disk.create(&path, Access::Durable).await?,
        };
        self.disk.sync_dir(&self.dir).await?;
        Ok(file)
    }
}
