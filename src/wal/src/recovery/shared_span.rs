//! Recovery of a span that others hold too: it is gone on with as it is, or ended where the metadata says.

use std::path::PathBuf;

use tidelog_format::Salt;
use tidelog_format::frame::Frame;
use tidelog_format::scan::Expect;
use tidelog_format::walk::{Outcome, Walk};
use tidelog_io::{Access, Disk, DiskFile, IoError};

use super::{Recovery, SegmentFile, SpanBase};
use crate::ending::ToEnd;
use crate::error::OpenError;
use crate::following::{ReadyFrame, pop_committed};
use crate::segments::SegmentId;

/// Where a span ends, by the metadata: what stands behind counts for nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpanEnd {
    /// LSN behind its last frame.
    pub lsn: u64,
    /// Chain value there.
    pub chain: u64,
}

/// What a shard is looked at for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// To find out where it ends; then all is sealed there.
    Judge,
    /// To go on with its last span as a follower: the last segment stays open.
    Follow,
    /// To end its last span where the metadata says.
    End(SpanEnd),
}

/// The last segment of a span that is gone on with.
pub(crate) struct Resumed<F> {
    pub(crate) id: SegmentId,
    pub(crate) handle: F,
    pub(crate) walk: Walk,
    pub(crate) next_salt: Salt,
    /// Where the frames end that are in the index.
    pub(crate) shown: u64,
}

impl<D: Disk> Recovery<'_, D> {
    /// Whether a file is the first one of the span that the metadata tells of.
    pub(super) fn begins_span(&self, file: &SegmentFile) -> bool {
        self.base.is_some_and(|base| {
            file.id.epoch >= base.epoch
                && self.segments.newest().is_none_or(|last| last.id.epoch < base.epoch)
        })
    }

    /// Whether the walk stands where the span ends by the metadata.
    pub(super) fn ends_at(&self, walk: &Walk) -> bool {
        matches!(self.purpose, Purpose::End(end) if walk.expect().lsn == Some(end.lsn))
    }

    /// Whether a file begins where the span has ended already.
    pub(super) fn is_behind_end(&self, file: &SegmentFile) -> bool {
        let of_span = self.base.is_none_or(|base| file.id.epoch >= base.epoch);
        of_span && matches!(self.purpose, Purpose::End(end) if self.from.next_lsn == end.lsn)
    }

    /// Of the files that are open, the last one that its leader had begun here, where the span is gone on with. One behind
    /// it may be prepared already, or its first write torn.
    pub(super) async fn last_begun(&self, open: &[SegmentFile]) -> Result<Option<usize>, IoError> {
        if self.purpose != Purpose::Follow {
            return Ok(None);
        }
        for (at, file) in open.iter().enumerate().rev() {
            if file.id.epoch == self.spec.epoch && self.read_opening(file).await?.is_some() {
                return Ok(Some(at));
            }
        }
        Ok(None)
    }

    /// Goes on where a span begins of which nothing is here.
    pub(super) fn begin_at(&mut self, base: &SpanBase) {
        (self.from.next_lsn, self.from.chain, self.from.predecessor) = (base.lsn, base.chain, None);
    }

    /// Nothing in it counts: its leader had begun it and nobody committed a frame of it.
    pub(super) async fn drop_behind_end(
        &mut self,
        file: &SegmentFile,
        path: PathBuf,
    ) -> Result<(), OpenError> {
        let handle = self.disk.open(&path, Access::Durable).await?;
        self.check_unbegun(&handle, file, true).await?;
        let outcome = Walk::new(Expect { epoch: Some(file.id.epoch), ..Expect::default() }).end_here();
        self.to_end.push(ToEnd { file: *file, path, handle, outcome, footer: None, digest: [0; 16] });
        Ok(())
    }

    /// Keeps the last segment open. What was found in it may have been written and not synced by a process that died, so
    /// it is synced before anything is built on it.
    pub(super) async fn resume(
        &mut self,
        file: &SegmentFile,
        handle: D::File,
        walk: Walk,
        next_salt: Salt,
        outcome: &Outcome,
    ) -> Result<(), OpenError> {
        handle.sync().await?;
        self.from.next_lsn = outcome.expect.lsn.unwrap_or(self.from.next_lsn);
        self.from.chain = outcome.expect.chain.unwrap_or(self.from.chain);
        (self.last_number, self.seen) = (Some(file.id.number), Some(file.id.number));
        let waiting: usize = self.uncommitted.iter().map(|frame| frame.bytes.len()).sum();
        let shown = outcome.position.saturating_sub(waiting as u64);
        self.resumed = Some(Resumed { id: file.id, handle, walk, next_salt, shown });
        Ok(())
    }

    /// Notes a frame; of a segment that stays open only what is committed.
    pub(super) fn note(&mut self, frame: &Frame<'_>) {
        self.committed = self.committed.max(frame.header.committed_lsn);
        self.report.frames_scanned += 1;
        if !self.resumes {
            return self.index.note_frame(frame);
        }
        self.uncommitted.push_back(ReadyFrame::read(frame));
        let committed = self.committed;
        while let Some(first) = pop_committed(&mut self.uncommitted, committed) {
            if let Some(view) = first.view() {
                self.index.note_frame(&view);
            }
        }
    }
}
