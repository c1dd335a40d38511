//! Reads record batches.

use super::field::{Batches, message};
use super::produce::LeaderIdAndEpoch;

message! {
    /// Part of the message: fetch partition.
    struct FetchPartition {
        partition: i32 [4],
        current_leader_epoch: i32 [9 or -1],
        fetch_offset: i64 [4],
        last_fetched_epoch: i32 [12 or -1],
        log_start_offset: i64 [5 or -1],
        partition_max_bytes: i32 [4],
    }

    /// Part of the message: fetch topic.
    struct FetchTopic {
        topic: String [4 to 12],
        topic_id: [u8; 16] [13],
        partitions: Vec<FetchPartition> [4],
    }

    /// Part of the message: forgotten topic.
    struct ForgottenTopic {
        topic: String [7 to 12],
        topic_id: [u8; 16] [13],
        partitions: Vec<i32> [7],
    }

    /// Fetch: what a client asks.
    struct FetchRequest {
        replica_id: i32 [4 to 14 or -1],
        max_wait_ms: i32 [4],
        min_bytes: i32 [4],
        max_bytes: i32 [4 or i32::MAX],
        isolation_level: i8 [4],
        session_id: i32 [7],
        session_epoch: i32 [7 or -1],
        topics: Vec<FetchTopic> [4],
        forgotten_topics_data: Vec<ForgottenTopic> [7],
        rack_id: String [11],
    }

    /// Part of the message: aborted transaction.
    struct AbortedTransaction {
        producer_id: i64 [4],
        first_offset: i64 [4],
    }

    /// Part of the message: partition data.
    struct PartitionData {
        partition_index: i32 [4],
        error_code: i16 [4],
        high_watermark: i64 [4],
        last_stable_offset: i64 [4 or -1],
        log_start_offset: i64 [5 or -1],
        aborted_transactions: Option<Vec<AbortedTransaction>> [4],
        preferred_read_replica: i32 [11 or -1],
        records: Batches [4],
        ; 1 current_leader: LeaderIdAndEpoch [12],
    }

    /// Fetchable Topic: what it is answered.
    struct FetchableTopicResponse {
        topic: String [4 to 12],
        topic_id: [u8; 16] [13],
        partitions: Vec<PartitionData> [4],
    }

    /// Fetch: what it is answered.
    struct FetchResponse {
        throttle_time_ms: i32 [4],
        error_code: i16 [7],
        session_id: i32 [7],
        responses: Vec<FetchableTopicResponse> [4],
    }
}
