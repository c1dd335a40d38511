//! # Purpose
//! The error answer of the native HTTP interface: a code for programs, a message for people, and the HTTP status.

use serde::{Deserialize, Serialize};

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $text:literal, $status:literal;)*) => {
        /// What went wrong. Programs decide by this, never by the message.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum ErrorCode {
            $($(#[$doc])* $name,)*
            /// A code of a newer server.
            #[serde(other)]
            Unknown,
        }

        impl ErrorCode {
            /// Every code that a server of this version sends.
            pub const ALL: &'static [ErrorCode] = &[$(ErrorCode::$name,)*];

            /// As it stands in the answer.
            pub const fn as_str(self) -> &'static str {
                match self { $(ErrorCode::$name => $text,)* ErrorCode::Unknown => "unknown" }
            }

            /// The HTTP status that goes with it.
            pub const fn status(self) -> u16 {
                match self { $(ErrorCode::$name => $status,)* ErrorCode::Unknown => 500 }
            }
        }
    };
}

codes! {
    /// The body is not of the format it should have.
    InvalidBody = "invalid_body", 400;
    /// A parameter of the path or query is not understood.
    InvalidParameter = "invalid_parameter", 400;
    /// A topic name against the rules.
    InvalidTopic = "invalid_topic", 400;
    /// A topic name that only Tidelog itself may use.
    ReservedTopic = "reserved_topic", 403;
    /// A configuration key or value that cannot be.
    InvalidConfig = "invalid_config", 400;
    /// A batch of the caller's own making that is damaged.
    CorruptBatch = "corrupt_batch", 400;
    /// No such topic, and it may not be created on the way.
    UnknownTopic = "unknown_topic", 404;
    /// The topic has no such partition.
    UnknownPartition = "unknown_partition", 404;
    /// No such consumer group.
    UnknownGroup = "unknown_group", 404;
    /// No such shard.
    UnknownShard = "unknown_shard", 404;
    /// No such node.
    UnknownNode = "unknown_node", 404;
    /// No such path.
    NotFound = "not_found", 404;
    /// The path takes another method.
    MethodNotAllowed = "method_not_allowed", 405;
    /// A topic of this name exists.
    TopicExists = "topic_exists", 409;
    /// A batch of an idempotent producer that is not the one it has to send next.
    OutOfSequence = "out_of_sequence", 409;
    /// The group has members, so that they say how far it has come.
    GroupNotEmpty = "group_not_empty", 409;
    /// The node does not hold what it is to lead.
    NotAHolder = "not_a_holder", 409;
    /// The node lacks too much of what it is to lead.
    HolderBehind = "holder_behind", 409;
    /// The node is in a state in which that is not done with it.
    NodeState = "node_state", 409;
    /// The cluster needs the node.
    NodeNeeded = "node_needed", 409;
    /// Request, record or batch over a limit.
    TooLarge = "too_large", 413;
    /// A content type or encoding that is not understood.
    UnsupportedMediaType = "unsupported_media_type", 415;
    /// Below the start or above the end of the partition.
    OffsetOutOfRange = "offset_out_of_range", 416;
    /// More topics or partitions than this node may have.
    TooManyPartitions = "too_many_partitions", 422;
    /// A fault of the server.
    Internal = "internal", 500;
    /// Too busy: the same request may be sent again, later.
    Overloaded = "overloaded", 503;
    /// The server is stopping: the same request may be sent again, later.
    ShuttingDown = "shutting_down", 503;
    /// The cluster cannot decide this now, or the node that could is not reached: the same request may be sent again.
    Unavailable = "unavailable", 503;
    /// This node does not lead the partition, and was asked by one that took it for the leader: nothing was done.
    NotLeader = "not_leader", 503;
    /// The disk refused a write: this shard takes nothing until the node is started again.
    StorageFailed = "storage_failed", 503;
    /// Stored bytes that do not match their checksum.
    CorruptStorage = "corrupt_storage", 500;
    /// The disk is full.
    StorageFull = "storage_full", 507;
}

impl ErrorCode {
    /// Whether the same request may succeed later. What was sent may have been stored even so.
    pub const fn is_retriable(self) -> bool {
        matches!(self.status(), 503 | 507)
    }
}

impl std::fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// `{"error": {"code": .., "message": ..}}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorAnswer {
    /// The only field.
    pub error: ErrorDetail,
}

/// What an [`ErrorAnswer`] holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorDetail {
    /// For programs.
    pub code: ErrorCode,
    /// For people: what happened, where, what to do.
    pub message: String,
}

impl ErrorAnswer {
    /// An answer with this code and message.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        ErrorAnswer { error: ErrorDetail { code, message: message.into() } }
    }

    /// The body.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
}

impl From<&super::records::RecordsError> for ErrorAnswer {
    fn from(error: &super::records::RecordsError) -> Self {
        let code = if error.is_too_large() { ErrorCode::TooLarge } else { ErrorCode::InvalidBody };
        ErrorAnswer::new(code, error.to_string())
    }
}

impl From<&super::body::BodyError> for ErrorAnswer {
    fn from(error: &super::body::BodyError) -> Self {
        use super::body::BodyError;
        let code = match error {
            BodyError::ContentType(_) | BodyError::ContentEncoding(_) => ErrorCode::UnsupportedMediaType,
            BodyError::Gzip(_) => ErrorCode::InvalidBody,
            BodyError::TooLarge { .. } => ErrorCode::TooLarge,
        };
        ErrorAnswer::new(code, error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_written_and_read_back_in_its_own_words() {
        for code in ErrorCode::ALL {
            let json = ErrorAnswer::new(*code, "why").to_json();
            assert_eq!(json, format!(r#"{{"error":{{"code":"{code}","message":"why"}}}}"#));
            assert_eq!(serde_json::from_str::<ErrorAnswer>(&json).unwrap().error.code, *code);
            assert!((400..600).contains(&code.status()));
        }
    }

    #[test]
    fn a_code_of_a_newer_server_is_not_an_error_of_the_reader() {
        let answer: ErrorAnswer =
            serde_json::from_str(r#"{"error":{"code":"brand_new","message":"m"}}"#).unwrap();
        assert_eq!(answer.error.code, ErrorCode::Unknown);
    }

    #[test]
    fn only_what_can_pass_is_worth_a_retry() {
        assert!(ErrorCode::Overloaded.is_retriable());
        assert!(!ErrorCode::UnknownTopic.is_retriable());
    }
}
