//! Whether files are what their names say: a copy of a segment under another name has good checksums everywhere.

use tidelog_format::block::BLOCK;
use tidelog_format::first_block::{FirstBlock, Holds};
use tidelog_format::opening::Opening;
use tidelog_format::scan::Expect;
use tidelog_format::walk::Walk;

use crate::engine::ShardSpec;
use crate::error::{OpenError, ReadError};
use crate::reads::read_bytes;
use crate::segments::{Segment, SegmentId};
use crate::shared::Shared;

/// The opening in a segment's first block; `None` when it is damaged, which is told when the frame is read.
pub(crate) fn opening(block: &[u8], id: SegmentId) -> Option<Opening> {
    let mut walk = Walk::new(Expect { epoch: Some(id.epoch), ..Expect::default() });
    walk.step(block, true);
    walk.opening().copied()
}

/// Refuses a segment of another cluster, another shard or another number.
pub(crate) fn check(opening: &Opening, id: SegmentId, spec: &ShardSpec) -> Result<(), OpenError> {
    let foreign = |what| Err(OpenError::Foreign { file: id.path(&spec.dir), what });
    if opening.cluster != spec.cluster {
        return foreign("cluster");
    }
    if opening.shard != spec.shard {
        return foreign("shard");
    }
    if opening.number != id.number {
        let what = format!("it holds segment {}", opening.number);
        return Err(OpenError::Misplaced { file: id.path(&spec.dir), what });
    }
    Ok(())
}

/// Refuses a file that has no frame of its own segment and holds what no recycled file can hold (docs/recovery.md): then it
/// stands in another's place, and taking it for one that waits for its turn would lose what is in it or in the other.
/// `names` are those of all files of the shard; `is_dropped`: its own frames do not count, as the metadata says.
pub(crate) fn check_unbegun(
    first: &FirstBlock,
    id: SegmentId,
    spec: &ShardSpec,
    names: &[SegmentId],
    is_dropped: bool,
) -> Result<(), OpenError> {
    let file = || id.path(&spec.dir);
    let holds = SegmentId { number: first.opening.number, epoch: first.epoch };
    let held = format!("it holds segment {} of epoch {}", holds.number, holds.epoch);
    let what = match first.held_by(Some(&spec.cluster), Some(spec.shard), id.epoch, id.number) {
        Holds::OtherCluster => return Err(OpenError::Foreign { file: file(), what: "cluster" }),
        Holds::OtherShard(_) => return Err(OpenError::Foreign { file: file(), what: "shard" }),
        Holds::Later => held,
        Holds::Earlier if names.contains(&holds) => format!("{held}, which has a file of its own"),
        Holds::Itself if !is_dropped => format!("{held}, which does not follow the segment before"),
        Holds::Earlier | Holds::Itself => return Ok(()),
    };
    Err(OpenError::Misplaced { file: file(), what })
}

/// Refuses names that no shard gives its files: numbers begin with 1, each is used once, and epochs grow with them.
/// `ids` are sorted; epochs above `newest` there are none yet.
pub(crate) fn check_names(ids: &[SegmentId], spec: &ShardSpec, newest: u32) -> Result<(), OpenError> {
    let foreign = |id: &SegmentId, what| Err(OpenError::Foreign { file: id.path(&spec.dir), what });
    if let Some(first) = ids.first().filter(|id| id.number == 0) {
        return foreign(first, "place (segments are counted from 1)");
    }
    for (one, other) in ids.iter().zip(ids.iter().skip(1)) {
        if one.number == other.number {
            return foreign(other, "place (there is another file with its number)");
        }
        if one.epoch > other.epoch {
            return foreign(other, "place (its epoch is older than that of the file before)");
        }
    }
    match ids.iter().find(|id| id.epoch > newest) {
        Some(newer) => foreign(newer, "place (its epoch is newer than the node's)"),
        None => Ok(()),
    }
}

/// Refuses to read from a sealed segment whose opening is another segment's.
pub(crate) async fn check_sealed(shared: &Shared, segment: &Segment) -> Result<(), ReadError> {
    let (buf, read) = read_bytes(shared, segment.id, 0, BLOCK).await?;
    let misplaced = |opening: &Opening| ReadError::Misplaced {
        file: segment.id.path(&shared.dir),
        what: format!("it is segment {} of shard {}", opening.number, opening.shard),
    };
    match opening(&buf[..read.min(BLOCK)], segment.id) {
        Some(found) if found.number != segment.id.number || found.shard != shared.shard => {
            Err(misplaced(&found))
        }
        _ => Ok(()),
    }
}
