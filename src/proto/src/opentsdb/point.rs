//! # Purpose
//! OpenTSDB's data model, and how a data point becomes a record: key = the canonical series key, timestamp in
//! milliseconds, value = the number's text as it was sent.
//!
//! # Format
//! Series key: `metric{tag=value,...}`, tags sorted by name. None of `{`, `}`, `=`, `,` can occur in a name, so a key
//! is read in one way only.
//!
//! # Limits
//! 1 to 8 tags. Names and tag values consist of `a-z A-Z 0-9 - _ . /` and Unicode letters (alphabetic characters).

use tidelog_format::batch::Record;

use crate::shown::shown;

pub use super::number::{MAX_SECONDS, MAX_VALUE_TEXT, NumberKind, timestamp_ms, value_kind};

/// The most tags that a point may have.
pub const MAX_TAGS: usize = 8;

/// Why a data point is refused. The text is meant for the client.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PointError {
    /// Too few words in a telnet put.
    #[error("not enough arguments (need least 4, got {got})")]
    NotEnoughArguments {
        /// Words behind `put`.
        got: usize,
    },
    /// A metric, tag name or tag value is missing or empty.
    #[error("Invalid {what}: empty string")]
    Empty {
        /// `metric name`, `tag name` or `tag value`.
        what: &'static str,
    },
    /// A character outside the alphabet.
    #[error(
        "Invalid {what} (\"{shown}\"): illegal character: {found} (allowed: a-z A-Z 0-9 - _ . / and letters)"
    )]
    Character {
        /// `metric name`, `tag name` or `tag value`.
        what: &'static str,
        /// The text, shortened.
        shown: String,
        /// The first character that is not allowed.
        found: String,
    },
    /// A telnet tag that is not `name=value`.
    #[error("invalid tag: {shown}")]
    Tag {
        /// The word, shortened.
        shown: String,
    },
    /// The same tag name with two values.
    #[error("duplicate tag: {name}={second}, already {name}={first}")]
    DuplicateTag {
        /// Tag name.
        name: String,
        /// The value that came first.
        first: String,
        /// The value that contradicts it.
        second: String,
    },
    /// A point needs a tag.
    #[error("Need at least one tag (metric={metric}, tags={{}})")]
    NoTags {
        /// Metric, shortened.
        metric: String,
    },
    /// More than [`MAX_TAGS`] different tags.
    #[error("Too many tags: more than {MAX_TAGS}, maximum allowed: {MAX_TAGS}")]
    TooManyTags,
    /// Not a timestamp.
    #[error("invalid timestamp: {shown}: {why}")]
    Timestamp {
        /// The text, shortened.
        shown: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// Not a finite number.
    #[error("invalid value: {shown}: {why}")]
    Value {
        /// The text, shortened.
        shown: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// Metric and tags together are longer than a record's key may be.
    #[error("metric and tags make a key of {len} bytes, maximum allowed: {max}")]
    KeyTooLong {
        /// Bytes of the series key.
        len: usize,
        /// The limit, in bytes.
        max: u64,
    },
    /// A field of a JSON data point that is missing or of the wrong type.
    #[error("{0}")]
    Field(String),
}

/// One accepted data point, borrowed from the input and from the decoder's key buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PointRef<'a> {
    /// `metric{tag=value,...}` with sorted tags, UTF-8: the record's key.
    pub series_key: &'a [u8],
    /// Milliseconds since 1970, greater than zero.
    pub timestamp_ms: i64,
    /// The number as it was sent, at most [`MAX_VALUE_TEXT`] bytes of ASCII: the record's value.
    pub value: &'a [u8],
    /// What the value is.
    pub kind: NumberKind,
}

impl<'a> PointRef<'a> {
    /// The record that stores this point.
    pub fn as_record(&self) -> Record<'a> {
        let headers = Vec::new();
        Record { timestamp: self.timestamp_ms, key: Some(self.series_key), value: Some(self.value), headers }
    }

    /// The metric: the part of the key before its `{`.
    pub fn metric(&self) -> &'a [u8] {
        self.series_key.split(|b| *b == b'{').next().unwrap_or(self.series_key)
    }
}

/// Bytes allowed in names; everything else is left to the slow check.
const PLAIN: [bool; 256] = {
    let mut plain = [false; 256];
    let mut byte = 0_u8;
    while byte < 128 {
        plain[byte as usize] = byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'/');
        byte += 1;
    }
    plain
};

/// Checks a metric, tag name or tag value; `what` names it in the error.
pub fn check_name(what: &'static str, name: &[u8]) -> Result<(), PointError> {
    if name.is_empty() {
        return Err(PointError::Empty { what });
    }
    // Without a branch per byte: names are short, and nearly all are plain.
    if name.iter().fold(true, |plain, b| plain & PLAIN[usize::from(*b)]) {
        return Ok(());
    }
    check_unicode_name(what, name)
}

#[cold]
fn check_unicode_name(what: &'static str, name: &[u8]) -> Result<(), PointError> {
    let illegal = |found: &[u8]| PointError::Character { what, shown: shown(name), found: shown(found) };
    let text = std::str::from_utf8(name).map_err(|_| illegal("\u{fffd}".as_bytes()))?;
    let plain =
        |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c) || (!c.is_ascii() && c.is_alphabetic());
    match text.chars().find(|c| !plain(*c)) {
        Some(c) => Err(illegal(c.encode_utf8(&mut [0; 4]).as_bytes())),
        None => Ok(()),
    }
}

/// The tags of one point: checked, sorted by name, at most [`MAX_TAGS`], in place.
#[derive(Debug, Clone, Copy, Default)]
pub struct Tags<'a> {
    pairs: [(&'a [u8], &'a [u8]); MAX_TAGS],
    len: usize,
}

impl<'a> Tags<'a> {
    /// Adds one tag. The same name with the same value is taken once; with another value it is refused.
    pub fn insert(&mut self, name: &'a [u8], value: &'a [u8]) -> Result<(), PointError> {
        check_name("tag name", name)?;
        check_name("tag value", value)?;
        let mut at = self.len;
        while let Some((before, first)) = at.checked_sub(1).map(|n| self.pairs[n]) {
            match before.cmp(name) {
                std::cmp::Ordering::Less => break,
                std::cmp::Ordering::Greater => at -= 1,
                std::cmp::Ordering::Equal if first == value => return Ok(()),
                std::cmp::Ordering::Equal => {
                    let (name, first, second) = (shown(name), shown(first), shown(value));
                    return Err(PointError::DuplicateTag { name, first, second });
                }
            }
        }
        if self.len == MAX_TAGS {
            return Err(PointError::TooManyTags);
        }
        self.pairs.copy_within(at..self.len, at + 1);
        self.pairs[at] = (name, value);
        self.len += 1;
        Ok(())
    }

    /// The tags, sorted by name.
    pub fn pairs(&self) -> &[(&'a [u8], &'a [u8])] {
        &self.pairs[..self.len]
    }
}

/// Appends the series key to `out`, which keeps what it holds. `max_key` is the limit in bytes.
/// On an error `out` is unchanged.
pub fn write_series_key(
    out: &mut Vec<u8>,
    metric: &[u8],
    tags: &Tags<'_>,
    max_key: u64,
) -> Result<(), PointError> {
    check_name("metric name", metric)?;
    if tags.pairs().is_empty() {
        return Err(PointError::NoTags { metric: shown(metric) });
    }
    let len = tags.pairs().iter().map(|(name, value)| name.len() + value.len() + 2).sum::<usize>()
        + metric.len()
        + 1;
    if crate::limits::exceeds(len, max_key) {
        return Err(PointError::KeyTooLong { len, max: max_key });
    }
    out.reserve(len);
    out.extend_from_slice(metric);
    let mut separator = b'{';
    for (name, value) in tags.pairs() {
        out.push(separator);
        out.extend_from_slice(name);
        out.push(b'=');
        out.extend_from_slice(value);
        separator = b',';
    }
    out.push(b'}');
    Ok(())
}

/// Reads a series key back: metric and tags. `None` for a key that no data point has.
pub fn parse_series_key(key: &[u8]) -> Option<(&[u8], Tags<'_>)> {
    let open = key.iter().position(|b| *b == b'{')?;
    let inner = key.get(open + 1..)?.strip_suffix(b"}")?;
    let mut tags = Tags::default();
    for pair in inner.split(|b| *b == b',') {
        let equals = pair.iter().position(|b| *b == b'=')?;
        tags.insert(&pair[..equals], &pair[equals + 1..]).ok()?;
    }
    let metric = &key[..open];
    check_name("metric name", metric).ok()?;
    Some((metric, tags))
}

#[cfg(test)]
#[path = "point_tests.rs"]
mod tests;
