//! The files of one span of a shard, read as files: frames by their LSN, and sealed segments as they are given to other
//! holders. Beside whoever writes them, on any thread: nothing of the running shard is needed.
//!
//! # Invariants
//! Nothing is written here. What is given was verified, frame by frame; a piece of a sealed file is not, its taker verifies.

mod copies;
mod frames;

use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use tidelog_format::block::{BLOCK, BLOCK_U64};
use tidelog_format::name;
use tidelog_io::{Access, Buf, DirEntry, Disk, DiskFile, Fault, IoError};

use crate::recovery::{SegmentFile, SpanEnd};
use crate::seal::read_trailer;
use crate::segments::SegmentId;

pub use copies::{Copied, CopyFiles, put_span_aside, remove_span_aside};
pub use frames::IntactFrames;

/// A sealed file, as it is listed for others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SealedFile {
    /// The segment's number.
    pub number: u64,
    /// Bytes, from the first to the trailer's last.
    pub len: u64,
    /// The trailer's digest: of all frames.
    pub digest: [u8; 16],
}

/// What is sealed of a span on a disk.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SealedFiles {
    /// The sealed files, in their order.
    pub files: Vec<SealedFile>,
    /// LSN of the first frame, and where the frames end: when no file of the span is open and each begins where the one
    /// before ends.
    pub whole: Option<(u64, SpanEnd)>,
}

/// The files of one span.
#[derive(Debug)]
pub struct SpanFiles<D: Disk> {
    disk: D,
    dir: PathBuf,
    epoch: u32,
    /// LSN of the opening frame of each segment that was looked at.
    bases: BTreeMap<u64, u64>,
    /// Where reads of frames have ended.
    stands: VecDeque<frames::Stand>,
}

impl<D: Disk> SpanFiles<D> {
    /// Those of the span `epoch` in a shard's folder.
    pub fn new(disk: D, dir: PathBuf, epoch: u32) -> SpanFiles<D> {
        SpanFiles { disk, dir, epoch, bases: BTreeMap::new(), stands: VecDeque::new() }
    }

    /// What is sealed, by the trailers.
    ///
    /// # Errors
    /// A failing disk.
    pub async fn sealed(&self) -> Result<SealedFiles, IoError> {
        let mut found = SealedFiles::default();
        let mut whole: Option<(u64, SpanEnd)> = None;
        let mut gap = false;
        for file in self.list().await? {
            let path = file.id.path(&self.dir);
            let trailer = read_trailer(&self.disk, &path, file.len).await?;
            let Some(trailer) = trailer.filter(|trailer| trailer.epoch == self.epoch) else {
                gap = true;
                continue;
            };
            found.files.push(SealedFile { number: file.id.number, len: file.len, digest: trailer.digest });
            gap |= whole.is_some_and(|(_, end)| end.lsn != trailer.base_lsn);
            let first = whole.map_or(trailer.base_lsn, |(first, _)| first);
            whole = Some((first, SpanEnd { lsn: trailer.next_lsn, chain: trailer.chain }));
        }
        found.whole = whole.filter(|_| !gap);
        Ok(found)
    }

    /// Up to `len` bytes of a sealed file from `at` on, in whole blocks; `None` when there is no such file, or it ends there.
    ///
    /// # Errors
    /// A failing disk; a position that is not on a block's boundary.
    pub async fn piece(&self, number: u64, at: u64, len: usize) -> Result<Option<Bytes>, IoError> {
        let path = SegmentId { number, epoch: self.epoch }.path(&self.dir);
        let Some(file) = open_if_there(&self.disk, &path).await? else { return Ok(None) };
        let len = len.div_ceil(BLOCK).max(1) * BLOCK;
        let (read, buf) = file.read_at(Buf::heap(len), len, at).await;
        let whole = read?.min(len) / BLOCK * BLOCK;
        Ok((whole > 0).then(|| Bytes::copy_from_slice(&buf[..whole])))
    }

    async fn list(&self) -> Result<Vec<SegmentFile>, IoError> {
        segments_in(&self.disk, &self.dir, self.epoch).await
    }
}

/// What is in a folder; nothing where it is not there yet.
async fn list_if_there<D: Disk>(disk: &D, dir: &Path) -> Result<Vec<DirEntry>, IoError> {
    match disk.list(dir).await {
        Err(error) if error.kind() == Fault::NotFound => Ok(Vec::new()),
        listed => listed,
    }
}

/// A span's segments in a folder, in their order.
async fn segments_in<D: Disk>(disk: &D, dir: &Path, epoch: u32) -> Result<Vec<SegmentFile>, IoError> {
    let mut files = Vec::new();
    for entry in list_if_there(disk, dir).await? {
        if let Some((_, number)) = name::parse_segment(&entry.name).filter(|(of, _)| *of == epoch) {
            files.push(SegmentFile { id: SegmentId { number, epoch }, len: entry.len });
        }
    }
    files.sort_by_key(|file| file.id);
    Ok(files)
}

/// Opens a file to be read; `None` when it is not there, or not any more.
async fn open_if_there<D: Disk>(disk: &D, path: &Path) -> Result<Option<D::File>, IoError> {
    match disk.open(path, Access::Read).await {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == Fault::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// The spans that a shard's folder has files of, ascending.
///
/// # Errors
/// A failing disk.
pub async fn epochs_in<D: Disk>(disk: &D, dir: &Path) -> Result<Vec<u32>, IoError> {
    let entries = list_if_there(disk, dir).await?;
    let mut epochs: Vec<u32> =
        entries.iter().filter_map(|entry| name::parse_segment(&entry.name)).map(|(epoch, _)| epoch).collect();
    epochs.sort_unstable();
    epochs.dedup();
    Ok(epochs)
}

/// Block of a position.
fn block_of(position: u64) -> u32 {
    u32::try_from(position / BLOCK_U64).unwrap_or(u32::MAX)
}
