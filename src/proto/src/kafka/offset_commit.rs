//! Keeps how far a group has come.

use super::field::message;

message! {
    /// Part of the message: offset commit request partition.
    struct OffsetCommitRequestPartition {
        partition_index: i32 [2],
        committed_offset: i64 [2],
        committed_leader_epoch: i32 [6 or -1],
        committed_metadata: Option<String> [2],
    }

    /// Part of the message: offset commit request topic.
    struct OffsetCommitRequestTopic {
        name: String [2],
        partitions: Vec<OffsetCommitRequestPartition> [2],
    }

    /// Offset Commit: what a client asks.
    struct OffsetCommitRequest {
        group_id: String [2],
        generation_id_or_member_epoch: i32 [2 or -1],
        member_id: String [2],
        group_instance_id: Option<String> [7],
        retention_time_ms: i64 [2 to 4 or -1],
        topics: Vec<OffsetCommitRequestTopic> [2],
    }

    /// Part of the message: offset commit response partition.
    struct OffsetCommitResponsePartition {
        partition_index: i32 [2],
        error_code: i16 [2],
    }

    /// Part of the message: offset commit response topic.
    struct OffsetCommitResponseTopic {
        name: String [2],
        partitions: Vec<OffsetCommitResponsePartition> [2],
    }

    /// Offset Commit: what it is answered.
    struct OffsetCommitResponse {
        throttle_time_ms: i32 [3],
        topics: Vec<OffsetCommitResponseTopic> [2],
    }
}
