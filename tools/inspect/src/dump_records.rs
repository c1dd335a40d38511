//! Records, in a format of the user's, as JSON lines, or in a plain default.

use tidelog_format::batch::{BatchView, Record};
use tidelog_format::block::BLOCK_U64;
use tidelog_format::entry::{Entry, EntryKind};
use tidelog_format::frame::Frame;
use tidelog_format::record_format::{RecordFields, RecordFormat, escape_into};

use crate::dump::Dump;
use crate::error::InspectError;
use crate::filter::Filter;
use crate::finding::{Finding, Severity, Subject};
use crate::names::{Name, Names};
use crate::output::Screen;
use crate::pass::Visitor;
use crate::record_json::RecordLine;

/// Most batches of a file that are named because their records can't be read.
const MAX_FINDINGS: usize = 1000;

/// How a record is printed.
#[derive(Debug)]
pub(crate) enum Style {
    Json,
    /// As the user says: raw, but escaped on a terminal.
    Format(RecordFormat),
    /// Topic, partition, offset, timestamp, key and value, tabs between, always escaped.
    Table,
    /// Only counted.
    Nothing,
}

impl Style {
    /// As the command line says.
    pub(crate) fn of(format: Option<RecordFormat>, json: bool) -> Style {
        match (format, json) {
            (Some(format), _) => Style::Format(format),
            (None, true) => Style::Json,
            (None, false) => Style::Table,
        }
    }
}

/// Prints records.
pub(crate) struct RecordDump<'s, 'o> {
    screen: &'s mut Screen<'o>,
    filter: Filter,
    style: Style,
    /// Most records that are printed, and how many were.
    most: u64,
    printed: u64,
    names: Names,
    file: String,
    scratch: Vec<u8>,
    line: Vec<u8>,
    findings: Vec<Finding>,
}

impl<'s, 'o> RecordDump<'s, 'o> {
    pub(crate) fn new(screen: &'s mut Screen<'o>, filter: Filter, style: Style, most: u64) -> Self {
        RecordDump {
            screen,
            filter,
            style,
            most,
            printed: 0,
            names: Names::default(),
            file: String::new(),
            scratch: Vec::new(),
            line: Vec::new(),
            findings: Vec::new(),
        }
    }

    fn batch(&mut self, frame: &Frame<'_>, entry: &Entry<'_>) -> Result<(), InspectError> {
        let name = self.names.of(entry.row.partition);
        let partition_id = entry.row.partition;
        let mut scratch = std::mem::take(&mut self.scratch);
        let mut problem = None;
        match BatchView::parse(entry.body).and_then(|batch| batch.records(&mut scratch)) {
            Err(error) => problem = Some(error),
            Ok(records) => {
                for record in records {
                    match record {
                        Ok(_) if self.printed >= self.most => break,
                        Ok((offset, record)) if self.filter.takes_record(offset, &record) => {
                            self.record(&name, partition_id, offset, &record)?;
                        }
                        Ok(_) => {}
                        Err(error) => problem = Some(error),
                    }
                }
            }
        }
        self.scratch = scratch;
        if let Some(error) = problem.filter(|_| self.findings.len() < MAX_FINDINGS) {
            let from = u64::from(frame.header.block_index) * BLOCK_U64 + entry.at as u64;
            let text = format!("the batch's checksum is good, its records can't be read: {}", error.fault());
            let finding = Finding::new(Severity::Corrupt, Subject::Frame, &self.file, text);
            self.findings.push(finding.bytes(from, from + entry.body.len() as u64).lsn(frame.header.lsn));
        }
        Ok(())
    }

    fn record(&mut self, name: &Name, id: u64, offset: u64, record: &Record<'_>) -> Result<(), InspectError> {
        let fields = RecordFields {
            topic: &name.topic,
            partition: name.partition,
            offset,
            timestamp: record.timestamp,
            key: record.key,
            value: record.value,
            headers: &record.headers,
        };
        self.printed += 1;
        self.line.clear();
        match &self.style {
            Style::Nothing => return Ok(()),
            Style::Json => {
                return Ok(self.screen.json(&RecordLine { name, partition_id: id, offset, record })?);
            }
            Style::Format(format) if self.screen.terminal => format.write_escaped(&mut self.line, &fields),
            Style::Format(format) => format.write(&mut self.line, &fields),
            Style::Table => plain(&mut self.line, &fields),
        }
        Ok(self.screen.out.write_all(&self.line)?)
    }
}

fn plain(out: &mut Vec<u8>, record: &RecordFields<'_>) {
    escape_into(out, record.topic.as_bytes());
    out.extend_from_slice(
        format!("\t{}\t{}\t{}\t", record.partition, record.offset, record.timestamp).as_bytes(),
    );
    escape_into(out, record.key.unwrap_or(b"-"));
    out.push(b'\t');
    escape_into(out, record.value.unwrap_or(b"-"));
    out.push(b'\n');
}

impl Visitor for RecordDump<'_, '_> {
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

impl Dump for RecordDump<'_, '_> {
    fn file(&mut self, name: &str) -> Result<(), InspectError> {
        self.file = name.to_owned();
        Ok(())
    }

    fn take_findings(&mut self) -> Vec<Finding> {
        std::mem::take(&mut self.findings)
    }

    fn shown(&self) -> u64 {
        self.printed
    }

    fn is_done(&self) -> bool {
        self.printed >= self.most
    }

    fn flush(&mut self) -> Result<(), InspectError> {
        Ok(self.screen.out.flush()?)
    }
}
