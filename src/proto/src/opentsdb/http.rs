//! # Purpose
//! The body of `POST /api/put`: one data point or an array of them.
//!
//! # Format
//! `{"metric": text, "timestamp": number or text, "value": number or text, "tags": {name: value, ...}}`. A tag's value
//! may be a number, it is taken as its text. Other fields are ignored, as OpenTSDB does.
//!
//! # Invariants
//! A body that is not JSON gives no points at all. A point that breaks a rule is reported and the others are kept.
//!
//! # Limits
//! At most `records_per_request` points; at most [`MAX_REPORTED`] bad points are reported, all are counted.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::http::query;
use crate::limits::{Limits, exceeds};
use crate::shown::{message, shown};

use super::point::{NumberKind, PointError, PointRef, Tags, timestamp_ms, value_kind, write_series_key};

pub use super::put_answer::{AGGREGATORS, CONFIG_FILTERS, Failure, PutAnswer, error_body, version_body};

/// The most bad points that one answer names.
pub const MAX_REPORTED: usize = 1000;

/// Why a whole body is refused. Nothing of it may be stored.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PutError {
    /// No content.
    #[error("Missing request content")]
    Empty,
    /// Not UTF-8.
    #[error("Unable to parse the given JSON: not valid UTF-8 at line {line} column {column}")]
    NotUtf8 {
        /// Line, from 1.
        line: usize,
        /// Byte in the line, from 1.
        column: usize,
    },
    /// Not JSON, or neither an object nor an array.
    #[error("Unable to parse the given JSON: {0}")]
    Json(String),
    /// Too many points.
    #[error("more than {0} data points in one request; send fewer at a time")]
    TooMany(u64),
}

/// A bad data point.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadPoint<'a> {
    /// The point as it was sent: JSON.
    pub datapoint: &'a str,
    /// What is wrong with it.
    pub error: PointError,
}

/// A decoded body.
#[derive(Debug, Default)]
pub struct PutBody<'a> {
    text: Vec<u8>,
    points: Vec<Packed>,
    /// The first [`MAX_REPORTED`] bad points.
    pub bad: Vec<BadPoint<'a>>,
    /// How many points are bad.
    pub failed: u64,
}

/// One good point: its key and value lie behind each other in `PutBody::text`, up to these ends.
#[derive(Debug, Clone, Copy)]
struct Packed {
    timestamp_ms: i64,
    key_end: usize,
    value_end: usize,
    kind: NumberKind,
}

impl<'a> PutBody<'a> {
    /// Decodes a whole (already decompressed) body.
    pub fn decode(body: &'a [u8], limits: &Limits) -> Result<PutBody<'a>, PutError> {
        let json = std::str::from_utf8(body).map_err(|error| {
            let (line, column) = crate::http::body::line_and_column(body, error.valid_up_to());
            PutError::NotUtf8 { line, column }
        })?;
        let mut put = PutBody::default();
        let mut visit = Points { put: &mut put, limits, too_many: false };
        let mut deserializer = serde_json::Deserializer::from_str(json);
        let read = match json.trim_start_matches([' ', '\t', '\r', '\n']).as_bytes() {
            [] => return Err(PutError::Empty),
            [b'{', ..] => <&RawValue>::deserialize(&mut deserializer).map(|raw| visit.take(raw)),
            _ => deserializer.deserialize_seq(&mut visit),
        };
        if visit.too_many {
            return Err(PutError::TooMany(limits.records_per_request));
        }
        read.and_then(|()| deserializer.end())
            .map_err(|error| PutError::Json(message(&error.to_string())))?;
        Ok(put)
    }

    /// The good points, in order.
    pub fn points(&self) -> impl Iterator<Item = PointRef<'_>> {
        let mut start = 0;
        self.points.iter().map(move |packed| {
            let key_start = std::mem::replace(&mut start, packed.value_end);
            PointRef {
                series_key: &self.text[key_start..packed.key_end],
                timestamp_ms: packed.timestamp_ms,
                value: &self.text[packed.key_end..packed.value_end],
                kind: packed.kind,
            }
        })
    }

    /// How many points are good.
    pub fn success(&self) -> usize {
        self.points.len()
    }
}

/// Takes points as the JSON parser meets them.
struct Points<'p, 'a, 'l> {
    put: &'p mut PutBody<'a>,
    limits: &'l Limits,
    too_many: bool,
}

impl<'a> Points<'_, 'a, '_> {
    fn take(&mut self, raw: &'a RawValue) {
        match self.point(raw) {
            Ok(packed) => self.put.points.push(packed),
            Err(error) => {
                self.put.failed += 1;
                if self.put.bad.len() < MAX_REPORTED {
                    self.put.bad.push(BadPoint { datapoint: raw.get(), error });
                }
            }
        }
    }

    fn point(&mut self, raw: &'a RawValue) -> Result<Packed, PointError> {
        let fields: Fields<'a> = serde_json::from_str(raw.get()).map_err(field_error)?;
        let timestamp_ms = timestamp_ms(scalar("timestamp", fields.timestamp)?.as_bytes())?;
        let value = scalar("value", fields.value)?;
        let kind = value_kind(value.as_bytes())?;
        let metric = string("metric", fields.metric)?;
        let pairs = match fields.tags {
            Some(raw) => serde_json::from_str::<TagPairs<'_>>(raw.get()).map_err(field_error)?.0,
            None => return Err(missing("tags")),
        };
        let values: Vec<Cow<'_, str>> =
            pairs.iter().map(|(name, value)| scalar(name, Some(value))).collect::<Result<_, _>>()?;
        let mut tags = Tags::default();
        for ((name, _), value) in pairs.iter().zip(&values) {
            tags.insert(name.as_bytes(), value.as_bytes())?;
        }
        let text = &mut self.put.text;
        write_series_key(text, metric.as_bytes(), &tags, self.limits.record_key_and_headers_bytes)?;
        let key_end = text.len();
        text.extend_from_slice(value.as_bytes());
        Ok(Packed { timestamp_ms, key_end, value_end: text.len(), kind })
    }
}

impl<'a> Visitor<'a> for &mut Points<'_, 'a, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a data point or an array of data points")
    }

    fn visit_seq<A: SeqAccess<'a>>(self, mut points: A) -> Result<(), A::Error> {
        let mut count = 0_usize;
        while let Some(raw) = points.next_element::<&'a RawValue>()? {
            count += 1;
            if exceeds(count, self.limits.records_per_request) {
                self.too_many = true;
                return Err(serde::de::Error::custom("too many data points"));
            }
            self.take(raw);
        }
        Ok(())
    }
}

/// The fields of a point, not yet looked into.
#[derive(Default)]
struct Fields<'a> {
    metric: Option<&'a RawValue>,
    timestamp: Option<&'a RawValue>,
    value: Option<&'a RawValue>,
    tags: Option<&'a RawValue>,
}

impl<'de> Deserialize<'de> for Fields<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visit;
        impl<'de> Visitor<'de> for Visit {
            type Value = Fields<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a data point: an object with metric, timestamp, value and tags")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut fields = Fields::default();
                while let Some(name) = map.next_key::<Text<'de>>()? {
                    let field = match &*name.0 {
                        "metric" => &mut fields.metric,
                        "timestamp" => &mut fields.timestamp,
                        "value" => &mut fields.value,
                        "tags" => &mut fields.tags,
                        _ => {
                            map.next_value::<IgnoredAny>()?;
                            continue;
                        }
                    };
                    *field = Some(map.next_value()?);
                }
                Ok(fields)
            }
        }
        deserializer.deserialize_map(Visit)
    }
}

/// The tags object in order of appearance.
struct TagPairs<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

/// The most pairs of one tags object, repetitions included, that are kept to be looked at.
const MAX_TAG_PAIRS: usize = 64;

impl<'de> Deserialize<'de> for TagPairs<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visit;
        impl<'de> Visitor<'de> for Visit {
            type Value = TagPairs<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("tags as an object of names and values")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut pairs = Vec::new();
                while let Some((name, value)) = map.next_entry::<Text<'de>, &RawValue>()? {
                    if pairs.len() == MAX_TAG_PAIRS {
                        return Err(serde::de::Error::custom(PointError::TooManyTags));
                    }
                    pairs.push((name.0, value));
                }
                Ok(TagPairs(pairs))
            }
        }
        deserializer.deserialize_map(Visit)
    }
}

/// A JSON string, borrowed unless it has escapes.
#[derive(serde::Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

#[expect(clippy::needless_pass_by_value, reason = "the shape of map_err")]
fn field_error(error: serde_json::Error) -> PointError {
    PointError::Field(message(&error.to_string()))
}

fn missing(field: &str) -> PointError {
    PointError::Field(format!("missing field `{field}`"))
}

fn string<'a>(field: &str, raw: Option<&'a RawValue>) -> Result<Cow<'a, str>, PointError> {
    let raw = raw.ok_or_else(|| missing(field))?.get();
    let text: Result<Text<'a>, _> = serde_json::from_str(raw);
    text.map(|text| text.0).map_err(|_| PointError::Field(format!("field `{field}` must be a string")))
}

/// A string's content, or a number's text.
fn scalar<'a>(field: &str, raw: Option<&'a RawValue>) -> Result<Cow<'a, str>, PointError> {
    let text = raw.ok_or_else(|| missing(field))?.get();
    match text.as_bytes() {
        [b'"', ..] => string(field, raw),
        [b'-' | b'0'..=b'9', ..] => Ok(Cow::Borrowed(text)),
        _ => Err(PointError::Field(format!(
            "field `{}` must be a number or a string",
            shown(field.as_bytes())
        ))),
    }
}

/// The flags of `POST /api/put?...`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PutFlags {
    /// Answer with counts.
    pub summary: bool,
    /// Answer with counts and every bad point.
    pub details: bool,
    /// Wait until stored: what Tidelog does in any case.
    pub sync: bool,
    /// How long to wait for that, in milliseconds; 0 or absent: as long as it takes.
    pub sync_timeout_ms: Option<u64>,
}

impl PutFlags {
    /// Reads a query string. A flag counts when it is there, unless it is `=false`; unknown parameters are ignored.
    /// The error is a message for a 400.
    pub fn parse(query_string: &str) -> Result<PutFlags, String> {
        let mut flags = PutFlags::default();
        for (name, value) in query::pairs(query_string) {
            let on = value != "false";
            match &*name {
                "summary" => flags.summary = on,
                "details" => flags.details = on,
                "sync" => flags.sync = on,
                "sync_timeout" => {
                    let ms = value.parse::<u64>().map_err(|_| {
                        let given = shown(value.as_bytes());
                        format!("sync_timeout must be a number of milliseconds, not `{given}`")
                    })?;
                    flags.sync_timeout_ms = (ms > 0).then_some(ms);
                }
                _ => {}
            }
        }
        Ok(flags)
    }
}

#[cfg(test)]
#[path = "http_tests.rs"]
mod tests;
