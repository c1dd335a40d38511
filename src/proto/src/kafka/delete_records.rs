//! Trims partitions.

use super::field::message;

message! {
    /// Part of the message: delete records partition.
    struct DeleteRecordsPartition {
        partition_index: i32 [0],
        offset: i64 [0],
    }

    /// Part of the message: delete records topic.
    struct DeleteRecordsTopic {
        name: String [0],
        partitions: Vec<DeleteRecordsPartition> [0],
    }

    /// Delete Records: what a client asks.
    struct DeleteRecordsRequest {
        topics: Vec<DeleteRecordsTopic> [0],
        timeout_ms: i32 [0],
    }

    /// Part of the message: delete records partition result.
    struct DeleteRecordsPartitionResult {
        partition_index: i32 [0],
        low_watermark: i64 [0 or -1],
        error_code: i16 [0],
    }

    /// Part of the message: delete records topic result.
    struct DeleteRecordsTopicResult {
        name: String [0],
        partitions: Vec<DeleteRecordsPartitionResult> [0],
    }

    /// Delete Records: what it is answered.
    struct DeleteRecordsResponse {
        throttle_time_ms: i32 [0],
        topics: Vec<DeleteRecordsTopicResult> [0],
    }
}
