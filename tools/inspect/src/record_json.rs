//! A record as one JSON line, in the names that the server's read answers use.
//!
//! # Format
//! `topic`, `partition`, `partition_id`, `offset`, `timestamp`, `key`, `value`, `headers` (absent when there are
//! none). Bytes that are no UTF-8 stand in `key_base64`, `value_base64`. Names that repeat turn `headers` into
//! `headers_list`, a list of `[name, value]`; one value that is no UTF-8 turns all into the `_base64` form.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::ser::{SerializeMap, SerializeSeq};
use serde::{Serialize, Serializer};
use tidelog_format::batch::{Header, Record};

use crate::error::InspectError;
use crate::names::Name;
use crate::output::Screen;

/// A record and where it was found.
pub(crate) struct RecordLine<'a> {
    pub(crate) name: &'a Name,
    pub(crate) partition_id: u64,
    pub(crate) offset: u64,
    pub(crate) record: &'a Record<'a>,
}

impl Serialize for RecordLine<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("type", "record")?;
        map.serialize_entry("topic", &self.name.topic)?;
        map.serialize_entry("partition", &self.name.partition)?;
        map.serialize_entry("partition_id", &self.partition_id)?;
        map.serialize_entry("offset", &self.offset)?;
        map.serialize_entry("timestamp", &self.record.timestamp)?;
        field(&mut map, ["key", "key_base64"], self.record.key)?;
        field(&mut map, ["value", "value_base64"], self.record.value)?;
        if !self.record.headers.is_empty() {
            headers(&mut map, &self.record.headers)?;
        }
        map.end()
    }
}

/// The headers alone, as one document; empty when there are none.
pub(crate) fn headers_json(list: &[Header<'_>]) -> Result<String, InspectError> {
    if list.is_empty() {
        return Ok(String::new());
    }
    let mut out = Vec::new();
    let binary = is_binary(list);
    Screen::plain(&mut out).json(&AsList { headers: list, binary })?;
    let mut text = String::from_utf8_lossy(&out).into_owned();
    text.truncate(text.trim_end().len());
    Ok(text)
}

fn is_binary(headers: &[Header<'_>]) -> bool {
    headers.iter().filter_map(|header| header.value).any(|value| std::str::from_utf8(value).is_err())
}

fn field<M: SerializeMap>(map: &mut M, names: [&str; 2], bytes: Option<&[u8]>) -> Result<(), M::Error> {
    match bytes.map(|bytes| (bytes, std::str::from_utf8(bytes))) {
        None => map.serialize_entry(names[0], &None::<&str>),
        Some((_, Ok(text))) => map.serialize_entry(names[0], text),
        Some((bytes, Err(_))) => map.serialize_entry(names[1], &STANDARD.encode(bytes)),
    }
}

fn headers<M: SerializeMap>(map: &mut M, headers: &[Header<'_>]) -> Result<(), M::Error> {
    let binary = is_binary(headers);
    let mut names: Vec<&[u8]> = headers.iter().map(|header| header.name).collect();
    names.sort_unstable();
    let repeated = names.windows(2).any(|pair| pair[0] == pair[1]);
    match (repeated, binary) {
        (false, false) => map.serialize_entry("headers", &AsMap { headers, binary }),
        (false, true) => map.serialize_entry("headers_base64", &AsMap { headers, binary }),
        (true, false) => map.serialize_entry("headers_list", &AsList { headers, binary }),
        (true, true) => map.serialize_entry("headers_list_base64", &AsList { headers, binary }),
    }
}

struct AsMap<'a> {
    headers: &'a [Header<'a>],
    binary: bool,
}

struct AsList<'a> {
    headers: &'a [Header<'a>],
    binary: bool,
}

fn pair(header: &Header<'_>, binary: bool) -> (String, Option<String>) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let value = header.value.map(|value| if binary { STANDARD.encode(value) } else { text(value) });
    (text(header.name), value)
}

impl Serialize for AsMap<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.headers.iter().map(|header| pair(header, self.binary)))
    }
}

impl Serialize for AsList<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut list = serializer.serialize_seq(Some(self.headers.len()))?;
        for header in self.headers {
            list.serialize_element(&pair(header, self.binary))?;
        }
        list.end()
    }
}
