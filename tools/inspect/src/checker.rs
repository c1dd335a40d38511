//! What verification looks for in the frames of one segment.

use std::collections::HashMap;

use tidelog_format::batch::BatchHeader;
use tidelog_format::block::{BLOCK_U64, HEADER_LEN};
use tidelog_format::entry::{Entry, EntryKind};
use tidelog_format::frame::Frame;
use tidelog_format::index::SegmentIndex;

use crate::error::InspectError;
use crate::finding::{Finding, Severity, Subject};
use crate::pass::{Hole, Visitor};

/// Most findings of a kind in one file.
const MAX_FINDINGS: usize = 1000;
/// Most partitions that are followed; a hostile file may name any number.
const MAX_PARTITIONS: usize = 1_000_000;

/// Next offset of each partition as far as the batches before tell.
pub(crate) type Offsets = HashMap<u64, u64>;

/// Counts and checks frame by frame.
#[derive(Debug)]
pub(crate) struct Checker {
    file: String,
    /// Rebuilt from the frames; `None` once a hole or an unknown past makes it meaningless.
    pub(crate) index: Option<SegmentIndex>,
    pub(crate) offsets: Offsets,
    pub(crate) findings: Vec<Finding>,
    pub(crate) padding: bool,
    pub(crate) frames: u64,
    pub(crate) batches: u64,
    pub(crate) records: u64,
}

impl Checker {
    pub(crate) fn new(file: String, index: Option<SegmentIndex>, offsets: Offsets) -> Checker {
        Checker {
            file,
            index,
            offsets,
            findings: Vec::new(),
            padding: false,
            frames: 0,
            batches: 0,
            records: 0,
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
        let before = self.offsets.get(&row.partition).copied();
        if let Some(expected) = before.filter(|expected| *expected != row.base_offset) {
            let text = format!(
                "partition {} goes on with offset {}, must be {expected}",
                row.partition, row.base_offset
            );
            self.report(place(Finding::new(Severity::Corrupt, Subject::Offsets, &self.file, text)));
        }
        if before.is_some() || self.offsets.len() < MAX_PARTITIONS {
            self.offsets.insert(row.partition, next);
        }
    }
}

impl Visitor for Checker {
    fn frame(&mut self, frame: &Frame<'_>) -> Result<(), InspectError> {
        self.frames += 1;
        let start = u64::from(frame.header.block_index) * BLOCK_U64;
        self.check_padding(frame, start);
        for entry in frame.entries() {
            match entry.kind() {
                Some(EntryKind::Batch) => self.check_batch(frame, &entry, start),
                Some(EntryKind::PartitionDeleted) => drop(self.offsets.remove(&entry.row.partition)),
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
        self.offsets.clear();
        Ok(())
    }
}
