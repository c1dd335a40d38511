//! # Purpose
//! Why a request is not carried out, in the codes that clients decide by. One place turns the errors of the layers below
//! into those codes.

use tidelog_format::batch::BatchError;
use tidelog_proto::http::admin::{AdminError, TopicNameError};
use tidelog_proto::http::body::BodyError;
use tidelog_proto::http::error::{ErrorAnswer, ErrorCode};
use tidelog_proto::http::read_query::QueryError;
use tidelog_proto::http::records::RecordsError;
use tidelog_wal::{AppendError, ReadError};

use crate::budget::BudgetError;
use crate::metadata::ChangeError;
use crate::node::NotLed;
use crate::open::StartError;
use crate::ring::RingError;
use tidelog_meta::{Illegal, MetaError, PlacementError};

/// A code for programs, a message for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) code: ErrorCode,
    pub(crate) message: String,
}

impl Failure {
    pub(crate) fn new(code: ErrorCode, message: impl Into<String>) -> Failure {
        Failure { code, message: message.into() }
    }

    /// No topic of this name.
    pub(crate) fn no_topic(name: &str) -> Failure {
        Failure::new(ErrorCode::UnknownTopic, format!("there is no topic `{name}`"))
    }

    /// A topic that was not created on the way because the node is told not to.
    pub(crate) fn no_auto_topic(name: &str) -> Failure {
        let message = format!(
            "there is no topic `{name}`, and this node does not create topics on the way; create it with `tidelog topic create`"
        );
        Failure::new(ErrorCode::UnknownTopic, message)
    }

    /// A partition that the topic does not have.
    pub(crate) fn no_partition(topic: &str, partition: u32, partitions: usize) -> Failure {
        let message =
            format!("topic `{topic}` has no partition {partition}; it has {partitions}, counted from 0");
        Failure::new(ErrorCode::UnknownPartition, message)
    }

    /// No node of this number.
    pub(crate) fn no_node(node: u64) -> Failure {
        Failure::new(ErrorCode::UnknownNode, format!("there is no node {node}"))
    }

    /// Outside of what is stored.
    pub(crate) fn out_of_range(offset: u64, start: u64, end: u64) -> Failure {
        let message = format!("offset {offset} is outside {start} to {end} (start and end of the partition)");
        Failure::new(ErrorCode::OffsetOutOfRange, message)
    }

    /// The node is stopping.
    pub(crate) fn stopping() -> Failure {
        Failure::new(ErrorCode::ShuttingDown, "the node is stopping; send again later")
    }
}

impl From<AppendError> for Failure {
    fn from(error: AppendError) -> Failure {
        let code = match &error {
            AppendError::UnknownPartition(_) => ErrorCode::UnknownPartition,
            AppendError::TooLarge { .. } => ErrorCode::TooLarge,
            AppendError::Full => ErrorCode::StorageFull,
            AppendError::ReadOnly(_) | AppendError::Poisoned { .. } | AppendError::OutcomeUnknown { .. } => {
                ErrorCode::StorageFailed
            }
            AppendError::Following | AppendError::Moving(_) => ErrorCode::NotLeader,
            AppendError::Closed => ErrorCode::ShuttingDown,
            AppendError::Sequence(_) => ErrorCode::OutOfSequence,
            AppendError::Invalid(_) => ErrorCode::Internal,
        };
        Failure::new(code, error.to_string())
    }
}

impl From<NotLed> for Failure {
    fn from(error: NotLed) -> Failure {
        Failure::new(ErrorCode::NotLeader, error.to_string())
    }
}

impl From<ReadError> for Failure {
    fn from(error: ReadError) -> Failure {
        let code = match &error {
            ReadError::UnknownPartition(_) => ErrorCode::UnknownPartition,
            ReadError::OutOfRange { .. } => ErrorCode::OffsetOutOfRange,
            ReadError::Corrupt { .. } | ReadError::Missing { .. } | ReadError::Misplaced { .. } => {
                ErrorCode::CorruptStorage
            }
            ReadError::Closed => ErrorCode::ShuttingDown,
            ReadError::Unsupported { .. } | ReadError::Io(_) => ErrorCode::Internal,
        };
        Failure::new(code, error.to_string())
    }
}

impl From<BatchError> for Failure {
    fn from(error: BatchError) -> Failure {
        let code = match error {
            BatchError::Corrupt(_) => ErrorCode::CorruptBatch,
            BatchError::TooLarge(_) => ErrorCode::TooLarge,
            BatchError::Unsupported(_) | BatchError::Invalid(_) => ErrorCode::InvalidBody,
        };
        Failure::new(code, error.to_string())
    }
}

impl From<MetaError> for Failure {
    fn from(error: MetaError) -> Failure {
        match error {
            MetaError::Append(error) => error.into(),
            MetaError::Illegal(why @ Illegal::TopicExists(_)) => {
                Failure::new(ErrorCode::TopicExists, why.to_string())
            }
            MetaError::Illegal(why @ Illegal::NoTopic(_)) => {
                Failure::new(ErrorCode::UnknownTopic, why.to_string())
            }
            other => Failure::new(ErrorCode::Internal, other.to_string()),
        }
    }
}

impl From<ChangeError> for Failure {
    fn from(error: ChangeError) -> Failure {
        match error {
            ChangeError::Append(error) => error.into(),
            ChangeError::Illegal(why) => MetaError::Illegal(why).into(),
            ChangeError::Meta(error) => error.into(),
            unavailable @ (ChangeError::Unavailable(_) | ChangeError::Unknown) => {
                Failure::new(ErrorCode::Unavailable, unavailable.to_string())
            }
        }
    }
}

impl From<PlacementError> for Failure {
    fn from(error: PlacementError) -> Failure {
        let code = match error {
            PlacementError::Classes => ErrorCode::InvalidConfig,
            PlacementError::NoShard => ErrorCode::Internal,
        };
        Failure::new(code, error.to_string())
    }
}

impl From<RingError> for Failure {
    fn from(error: RingError) -> Failure {
        Failure::new(ErrorCode::StorageFailed, error.to_string())
    }
}

impl From<StartError> for Failure {
    fn from(error: StartError) -> Failure {
        match error {
            StartError::Meta(error) => error.into(),
            StartError::Change(error) => error.into(),
            StartError::Ring(error) => error.into(),
            other => Failure::new(ErrorCode::StorageFailed, other.to_string()),
        }
    }
}

impl From<BudgetError> for Failure {
    fn from(error: BudgetError) -> Failure {
        let code = match error {
            BudgetError::Overloaded => ErrorCode::Overloaded,
            BudgetError::TooLarge(_) => ErrorCode::TooLarge,
        };
        Failure::new(code, error.to_string())
    }
}

impl From<AdminError> for Failure {
    fn from(error: AdminError) -> Failure {
        Failure::new(error.code(), error.to_string())
    }
}

impl From<TopicNameError> for Failure {
    fn from(error: TopicNameError) -> Failure {
        AdminError::from(error).into()
    }
}

impl From<QueryError> for Failure {
    fn from(error: QueryError) -> Failure {
        Failure::new(ErrorCode::InvalidParameter, error.to_string())
    }
}

impl From<ErrorAnswer> for Failure {
    fn from(answer: ErrorAnswer) -> Failure {
        Failure { code: answer.error.code, message: answer.error.message }
    }
}

impl From<&RecordsError> for Failure {
    fn from(error: &RecordsError) -> Failure {
        ErrorAnswer::from(error).into()
    }
}

impl From<&BodyError> for Failure {
    fn from(error: &BodyError) -> Failure {
        ErrorAnswer::from(error).into()
    }
}
