//! Why a request did not succeed.

use std::time::Duration;

use tidelog_format::batch::BatchError;
use tidelog_proto::http::error::ErrorCode;

/// What went wrong with a request, told apart by what the caller can do about it.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The server's address is not one.
    #[error("`{given}` is not a server's address: {why}; use HOST:PORT")]
    Address {
        /// The address as given.
        given: String,
        /// What is wrong with it.
        why: String,
    },
    /// No connection: nothing was sent.
    #[error("the server at {server} cannot be reached: {cause}")]
    Unreachable {
        /// HOST:PORT.
        server: String,
        /// The operating system's words.
        cause: String,
    },
    /// The server answered that what was asked for does not exist.
    #[error("{message}")]
    NotFound {
        /// Topic, partition, or a path that this server does not know.
        code: ErrorCode,
        /// The server's words.
        message: String,
    },
    /// The server refused or failed.
    #[error("{message} ({code}, HTTP status {status})")]
    Status {
        /// HTTP status, 300 or more.
        status: u16,
        /// What programs decide by; `Unknown` when the answer is not in Tidelog's form.
        code: ErrorCode,
        /// The server's words.
        message: String,
    },
    /// No whole answer in time. For requests that change something their outcome is unknown.
    #[error("the server at {server} did not answer within {} s", after.as_secs_f32())]
    Timeout {
        /// HOST:PORT.
        server: String,
        /// How long it was waited for.
        after: Duration,
    },
    /// The connection broke after the request was sent, before its answer was whole. For requests that change
    /// something their outcome is unknown.
    #[error("the connection to {server} broke before the answer was whole: {cause}")]
    Broken {
        /// HOST:PORT.
        server: String,
        /// What the transport says.
        cause: String,
    },
    /// The server's answer is not understood.
    #[error(
        "the answer of {server} to {what} is not understood: {cause}; is it a Tidelog server of this version?"
    )]
    Decode {
        /// HOST:PORT.
        server: String,
        /// Which request.
        what: String,
        /// What is wrong with the answer.
        cause: String,
    },
    /// A stored batch that was received is damaged or of a newer format.
    #[error("partition {partition}, offset {offset}: {cause}")]
    Batch {
        /// The partition read.
        partition: u32,
        /// The offset that was asked for.
        offset: u64,
        /// What is wrong with the batch.
        cause: BatchError,
    },
    /// A record that cannot be stored, by its own fault; nothing was sent.
    #[error("this record cannot be stored: {0}")]
    Record(BatchError),
    /// A partition that the topic does not have.
    #[error("topic `{topic}` has no partition {partition}; it has {partitions}, counted from 0")]
    NoPartition {
        /// Name of the topic.
        topic: String,
        /// The one asked for.
        partition: u32,
        /// How many there are.
        partitions: usize,
    },
    /// The server has no port for Kafka's protocol.
    #[error(
        "the server at {server} was started with `--kafka off`, and consumer groups work through that port"
    )]
    NoKafka {
        /// HOST:PORT of its HTTP port.
        server: String,
    },
    /// The coordinator refuses what a member of a consumer group asks.
    #[error("consumer group `{group}`: {why}")]
    Group {
        /// Name of the group.
        group: String,
        /// The code of Kafka's protocol.
        code: i16,
        /// What it means here, and what to do.
        why: String,
    },
    /// The producer stopped at an earlier failure and sends nothing more.
    #[error("not sent, because an earlier batch failed")]
    Stopped,
}

impl Error {
    /// Whether the request may have taken effect although no success was reported.
    pub const fn outcome_unknown(&self) -> bool {
        match self {
            Error::Timeout { .. } | Error::Broken { .. } | Error::Decode { .. } => true,
            Error::Status { status, code, .. } => *status >= 500 && !code_says_nothing_done(*code),
            _ => false,
        }
    }

    /// Whether the server certainly did nothing and may do it later: no connection, overload.
    pub(crate) const fn is_unstarted(&self) -> bool {
        matches!(
            self,
            Error::Unreachable { .. }
                | Error::Status {
                    code: ErrorCode::Overloaded | ErrorCode::ShuttingDown | ErrorCode::NotLeader,
                    ..
                }
        )
    }

    /// Whether a request that changes nothing is worth another try.
    pub(crate) const fn is_passing(&self) -> bool {
        self.is_unstarted()
            || matches!(self, Error::Broken { .. } | Error::Status { status: 429 | 502 | 503 | 504, .. })
            // The coordinator is loading or not available, or another node by now.
            || matches!(self, Error::Group { code: 14..=16, .. })
    }
}

/// Codes of failing servers that are sent before anything was begun. Any other failure may come after the write.
const fn code_says_nothing_done(code: ErrorCode) -> bool {
    matches!(
        code,
        ErrorCode::Overloaded | ErrorCode::ShuttingDown | ErrorCode::NotLeader | ErrorCode::StorageFull
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(code: ErrorCode) -> Error {
        Error::Status { status: code.status(), code, message: String::new() }
    }

    #[test]
    fn only_answers_that_rule_a_write_out_let_a_produce_be_sent_again() {
        let again: Vec<ErrorCode> =
            ErrorCode::ALL.iter().copied().filter(|code| status(*code).is_unstarted()).collect();
        assert_eq!(again, [ErrorCode::Overloaded, ErrorCode::ShuttingDown, ErrorCode::NotLeader]);
        for code in ErrorCode::ALL {
            let error = status(*code);
            assert!(!(error.is_unstarted() && error.outcome_unknown()), "{code}");
        }
    }

    #[test]
    fn a_server_that_failed_inside_leaves_the_outcome_unknown() {
        for code in
            [ErrorCode::Internal, ErrorCode::StorageFailed, ErrorCode::CorruptStorage, ErrorCode::Unknown]
        {
            assert!(status(code).outcome_unknown(), "{code}");
        }
        for code in [ErrorCode::TooLarge, ErrorCode::StorageFull, ErrorCode::UnknownTopic] {
            assert!(!status(code).outcome_unknown(), "{code}");
        }
        let foreign = Error::Status { status: 503, code: ErrorCode::Unknown, message: String::new() };
        assert!(foreign.outcome_unknown() && !foreign.is_unstarted() && foreign.is_passing());
    }
}
