//! Hands out the leader's assignment.

use bytes::Bytes;

use super::field::message;

message! {
    /// Part of the message: sync group request assignment.
    struct SyncGroupRequestAssignment {
        member_id: String [0],
        assignment: Bytes [0],
    }

    /// Sync Group: what a client asks.
    struct SyncGroupRequest {
        group_id: String [0],
        generation_id: i32 [0],
        member_id: String [0],
        group_instance_id: Option<String> [3],
        protocol_type: Option<String> [5],
        protocol_name: Option<String> [5],
        assignments: Vec<SyncGroupRequestAssignment> [0],
    }

    /// Sync Group: what it is answered.
    struct SyncGroupResponse {
        throttle_time_ms: i32 [1],
        error_code: i16 [0],
        protocol_type: Option<String> [5],
        protocol_name: Option<String> [5],
        assignment: Bytes [0],
    }
}
