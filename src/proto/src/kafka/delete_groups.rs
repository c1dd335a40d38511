//! Forgets groups.

use super::field::message;

message! {
    /// Delete Groups: what a client asks.
    struct DeleteGroupsRequest {
        groups_names: Vec<String> [0],
    }

    /// Part of the message: deletable group result.
    struct DeletableGroupResult {
        group_id: String [0],
        error_code: i16 [0],
    }

    /// Delete Groups: what it is answered.
    struct DeleteGroupsResponse {
        throttle_time_ms: i32 [0],
        results: Vec<DeletableGroupResult> [0],
    }
}
