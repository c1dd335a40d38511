//! Who says what is committed: may be answered to producers and shown to readers.
//!
//! # Durability
//! The appender asks after every write that has returned. It publishes nothing at or above what it is told.

use crate::writing::Made;

/// Is told of every frame of a shard, and says how far they are committed. Lives on the shard's thread and is called
/// between two writes, so it must not block.
pub trait Commits: std::fmt::Debug {
    /// Whether another frame may be made now, of what waits: so many bytes, and it may grow while it waits. Once it may again, or
    /// more is committed, [`crate::Wal::wake`] tells the appender so.
    fn may_frame(&mut self, bytes: usize) -> bool;

    /// A frame was made, together with the opening frame before it if a segment begins. Their bytes may be sent elsewhere
    /// meanwhile. Whether they may go to this disk: not when it has promised somebody else to take no more of this span.
    fn framed(&mut self, opening: Option<Made<'_>>, frame: Made<'_>) -> bool;

    /// The write in flight has returned: everything that was framed is durable on this disk.
    fn written(&mut self);

    /// A write failed: this disk is not written any more.
    fn failed(&mut self);

    /// LSNs below are committed.
    fn committed(&mut self) -> u64;

    /// Whether this process writes the span no more: what it has framed and not committed it never will commit. What waits
    /// is refused then, and what was written and not committed gets no clear answer. [`crate::Wal::wake`] tells the
    /// appender that it is so.
    fn is_over(&mut self) -> bool {
        false
    }

    /// Whether the span ends where this disk ends when the process stops. Where others hold it too, its end is decided
    /// with them, and the segment that is being written stays open.
    fn ends_here(&self) -> bool;
}

/// Where this disk alone decides: what is durable on it is committed. For shards whose quorum is somebody else's
/// business (the metadata's), and for tests.
#[derive(Debug, Clone, Copy, Default)]
pub struct OwnDisk {
    framed: u64,
    written: u64,
}

impl OwnDisk {
    /// LSNs below `lsn` are on the disk.
    pub fn from(lsn: u64) -> OwnDisk {
        OwnDisk { framed: lsn, written: lsn }
    }
}

impl Commits for OwnDisk {
    fn may_frame(&mut self, _: usize) -> bool {
        true
    }

    fn framed(&mut self, _: Option<Made<'_>>, frame: Made<'_>) -> bool {
        self.framed = frame.header.lsn.saturating_add(1);
        true
    }

    fn written(&mut self) {
        self.written = self.framed;
    }

    fn failed(&mut self) {}

    fn committed(&mut self) -> u64 {
        self.written
    }

    fn ends_here(&self) -> bool {
        true
    }
}
