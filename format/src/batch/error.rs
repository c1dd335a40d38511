//! Why a batch is refused.

use std::fmt;

/// Why a batch, or a record for one, was refused. The variant tells whose fault it is, the [`Fault`] what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    /// The bytes are not what their writer wrote: CRC, lengths, varints, compressed data.
    #[error("corrupt batch: {0}; send it again")]
    Corrupt(Fault),
    /// A size limit is exceeded.
    #[error("batch too large: {0}; send smaller records or fewer at a time")]
    TooLarge(Fault),
    /// A feature of the format that is not served: magic 0 and 1, unknown codecs, transactions, control batches,
    /// log-append time.
    #[error("unsupported batch: {0}; change the producer's settings")]
    Unsupported(Fault),
    /// Intact bytes that break the rules of the format, by the producer's fault.
    #[error("invalid batch: {0}; the producer must be corrected")]
    Invalid(Fault),
}

impl BatchError {
    /// What was found, where, and what would have been right.
    pub const fn fault(&self) -> &Fault {
        match self {
            Self::Corrupt(fault)
            | Self::TooLarge(fault)
            | Self::Unsupported(fault)
            | Self::Invalid(fault) => fault,
        }
    }

    pub(super) fn corrupt(field: Field, got: impl Got, allowed: Allowed) -> Self {
        Self::Corrupt(Fault { field, got: got.got(), allowed, record: None })
    }

    pub(super) fn too_large(field: Field, got: impl Got, most: usize) -> Self {
        Self::TooLarge(Fault { field, got: got.got(), allowed: Allowed::AtMost(most.got()), record: None })
    }

    pub(super) fn unsupported(field: Field, got: impl Got, allowed: Allowed) -> Self {
        Self::Unsupported(Fault { field, got: got.got(), allowed, record: None })
    }

    pub(super) fn invalid(field: Field, got: impl Got, allowed: Allowed) -> Self {
        Self::Invalid(Fault { field, got: got.got(), allowed, record: None })
    }

    /// The same error, with the record it is in.
    pub(super) fn in_record(mut self, index: u32) -> Self {
        match &mut self {
            Self::Corrupt(fault)
            | Self::TooLarge(fault)
            | Self::Unsupported(fault)
            | Self::Invalid(fault) => {
                fault.record = Some(index);
            }
        }
        self
    }
}

/// What exactly is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault {
    /// The field at fault.
    pub field: Field,
    /// What stood there.
    pub got: i64,
    /// What may stand there.
    pub allowed: Allowed,
    /// Index of the record in its batch, from 0, when the fault is in a record.
    pub record: Option<u32>,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(record) = self.record {
            write!(f, "record {record}: ")?;
        }
        write!(f, "{} is {}, allowed is {}", self.field, self.got, self.allowed)
    }
}

/// The values that would have been right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Allowed {
    /// This one only.
    Exactly(i64),
    /// At least this.
    AtLeast(i64),
    /// At most this.
    AtMost(i64),
    /// Both ends included.
    Between(i64, i64),
    /// A rule in words.
    Rule(&'static str),
}

impl fmt::Display for Allowed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exactly(one) => write!(f, "{one}"),
            Self::AtLeast(least) => write!(f, "{least} or more"),
            Self::AtMost(most) => write!(f, "{most} or less"),
            Self::Between(least, most) => write!(f, "{least} to {most}"),
            Self::Rule(rule) => f.write_str(rule),
        }
    }
}

macro_rules! fields {
    ($($(#[$doc:meta])+ $name:ident = $text:literal,)+) => {
        /// A field of a batch or record.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Field { $($(#[$doc])+ $name,)+ }

        impl fmt::Display for Field {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self { $(Self::$name => $text,)+ })
            }
        }
    };
}

fields! {
    /// The number of bytes at hand.
    Bytes = "the number of bytes",
    /// The header's length, or the size that follows from it.
    BatchLength = "the batch length",
    /// The magic byte, which is the version of the batch format.
    Magic = "magic",
    /// The CRC-32C.
    Crc = "the CRC",
    /// The attribute bits.
    Attributes = "the attribute bits",
    /// The codec number in the attributes.
    Codec = "the codec",
    /// Offset of the last record less that of the first.
    LastOffsetDelta = "the last offset delta",
    /// An idempotent producer's epoch.
    ProducerEpoch = "the producer epoch",
    /// The sequence number of an idempotent producer's first record.
    BaseSequence = "the base sequence",
    /// The number of records.
    Count = "the record count",
    /// The highest timestamp, in ms.
    MaxTimestamp = "the max timestamp",
    /// The compressed records, or their size decompressed.
    Body = "the size of the records",
    /// The length of one record.
    RecordLength = "the record length",
    /// A record's timestamp or its delta, in ms.
    Timestamp = "the timestamp",
    /// A record's offset less the base offset.
    OffsetDelta = "the offset delta",
    /// A key's length.
    Key = "the key length",
    /// A value's length.
    Value = "the value length",
    /// The number of headers of a record.
    HeaderCount = "the header count",
    /// The length of a header's name, or the place of its first byte that is not UTF-8.
    HeaderName = "the header name",
    /// The length of a header's value.
    HeaderValue = "the header value length",
    /// A key and the headers, together.
    KeyAndHeaders = "the size of key and headers",
}

/// Numbers that can be shown as "got"; what does not fit is shown as the largest that does.
pub(super) trait Got {
    fn got(self) -> i64;
}

impl Got for i64 {
    fn got(self) -> i64 {
        self
    }
}

impl Got for i32 {
    fn got(self) -> i64 {
        i64::from(self)
    }
}

impl Got for u32 {
    fn got(self) -> i64 {
        i64::from(self)
    }
}

impl Got for usize {
    fn got(self) -> i64 {
        i64::try_from(self).unwrap_or(i64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_says_what_was_found_where_and_what_is_allowed() {
        let said = [
            (
                BatchError::corrupt(Field::Crc, 7_i64, Allowed::Exactly(9)),
                "corrupt batch: the CRC is 7, allowed is 9",
            ),
            (
                BatchError::too_large(Field::Bytes, 7_i64, 5),
                "batch too large: the number of bytes is 7, allowed is 5 or less",
            ),
            (
                BatchError::unsupported(Field::Codec, 7_i64, Allowed::Between(0, 4)),
                "unsupported batch: the codec is 7, allowed is 0 to 4",
            ),
            (
                BatchError::invalid(Field::Count, 0_i64, Allowed::AtLeast(1)),
                "invalid batch: the record count is 0, allowed is 1 or more",
            ),
            (
                BatchError::invalid(Field::ProducerEpoch, -1_i64, Allowed::Rule("one that is given out")),
                "invalid batch: the producer epoch is -1, allowed is one that is given out",
            ),
        ];
        for (error, text) in said {
            assert!(error.to_string().starts_with(text), "{error}");
            assert_eq!(error.fault().record, None);
            let in_record = error.in_record(3);
            assert_eq!(in_record.fault().record, Some(3));
            assert!(in_record.to_string().contains("record 3: "), "{in_record}");
        }
    }
}
