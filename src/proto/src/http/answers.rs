//! # Purpose
//! What producing and reading answer: the list of partitions written, and records as NDJSON lines, both ways.
//!
//! # Format
//! A read answers one JSON object per line: `{"offset", "timestamp", "key", "value", "headers"}`, in this order;
//! `headers` is absent when there are none. Bytes that are no UTF-8 stand in `key_base64`, `value_base64`,
//! `headers_base64`. Names that repeat turn `headers` into `headers_list`, a list of `[name, value]`; one value that
//! is no UTF-8 turns all of a record's headers into the `_base64` form, so that their order is kept.

use std::borrow::Cow;
use std::io::Write;

use base64::Engine;
use serde::de::DeserializeSeed;
use serde::{Deserialize, Serialize};
use tidelog_format::batch::{Header, Record};

use crate::limits::Limits;

use super::record_json::{BASE64, Context, RecordSeed};
use super::records::{Fault, InputRecord};

/// Answer to producing: what each partition got.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ProduceAnswer {
    /// By partition number, each at most once; once more where its leader changed meanwhile and others wrote to it in between.
    pub partitions: Vec<PartitionWritten>,
}

/// The records that one partition got from one request: `base_offset` to `base_offset + count - 1`, durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartitionWritten {
    /// Partition number.
    pub partition: u32,
    /// Offset of the first record.
    pub base_offset: u64,
    /// How many records.
    pub count: u64,
}

/// One record as a read answers it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadRecord<'a> {
    /// Its offset in the partition.
    pub offset: u64,
    /// Key, value, headers and (always present) timestamp.
    pub record: InputRecord<'a>,
}

/// Appends one record to `out` as a JSON object and a line feed.
pub fn write_line(out: &mut Vec<u8>, offset: u64, record: &Record<'_>) {
    out.extend_from_slice(b"{\"offset\":");
    write_number(out, offset);
    out.extend_from_slice(b",\"timestamp\":");
    write_number(out, record.timestamp);
    write_field(out, "key", record.key);
    write_field(out, "value", record.value);
    if !record.headers.is_empty() {
        write_headers(out, &record.headers);
    }
    out.extend_from_slice(b"}\n");
}

fn write_number(out: &mut Vec<u8>, number: impl std::fmt::Display) {
    // Writing to a Vec cannot fail.
    let _ = write!(out, "{number}");
}

fn write_string(out: &mut Vec<u8>, text: &str) {
    // Writing to a Vec cannot fail, and a string is always JSON.
    let _ = serde_json::to_writer(out, text);
}

fn write_base64(out: &mut Vec<u8>, bytes: &[u8]) {
    out.push(b'"');
    out.extend_from_slice(BASE64.encode(bytes).as_bytes());
    out.push(b'"');
}

fn write_field(out: &mut Vec<u8>, name: &str, bytes: Option<&[u8]>) {
    let text = bytes.map(std::str::from_utf8);
    out.extend_from_slice(b",\"");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(if matches!(text, Some(Err(_))) { b"_base64\":" } else { b"\":" });
    match (bytes, text) {
        (_, Some(Ok(text))) => write_string(out, text),
        (Some(bytes), _) => write_base64(out, bytes),
        (None, _) => out.extend_from_slice(b"null"),
    }
}

fn write_headers(out: &mut Vec<u8>, headers: &[Header<'_>]) {
    let repeated = has_repeated_name(headers);
    let base64 =
        headers.iter().filter_map(|header| header.value).any(|value| std::str::from_utf8(value).is_err());
    out.extend_from_slice(match (repeated, base64) {
        (false, false) => b",\"headers\":{",
        (false, true) => b",\"headers_base64\":{",
        (true, false) => b",\"headers_list\":[",
        (true, true) => b",\"headers_list_base64\":[",
    });
    for (n, header) in headers.iter().enumerate() {
        if n > 0 {
            out.push(b',');
        }
        if repeated {
            out.push(b'[');
        }
        write_string(out, &String::from_utf8_lossy(header.name));
        out.push(if repeated { b',' } else { b':' });
        match header.value {
            None => out.extend_from_slice(b"null"),
            Some(value) if base64 => write_base64(out, value),
            Some(value) => write_string(out, &String::from_utf8_lossy(value)),
        }
        if repeated {
            out.push(b']');
        }
    }
    out.push(if repeated { b']' } else { b'}' });
}

fn has_repeated_name(headers: &[Header<'_>]) -> bool {
    if let [_] = headers {
        return false;
    }
    let mut names: Vec<&[u8]> = headers.iter().map(|header| header.name).collect();
    names.sort_unstable();
    names.windows(2).any(|pair| pair[0] == pair[1])
}

/// A line that no read answers.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a record as a read answers it: {0}")]
pub struct LineError(String);

/// Reads one line (with or without its line feed) back.
pub fn read_line(line: &[u8]) -> Result<ReadRecord<'_>, LineError> {
    let text = std::str::from_utf8(line).map_err(|error| LineError(error.to_string()))?;
    // Stored headers are counted another way than sent ones; a reader takes what the server could store.
    let defaults = Limits::default();
    let limits =
        Limits { record_key_and_headers_bytes: 8 * defaults.record_key_and_headers_bytes, ..defaults };
    let context = Context::new(&limits);
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let seed = RecordSeed { context: &context, with_offset: true };
    let read = seed.deserialize(&mut deserializer).and_then(|read| deserializer.end().map(|()| read));
    let (offset, record) = read.map_err(|error| {
        let fault =
            context.fault.take().unwrap_or_else(|| Fault::Json(crate::shown::message(&error.to_string())));
        LineError(fault.to_string())
    })?;
    let offset = offset.ok_or_else(|| LineError("field `offset` is missing".to_owned()))?;
    if record.timestamp.is_none() {
        return Err(LineError("field `timestamp` is missing".to_owned()));
    }
    Ok(ReadRecord { offset, record })
}

impl ReadRecord<'_> {
    /// The same record on its own, not borrowed from its line.
    pub fn into_owned(self) -> ReadRecord<'static> {
        fn own(bytes: Cow<'_, [u8]>) -> Cow<'static, [u8]> {
            Cow::Owned(bytes.into_owned())
        }
        let InputRecord { key, value, timestamp, headers, partition } = self.record;
        let headers = headers.into_iter().map(|header| super::records::InputHeader {
            name: Cow::Owned(header.name.into_owned()),
            value: header.value.map(own),
        });
        let record = InputRecord {
            key: key.map(own),
            value: value.map(own),
            timestamp,
            headers: headers.collect(),
            partition,
        };
        ReadRecord { offset: self.offset, record }
    }
}

#[cfg(test)]
#[path = "answers_tests.rs"]
mod tests;
