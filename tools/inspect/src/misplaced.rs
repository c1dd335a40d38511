//! Files that hold no frame of their own segment and stand in another's place: foreign ones, copies, exchanged ones. The
//! rule is the format's ([`tidelog_format::first_block`]), as in recovery, which refuses such a file.

use tidelog_format::block::BLOCK_U64;
use tidelog_format::first_block::{FirstBlock, Holds};
use tidelog_format::verdict::Verdict;

use crate::chain::first_block;
use crate::finding::{Finding, Severity, Subject};
use crate::identity::Identity;
use crate::read::ReadSegment;
use crate::tree::{SegmentFile, ShardFolder};

/// What is wrong with a file without a frame of its own segment; `None` where nothing contradicts that it waits for its turn,
/// and where its own frames have proved damage, which is told as such.
pub(crate) fn judge(
    file: &SegmentFile,
    folder: &ShardFolder,
    superblock: Option<&Identity>,
    read: &ReadSegment,
) -> Option<Finding> {
    let waits = read.is_earlier_life || read.passed.opening.is_none();
    let (epoch, number) = file.id.filter(|_| waits && read.passed.outcome.verdict != Verdict::Corrupt)?;
    let first = first_block(&file.path)?;
    let FirstBlock { epoch: of, opening } = first;
    let held = format!("it holds segment {} of epoch {of}", opening.number);
    let cluster = superblock.map(|superblock| &superblock.cluster_id);
    let text = match first.held_by(cluster, folder.shard, epoch, number) {
        Holds::OtherCluster => "it belongs to another cluster than the superblock".to_owned(),
        Holds::OtherShard(shard) => format!("it is a segment of shard {shard}"),
        Holds::Later => held,
        Holds::Earlier if has_a_file(folder, &first) => format!("{held}, which has a file of its own"),
        Holds::Itself => format!("{held}, which does not follow the segment before"),
        Holds::Earlier => return None,
    };
    let text = format!("{text}: it stands in another file's place, and the node does not start on it");
    Some(Finding::new(Severity::Corrupt, Subject::Identity, &read.name, text).bytes(0, BLOCK_U64))
}

/// Whether the segment has a file with its own name now. A running node renames files, and never back: what has both names
/// one after the other had not both at once, so this is asked last.
fn has_a_file(folder: &ShardFolder, first: &FirstBlock) -> bool {
    let id = Some((first.epoch, first.opening.number));
    let own = folder.segments.iter().find(|file| file.id == id);
    own.is_some_and(|own| first_block(&own.path).as_ref() == Some(first))
}
