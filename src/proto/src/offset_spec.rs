//! # Purpose
//! "From where": an offset as people write it on the command line and in a query string.
//!
//! # Format
//! `N` that offset, `beginning` the oldest record kept, `end` behind the newest, `-N` the N newest records,
//! `@MS` the first record at or after a timestamp in milliseconds since 1970.

use std::fmt;
use std::str::FromStr;

use crate::shown::shown;

/// A place in a partition, still to be resolved against the partition's start and end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OffsetSpec {
    /// Exactly this offset.
    At(u64),
    /// The oldest record that is kept.
    Beginning,
    /// Behind the newest committed record: only what comes later.
    End,
    /// So many records before the end, or the beginning when there are fewer. At least 1.
    FromEnd(u64),
    /// The first record whose timestamp is at or after this, in milliseconds since 1970, or the end.
    Timestamp(i64),
}

/// A text that names no offset.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{given}` is not an offset; use a number, beginning, end, -N (the N newest) or @MS (a timestamp in milliseconds)"
)]
pub struct OffsetSpecError {
    given: String,
}

impl OffsetSpec {
    /// The offset to read from, when `start` is the oldest offset kept and `end` the one after the newest committed.
    /// `None` for [`OffsetSpec::Timestamp`], which needs the index.
    pub fn resolve(self, start: u64, end: u64) -> Option<u64> {
        match self {
            OffsetSpec::At(offset) => Some(offset),
            OffsetSpec::Beginning => Some(start),
            OffsetSpec::End => Some(end),
            OffsetSpec::FromEnd(n) => Some(end.saturating_sub(n).max(start)),
            OffsetSpec::Timestamp(_) => None,
        }
    }
}

impl FromStr for OffsetSpec {
    type Err = OffsetSpecError;

    fn from_str(text: &str) -> Result<Self, OffsetSpecError> {
        let error = || OffsetSpecError { given: shown(text.as_bytes()) };
        match text {
            "beginning" => return Ok(OffsetSpec::Beginning),
            "end" => return Ok(OffsetSpec::End),
            _ => {}
        }
        if let Some(ms) = text.strip_prefix('@') {
            return digits(ms)
                .and_then(|ms| i64::try_from(ms).ok())
                .map(OffsetSpec::Timestamp)
                .ok_or_else(error);
        }
        if let Some(n) = text.strip_prefix('-') {
            return digits(n).filter(|n| *n > 0).map(OffsetSpec::FromEnd).ok_or_else(error);
        }
        digits(text).map(OffsetSpec::At).ok_or_else(error)
    }
}

/// A number of plain digits: what `parse` takes, without its sign.
fn digits(text: &str) -> Option<u64> {
    if text.starts_with('+') { None } else { text.parse().ok() }
}

impl fmt::Display for OffsetSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OffsetSpec::At(offset) => write!(f, "{offset}"),
            OffsetSpec::Beginning => f.write_str("beginning"),
            OffsetSpec::End => f.write_str("end"),
            OffsetSpec::FromEnd(n) => write!(f, "-{n}"),
            OffsetSpec::Timestamp(ms) => write!(f, "@{ms}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_way_to_write_an_offset_is_understood() {
        let known = [
            ("0", OffsetSpec::At(0)),
            ("18446744073709551615", OffsetSpec::At(u64::MAX)),
            ("beginning", OffsetSpec::Beginning),
            ("end", OffsetSpec::End),
            ("-5", OffsetSpec::FromEnd(5)),
            ("@1364410924250", OffsetSpec::Timestamp(1_364_410_924_250)),
        ];
        for (text, spec) in known {
            assert_eq!(text.parse(), Ok(spec), "{text}");
        }
    }

    #[test]
    fn what_is_no_offset_is_refused_and_shown() {
        for text in [
            "",
            "-0",
            "-",
            "--1",
            "+1",
            "@",
            "@-1",
            "@+1",
            "1x",
            " 1",
            "Beginning",
            "18446744073709551616",
            "1.5",
        ] {
            let error = text.parse::<OffsetSpec>().unwrap_err().to_string();
            assert!(error.starts_with(&format!("`{text}` is not an offset")), "{error}");
        }
    }

    #[test]
    fn the_newest_n_never_reach_before_the_start() {
        assert_eq!(OffsetSpec::FromEnd(5).resolve(90, 100), Some(95));
        assert_eq!(OffsetSpec::FromEnd(50).resolve(90, 100), Some(90));
        assert_eq!(OffsetSpec::FromEnd(500).resolve(0, 100), Some(0));
        assert_eq!(OffsetSpec::Beginning.resolve(90, 100), Some(90));
        assert_eq!(OffsetSpec::End.resolve(90, 100), Some(100));
        assert_eq!(OffsetSpec::At(3).resolve(90, 100), Some(3));
        assert_eq!(OffsetSpec::Timestamp(3).resolve(90, 100), None);
    }

    proptest! {
        #[test]
        fn a_spec_reads_back_as_it_was_written(n in 1u64.., ms in 0i64.., kind in 0..3) {
            let spec = [OffsetSpec::At(n), OffsetSpec::FromEnd(n), OffsetSpec::Timestamp(ms)][kind as usize];
            prop_assert_eq!(spec.to_string().parse(), Ok(spec));
        }

        #[test]
        fn no_text_makes_the_parser_panic(text in ".*") {
            let _ = text.parse::<OffsetSpec>();
        }
    }
}
