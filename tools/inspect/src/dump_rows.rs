//! Frames and their entries, a line each.

use serde::Serialize;
use tidelog_format::batch::BatchHeader;
use tidelog_format::block::BLOCK_U64;
use tidelog_format::entry::{Entry, EntryKind};
use tidelog_format::frame::Frame;
use tidelog_format::record_format::escaped;

use crate::control;
use crate::dump::Dump;
use crate::error::InspectError;
use crate::filter::Filter;
use crate::finding::Finding;
use crate::names::Names;
use crate::output::Screen;
use crate::pass::{Hole, Visitor};

/// Bytes of a control entry's text in a table.
const SHOWN: usize = 200;

#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
enum Line<'a> {
    Frame {
        file: &'a str,
        from: u64,
        to: u64,
        lsn: u64,
        committed_lsn: u64,
        epoch: u32,
        append_time: i64,
        chain: String,
        entries: u32,
        body_bytes: u32,
    },
    Batch {
        file: &'a str,
        from: u64,
        to: u64,
        lsn: u64,
        partition_id: u64,
        name: String,
        base_offset: u64,
        next_offset: u64,
        records: u32,
        codec: &'static str,
        base_timestamp: i64,
        max_timestamp: i64,
        producer_id: i64,
        leader_epoch: i32,
    },
    Control {
        file: &'a str,
        from: u64,
        to: u64,
        lsn: u64,
        kind: &'static str,
        partition_id: u64,
        says: String,
    },
    Hole {
        file: &'a str,
        from: u64,
        to: u64,
        first_lsn: Option<u64>,
        last_lsn: Option<u64>,
        reason: &'a str,
    },
}

/// Prints frames, batches, control entries and holes.
pub(crate) struct RowDump<'s, 'o> {
    screen: &'s mut Screen<'o>,
    filter: Filter,
    json: bool,
    /// Most frames that are printed, and how many were.
    most: u64,
    printed: u64,
    names: Names,
    file: String,
}

impl<'s, 'o> RowDump<'s, 'o> {
    pub(crate) fn new(screen: &'s mut Screen<'o>, filter: Filter, json: bool, most: u64) -> Self {
        let (names, file) = (Names::default(), String::new());
        RowDump { screen, filter, json, most, printed: 0, names, file }
    }

    fn takes(&self, entry: &Entry<'_>, is_batch: bool) -> bool {
        if is_batch {
            self.filter.takes_batch(entry, &self.names)
        } else {
            self.filter.takes_control(entry, &self.names)
        }
    }

    fn frame_line(&mut self, frame: &Frame<'_>, from: u64) -> Result<(), InspectError> {
        self.printed += 1;
        let header = &frame.header;
        let line = Line::Frame {
            file: &self.file,
            from,
            to: header.end_position(),
            lsn: header.lsn,
            committed_lsn: header.committed_lsn,
            epoch: header.epoch,
            append_time: header.append_time,
            chain: format!("{:016x}", header.chain),
            entries: header.entries,
            body_bytes: header.body_len,
        };
        if self.json {
            return Ok(self.screen.json(&line)?);
        }
        let place = place(from, header.end_position());
        let text = format!(
            "{} entries, {} bytes, epoch {}, committed {}, time {}",
            header.entries, header.body_len, header.epoch, header.committed_lsn, header.append_time
        );
        Ok(writeln!(self.screen.out, "{place} {:>10} frame {text}", header.lsn)?)
    }

    fn batch_line(&mut self, lsn: u64, entry: &Entry<'_>, from: u64) -> Result<(), InspectError> {
        // The frame was verified, its batches included.
        let Ok(batch) = BatchHeader::parse(entry.body) else {
            return Ok(());
        };
        let codec = batch.codec().map_or("unknown", |codec| codec.name());
        let to = from + entry.body.len() as u64;
        let name = self.names.shown(entry.row.partition);
        if self.json {
            let line = Line::Batch {
                file: &self.file,
                from,
                to,
                lsn,
                partition_id: entry.row.partition,
                name,
                base_offset: entry.row.base_offset,
                next_offset: batch.next_offset(),
                records: batch.count,
                codec,
                base_timestamp: batch.base_timestamp,
                max_timestamp: batch.max_timestamp,
                producer_id: batch.producer_id,
                leader_epoch: batch.leader_epoch,
            };
            return Ok(self.screen.json(&line)?);
        }
        let text = format!(
            "{} offsets {}..{}, {} records, {} bytes {codec}, times {}..{}",
            escaped(name.as_bytes()),
            batch.base_offset,
            batch.next_offset(),
            batch.count,
            entry.body.len(),
            batch.base_timestamp,
            batch.max_timestamp
        );
        Ok(writeln!(self.screen.out, "{} {lsn:>10} batch {text}", place(from, to))?)
    }

    fn control_line(&mut self, lsn: u64, entry: &Entry<'_>, from: u64) -> Result<(), InspectError> {
        let to = from + entry.body.len() as u64;
        let kind = control::kind(entry);
        let partition_id = entry.row.partition;
        if self.json {
            let says = control::says(entry, entry.body.len());
            let line = Line::Control { file: &self.file, from, to, lsn, kind, partition_id, says };
            return Ok(self.screen.json(&line)?);
        }
        let says = control::shown(entry, SHOWN);
        let of = match entry.kind() {
            Some(
                EntryKind::PartitionCreated
                | EntryKind::PartitionDeleted
                | EntryKind::PartitionTaken
                | EntryKind::Trim,
            ) => {
                format!(" partition {partition_id}:")
            }
            _ => String::new(),
        };
        Ok(writeln!(self.screen.out, "{} {lsn:>10} {kind}{of} {says}", place(from, to))?)
    }
}

fn place(from: u64, to: u64) -> String {
    format!("{:>22}", format!("{from}..{to}"))
}

impl Visitor for RowDump<'_, '_> {
    fn frame(&mut self, frame: &Frame<'_>) -> Result<(), InspectError> {
        self.names.note_frame(frame);
        let start = u64::from(frame.header.block_index) * BLOCK_U64;
        let lsn = frame.header.lsn;
        let mut headed = false;
        if self.filter.is_open() {
            self.frame_line(frame, start)?;
            headed = true;
        }
        for entry in frame.entries() {
            let from = start + entry.at as u64;
            let is_batch = entry.kind() == Some(EntryKind::Batch);
            let taken = self.takes(&entry, is_batch);
            if !taken {
                continue;
            }
            if !headed {
                self.frame_line(frame, start)?;
                headed = true;
            }
            if is_batch {
                self.batch_line(lsn, &entry, from)?;
            } else {
                self.control_line(lsn, &entry, from)?;
            }
        }
        Ok(())
    }

    fn hole(&mut self, hole: &Hole) -> Result<(), InspectError> {
        let Hole { from, to, first_lsn, last_lsn, reason } = hole;
        let (from, to, first_lsn, last_lsn) = (*from, *to, *first_lsn, *last_lsn);
        if self.json {
            let line = Line::Hole { file: &self.file, from, to, first_lsn, last_lsn, reason };
            return Ok(self.screen.json(&line)?);
        }
        let lsn = crate::output::dash(first_lsn);
        Ok(writeln!(self.screen.out, "{} {lsn:>10} HOLE {reason}", place(from, to))?)
    }
}

impl Dump for RowDump<'_, '_> {
    fn file(&mut self, name: &str) -> Result<(), InspectError> {
        self.file = name.to_owned();
        if !self.json {
            writeln!(self.screen.out, "{name}")?;
            writeln!(self.screen.out, "{:>22} {:>10} what", "bytes", "LSN")?;
        }
        Ok(())
    }

    fn take_findings(&mut self) -> Vec<Finding> {
        Vec::new()
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
