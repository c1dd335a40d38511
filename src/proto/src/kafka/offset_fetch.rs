//! Asks how far groups have come.

use super::field::message;

message! {
    /// Part of the message: offset fetch request topic.
    struct OffsetFetchRequestTopic {
        name: String [1],
        partition_indexes: Vec<i32> [1],
    }

    /// Part of the message: offset fetch request group.
    struct OffsetFetchRequestGroup {
        group_id: String [8],
        member_id: Option<String> [9],
        member_epoch: i32 [9 or -1],
        topics: Option<Vec<OffsetFetchRequestTopic>> [8],
    }

    /// Offset Fetch: what a client asks.
    struct OffsetFetchRequest {
        group_id: String [1 to 7],
        topics: Option<Vec<OffsetFetchRequestTopic>> [1 to 7],
        groups: Vec<OffsetFetchRequestGroup> [8],
        require_stable: bool [7],
    }

    /// Part of the message: offset fetch response partition.
    struct OffsetFetchResponsePartition {
        partition_index: i32 [1],
        committed_offset: i64 [1 or -1],
        committed_leader_epoch: i32 [5 or -1],
        metadata: Option<String> [1],
        error_code: i16 [1],
    }

    /// Part of the message: offset fetch response topic.
    struct OffsetFetchResponseTopic {
        name: String [1],
        partitions: Vec<OffsetFetchResponsePartition> [1],
    }

    /// Part of the message: offset fetch response group.
    struct OffsetFetchResponseGroup {
        group_id: String [8],
        topics: Vec<OffsetFetchResponseTopic> [8],
        error_code: i16 [8],
    }

    /// Offset Fetch: what it is answered.
    struct OffsetFetchResponse {
        throttle_time_ms: i32 [3],
        topics: Vec<OffsetFetchResponseTopic> [1 to 7],
        error_code: i16 [2 to 7],
        groups: Vec<OffsetFetchResponseGroup> [8],
    }
}
