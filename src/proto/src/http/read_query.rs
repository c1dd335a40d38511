//! # Purpose
//! The parameters of reading, `GET /v1/topics/T/partitions/P/records?...`, and of producing.

use crate::limits::Limits;
use crate::offset_spec::OffsetSpec;
use crate::shown::shown;

use super::query::pairs;

/// How much a read answers when it does not say, in bytes of batches.
pub const DEFAULT_READ_BYTES: u64 = 1024 * 1024;

/// What to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadQuery {
    /// From where; default `beginning`.
    pub from: OffsetSpec,
    /// About how many bytes of batches to answer, at least one record. 1 to the limit `read_bytes`, default 1 MiB.
    pub max_bytes: u64,
    /// How long to wait when there is nothing yet, in milliseconds. 0 to the limit `read_wait_ms`, default 0.
    pub wait_ms: u64,
    /// Whether any node that holds the partition may answer, up to where it knows records to be committed: an earlier state
    /// than the leader's, and there without a leader. Default: the leader answers.
    pub any_holder: bool,
}

/// A parameter that is not understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QueryError {
    /// Not a number of the range.
    #[error("`{name}` must be a whole number from {min} to {max}, not `{given}`")]
    Number {
        /// The parameter.
        name: &'static str,
        /// Smallest number.
        min: u64,
        /// Largest number.
        max: u64,
        /// What was sent, shortened.
        given: String,
    },
    /// Not an offset.
    #[error("`offset` must be a number, beginning, end or -N (the N newest), not `{0}`")]
    Offset(String),
    /// Two ways to say from where.
    #[error("`offset` and `timestamp` exclude each other; send one of them")]
    OffsetAndTimestamp,
    /// Neither yes nor no.
    #[error("`{name}` must be true or false, not `{given}`")]
    Choice {
        /// The parameter.
        name: &'static str,
        /// What was sent, shortened.
        given: String,
    },
    /// Given twice.
    #[error("`{0}` is given twice")]
    Twice(&'static str),
    /// No such parameter.
    #[error("unknown parameter `{given}`; known are {known}")]
    Unknown {
        /// What was sent, shortened.
        given: String,
        /// What could have been sent.
        known: &'static str,
    },
}

impl ReadQuery {
    /// Reads a query string (without its `?`).
    pub fn parse(query: &str, limits: &Limits) -> Result<ReadQuery, QueryError> {
        let (mut offset, mut timestamp, mut max_bytes, mut wait_ms) = (None, None, None, None);
        let mut any_holder = None;
        for (name, value) in pairs(query) {
            match &*name {
                "offset" => once("offset", &mut offset, parse_offset(&value)?)?,
                "timestamp" => {
                    let ms = number("timestamp", &value, 0, i64::MAX.unsigned_abs())?;
                    once(
                        "timestamp",
                        &mut timestamp,
                        OffsetSpec::Timestamp(i64::try_from(ms).unwrap_or(i64::MAX)),
                    )?;
                }
                "max_bytes" => {
                    once("max_bytes", &mut max_bytes, number("max_bytes", &value, 1, limits.read_bytes)?)?
                }
                "wait_ms" => {
                    once("wait_ms", &mut wait_ms, number("wait_ms", &value, 0, limits.read_wait_ms)?)?
                }
                "any_holder" => once("any_holder", &mut any_holder, choice("any_holder", &value)?)?,
                _ => return Err(unknown(&name, "offset, timestamp, max_bytes, wait_ms, any_holder")),
            }
        }
        if offset.is_some() && timestamp.is_some() {
            return Err(QueryError::OffsetAndTimestamp);
        }
        Ok(ReadQuery {
            from: offset.or(timestamp).unwrap_or(OffsetSpec::Beginning),
            max_bytes: max_bytes.unwrap_or(DEFAULT_READ_BYTES.min(limits.read_bytes)),
            wait_ms: wait_ms.unwrap_or(0),
            any_holder: any_holder.unwrap_or(false),
        })
    }

    /// The query string that says the same.
    pub fn to_query(&self) -> String {
        let ReadQuery { from, max_bytes, wait_ms, any_holder } = self;
        let rest = format!(
            "max_bytes={max_bytes}&wait_ms={wait_ms}{}",
            if *any_holder { "&any_holder=true" } else { "" }
        );
        match from {
            OffsetSpec::Timestamp(ms) => format!("timestamp={ms}&{rest}"),
            _ => format!("offset={from}&{rest}"),
        }
    }
}

/// Where all records of a produce request go, `?partition=P`; `None` leaves it to the records.
pub fn parse_produce_query(query: &str) -> Result<Option<u32>, QueryError> {
    let mut partition = None;
    for (name, value) in pairs(query) {
        if name != "partition" {
            return Err(unknown(&name, "partition"));
        }
        let number = number("partition", &value, 0, i32::MAX.unsigned_abs().into())?;
        once("partition", &mut partition, u32::try_from(number).unwrap_or(u32::MAX))?;
    }
    Ok(partition)
}

/// `@MS` is for the command line; here a timestamp has its own parameter.
fn parse_offset(value: &str) -> Result<OffsetSpec, QueryError> {
    match value.parse() {
        Ok(OffsetSpec::Timestamp(_)) | Err(_) => Err(QueryError::Offset(shown(value.as_bytes()))),
        Ok(spec) => Ok(spec),
    }
}

fn number(name: &'static str, value: &str, min: u64, max: u64) -> Result<u64, QueryError> {
    let plain = !value.starts_with('+');
    match value.parse::<u64>() {
        Ok(number) if plain && (min..=max).contains(&number) => Ok(number),
        _ => Err(QueryError::Number { name, min, max, given: shown(value.as_bytes()) }),
    }
}

fn choice(name: &'static str, value: &str) -> Result<bool, QueryError> {
    value.parse().map_err(|_| QueryError::Choice { name, given: shown(value.as_bytes()) })
}

fn once<T>(name: &'static str, slot: &mut Option<T>, value: T) -> Result<(), QueryError> {
    if slot.is_some() {
        return Err(QueryError::Twice(name));
    }
    *slot = Some(value);
    Ok(())
}

fn unknown(name: &str, known: &'static str) -> QueryError {
    QueryError::Unknown { given: shown(name.as_bytes()), known }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(query: &str) -> Result<ReadQuery, QueryError> {
        ReadQuery::parse(query, &Limits::default())
    }

    #[test]
    fn nothing_said_reads_from_the_beginning_without_waiting() {
        let known = ReadQuery {
            from: OffsetSpec::Beginning,
            max_bytes: DEFAULT_READ_BYTES,
            wait_ms: 0,
            any_holder: false,
        };
        assert_eq!(parse(""), Ok(known));
    }

    #[test]
    fn every_parameter_is_read() {
        for (query, from) in [
            ("offset=5", OffsetSpec::At(5)),
            ("offset=beginning", OffsetSpec::Beginning),
            ("offset=end", OffsetSpec::End),
            ("offset=-10", OffsetSpec::FromEnd(10)),
            ("timestamp=7", OffsetSpec::Timestamp(7)),
        ] {
            let read = parse(&format!("{query}&max_bytes=1&wait_ms=60000")).unwrap();
            assert_eq!(read, ReadQuery { from, max_bytes: 1, wait_ms: 60_000, any_holder: false });
        }
    }

    #[test]
    fn every_bad_parameter_is_named_with_what_it_should_be() {
        for (query, why) in [
            ("offset=x", "`offset` must be a number, beginning, end or -N (the N newest), not `x`"),
            ("offset=@5", "not `@5`"),
            ("offset=", "not ``"),
            ("timestamp=-1", "`timestamp` must be a whole number from 0 to 9223372036854775807, not `-1`"),
            ("max_bytes=0", "`max_bytes` must be a whole number from 1 to 16777216, not `0`"),
            ("max_bytes=16777217", "not `16777217`"),
            ("max_bytes=%2B5", "not `+5`"),
            ("wait_ms=60001", "`wait_ms` must be a whole number from 0 to 60000, not `60001`"),
            ("offset=1&timestamp=1", "exclude each other"),
            ("offset=1&offset=1", "`offset` is given twice"),
            ("ofset=1", "unknown parameter `ofset`; known are offset, timestamp, max_bytes, wait_ms"),
        ] {
            let error = parse(query).unwrap_err().to_string();
            assert!(error.contains(why), "{query}: {error}");
        }
    }

    #[test]
    fn a_produce_request_may_name_its_partition() {
        assert_eq!(parse_produce_query(""), Ok(None));
        assert_eq!(parse_produce_query("partition=7"), Ok(Some(7)));
        assert!(parse_produce_query("partition=2147483648").is_err());
        assert!(parse_produce_query("part=1").is_err());
    }

    proptest! {
        #[test]
        fn a_query_reads_back_as_it_was_written(n in 1u64.., ms in 0i64.., kind in 0usize..5, max in 1u64..1_000_000) {
            let from = [OffsetSpec::At(n), OffsetSpec::FromEnd(n), OffsetSpec::Timestamp(ms), OffsetSpec::End,
                OffsetSpec::Beginning][kind];
            let query = ReadQuery { from, max_bytes: max, wait_ms: max % 1000, any_holder: max % 2 == 0 };
            prop_assert_eq!(parse(&query.to_query()), Ok(query));
        }

        #[test]
        fn no_query_makes_the_parser_panic(query in ".*") {
            let _ = (parse(&query), parse_produce_query(&query));
        }
    }
}
