//! Whose opening frame stands in a file's first block, and whether the file that is named for a segment may hold it.
//!
//! # Purpose
//! A file that is ready for its segment and has no frame of it yet holds nothing, zeroes, or what an earlier segment of the
//! shard has left in it. A file that was put in another's place looks much alike: its frames have another salt, too. What
//! tells them apart is the identity in the opening frame: files are recycled within their shard and forward only. Recovery
//! and the inspector both ask here, where the walk finds no frame of the segment ([`crate::walk`]).

use crate::block::BLOCK;
use crate::opening::Opening;
use crate::scan::Expect;
use crate::walk::Walk;

/// An intact opening frame in the first block of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FirstBlock {
    /// Epoch of its span.
    pub epoch: u32,
    /// The segment's identity.
    pub opening: Opening,
}

/// What an intact opening frame is to a file that has no frame of its own segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holds {
    /// An earlier segment of the shard: the file was recycled. Where that segment has a file of its own as well, this one
    /// is a copy of it.
    Earlier,
    /// The segment that the file is named for, and it does not follow the one before.
    Itself,
    /// A later segment of the shard.
    Later,
    /// A segment of this other shard.
    OtherShard(u64),
    /// A segment of another cluster.
    OtherCluster,
}

impl FirstBlock {
    /// Reads the first block of a file. `None` where no intact opening frame stands that this program understands.
    pub fn read(bytes: &[u8]) -> Option<FirstBlock> {
        let block = bytes.get(..BLOCK)?;
        let mut walk = Walk::new(Expect::default());
        walk.step(block, true);
        Some(FirstBlock { epoch: walk.expect().epoch?, opening: *walk.opening()? })
    }

    /// What it is to the file of segment `number` of `epoch`, of `shard`. Unknown cluster or shard: any.
    pub fn held_by(&self, cluster: Option<&[u8; 16]>, shard: Option<u64>, epoch: u32, number: u64) -> Holds {
        let FirstBlock { epoch: of, opening } = self;
        if cluster.is_some_and(|cluster| *cluster != opening.cluster) {
            return Holds::OtherCluster;
        }
        if shard.is_some_and(|shard| shard != opening.shard) {
            return Holds::OtherShard(opening.shard);
        }
        // By epoch first: of a span that was ended early, files with higher numbers may have become spares.
        match (*of, opening.number).cmp(&(epoch, number)) {
            std::cmp::Ordering::Less => Holds::Earlier,
            std::cmp::Ordering::Equal => Holds::Itself,
            std::cmp::Ordering::Greater => Holds::Later,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::opening::MIN_SEGMENT;

    const CLUSTER: [u8; 16] = [1; 16];

    fn first(shard: u64, epoch: u32, number: u64) -> FirstBlock {
        FirstBlock { epoch, opening: Opening::new(CLUSTER, shard, number, MIN_SEGMENT) }
    }

    #[test]
    fn files_are_recycled_within_their_shard_and_forward_only() {
        let held = |first: FirstBlock| first.held_by(Some(&CLUSTER), Some(2), 5, 7);
        assert_eq!(held(first(2, 5, 6)), Holds::Earlier);
        assert_eq!(held(first(2, 4, 9)), Holds::Earlier, "of a span that ended before");
        assert_eq!(held(first(2, 5, 7)), Holds::Itself);
        assert_eq!(held(first(2, 5, 8)), Holds::Later);
        assert_eq!(held(first(2, 6, 1)), Holds::Later);
        assert_eq!(held(first(3, 4, 6)), Holds::OtherShard(3));
        assert_eq!(first(3, 4, 6).held_by(Some(&[2; 16]), Some(2), 5, 7), Holds::OtherCluster);
        assert_eq!(
            first(3, 4, 6).held_by(None, None, 5, 7),
            Holds::Earlier,
            "of which nothing else is known"
        );
    }
}
