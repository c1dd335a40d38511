//! # Purpose
//! Every limit of the front ends in one place: the node's configuration file fills it, the codecs obey it.
//!
//! # Limits
//! Sizes are bytes, times are milliseconds, the rest are counts. Each limit has a range, checked once by
//! [`Limits::validate`]; what the format fixes for all stores (batch and record sizes) can only be lowered.

use serde::{Deserialize, Serialize};

const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;

/// All limits of one node's front ends. `Default` gives the documented defaults.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Body of one HTTP request as sent, in bytes. Default 16 MiB, 64 KiB to 256 MiB.
    pub request_bytes: u64,
    /// One stored record batch, in bytes. Default and maximum 8 MiB, at least 64 KiB.
    pub batch_bytes: u64,
    /// What one body or batch may grow to when decompressed, in bytes. Default and maximum 64 MiB, at least 64 KiB.
    pub decompressed_bytes: u64,
    /// Value of one record, in bytes. Default and maximum 1 MiB, at least 1 KiB.
    pub record_value_bytes: u64,
    /// Key, header names and header values of one record together, in bytes. Default and maximum 64 KiB, at least 1 KiB.
    pub record_key_and_headers_bytes: u64,
    /// Records (or data points) of one request. Default 1,000,000, 1 to 10,000,000.
    pub records_per_request: u64,
    /// One OpenTSDB telnet line without its line end, in bytes. Default 16 KiB, 256 bytes to 64 KiB.
    pub telnet_line_bytes: u64,
    /// Partitions of all topics of this node. Default 100,000, 1 to 1,000,000.
    pub partitions_per_node: u64,
    /// Open client connections. Default 10,000, 1 to 1,000,000.
    pub connections: u64,
    /// A connection without any traffic is closed after this, in milliseconds. Default 300,000 (five minutes),
    /// 1,000 to 86,400,000 (a day).
    pub idle_timeout_ms: u64,
    /// Request line and headers of one HTTP request, in bytes. Default 64 KiB, 4 KiB to 1 MiB.
    pub http_header_bytes: u64,
    /// Buffers that one connection may hold, in bytes. Default 96 MiB (a request and what it decompresses to),
    /// 1 MiB to 1 GiB.
    pub memory_per_connection_bytes: u64,
    /// Buffers that all connections together may hold, in bytes. Default 1 GiB, 16 MiB to 1 TiB.
    pub memory_bytes: u64,
    /// The most that one read may answer, in bytes of batches. Default 16 MiB, 64 KiB to 256 MiB.
    pub read_bytes: u64,
    /// The longest that one read may wait for new records, in milliseconds. Default 60,000, 0 to 600,000.
    pub read_wait_ms: u64,
    /// In a cluster: how long a write over HTTP or telnet waits for the disks of its shard's holders, in milliseconds.
    /// Default 30,000, 100 to 600,000. Kafka's clients say themselves how long.
    pub produce_wait_ms: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            request_bytes: 16 * MIB,
            batch_bytes: 8 * MIB,
            decompressed_bytes: 64 * MIB,
            record_value_bytes: MIB,
            record_key_and_headers_bytes: 64 * KIB,
            records_per_request: 1_000_000,
            telnet_line_bytes: 16 * KIB,
            partitions_per_node: 100_000,
            connections: 10_000,
            idle_timeout_ms: 300_000,
            http_header_bytes: 64 * KIB,
            memory_per_connection_bytes: 96 * MIB,
            memory_bytes: 1024 * MIB,
            read_bytes: 16 * MIB,
            read_wait_ms: 60_000,
            produce_wait_ms: 30_000,
        }
    }
}

/// A limit that cannot be used as configured.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LimitsError {
    /// Outside the range of this limit.
    #[error(
        "limits.{name} = {value} is outside {min} to {max} {unit}; set it within that range or leave it out"
    )]
    OutOfRange {
        /// Field of [`Limits`].
        name: &'static str,
        /// What was configured.
        value: u64,
        /// Smallest value that works.
        min: u64,
        /// Largest value that works.
        max: u64,
        /// What the number counts.
        unit: &'static str,
    },
    /// Two limits contradict each other.
    #[error("limits.{smaller} must not exceed limits.{larger}; raise {larger} or lower {smaller}")]
    Contradiction {
        /// The field that should be the smaller one.
        smaller: &'static str,
        /// The field that should be the larger one.
        larger: &'static str,
    },
}

impl Limits {
    /// Checks every range and the relations between limits; the first violation is the error.
    pub fn validate(&self) -> Result<(), LimitsError> {
        for (name, value, min, max, unit) in self.table() {
            if !(min..=max).contains(&value) {
                return Err(LimitsError::OutOfRange { name, value, min, max, unit });
            }
        }
        let order = [
            ("record_value_bytes", self.record_value_bytes, "batch_bytes", self.batch_bytes),
            ("batch_bytes", self.batch_bytes, "request_bytes", self.request_bytes),
            (
                "request_bytes",
                self.request_bytes,
                "memory_per_connection_bytes",
                self.memory_per_connection_bytes,
            ),
            (
                "memory_per_connection_bytes",
                self.memory_per_connection_bytes,
                "memory_bytes",
                self.memory_bytes,
            ),
        ];
        for (smaller, low, larger, high) in order {
            if low > high {
                return Err(LimitsError::Contradiction { smaller, larger });
            }
        }
        Ok(())
    }

    /// Name, value, minimum, maximum and unit of every limit.
    fn table(&self) -> [(&'static str, u64, u64, u64, &'static str); 16] {
        const B: &str = "bytes";
        const MS: &str = "milliseconds";
        [
            ("request_bytes", self.request_bytes, 64 * KIB, 256 * MIB, B),
            ("batch_bytes", self.batch_bytes, 64 * KIB, 8 * MIB, B),
            ("decompressed_bytes", self.decompressed_bytes, 64 * KIB, 64 * MIB, B),
            ("record_value_bytes", self.record_value_bytes, KIB, MIB, B),
            ("record_key_and_headers_bytes", self.record_key_and_headers_bytes, KIB, 64 * KIB, B),
            ("records_per_request", self.records_per_request, 1, 10_000_000, "records"),
            ("telnet_line_bytes", self.telnet_line_bytes, 256, 64 * KIB, B),
            ("partitions_per_node", self.partitions_per_node, 1, 1_000_000, "partitions"),
            ("connections", self.connections, 1, 1_000_000, "connections"),
            ("idle_timeout_ms", self.idle_timeout_ms, 1_000, 86_400_000, MS),
            ("http_header_bytes", self.http_header_bytes, 4 * KIB, MIB, B),
            ("memory_per_connection_bytes", self.memory_per_connection_bytes, MIB, 1024 * MIB, B),
            ("memory_bytes", self.memory_bytes, 16 * MIB, 1024 * 1024 * MIB, B),
            ("read_bytes", self.read_bytes, 64 * KIB, 256 * MIB, B),
            ("read_wait_ms", self.read_wait_ms, 0, 600_000, MS),
            ("produce_wait_ms", self.produce_wait_ms, 100, 600_000, MS),
        ]
    }
}

/// A length in memory compared with a limit, without narrowing either.
pub(crate) fn exceeds(len: usize, limit: u64) -> bool {
    u64::try_from(len).is_ok_and(|len| len > limit)
}

/// A limit as a length in memory; a limit beyond the address space means "all of it".
pub(crate) fn as_len(limit: u64) -> usize {
    usize::try_from(limit).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_valid() {
        assert_eq!(Limits::default().validate(), Ok(()));
    }

    #[test]
    fn a_configuration_file_may_name_only_some_limits() {
        let limits: Limits = toml::from_str("telnet_line_bytes = 1024\nconnections = 5").unwrap();
        assert_eq!(limits, Limits { telnet_line_bytes: 1024, connections: 5, ..Limits::default() });
    }

    #[test]
    fn an_unknown_limit_is_refused_by_name() {
        let error = toml::from_str::<Limits>("conections = 5").unwrap_err().to_string();
        assert!(error.contains("conections"), "{error}");
    }

    #[test]
    fn every_limit_is_refused_just_outside_its_range() {
        for (name, _, min, max, _) in Limits::default().table() {
            for value in [min.checked_sub(1), max.checked_add(1)].into_iter().flatten() {
                let limits: Limits = toml::from_str(&format!("{name} = {value}")).unwrap();
                let error = limits.validate().unwrap_err();
                assert!(matches!(error, LimitsError::OutOfRange { name: n, .. } if n == name), "{error}");
                assert!(error.to_string().contains(&format!("limits.{name} = {value}")));
            }
        }
    }

    #[test]
    fn limits_that_contradict_each_other_are_refused() {
        let limits = Limits { request_bytes: 64 * KIB, ..Limits::default() };
        let error = limits.validate().unwrap_err();
        assert_eq!(error, LimitsError::Contradiction { smaller: "batch_bytes", larger: "request_bytes" });
    }
}
