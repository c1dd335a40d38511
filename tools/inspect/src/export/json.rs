//! JSON, a document a line.

use tidelog_format::batch::Record;

use super::records::{Place, Sink};
use crate::error::InspectError;
use crate::output::Screen;
use crate::record_json::RecordLine;
use crate::target::NewFile;

pub(super) struct JsonLines {
    file: NewFile,
    line: Vec<u8>,
}

impl JsonLines {
    pub(super) fn new(file: NewFile) -> JsonLines {
        JsonLines { file, line: Vec::new() }
    }
}

impl Sink for JsonLines {
    fn record(&mut self, place: &Place<'_>, record: &Record<'_>) -> Result<(), InspectError> {
        self.line.clear();
        let (name, partition_id, offset) = (place.name, place.partition_id, place.offset);
        Screen::plain(&mut self.line).json(&RecordLine { name, partition_id, offset, record })?;
        self.file.write(&self.line)
    }

    fn finish(self: Box<Self>) -> Result<(), InspectError> {
        self.file.finish().map(|_| ())
    }
}
