//! From our errors to the codes by which Kafka's clients decide what to do.

use tidelog_format::batch::{BatchError, Field};
use tidelog_format::producers::SequenceError;
use tidelog_proto::http::error::ErrorCode as Native;
use tidelog_proto::kafka::ErrorCode;
use tidelog_wal::{AppendError, ReadError};

use crate::failure::Failure;
use crate::node::NotLed;
use crate::older::Unread;

impl From<NotLed> for ErrorCode {
    fn from(_: NotLed) -> ErrorCode {
        ErrorCode::NotLeaderOrFollower
    }
}

/// Of an append.
pub(super) fn append(error: &AppendError) -> ErrorCode {
    match error {
        // Deleted since the request looked it up.
        AppendError::UnknownPartition(_) => ErrorCode::UnknownTopicOrPartition,
        AppendError::TooLarge { .. } => ErrorCode::MessageTooLarge,
        // The client tries again, for as long as it cares: room may come back, a node may be restarted.
        AppendError::Full
        | AppendError::ReadOnly(_)
        | AppendError::Poisoned { .. }
        | AppendError::OutcomeUnknown { .. } => ErrorCode::KafkaStorageError,
        AppendError::Following | AppendError::Moving(_) | AppendError::Closed => {
            ErrorCode::NotLeaderOrFollower
        }
        AppendError::Sequence(SequenceError::OutOfOrder { .. }) => ErrorCode::OutOfOrderSequenceNumber,
        AppendError::Sequence(SequenceError::OldEpoch { .. }) => ErrorCode::InvalidProducerEpoch,
        // To a client this is success without an offset.
        AppendError::Sequence(SequenceError::Forgotten { .. }) => ErrorCode::DuplicateSequenceNumber,
        AppendError::Invalid(_) => ErrorCode::InvalidRequest,
    }
}

/// Of a read.
pub(super) fn read(error: &ReadError) -> ErrorCode {
    match error {
        ReadError::UnknownPartition(_) => ErrorCode::UnknownTopicOrPartition,
        ReadError::OutOfRange { .. } => ErrorCode::OffsetOutOfRange,
        ReadError::Closed => ErrorCode::NotLeaderOrFollower,
        ReadError::Corrupt { .. }
        | ReadError::Missing { .. }
        | ReadError::Misplaced { .. }
        | ReadError::Unsupported { .. }
        | ReadError::Io(_) => ErrorCode::KafkaStorageError,
    }
}

/// Of a read over all places of a partition.
pub(super) fn unread(error: &Unread) -> ErrorCode {
    match error {
        // A partition that is not deleted is on its way here, or has left.
        Unread::Log(ReadError::UnknownPartition(_)) => ErrorCode::NotLeaderOrFollower,
        Unread::Log(error) => read(error),
        // The client tries again.
        Unread::NotLed(_) | Unread::Away { .. } => ErrorCode::NotLeaderOrFollower,
    }
}

/// Of a batch that is not taken.
pub(super) fn batch(error: &BatchError) -> ErrorCode {
    match error {
        BatchError::Corrupt(_) => ErrorCode::CorruptMessage,
        BatchError::TooLarge(_) => ErrorCode::MessageTooLarge,
        BatchError::Unsupported(fault) if fault.field == Field::Magic => {
            ErrorCode::UnsupportedForMessageFormat
        }
        BatchError::Unsupported(fault) if fault.field == Field::Codec => {
            ErrorCode::UnsupportedCompressionType
        }
        BatchError::Unsupported(_) | BatchError::Invalid(_) => ErrorCode::InvalidRecord,
    }
}

/// Of an administrative request.
pub(super) fn of(failure: &Failure) -> ErrorCode {
    match failure.code {
        Native::UnknownTopic | Native::UnknownPartition => ErrorCode::UnknownTopicOrPartition,
        Native::InvalidTopic | Native::ReservedTopic => ErrorCode::InvalidTopicException,
        Native::TopicExists => ErrorCode::TopicAlreadyExists,
        Native::InvalidConfig => ErrorCode::InvalidConfig,
        Native::OffsetOutOfRange => ErrorCode::OffsetOutOfRange,
        Native::TooManyPartitions => ErrorCode::PolicyViolation,
        Native::StorageFull | Native::StorageFailed | Native::CorruptStorage => ErrorCode::KafkaStorageError,
        Native::ShuttingDown | Native::NotLeader => ErrorCode::NotLeaderOrFollower,
        // Asked again, it finds what became of the first try.
        Native::Unavailable => ErrorCode::RequestTimedOut,
        Native::TooLarge => ErrorCode::MessageTooLarge,
        Native::InvalidBody | Native::InvalidParameter => ErrorCode::InvalidRequest,
        _ => ErrorCode::UnknownServerError,
    }
}
