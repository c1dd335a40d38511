//! Batches as they are stored, in the shape of Kafka's own segments.
//!
//! Folders have the partitions' numbers: a name from the wire is never a file's name.

use std::collections::BTreeMap;

use serde::Serialize;
use tidelog_format::entry::EntryKind;
use tidelog_format::frame::Frame;

use crate::dump::Dump;
use crate::error::InspectError;
use crate::filter::Filter;
use crate::finding::Finding;
use crate::names::Names;
use crate::output::Screen;
use crate::pass::Visitor;
use crate::target::{NewFile, Target};

/// Most partitions, each of which keeps a file open.
const MAX_PARTITIONS: usize = 4_000;

/// One partition's file.
struct Open {
    file: NewFile,
    first_offset: u64,
    batches: u64,
}

/// A line of `partitions.jsonl`.
#[derive(Serialize)]
struct Whose<'a> {
    partition_id: u64,
    topic: &'a str,
    partition: u64,
    file: String,
    batches: u64,
    bytes: u64,
}

pub(super) struct BatchExport {
    target: Target,
    filter: Filter,
    names: Names,
    open: BTreeMap<u64, Open>,
    count: u64,
}

impl BatchExport {
    pub(super) fn new(target: Target, filter: Filter) -> BatchExport {
        BatchExport { target, filter, names: Names::default(), open: BTreeMap::new(), count: 0 }
    }

    fn file(&mut self, partition: u64, offset: u64) -> Result<&mut Open, InspectError> {
        if !self.open.contains_key(&partition) {
            if self.open.len() >= MAX_PARTITIONS {
                return Err(InspectError::TooMany { most: MAX_PARTITIONS });
            }
            let folder = self.target.folder(&[&partition.to_string()])?;
            let file = folder.create(&name(offset))?;
            self.open.insert(partition, Open { file, first_offset: offset, batches: 0 });
        }
        self.open.get_mut(&partition).ok_or(InspectError::TooMany { most: MAX_PARTITIONS })
    }

    /// Ends the export; gives the number of batches.
    pub(super) fn finish(self) -> Result<u64, InspectError> {
        let mut lines = Vec::new();
        for (partition_id, open) in self.open {
            let name_of = self.names.of(partition_id);
            let file = format!("{partition_id}/{}", name(open.first_offset));
            let (topic, partition, batches) = (name_of.topic.as_str(), name_of.partition, open.batches);
            let bytes = open.file.finish()?;
            Screen::plain(&mut lines).json(&Whose {
                partition_id,
                topic,
                partition,
                file,
                batches,
                bytes,
            })?;
        }
        let mut list = self.target.folder(&[])?.create("partitions.jsonl")?;
        list.write(&lines)?;
        list.finish()?;
        self.target.finish()?;
        Ok(self.count)
    }
}

/// A segment's name in Kafka: the offset of its first record.
fn name(offset: u64) -> String {
    format!("{offset:020}.log")
}

impl Visitor for BatchExport {
    fn frame(&mut self, frame: &Frame<'_>) -> Result<(), InspectError> {
        self.names.note_frame(frame);
        for entry in frame.entries() {
            if entry.kind() == Some(EntryKind::Batch) && self.filter.takes_batch(&entry, &self.names) {
                let open = self.file(entry.row.partition, entry.row.base_offset)?;
                open.batches += 1;
                open.file.write(entry.body)?;
                self.count += 1;
            }
        }
        Ok(())
    }
}

impl Dump for BatchExport {
    fn file(&mut self, _: &str) -> Result<(), InspectError> {
        Ok(())
    }

    fn take_findings(&mut self) -> Vec<Finding> {
        Vec::new()
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
