//! Records one by one into a sink.

use tidelog_format::batch::{BatchView, Record};
use tidelog_format::block::BLOCK_U64;
use tidelog_format::entry::{Entry, EntryKind};
use tidelog_format::frame::Frame;

use crate::dump::Dump;
use crate::error::InspectError;
use crate::filter::Filter;
use crate::finding::{Finding, Severity, Subject};
use crate::names::{Name, Names};
use crate::pass::Visitor;

/// A record and where it was found.
pub(super) struct Place<'a> {
    pub(super) name: &'a Name,
    pub(super) partition_id: u64,
    pub(super) offset: u64,
}

/// Takes records.
pub(super) trait Sink {
    /// The next record.
    fn record(&mut self, place: &Place<'_>, record: &Record<'_>) -> Result<(), InspectError>;

    /// No more records; what was written is durable afterwards.
    fn finish(self: Box<Self>) -> Result<(), InspectError>;
}

/// Hands out the records that are asked for.
pub(super) struct RecordExport {
    sink: Box<dyn Sink>,
    filter: Filter,
    names: Names,
    file: String,
    scratch: Vec<u8>,
    count: u64,
    findings: Vec<Finding>,
}

impl RecordExport {
    pub(super) fn new(sink: Box<dyn Sink>, filter: Filter) -> RecordExport {
        RecordExport {
            sink,
            filter,
            names: Names::default(),
            file: String::new(),
            scratch: Vec::new(),
            count: 0,
            findings: Vec::new(),
        }
    }

    /// Ends the export; gives the number of records.
    pub(super) fn finish(self) -> Result<u64, InspectError> {
        self.sink.finish()?;
        Ok(self.count)
    }

    fn batch(&mut self, frame: &Frame<'_>, entry: &Entry<'_>) -> Result<(), InspectError> {
        let name = self.names.of(entry.row.partition);
        let mut scratch = std::mem::take(&mut self.scratch);
        let mut problem = None;
        match BatchView::parse(entry.body).and_then(|batch| batch.records(&mut scratch)) {
            Err(error) => problem = Some(error),
            Ok(records) => {
                for record in records {
                    match record {
                        Ok((offset, record)) if self.filter.takes_record(offset, &record) => {
                            self.count += 1;
                            let place = Place { name: &name, partition_id: entry.row.partition, offset };
                            self.sink.record(&place, &record)?;
                        }
                        Ok(_) => {}
                        Err(error) => problem = Some(error),
                    }
                }
            }
        }
        self.scratch = scratch;
        if let Some(error) = problem {
            let from = u64::from(frame.header.block_index) * BLOCK_U64 + entry.at as u64;
            let text = format!("the batch's records can't be read: {}", error.fault());
            let finding = Finding::new(Severity::Corrupt, Subject::Frame, &self.file, text);
            self.findings.push(finding.bytes(from, from + entry.body.len() as u64).lsn(frame.header.lsn));
        }
        Ok(())
    }
}

impl Visitor for RecordExport {
    fn frame(&mut self, frame: &Frame<'_>) -> Result<(), InspectError> {
        self.names.note_frame(frame);
        for entry in frame.entries() {
            if entry.kind() == Some(EntryKind::Batch) && self.filter.takes_batch(&entry, &self.names) {
                self.batch(frame, &entry)?;
            }
        }
        Ok(())
    }
}

impl Dump for RecordExport {
    fn file(&mut self, name: &str) -> Result<(), InspectError> {
        self.file = name.to_owned();
        Ok(())
    }

    fn take_findings(&mut self) -> Vec<Finding> {
        std::mem::take(&mut self.findings)
    }

    fn shown(&self) -> u64 {
        self.count
    }

    fn is_done(&self) -> bool {
        false
    }

    fn flush(&mut self) -> Result<(), InspectError> {
        Ok(())
    }
}
