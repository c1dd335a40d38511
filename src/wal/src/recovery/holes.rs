//! What a shard is read-only for: acknowledged data that is damaged or missing. Nothing is changed.

use std::path::PathBuf;
use std::sync::Arc;

use tidelog_format::walk::Outcome;
use tidelog_io::{Disk, IoError};

use super::{Recovery, SegmentFile, SpanBase, sealed_as};
use crate::error::Hole;
use crate::seal::read_trailer;
use crate::segments::Segment;

impl<D: Disk> Recovery<'_, D> {
    /// A segment is missing: what is before it can be read, nothing is changed.
    pub(super) fn stop_at_gap(&mut self, file: &SegmentFile) {
        let last = self.seen.unwrap_or_default();
        let what =
            format!("segments {} to {} of the shard are missing", last + 1, file.id.number.saturating_sub(1));
        let hole =
            Arc::new(Hole { file: file.id.path(&self.spec.dir), from: 0, lsn: self.from.next_lsn, what });
        tracing::error!(shard = self.spec.shard, lsn = self.from.next_lsn, %hole, "shard is read-only");
        self.hole = Some(hole);
    }

    /// Damaged acknowledged data: what is before it can be read, nothing is changed.
    pub(super) fn stop_at_hole(
        &mut self,
        file: &SegmentFile,
        path: PathBuf,
        base_lsn: u64,
        outcome: &Outcome,
        opened: bool,
    ) {
        let lsn = outcome.expect.lsn.unwrap_or_default();
        let what = format!("{:?}: {:?}", outcome.at, outcome.cause);
        let hole = Arc::new(Hole { file: path, from: outcome.position, lsn, what });
        tracing::error!(shard = self.spec.shard, lsn, %hole, "shard is read-only");
        self.hole = Some(hole);
        if opened {
            let footer = Some(Arc::new(self.index.seal(&sealed_as(base_lsn, outcome))));
            self.segments.insert(Segment { id: file.id, len: file.len, footer, sealed: false });
        }
    }

    /// A sealed segment whose opening frame is damaged is known by its place alone: the file before it is sealed, too, and ends
    /// where it begins - or earlier, if those between were given back. Otherwise files were exchanged, and newer records may
    /// stand in one that nobody looks at.
    pub(super) async fn check_place(
        &mut self,
        file: &SegmentFile,
        base_lsn: u64,
        before: Option<&SegmentFile>,
    ) -> Result<(), IoError> {
        let Some(before) = before else { return Ok(()) };
        let seal = read_trailer(self.disk, &before.id.path(&self.spec.dir), before.len).await?;
        let end = seal.filter(|seal| seal.epoch == before.id.epoch).map(|seal| seal.next_lsn);
        let follows = match before.id.number + 1 == file.id.number {
            true => end == Some(base_lsn),
            false => end.is_some_and(|end| end <= base_lsn),
        };
        if follows {
            return Ok(());
        }
        let what =
            "its opening frame is damaged, and it does not begin where the file before ends".to_owned();
        let hole = Arc::new(Hole { file: file.id.path(&self.spec.dir), from: 0, lsn: base_lsn, what });
        if self.options.accept_loss {
            tracing::error!(shard = self.spec.shard, lsn = base_lsn, %hole, "loss accepted: the file is taken as it is named");
        } else {
            tracing::error!(shard = self.spec.shard, lsn = base_lsn, %hole, "shard is read-only");
            self.hole = Some(hole);
        }
        Ok(())
    }

    /// Where the span begins and nothing of it is here, the files before it must end as the metadata says.
    pub(super) fn meet(&mut self, base: &SpanBase) {
        if (self.from.next_lsn, self.from.chain) == (base.lsn, base.chain) {
            return;
        }
        let (end, lsn) = (self.from.next_lsn, base.lsn);
        let what = format!(
            "the files end at LSN {end}, and by the metadata at {lsn}, where span {} begins",
            base.epoch
        );
        let file = self.segments.newest().map_or(self.spec.dir.clone(), |last| last.id.path(&self.spec.dir));
        let hole = Arc::new(Hole { file, from: 0, lsn: end.min(lsn), what });
        if self.options.accept_loss {
            tracing::error!(shard = self.spec.shard, lsn, %hole, "loss accepted: the shard goes on where its span begins");
            (self.from.next_lsn, self.from.chain, self.from.predecessor) = (base.lsn, base.chain, None);
        } else {
            tracing::error!(shard = self.spec.shard, lsn, %hole, "shard is read-only");
            self.hole = Some(hole);
        }
    }
}
