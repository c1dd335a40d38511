//! # Purpose
//! One record as a JSON object: the parser behind JSON bodies, NDJSON bodies and answers to reads.

use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::fmt;

use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, Visitor};

use crate::limits::{Limits, as_len};
use crate::shown::shown;

use super::header_json::Headers;
use super::records::{Fault, InputRecord};

/// Standard alphabet, padding written and not demanded.
pub(super) const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// What the parser knows while it runs: where it is, and why it stopped when the reason is not the JSON itself.
pub(super) struct Context<'l> {
    pub(super) limits: &'l Limits,
    /// Number of the record that is read, from 1; 0 before the first.
    pub(super) record: Cell<u64>,
    pub(super) fault: RefCell<Option<Fault>>,
}

impl<'l> Context<'l> {
    pub(super) fn new(limits: &'l Limits) -> Self {
        Context { limits, record: Cell::new(0), fault: RefCell::new(None) }
    }

    /// Remembers the fault; the error returned only stops the parser.
    pub(super) fn stop<E: Error>(&self, fault: Fault) -> E {
        self.fault.replace(Some(fault));
        E::custom("stopped")
    }

    pub(super) fn too_large<E: Error>(&self, what: &'static str, len: usize, max: u64) -> E {
        self.stop(Fault::RecordTooLarge { what, len, max })
    }

    fn field<E: Error>(&self, what: String) -> E {
        self.stop(Fault::Field(what))
    }
}

/// Reads one record object. `offset` says whether the field `offset` belongs to it.
pub(super) struct RecordSeed<'c, 'l> {
    pub(super) context: &'c Context<'l>,
    pub(super) with_offset: bool,
}

const FIELDS: &str = "key, key_base64, value, value_base64, timestamp, headers, headers_base64, headers_list, \
                      headers_list_base64, partition";

impl<'de> DeserializeSeed<'de> for RecordSeed<'_, '_> {
    type Value = (Option<u64>, InputRecord<'de>);

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for RecordSeed<'_, '_> {
    type Value = (Option<u64>, InputRecord<'de>);

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a record as an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let context = self.context;
        let (mut record, mut offset, mut seen) = (InputRecord::default(), None, Seen::default());
        while let Some(name) = map.next_key_seed(Str)? {
            seen.first_time(context, &name)?;
            match &*name {
                "key" | "key_base64" => record.key = map.next_value_seed(Bytes::new(context, &name))?,
                "value" | "value_base64" => record.value = map.next_value_seed(Bytes::new(context, &name))?,
                "timestamp" => {
                    // What was stored may be older than 1970, or -1 for "none"; what is sent may not.
                    let min = if self.with_offset { i64::MIN } else { 0 };
                    let ms =
                        map.next_value_seed(Whole { name: "timestamp", min, max: i64::MAX.unsigned_abs() })?;
                    record.timestamp = ms.and_then(|ms| i64::try_from(ms).ok());
                }
                "partition" => {
                    let max = i32::MAX.unsigned_abs().into();
                    let number = map.next_value_seed(Whole { name: "partition", min: 0, max })?;
                    record.partition = number.and_then(|number| u32::try_from(number).ok());
                }
                "headers" | "headers_base64" | "headers_list" | "headers_list_base64" => {
                    map.next_value_seed(Headers { context, name: &name, out: &mut record.headers })?;
                }
                "offset" if self.with_offset => {
                    let number = map.next_value_seed(Whole { name: "offset", min: 0, max: u64::MAX })?;
                    offset = number.and_then(|number| u64::try_from(number).ok());
                }
                _ => {
                    return Err(context
                        .field(format!("unknown field `{}`; known are {FIELDS}", shown(name.as_bytes()))));
                }
            }
        }
        let max = context.limits.record_key_and_headers_bytes;
        let len = record.key_and_headers_len();
        if len > as_len(max) {
            return Err(context.too_large("key and headers have", len, max));
        }
        Ok((offset, record))
    }
}

/// Which fields a record had so far: each may come once, and key and value in one form only. Headers may come in
/// several forms, which are joined.
#[derive(Default)]
struct Seen([Option<&'static str>; 5]);

impl Seen {
    fn first_time<E: Error>(&mut self, context: &Context<'_>, name: &str) -> Result<(), E> {
        const GROUPS: [(&str, &str); 7] = [
            ("key", "key"),
            ("key_base64", "key"),
            ("value", "value"),
            ("value_base64", "value"),
            ("timestamp", "timestamp"),
            ("partition", "partition"),
            ("offset", "offset"),
        ];
        let Some((_, group)) = GROUPS.iter().find(|(field, _)| *field == name) else { return Ok(()) };
        if self.0.contains(&Some(group)) {
            return Err(context.field(format!("field `{group}` is given twice (as `{name}` at last)")));
        }
        if let Some(free) = self.0.iter_mut().find(|slot| slot.is_none()) {
            *free = Some(group);
        }
        Ok(())
    }
}

/// A string, borrowed unless it has escapes.
pub(super) struct Str;

impl<'de> DeserializeSeed<'de> for Str {
    type Value = Cow<'de, str>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for Str {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(text))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Cow::Owned(text.to_owned()))
    }
}

/// The bytes of a field: a string's UTF-8, or what its base64 says; null is none.
pub(super) struct Bytes<'c, 'l, 'n> {
    context: &'c Context<'l>,
    name: &'n str,
    /// Names ending in `_base64` carry base64.
    base64: bool,
    /// The limit, in bytes, and what is over it.
    max: u64,
    what: &'static str,
}

impl<'c, 'l, 'n> Bytes<'c, 'l, 'n> {
    pub(super) fn new(context: &'c Context<'l>, name: &'n str) -> Self {
        let limits = context.limits;
        let (max, what) = match name {
            "value" | "value_base64" => (limits.record_value_bytes, "the value has"),
            _ => (limits.record_key_and_headers_bytes, "key and headers have"),
        };
        Bytes { context, name, base64: name.ends_with("_base64"), max, what }
    }

    fn take<'de, E: Error>(self, text: Cow<'de, str>) -> Result<Option<Cow<'de, [u8]>>, E> {
        // Three bytes for four characters, less the padding.
        let len = if self.base64 { text.trim_end_matches('=').len() / 4 * 3 } else { text.len() };
        if len > as_len(self.max) {
            return Err(self.context.too_large(self.what, len, self.max));
        }
        if !self.base64 {
            return Ok(Some(match text {
                Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
                Cow::Owned(text) => Cow::Owned(text.into_bytes()),
            }));
        }
        let bytes = BASE64.decode(text.as_bytes()).map_err(|error| {
            self.context.field(format!(
                "field `{}` is not base64 (standard alphabet): {error}",
                shown(self.name.as_bytes())
            ))
        })?;
        // The estimate above leaves out up to two bytes.
        if bytes.len() > as_len(self.max) {
            return Err(self.context.too_large(self.what, bytes.len(), self.max));
        }
        Ok(Some(Cow::Owned(bytes)))
    }
}

impl<'de> DeserializeSeed<'de> for Bytes<'_, '_, '_> {
    type Value = Option<Cow<'de, [u8]>>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Bytes<'_, '_, '_> {
    type Value = Option<Cow<'de, [u8]>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.name;
        write!(f, "a string or null in field `{name}`: ")?;
        match name {
            "key" | "value" => {
                write!(f, "send other JSON as a string that holds it, and bytes as {name}_base64")
            }
            "key_base64" | "value_base64" => f.write_str("base64"),
            _ => f.write_str("headers are an object of names and strings, or a list of [name, string]"),
        }
    }

    fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Self::Value, E> {
        self.take(Cow::Borrowed(text))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        self.take(Cow::Owned(text.to_owned()))
    }

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Ok(None)
    }
}

/// A whole number from `min` to `max`; null is none.
struct Whole {
    name: &'static str,
    min: i64,
    max: u64,
}

impl Whole {
    fn take<E: Error>(&self, number: i128, unexpected: serde::de::Unexpected<'_>) -> Result<Option<i128>, E> {
        if number < i128::from(self.min) || number > i128::from(self.max) {
            return Err(E::invalid_value(unexpected, self));
        }
        Ok(Some(number))
    }
}

impl<'de> DeserializeSeed<'de> for Whole {
    type Value = Option<i128>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl Visitor<'_> for Whole {
    type Value = Option<i128>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = if self.name == "timestamp" { " (milliseconds since 1970)" } else { "" };
        write!(f, "a whole number from {} to {} in field `{}`{unit}", self.min, self.max, self.name)
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Self::Value, E> {
        self.take(number.into(), serde::de::Unexpected::Unsigned(number))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Self::Value, E> {
        self.take(number.into(), serde::de::Unexpected::Signed(number))
    }

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Ok(None)
    }
}
