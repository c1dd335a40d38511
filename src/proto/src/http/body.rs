//! # Purpose
//! What a body is: its encoding (gzip or none) and its format, from the request's headers.
//!
//! # Limits
//! Decompression stops at `decompressed_bytes`, however much the input would unfold to.

use std::borrow::Cow;
use std::io::Read;

use flate2::read::MultiGzDecoder;

use crate::limits::{Limits, as_len, exceeds};
use crate::shown::shown;

/// Media type of JSON.
pub const JSON: &str = "application/json";
/// Media type of one JSON value per line; what reads answer.
pub const NDJSON: &str = "application/x-ndjson";
/// Media type of record batches in Kafka's RecordBatch v2 encoding, one behind the other.
pub const RAW_BATCH: &str = "application/vnd.tidelog.batch";

/// The format of a body of records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyFormat {
    /// `{"records": [...]}`.
    Json,
    /// One record object per line.
    NdJson,
    /// One record per line, the line is its value.
    Text,
    /// Record batches, see [`RAW_BATCH`].
    RawBatch,
}

/// A body that cannot be read at all.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// Neither JSON, NDJSON, text nor raw batches.
    #[error(
        "Content-Type `{0}` is not understood; send application/json, application/x-ndjson, text/plain \
         (one record per line) or {RAW_BATCH}"
    )]
    ContentType(String),
    /// An encoding other than gzip.
    #[error("Content-Encoding `{0}` is not understood; send gzip or nothing")]
    ContentEncoding(String),
    /// Broken gzip.
    #[error("the body is not valid gzip: {0}")]
    Gzip(String),
    /// Too large.
    #[error("the body {what} more than {max} bytes; send less at a time")]
    TooLarge {
        /// `has` or `decompresses to`.
        what: &'static str,
        /// The limit, in bytes.
        max: u64,
    },
}

impl BodyFormat {
    /// From the `Content-Type` header; absent means JSON.
    pub fn from_content_type(header: Option<&str>) -> Result<BodyFormat, BodyError> {
        let Some(header) = header else { return Ok(BodyFormat::Json) };
        let media_type = header.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        match &*media_type {
            JSON => Ok(BodyFormat::Json),
            NDJSON | "application/ndjson" | "application/jsonl" | "application/x-jsonlines" => {
                Ok(BodyFormat::NdJson)
            }
            "text/plain" => Ok(BodyFormat::Text),
            RAW_BATCH => Ok(BodyFormat::RawBatch),
            _ => Err(BodyError::ContentType(shown(header.as_bytes()))),
        }
    }
}

/// Undoes the body's `Content-Encoding`, within the limits.
pub fn decompress<'a>(
    content_encoding: Option<&str>,
    body: &'a [u8],
    limits: &Limits,
) -> Result<Cow<'a, [u8]>, BodyError> {
    if exceeds(body.len(), limits.request_bytes) {
        return Err(BodyError::TooLarge { what: "has", max: limits.request_bytes });
    }
    match content_encoding.map(|name| name.trim().to_ascii_lowercase()).as_deref() {
        None | Some("" | "identity") => Ok(Cow::Borrowed(body)),
        Some("gzip" | "x-gzip") => gunzip(body, limits.decompressed_bytes).map(Cow::Owned),
        Some(other) => Err(BodyError::ContentEncoding(shown(other.as_bytes()))),
    }
}

fn gunzip(body: &[u8], max: u64) -> Result<Vec<u8>, BodyError> {
    let mut out = Vec::with_capacity(body.len().saturating_mul(2).min(as_len(max)));
    let mut reader = MultiGzDecoder::new(body).take(max.saturating_add(1));
    reader.read_to_end(&mut out).map_err(|error| BodyError::Gzip(error.to_string()))?;
    if exceeds(out.len(), max) {
        return Err(BodyError::TooLarge { what: "decompresses to", max });
    }
    Ok(out)
}

/// Line and byte in the line, both from 1, of position `at` in `text`.
pub(crate) fn line_and_column(text: &[u8], at: usize) -> (usize, usize) {
    let before = text.get(..at).unwrap_or(text);
    let line_start = memchr::memrchr(b'\n', before).map_or(0, |n| n + 1);
    (memchr::memchr_iter(b'\n', before).count() + 1, before.len() - line_start + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn plain_and_gzip_bodies_are_read() {
        let limits = Limits::default();
        assert_eq!(decompress(None, b"x", &limits).unwrap(), &b"x"[..]);
        assert_eq!(decompress(Some("identity"), b"x", &limits).unwrap(), &b"x"[..]);
        assert_eq!(decompress(Some("GZIP"), &gzip(b"hello"), &limits).unwrap(), &b"hello"[..]);
        let two = [gzip(b"hello "), gzip(b"world")].concat();
        assert_eq!(decompress(Some("gzip"), &two, &limits).unwrap(), &b"hello world"[..]);
    }

    #[test]
    fn a_decompression_bomb_stops_at_the_limit() {
        let limits = Limits { decompressed_bytes: 64 * 1024, ..Limits::default() };
        let bomb = gzip(&vec![0; 10_000_000]);
        assert!(bomb.len() < 60_000);
        let error = decompress(Some("gzip"), &bomb, &limits).unwrap_err();
        assert_eq!(error, BodyError::TooLarge { what: "decompresses to", max: 64 * 1024 });
        assert_eq!(decompress(Some("gzip"), &gzip(&vec![0; 64 * 1024]), &limits).unwrap().len(), 64 * 1024);
    }

    #[test]
    fn broken_gzip_and_unknown_encodings_are_refused() {
        let limits = Limits::default();
        let whole = gzip(b"hello world");
        for len in 0..whole.len() {
            let result = decompress(Some("gzip"), &whole[..len], &limits);
            assert!(matches!(result, Err(BodyError::Gzip(_))), "{len}");
        }
        let error = decompress(Some("br"), b"", &limits).unwrap_err();
        assert_eq!(error, BodyError::ContentEncoding("br".to_owned()));
        let large = vec![0; as_len(limits.request_bytes) + 1];
        assert!(matches!(decompress(None, &large, &limits), Err(BodyError::TooLarge { what: "has", .. })));
    }

    #[test]
    fn the_content_type_names_the_format() {
        for (header, format) in [
            (None, BodyFormat::Json),
            (Some("application/json; charset=utf-8"), BodyFormat::Json),
            (Some("Application/X-NDJSON"), BodyFormat::NdJson),
            (Some("text/plain;charset=utf-8"), BodyFormat::Text),
            (Some(RAW_BATCH), BodyFormat::RawBatch),
        ] {
            assert_eq!(BodyFormat::from_content_type(header), Ok(format));
        }
        let error =
            BodyFormat::from_content_type(Some("application/x-www-form-urlencoded")).unwrap_err().to_string();
        assert!(
            error.contains("`application/x-www-form-urlencoded`") && error.contains("text/plain"),
            "{error}"
        );
    }

    #[test]
    fn a_place_is_counted_in_lines_and_bytes_from_one() {
        assert_eq!(line_and_column(b"ab\ncd", 0), (1, 1));
        assert_eq!(line_and_column(b"ab\ncd", 2), (1, 3));
        assert_eq!(line_and_column(b"ab\ncd", 4), (2, 2));
        assert_eq!(line_and_column(b"ab\ncd", 99), (2, 3));
    }
}
