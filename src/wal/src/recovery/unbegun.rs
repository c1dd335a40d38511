//! A file that has no frame of its own segment: made ready and not begun, or another file in its place.
//!
//! # Invariants
//! A file counts as not begun only when nothing in its first block contradicts that. What was acknowledged and stands there
//! under a wrong name is refused, and the folder is left as it was found.

use tidelog_format::block::BLOCK;
use tidelog_format::first_block::FirstBlock;
use tidelog_io::{Buf, Disk, DiskFile};

use super::{Recovery, SegmentFile};
use crate::error::OpenError;
use crate::identity;

impl<D: Disk> Recovery<'_, D> {
    /// Refuses a file without a frame of its segment that holds another one's. `is_dropped`: its own frames do not count, as
    /// the metadata says.
    pub(super) async fn check_unbegun(
        &self,
        handle: &D::File,
        file: &SegmentFile,
        is_dropped: bool,
    ) -> Result<(), OpenError> {
        let (read, buf) = handle.read_at(Buf::heap(BLOCK), BLOCK, 0).await;
        match FirstBlock::read(&buf[..read?.min(BLOCK)]) {
            Some(first) => identity::check_unbegun(&first, file.id, self.spec, &self.names, is_dropped),
            None => Ok(()),
        }
    }

    /// Goes on behind a file that is not begun, as if it were not there; but its number was given out.
    pub(super) fn pass_over(&mut self, file: &SegmentFile, before: (u64, u64)) {
        if self.begins_span(file) {
            // What the metadata says of the span's beginning was not met here.
            (self.from.next_lsn, self.from.chain) = before;
            self.unbegun_of_span += 1;
        }
        self.seen = Some(file.id.number);
    }
}
