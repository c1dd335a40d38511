//! Tidelog's write-ahead log: many partitions share a shard's frames, and everything that waits shares a sync.
//!
//! # Purpose
//! A shard is one ordered sequence of frames in segment files on one disk. [`find_shard`] looks at it and says how far it
//! goes; once that is decided, [`FoundShard::open`] opens the next span and gives an [`Engine`], which lives on the ring
//! thread and does all I/O, and a [`Wal`], the handle for everyone else.
//!
//! # Durability
//! [`Durable`] can be made here only, and only after the write that holds the batch has returned from a
//! synchronous write and the shard's [`Commits`] has said that it is committed. A failed write poisons the shard: the first cause is kept, nothing is acknowledged after
//! it, nothing is tried again.
//!
//! # Invariants
//! - One write in flight per shard. A write is one frame and its end block (the first of a segment: the opening
//!   frame, one frame, the end block).
//! - Offsets and LSNs are dense; frames become visible to readers after they are durable and committed, in LSN order.
//! - A batch that an idempotent producer sends twice is stored once. Its sequence is judged where offsets are given
//!   out, against all that is framed; a duplicate is answered when its original is durable, with the original's offset.
//! - No acknowledged byte is ever overwritten: the only block written twice is the end block.
//! - A reader never repairs.
//!
//! # Recovery
//! Sealed segments are trusted to their trailer; only those behind the newest sealed one are scanned and judged by
//! `tidelog_format::verdict`. Nothing is cut or sealed before the next span is opened. A restart opens a new span with a
//! new epoch in a new segment.
//!
//! # Limits
//! Segments of 64 KiB to 1 GiB, batches up to 8 MiB, bytes in flight bounded by [`Options::queue_bytes`].
#![forbid(unsafe_code)]

mod appender;
mod commits;
mod control;
mod cursors;
mod echoes;
mod ending;
mod engine;
mod error;
mod following;
mod frames;
mod gather;
mod identity;
mod keeper;
mod older;
mod options;
mod promises;
mod queue;
mod read_buffers;
mod reader;
mod reads;
mod recovery;
mod reply;
mod retention;
mod seal;
mod segments;
mod shared;
mod span_files;
mod spares;
mod stats;
mod store;
mod tail;
mod wal;
mod window;
mod writing;

pub use commits::{Commits, OwnDisk};
pub use control::Control;
pub use engine::{
    Engine, Followed, FoundShard, OpenSpan, ShardSpec, end_shard, find_shard, follow_shard, open_shard,
};
pub use error::{AppendError, Hole, OpenError, OptionsError, ReadError, StoreError};
pub use following::{FrameWriter, ReadyFrame};
pub use options::Options;
pub use promises::{PromiseFile, PromisesFound};
pub use reader::Fetched;
pub use reads::Reads;
pub use recovery::{Cut, Ended, FIRST_LSN, Recovered, SegmentVerdict, SpanBase, SpanEnd};
pub use reply::Appending;
pub use retention::{Retained, Retention, SpanUse};
pub use shared::{PartitionState, Status};
pub use span_files::{
    Copied, CopyFiles, IntactFrames, SealedFile, SealedFiles, SpanFiles, epochs_in, put_span_aside,
    remove_span_aside,
};
pub use stats::{COMMIT_BUCKETS, Stats};
pub use store::{Store, SuperblockFile};
pub use wal::{Durable, Wal};
pub use writing::Made;
