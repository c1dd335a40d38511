//! A member is alive.

use super::field::message;

message! {
    /// Heartbeat: what a client asks.
    struct HeartbeatRequest {
        group_id: String [0],
        generation_id: i32 [0],
        member_id: String [0],
        group_instance_id: Option<String> [3],
    }

    /// Heartbeat: what it is answered.
    struct HeartbeatResponse {
        throttle_time_ms: i32 [1],
        error_code: i16 [0],
    }
}
