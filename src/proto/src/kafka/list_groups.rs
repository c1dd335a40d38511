//! The groups.

use super::field::message;

message! {
    /// List Groups: what a client asks.
    struct ListGroupsRequest {
        states_filter: Vec<String> [4],
        types_filter: Vec<String> [5],
    }

    /// Part of the message: listed group.
    struct ListedGroup {
        group_id: String [0],
        protocol_type: String [0],
        group_state: String [4],
        group_type: String [5],
    }

    /// List Groups: what it is answered.
    struct ListGroupsResponse {
        throttle_time_ms: i32 [1],
        error_code: i16 [0],
        groups: Vec<ListedGroup> [0],
    }
}
