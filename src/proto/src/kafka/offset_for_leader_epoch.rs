//! Where an epoch ended.

use super::field::message;

message! {
    /// Part of the message: offset for leader partition.
    struct OffsetForLeaderPartition {
        partition: i32 [0],
        current_leader_epoch: i32 [2 or -1],
        leader_epoch: i32 [0],
    }

    /// Part of the message: offset for leader topic.
    struct OffsetForLeaderTopic {
        topic: String [0],
        partitions: Vec<OffsetForLeaderPartition> [0],
    }

    /// Offset For Leader Epoch: what a client asks.
    struct OffsetForLeaderEpochRequest {
        replica_id: i32 [3 or -2],
        topics: Vec<OffsetForLeaderTopic> [0],
    }

    /// Part of the message: epoch end offset.
    struct EpochEndOffset {
        error_code: i16 [0],
        partition: i32 [0],
        leader_epoch: i32 [1 or -1],
        end_offset: i64 [0 or -1],
    }

    /// Part of the message: offset for leader topic result.
    struct OffsetForLeaderTopicResult {
        topic: String [0],
        partitions: Vec<EpochEndOffset> [0],
    }

    /// Offset For Leader Epoch: what it is answered.
    struct OffsetForLeaderEpochResponse {
        throttle_time_ms: i32 [2],
        topics: Vec<OffsetForLeaderTopicResult> [0],
    }
}
