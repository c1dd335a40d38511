//! Whether a superblock is older than the metadata beside it, seen before anything is changed.
//!
//! # Purpose
//! The metadata's segments carry the incarnation that wrote them in their names, and a superblock counts a start before that
//! start writes anything. So a written segment of a start that the superblock has not counted shows that the superblock
//! was put back from an earlier time. Such a start is refused with the directory as it was found: it can be tried any
//! number of times, and the right superblock still fits.

use std::path::Path;

use tidelog_format::block::BLOCK;
use tidelog_format::name;
use tidelog_io::{Access, Buf, Disk, DiskFile, Fault, IoError};

use crate::error::StoreError;
use crate::identity;
use crate::segments::SegmentId;

/// The newest start that the names of the metadata's segments tell of; 0 when there are none. It has no frame where it is
/// newer than `counted`: a start that was refused later, by what the metadata says, has prepared its file.
///
/// # Errors
/// The superblock has `counted` starts and a later one wrote metadata; a failing disk.
pub(crate) async fn newest_start<D: Disk>(disk: &D, dir: &Path, counted: u64) -> Result<u64, StoreError> {
    let shard = dir.join(name::SHARDS).join(name::META_SHARD.to_string());
    let entries = match disk.list(&shard).await {
        Ok(entries) => entries,
        Err(error) if error.kind() == Fault::NotFound => return Ok(0),
        Err(error) => return Err(error.into()),
    };
    let ids = entries.iter().filter_map(|entry| name::parse_segment(&entry.name));
    let ids: Vec<SegmentId> = ids.map(|(epoch, number)| SegmentId { number, epoch }).collect();
    for id in ids.iter().filter(|id| u64::from(id.epoch) > counted) {
        if is_written(disk, &id.path(&shard), *id).await? {
            let (file, writer) = (dir.join(name::SUPERBLOCK), id.epoch);
            return Err(StoreError::RolledBack { file, counted, writer });
        }
    }
    Ok(ids.iter().map(|id| u64::from(id.epoch)).max().unwrap_or(0))
}

/// Whether the segment has its opening: a prepared file has zeroes there, or what an older segment left.
async fn is_written<D: Disk>(disk: &D, path: &Path, id: SegmentId) -> Result<bool, IoError> {
    let file = disk.open(path, Access::Read).await?;
    let (read, buf) = file.read_at(Buf::heap(BLOCK), BLOCK, 0).await;
    Ok(identity::opening(&buf[..read?.min(BLOCK)], id).is_some())
}
