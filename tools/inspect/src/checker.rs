//! What verification looks for in the frames of one segment.

use tidelog_format::batch::BatchHeader;
use tidelog_format::block::{BLOCK_U64, HEADER_LEN};
use tidelog_format::entry::{Entry, EntryKind};
use tidelog_format::frame::Frame;
use tidelog_format::index::SegmentIndex;

use crate::coverage::Coverage;
use crate::error::InspectError;
use crate::finding::{Finding, Severity, Subject};
use crate::offsets::{BatchAt, Offsets};
use crate::pass::{Hole, Visitor};
use crate::progress::Progress;
use crate::remembered::Remembered;

/// Most findings of a kind in one file.
const MAX_FINDINGS: usize = 1000;
/// Most partitions that are followed; a hostile file may name any number.
const MAX_PARTITIONS: usize = 1_000_000;

/// Counts and checks frame by frame.
#[derive(Debug)]
pub(crate) struct Checker {
    file: String,
    /// Rebuilt from the frames; `None` once a hole or an unknown past makes it meaningless.
    pub(crate) index: Option<SegmentIndex>,
    offsets: Offsets,
    progress: Option<Progress>,
    pub(crate) findings: Vec<Finding>,
    pub(crate) padding: bool,
    pub(crate) frames: u64,
    pub(crate) batches: u64,
    pub(crate) records: u64,
    /// Commands of the metadata, and whether a snapshot stands for all before it.
    pub(crate) commands: bool,
    pub(crate) snapshot: bool,
    /// The newest epoch whose span starts here.
    pub(crate) span: Option<u32>,
    pub(crate) remembered: Remembered,
}

impl Checker {
    pub(crate) fn new(file: String, index: Option<SegmentIndex>) -> Checker {
        Checker {
            file,
            index,
            offsets: Offsets::default(),
            progress: None,
            findings: Vec::new(),
            padding: false,
            frames: 0,
            batches: 0,
            records: 0,
            commands: false,
            snapshot: false,
            span: None,
            remembered: Remembered::default(),
        }
    }

    /// Counts the bytes of frames for those who wait.
    pub(crate) fn counting(self, progress: Progress) -> Checker {
        Checker { progress: Some(progress), ..self }
    }

    /// Judges the offsets by those of the segments before.
    pub(crate) fn settle(&mut self, coverage: &mut Coverage) {
        for (place, partition, found, expected) in std::mem::take(&mut self.offsets).settle(coverage) {
            let text = format!("partition {partition} goes on with offset {found}, must be {expected}");
            let finding = Finding::new(Severity::Corrupt, Subject::Offsets, &self.file, text);
            self.report(finding.bytes(place.from, place.to).lsn(place.lsn));
        }
    }

    fn report(&mut self, finding: Finding) {
        if self.findings.len() < MAX_FINDINGS {
            self.findings.push(finding);
        }
    }

    fn check_padding(&mut self, frame: &Frame<'_>, start: u64) {
        if frame.padding_is_zero() {
            return;
        }
        self.padding = true;
        let used = start + HEADER_LEN as u64 + u64::from(frame.header.body_len);
        let text = "bytes between the frame's content and its end must be zero and are not";
        let finding = Finding::new(Severity::Corrupt, Subject::Padding, &self.file, text);
        self.report(
            finding.bytes(used, frame.header.end_position()).lsn(frame.header.lsn).verdict("padding"),
        );
    }

    fn check_batch(&mut self, frame: &Frame<'_>, entry: &Entry<'_>, start: u64) {
        self.batches += 1;
        self.records += u64::from(entry.row.count);
        let row = &entry.row;
        let from = start + entry.at as u64;
        let place =
            |finding: Finding| finding.bytes(from, from + entry.body.len() as u64).lsn(frame.header.lsn);
        let len = BatchHeader::parse(entry.body).map_or(0, |batch| batch.total_len());
        if len < entry.body.len() {
            let text = format!("{} bytes behind the batch belong to nothing", entry.body.len() - len);
            self.report(place(Finding::new(Severity::Corrupt, Subject::Frame, &self.file, text)));
        }
        let next = row.base_offset.saturating_add(u64::from(row.count));
        let at = BatchAt { from, to: from + entry.body.len() as u64, lsn: frame.header.lsn };
        self.offsets.batch(row.partition, row.base_offset..next, at);
    }
}

impl Checker {
    /// What `repair` says of offsets that were gone already.
    fn check_lost(&mut self, frame: &Frame<'_>, entry: &Entry<'_>) {
        let Some(gone) = crate::lost::of(&entry.row) else { return };
        let partition = entry.row.partition;
        self.offsets.gone(partition, gone.clone());
        let text =
            format!("partition {partition}: offsets {}..{} were lost before a repair", gone.start, gone.end);
        let finding = Finding::new(Severity::Note, Subject::Offsets, &self.file, text);
        self.report(finding.lsn(frame.header.lsn));
    }
}

impl Visitor for Checker {
    fn frame(&mut self, frame: &Frame<'_>) -> Result<(), InspectError> {
        self.frames += 1;
        if let Some(progress) = &self.progress {
            progress.add(frame.bytes().len() as u64);
        }
        let start = u64::from(frame.header.block_index) * BLOCK_U64;
        self.check_padding(frame, start);
        for entry in frame.entries() {
            match entry.kind() {
                Some(EntryKind::Batch) => self.check_batch(frame, &entry, start),
                Some(EntryKind::PartitionCreated) => self.offsets.created(entry.row.partition),
                Some(EntryKind::PartitionDeleted) => self.offsets.deleted(entry.row.partition),
                Some(EntryKind::PartitionTaken) => {
                    self.offsets.taken(entry.row.partition, entry.row.base_offset);
                }
                Some(EntryKind::Command) => {
                    self.commands = true;
                    self.remembered.note(entry.body);
                }
                Some(EntryKind::Snapshot) => self.snapshot = true,
                Some(EntryKind::SpanStart) => self.span = self.span.max(Some(frame.header.epoch)),
                None => self.check_lost(frame, &entry),
                _ => {}
            }
        }
        if let Some(index) = &mut self.index {
            index.note_frame(frame);
            if index.len() > MAX_PARTITIONS {
                self.index = None;
            }
        }
        Ok(())
    }

    fn hole(&mut self, _: &Hole) -> Result<(), InspectError> {
        // What the hole held is unknown: neither offsets nor index can be followed over it.
        self.index = None;
        self.offsets.lose();
        Ok(())
    }
}
