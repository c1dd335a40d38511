//! Creates topics.

use super::field::message;

message! {
    /// Part of the message: creatable replica assignment.
    struct CreatableReplicaAssignment {
        partition_index: i32 [2],
        broker_ids: Vec<i32> [2],
    }

    /// Part of the message: creatable topic config.
    struct CreatableTopicConfig {
        name: String [2],
        value: Option<String> [2],
    }

    /// Part of the message: creatable topic.
    struct CreatableTopic {
        name: String [2],
        num_partitions: i32 [2],
        replication_factor: i16 [2],
        assignments: Vec<CreatableReplicaAssignment> [2],
        configs: Vec<CreatableTopicConfig> [2],
    }

    /// Create Topics: what a client asks.
    struct CreateTopicsRequest {
        topics: Vec<CreatableTopic> [2],
        timeout_ms: i32 [2],
        validate_only: bool [2],
    }

    /// Part of the message: creatable topic configs.
    struct CreatableTopicConfigs {
        name: String [5],
        value: Option<String> [5],
        read_only: bool [5],
        config_source: i8 [5 or -1],
        is_sensitive: bool [5],
    }

    /// Part of the message: creatable topic result.
    struct CreatableTopicResult {
        name: String [2],
        topic_id: [u8; 16] [7],
        error_code: i16 [2],
        error_message: Option<String> [2],
        num_partitions: i32 [5 or -1],
        replication_factor: i16 [5 or -1],
        configs: Option<Vec<CreatableTopicConfigs>> [5],
    }

    /// Create Topics: what it is answered.
    struct CreateTopicsResponse {
        throttle_time_ms: i32 [2],
        topics: Vec<CreatableTopicResult> [2],
    }
}
