//! Appends record batches.

use super::field::{Place, message};

message! {
    /// Part of the message: partition produce data.
    struct PartitionProduceData {
        index: i32 [0],
        records: Place [0],
    }

    /// Part of the message: topic produce data.
    struct TopicProduceData {
        name: String [0],
        partition_data: Vec<PartitionProduceData> [0],
    }

    /// Produce: what a client asks.
    struct ProduceRequest {
        transactional_id: Option<String> [3],
        acks: i16 [0],
        timeout_ms: i32 [0],
        topic_data: Vec<TopicProduceData> [0],
    }

    /// Part of the message: batch index and error message.
    struct BatchIndexAndErrorMessage {
        batch_index: i32 [8],
        batch_index_error_message: Option<String> [8],
    }

    /// Where a client finds the leader; -1 when it needs not look.
    struct LeaderIdAndEpoch {
        leader_id: i32 [0 or -1],
        leader_epoch: i32 [0 or -1],
    }

    /// Partition Produce: what it is answered.
    struct PartitionProduceResponse {
        index: i32 [0],
        error_code: i16 [0],
        base_offset: i64 [0],
        log_append_time_ms: i64 [2 or -1],
        log_start_offset: i64 [5 or -1],
        record_errors: Vec<BatchIndexAndErrorMessage> [8],
        error_message: Option<String> [8],
        ; 0 current_leader: LeaderIdAndEpoch [10],
    }

    /// Topic Produce: what it is answered.
    struct TopicProduceResponse {
        name: String [0],
        partition_responses: Vec<PartitionProduceResponse> [0],
    }

    /// Produce: what it is answered.
    struct ProduceResponse {
        responses: Vec<TopicProduceResponse> [0],
        throttle_time_ms: i32 [1],
    }
}
