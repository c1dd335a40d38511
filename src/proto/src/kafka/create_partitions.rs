//! Adds partitions to topics.

use super::field::message;

message! {
    /// Part of the message: create partitions assignment.
    struct CreatePartitionsAssignment {
        broker_ids: Vec<i32> [0],
    }

    /// Part of the message: create partitions topic.
    struct CreatePartitionsTopic {
        name: String [0],
        count: i32 [0],
        assignments: Option<Vec<CreatePartitionsAssignment>> [0],
    }

    /// Create Partitions: what a client asks.
    struct CreatePartitionsRequest {
        topics: Vec<CreatePartitionsTopic> [0],
        timeout_ms: i32 [0],
        validate_only: bool [0],
    }

    /// Part of the message: create partitions topic result.
    struct CreatePartitionsTopicResult {
        name: String [0],
        error_code: i16 [0],
        error_message: Option<String> [0],
    }

    /// Create Partitions: what it is answered.
    struct CreatePartitionsResponse {
        throttle_time_ms: i32 [0],
        results: Vec<CreatePartitionsTopicResult> [0],
    }
}
