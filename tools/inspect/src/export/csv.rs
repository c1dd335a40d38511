//! Comma-separated values.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use csv::{QuoteStyle, Writer, WriterBuilder};
use tidelog_format::batch::Record;

use super::records::{Place, Sink};
use crate::error::InspectError;
use crate::record_json::headers_json;
use crate::target::NewFile;

const HEAD: [&str; 9] =
    ["topic", "partition", "offset", "timestamp", "key", "value", "headers", "base64", "null"];

pub(super) struct Csv {
    writer: Writer<NewFile>,
}

impl Csv {
    pub(super) fn new(file: NewFile) -> Result<Csv, InspectError> {
        let mut writer = WriterBuilder::new().quote_style(QuoteStyle::Necessary).from_writer(file);
        writer.write_record(HEAD).map_err(failed)?;
        Ok(Csv { writer })
    }
}

fn failed(error: csv::Error) -> InspectError {
    InspectError::Output(error.into())
}

/// Text as it is, other bytes in base64.
fn text(bytes: Option<&[u8]>) -> (String, bool) {
    match bytes.map(|bytes| (bytes, std::str::from_utf8(bytes))) {
        None => (String::new(), false),
        Some((_, Ok(text))) => (text.to_owned(), false),
        Some((bytes, Err(_))) => (STANDARD.encode(bytes), true),
    }
}

/// Names those of the two fields of which something is true.
fn which(key: bool, value: bool) -> &'static str {
    match (key, value) {
        (false, false) => "",
        (true, false) => "key",
        (false, true) => "value",
        (true, true) => "key value",
    }
}

impl Sink for Csv {
    fn record(&mut self, place: &Place<'_>, record: &Record<'_>) -> Result<(), InspectError> {
        let ((key, key_coded), (value, value_coded)) = (text(record.key), text(record.value));
        let row = [
            place.name.topic.clone(),
            place.name.partition.to_string(),
            place.offset.to_string(),
            record.timestamp.to_string(),
            key,
            value,
            headers_json(&record.headers)?,
            which(key_coded, value_coded).to_owned(),
            which(record.key.is_none(), record.value.is_none()).to_owned(),
        ];
        self.writer.write_record(&row).map_err(failed)
    }

    fn finish(self: Box<Self>) -> Result<(), InspectError> {
        let file = self.writer.into_inner().map_err(|error| InspectError::Output(error.into_error()))?;
        file.finish().map(|_| ())
    }
}
