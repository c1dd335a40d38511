//! Offsets by time, and the first and last ones.

use super::field::message;

message! {
    /// Part of the message: list offsets partition.
    struct ListOffsetsPartition {
        partition_index: i32 [1],
        current_leader_epoch: i32 [4 or -1],
        timestamp: i64 [1],
    }

    /// Part of the message: list offsets topic.
    struct ListOffsetsTopic {
        name: String [1],
        partitions: Vec<ListOffsetsPartition> [1],
    }

    /// List Offsets: what a client asks.
    struct ListOffsetsRequest {
        replica_id: i32 [1],
        isolation_level: i8 [2],
        topics: Vec<ListOffsetsTopic> [1],
        timeout_ms: i32 [10],
    }

    /// List Offsets Partition: what it is answered.
    struct ListOffsetsPartitionResponse {
        partition_index: i32 [1],
        error_code: i16 [1],
        timestamp: i64 [1 or -1],
        offset: i64 [1 or -1],
        leader_epoch: i32 [4 or -1],
    }

    /// List Offsets Topic: what it is answered.
    struct ListOffsetsTopicResponse {
        name: String [1],
        partitions: Vec<ListOffsetsPartitionResponse> [1],
    }

    /// List Offsets: what it is answered.
    struct ListOffsetsResponse {
        throttle_time_ms: i32 [2],
        topics: Vec<ListOffsetsTopicResponse> [1],
    }
}
