//! # Purpose
//! The body of `POST /v1/topics/T/records`: records as JSON, NDJSON or lines of text.
//!
//! # Format
//! - JSON: `{"records": [{"key", "value", "timestamp", "headers": {..}, "partition"}, ...]}`, all fields optional.
//!   `key_base64`, `value_base64`, `headers_base64` carry bytes that are no UTF-8 (standard alphabet);
//!   `headers_list`, `headers_list_base64` are `[[name, value], ...]` for names that repeat. null is "none".
//! - NDJSON: one such record object per line; blank lines are skipped.
//! - Text: each line is one record's value, without its LF or CRLF. Only the last line may lack its line end.
//!
//! # Invariants
//! When decoding fails nothing that was handed out before may be stored: a request is taken as a whole or not at all.
//!
//! # Limits
//! Value, key with headers, and the number of records; each header is charged 6 bytes beside its name and value (what a
//! batch needs for the two lengths, at most).

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use tidelog_format::batch::{Header, Record};

use crate::limits::{Limits, as_len, exceeds};
use crate::shown::{message, shown};

use super::body::{BodyFormat, line_and_column};
use super::record_json::{Context, RecordSeed};

/// One record as a producer sent it. Strings without escapes and text lines are borrowed from the body.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct InputRecord<'a> {
    /// Any bytes.
    pub key: Option<Cow<'a, [u8]>>,
    /// Any bytes.
    pub value: Option<Cow<'a, [u8]>>,
    /// Milliseconds since 1970, not negative; absent: the time of arrival.
    pub timestamp: Option<i64>,
    /// In the order sent; names may repeat.
    pub headers: Vec<InputHeader<'a>>,
    /// The partition wanted; absent: by key, or where keyless records go.
    pub partition: Option<u32>,
}

/// A header of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InputHeader<'a> {
    /// May be empty, may repeat.
    pub name: Cow<'a, str>,
    /// Any bytes.
    pub value: Option<Cow<'a, [u8]>>,
}

impl InputHeader<'_> {
    /// Bytes that a header counts for: name, value and 6.
    pub(super) fn charged(name: &str, value: Option<&[u8]>) -> usize {
        name.len() + value.map_or(0, <[u8]>::len) + 6
    }
}

impl InputRecord<'_> {
    /// The record to put into a batch; `now_ms` (milliseconds since 1970) fills an absent timestamp.
    pub fn as_record(&self, now_ms: i64) -> Record<'_> {
        Record {
            timestamp: self.timestamp.unwrap_or(now_ms),
            key: self.key.as_deref(),
            value: self.value.as_deref(),
            headers: self
                .headers
                .iter()
                .map(|header| Header { name: header.name.as_bytes(), value: header.value.as_deref() })
                .collect(),
        }
    }

    /// Bytes of key and headers as the limit counts them.
    pub fn key_and_headers_len(&self) -> usize {
        let headers = self.headers.iter().map(|h| InputHeader::charged(&h.name, h.value.as_deref()));
        headers.sum::<usize>() + self.key.as_ref().map_or(0, |key| key.len())
    }
}

/// What is wrong with a body of records.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Not UTF-8, which JSON has to be.
    #[error("not valid UTF-8")]
    NotUtf8,
    /// Not JSON, or not of the shape expected: the parser's words.
    #[error("{0}")]
    Json(String),
    /// A field that is unknown, given twice, or holds what it must not hold.
    #[error("{0}")]
    Field(String),
    /// A record over a limit.
    #[error("{what} {len} bytes, the limit is {max}")]
    RecordTooLarge {
        /// `the value has` or `key and headers have`.
        what: &'static str,
        /// Bytes sent.
        len: usize,
        /// The limit, in bytes.
        max: u64,
    },
    /// More records than one request may have.
    #[error("more than {0} records in one request; send fewer at a time")]
    TooManyRecords(u64),
    /// Raw batches are not read by this decoder.
    #[error("this body holds record batches, not records")]
    RawBatches,
}

/// A body that is refused, with the place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordsError {
    /// Number of the record, from 1; `None` when no record had begun.
    pub record: Option<u64>,
    /// Line of the body, from 1.
    pub line: usize,
    /// Byte in the line, from 1; 0 when the line as a whole is meant.
    pub column: usize,
    /// What is wrong.
    pub fault: Fault,
}

impl RecordsError {
    /// Whether less data would have been accepted (HTTP 413), instead of other data (400).
    pub fn is_too_large(&self) -> bool {
        matches!(self.fault, Fault::RecordTooLarge { .. } | Fault::TooManyRecords(_))
    }
}

impl std::error::Error for RecordsError {}

impl fmt::Display for RecordsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(record) = self.record {
            write!(f, "record {record}: ")?;
        }
        write!(f, "{} (line {}", self.fault, self.line)?;
        match self.column {
            0 => f.write_str(")"),
            column => write!(f, ", column {column})"),
        }
    }
}

/// Decodes a whole (already decompressed) body and hands each record to `sink`, in order. On an error nothing that
/// `sink` got may be stored. [`BodyFormat::RawBatch`] is refused: `tidelog_format::batch::split` reads those.
pub fn decode<'a>(
    format: BodyFormat,
    body: &'a [u8],
    limits: &Limits,
    mut sink: impl FnMut(InputRecord<'a>),
) -> Result<(), RecordsError> {
    match format {
        BodyFormat::Json => decode_json(body, limits, &mut sink),
        BodyFormat::NdJson => decode_ndjson(body, limits, &mut sink),
        BodyFormat::Text => decode_text(body, limits, &mut sink),
        BodyFormat::RawBatch => {
            Err(RecordsError { record: None, line: 1, column: 0, fault: Fault::RawBatches })
        }
    }
}

/// [`decode`] into a list, which takes some hundred bytes for each record.
pub fn decode_all<'a>(
    format: BodyFormat,
    body: &'a [u8],
    limits: &Limits,
) -> Result<Vec<InputRecord<'a>>, RecordsError> {
    let mut records = Vec::new();
    decode(format, body, limits, |record| records.push(record))?;
    Ok(records)
}

fn as_utf8(body: &[u8]) -> Result<&str, RecordsError> {
    std::str::from_utf8(body).map_err(|error| {
        let (line, column) = line_and_column(body, error.valid_up_to());
        RecordsError { record: None, line, column, fault: Fault::NotUtf8 }
    })
}

/// Turns the parser's error into ours; `lines_before` lines stand before what it has seen.
fn failed(error: &serde_json::Error, context: &Context<'_>, lines_before: usize) -> RecordsError {
    let fault = context.fault.take().unwrap_or_else(|| {
        let text = error.to_string();
        let place = format!(" at line {} column {}", error.line(), error.column());
        Fault::Json(message(text.strip_suffix(&*place).unwrap_or(&text)))
    });
    let record = Some(context.record.get()).filter(|record| *record > 0);
    RecordsError { record, line: lines_before + error.line().max(1), column: error.column(), fault }
}

/// Starts the next record, if there may be one more.
fn begin_record(context: &Context<'_>) -> Result<(), Fault> {
    let max = context.limits.records_per_request;
    if context.record.get() >= max {
        return Err(Fault::TooManyRecords(max));
    }
    context.record.set(context.record.get() + 1);
    Ok(())
}

fn decode_json<'a>(
    body: &'a [u8],
    limits: &Limits,
    sink: &mut dyn FnMut(InputRecord<'a>),
) -> Result<(), RecordsError> {
    let json = as_utf8(body)?;
    let context = Context::new(limits);
    let mut deserializer = serde_json::Deserializer::from_str(json);
    let body = Body { context: &context, sink };
    let read = deserializer.deserialize_map(body).and_then(|()| deserializer.end());
    read.map_err(|error| failed(&error, &context, 0))
}

fn decode_ndjson<'a>(
    body: &'a [u8],
    limits: &Limits,
    sink: &mut dyn FnMut(InputRecord<'a>),
) -> Result<(), RecordsError> {
    let context = Context::new(limits);
    for (lines_before, line) in as_utf8(body)?.split('\n').enumerate() {
        if line.bytes().all(|b| matches!(b, b' ' | b'\t' | b'\r')) {
            continue;
        }
        begin_record(&context).map_err(|fault| RecordsError {
            record: None,
            line: lines_before + 1,
            column: 0,
            fault,
        })?;
        let mut deserializer = serde_json::Deserializer::from_str(line);
        let seed = RecordSeed { context: &context, with_offset: false };
        let record =
            seed.deserialize(&mut deserializer).and_then(|(_, record)| deserializer.end().map(|()| record));
        sink(record.map_err(|error| failed(&error, &context, lines_before))?);
    }
    Ok(())
}

fn decode_text<'a>(
    body: &'a [u8],
    limits: &Limits,
    sink: &mut dyn FnMut(InputRecord<'a>),
) -> Result<(), RecordsError> {
    let max = limits.record_value_bytes;
    let mut rest = body;
    let mut count = 0_usize;
    while !rest.is_empty() {
        let end = memchr::memchr(b'\n', rest);
        let line = end.map_or(rest, |end| &rest[..end]);
        rest = end.map_or(&[], |end| &rest[end + 1..]);
        // A CR belongs to a line end only where there is one.
        let value = if end.is_some() { line.strip_suffix(b"\r").unwrap_or(line) } else { line };
        count += 1;
        let number = u64::try_from(count).ok();
        if exceeds(count, limits.records_per_request) {
            let fault = Fault::TooManyRecords(limits.records_per_request);
            return Err(RecordsError { record: None, line: count, column: 0, fault });
        }
        if value.len() > as_len(max) {
            let fault = Fault::RecordTooLarge { what: "the value has", len: value.len(), max };
            return Err(RecordsError { record: number, line: count, column: 0, fault });
        }
        sink(InputRecord { value: Some(Cow::Borrowed(value)), ..InputRecord::default() });
    }
    Ok(())
}

/// `{"records": [...]}`.
struct Body<'c, 'l, 's, 'a> {
    context: &'c Context<'l>,
    sink: &'s mut dyn FnMut(InputRecord<'a>),
}

impl<'a> Visitor<'a> for Body<'_, '_, '_, 'a> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object {\"records\": [...]}")
    }

    fn visit_map<A: MapAccess<'a>>(mut self, mut map: A) -> Result<(), A::Error> {
        let mut seen = false;
        while let Some(name) = map.next_key::<Cow<'a, str>>()? {
            if name != "records" {
                let name = shown(name.as_bytes());
                let text =
                    format!("unknown field `{name}` beside `records`; a body is {{\"records\": [...]}}");
                return Err(self.context.stop(Fault::Field(text)));
            }
            if std::mem::replace(&mut seen, true) {
                return Err(self.context.stop(Fault::Field("field `records` is given twice".to_owned())));
            }
            map.next_value_seed(List(&mut self))?;
        }
        if !seen {
            let text = "field `records` is missing; a body is {\"records\": [...]}";
            return Err(self.context.stop(Fault::Field(text.to_owned())));
        }
        Ok(())
    }
}

/// The list of records.
struct List<'b, 'c, 'l, 's, 'a>(&'b mut Body<'c, 'l, 's, 'a>);

impl<'a> DeserializeSeed<'a> for List<'_, '_, '_, '_, 'a> {
    type Value = ();

    fn deserialize<D: Deserializer<'a>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'a> Visitor<'a> for List<'_, '_, '_, '_, 'a> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of records in field `records`")
    }

    fn visit_seq<A: SeqAccess<'a>>(self, mut list: A) -> Result<(), A::Error> {
        let Body { context, sink } = self.0;
        while let Some((_, record)) = list.next_element_seed(Numbered(context))? {
            sink(record);
        }
        // What is wrong from here on is wrong with the body, not with its last record.
        context.record.set(0);
        Ok(())
    }
}

/// A record of the list, counted when it begins.
struct Numbered<'c, 'l>(&'c Context<'l>);

impl<'a> DeserializeSeed<'a> for Numbered<'_, '_> {
    type Value = (Option<u64>, InputRecord<'a>);

    fn deserialize<D: Deserializer<'a>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        begin_record(self.0).map_err(|fault| self.0.stop::<D::Error>(fault))?;
        RecordSeed { context: self.0, with_offset: false }.deserialize(deserializer)
    }
}

#[cfg(test)]
#[path = "records_tests.rs"]
mod tests;
