//! What can go wrong, told with file, place and advice.

use std::path::PathBuf;
use std::sync::Arc;

use tidelog_format::producers::SequenceError;
use tidelog_format::shard_state::StateError;
use tidelog_format::{Damage, Unsupported};
use tidelog_io::IoError;

use crate::recovery::SpanEnd;

/// A setting outside its range.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{name} is {value}, must be {min} to {max}")]
pub struct OptionsError {
    /// The setting.
    pub name: &'static str,
    /// As given.
    pub value: u64,
    /// Smallest allowed.
    pub min: u64,
    /// Largest allowed.
    pub max: u64,
}

/// Acknowledged bytes that can't be read any more.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{file}: from byte {from} on (LSN {lsn}) acknowledged data is damaged or missing: {what}. \
     Inspect it with tidelog-inspect, restore the file from a copy, or start with --accept-loss to go on without it",
    file = file.display()
)]
pub struct Hole {
    /// The segment's file.
    pub file: PathBuf,
    /// First byte that can't be used.
    pub from: u64,
    /// LSN of the frame that stood there.
    pub lsn: u64,
    /// What was found.
    pub what: String,
}

/// Why a batch was not acknowledged.
#[derive(Debug, Clone, thiserror::Error)]
pub enum AppendError {
    /// The partition was never created here, or was deleted.
    #[error("partition {0} does not live in this shard")]
    UnknownPartition(u64),
    /// Longer than a frame may be.
    #[error("the batch has {len} bytes, at most {max} fit; send smaller batches")]
    TooLarge {
        /// Bytes of the batch.
        len: usize,
        /// Bytes allowed.
        max: usize,
    },
    /// No space for a further segment. Nothing was written; trimming still works.
    #[error("the disk has no room for another segment; free space, trim topics or shorten their retention")]
    Full,
    /// The shard is read-only because acknowledged data is damaged.
    #[error("the shard is read-only: {0}")]
    ReadOnly(Arc<Hole>),
    /// An earlier write failed. Nothing was written.
    #[error("the shard stopped after a failed write: {cause}; restart the node once the disk is sound")]
    Poisoned {
        /// The first failure.
        cause: Arc<IoError>,
    },
    /// The write that held the batch failed: it may or may not be on disk.
    #[error("the write failed, the outcome is unknown until the node restarts: {cause}")]
    OutcomeUnknown {
        /// The failure.
        cause: Arc<IoError>,
    },
    /// Another node leads the shard's span. Nothing was written.
    #[error(
        "another node leads the shard: nothing was written; ask the metadata which one, and send the batch there"
    )]
    Following,
    /// The partition was closed here, so that it can go on in another shard. Nothing was written.
    #[error(
        "partition {0} goes on in another shard: nothing was written; ask the metadata which one leads it, and send the batch there"
    )]
    Moving(u64),
    /// The shard is closing or closed. Nothing was written.
    #[error("the shard is closing; nothing was written")]
    Closed,
    /// The batch is not the one that its idempotent producer has to send next.
    #[error(transparent)]
    Sequence(#[from] SequenceError),
    /// The caller's fault.
    #[error("{0}")]
    Invalid(&'static str),
}

/// Why records can't be had.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ReadError {
    /// The partition does not live here.
    #[error("partition {0} does not live in this shard")]
    UnknownPartition(u64),
    /// Below the first wanted or above the next offset.
    #[error("the offset is outside {log_start}..={next_offset}")]
    OutOfRange {
        /// First wanted offset.
        log_start: u64,
        /// Offset behind the last record.
        next_offset: u64,
    },
    /// The bytes are damaged. They are left as they are.
    #[error("{file} at byte {position}: {damage}; inspect it with tidelog-inspect", file = file.display())]
    Corrupt {
        /// The segment's file.
        file: PathBuf,
        /// Place in it, bytes.
        position: u64,
        /// What is wrong.
        damage: Damage,
    },
    /// A segment that should hold the offset is not there.
    #[error("offsets {from}..{to} of partition {partition} are in a segment that is missing in {dir}", dir = dir.display())]
    Missing {
        /// The shard's folder.
        dir: PathBuf,
        /// The partition.
        partition: u64,
        /// First missing offset.
        from: u64,
        /// Behind the last missing one.
        to: u64,
    },
    /// A file is not the one that its name says, or does not follow the one before it. It is left as it is.
    #[error("{file}: {what}; inspect it with tidelog-inspect, and put the right file there", file = file.display())]
    Misplaced {
        /// The segment's file.
        file: PathBuf,
        /// What it is instead.
        what: String,
    },
    /// Written by a newer version.
    #[error("{file}: {source}", file = file.display())]
    Unsupported {
        /// The segment's file.
        file: PathBuf,
        /// What is newer.
        source: Unsupported,
    },
    /// The disk failed.
    #[error(transparent)]
    Io(#[from] IoError),
    /// The shard is closed.
    #[error("the shard is closed")]
    Closed,
}

/// Why a shard can't be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A setting is out of range.
    #[error(transparent)]
    Options(#[from] OptionsError),
    /// The disk failed.
    #[error(transparent)]
    Io(#[from] IoError),
    /// Written by a newer version.
    #[error("{file}: {source}", file = file.display())]
    Unsupported {
        /// The file.
        file: PathBuf,
        /// What is newer.
        source: Unsupported,
    },
    /// A file is not the segment that its name says: files were exchanged, or one was copied over another. Nothing was
    /// changed.
    #[error(
        "{file}: {what}. Nothing was changed: put each file back under its own name; move a copy away",
        file = file.display()
    )]
    Misplaced {
        /// The file.
        file: PathBuf,
        /// What it is instead.
        what: String,
    },
    /// A file of another cluster or shard, or with a name that no shard gives.
    #[error("{file} belongs to another {what}; move it away", file = file.display())]
    Foreign {
        /// The file.
        file: PathBuf,
        /// "cluster", "shard" or "place".
        what: &'static str,
    },
    /// A footer is needed and neither it nor the frames it indexes can be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The shard's state does not fit into the first frame of a span.
    #[error(transparent)]
    State(#[from] StateError),
    /// The metadata ends a span where this disk does not hold it.
    #[error(
        "shard {shard}: its span ends at LSN {} by the metadata, and the intact frames here at {}: nothing was changed; its \
         files have to be copied from another holder",
        end.lsn,
        found.lsn
    )]
    Elsewhere {
        /// The shard.
        shard: u64,
        /// Where intact frames end here.
        found: SpanEnd,
        /// Where the span ends.
        end: SpanEnd,
    },
}

/// Why a data directory can't be opened.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The disk failed.
    #[error(transparent)]
    Io(#[from] IoError),
    /// Another process has it open.
    #[error(transparent)]
    Lock(#[from] tidelog_io::lock::LockError),
    /// There are files, and no superblock.
    #[error("{dir} holds files and no superblock: it is not a data directory of Tidelog, or its superblock is lost", dir = dir.display())]
    NotOurs {
        /// The directory.
        dir: PathBuf,
    },
    /// The superblock can't be read.
    #[error("{file}: {source}", file = file.display())]
    Superblock {
        /// The file.
        file: PathBuf,
        /// Damage or a newer version.
        source: tidelog_format::superblock::SuperblockError,
    },
    /// Written by a newer version.
    #[error("{file}: {source}", file = file.display())]
    Newer {
        /// The file.
        file: PathBuf,
        /// What is newer.
        source: Unsupported,
    },
    /// The superblock is older than the metadata beside it. Nothing was changed.
    #[error(
        "{file}: it has counted {counted} starts, and start {writer} wrote metadata: it is of an earlier time than what \
         stands beside it. Put all files of the directory back as they were at one and the same moment",
        file = file.display()
    )]
    RolledBack {
        /// The superblock.
        file: PathBuf,
        /// Starts that it has counted.
        counted: u64,
        /// A later start that wrote metadata.
        writer: u32,
    },
    /// The directory belongs to a cluster, and another one was to be joined. Nothing was changed.
    #[error(
        "{dir} belongs to cluster {here:032x}, and the nodes to join are cluster {there:032x}: give an empty directory to join \
         with, or leave --join away to go on with this one",
        dir = dir.display(), here = u128::from_be_bytes(*here), there = u128::from_be_bytes(*there)
    )]
    OtherCluster {
        /// The directory.
        dir: PathBuf,
        /// Its cluster.
        here: [u8; 16],
        /// The one to join.
        there: [u8; 16],
    },
    /// The incarnation counter is used up.
    #[error("{dir} was opened {count} times, no more epochs are left", dir = dir.display())]
    Exhausted {
        /// The directory.
        dir: PathBuf,
        /// Process starts so far.
        count: u64,
    },
}
