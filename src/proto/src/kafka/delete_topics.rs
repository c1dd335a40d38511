//! Deletes topics.

use super::field::message;

message! {
    /// Part of the message: delete topic state.
    struct DeleteTopicState {
        name: Option<String> [6],
        topic_id: [u8; 16] [6],
    }

    /// Delete Topics: what a client asks.
    struct DeleteTopicsRequest {
        topics: Vec<DeleteTopicState> [6],
        topic_names: Vec<String> [1 to 5],
        timeout_ms: i32 [1],
    }

    /// Part of the message: deletable topic result.
    struct DeletableTopicResult {
        name: Option<String> [1],
        topic_id: [u8; 16] [6],
        error_code: i16 [1],
        error_message: Option<String> [5],
    }

    /// Delete Topics: what it is answered.
    struct DeleteTopicsResponse {
        throttle_time_ms: i32 [1],
        responses: Vec<DeletableTopicResult> [1],
    }
}
