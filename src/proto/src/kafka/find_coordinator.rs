//! Who coordinates a group.

use super::field::message;

message! {
    /// Find Coordinator: what a client asks.
    struct FindCoordinatorRequest {
        key: String [0 to 3],
        key_type: i8 [1],
        coordinator_keys: Vec<String> [4],
    }

    /// Part of the message: coordinator.
    struct Coordinator {
        key: String [4],
        node_id: i32 [4],
        host: String [4],
        port: i32 [4],
        error_code: i16 [4],
        error_message: Option<String> [4],
    }

    /// Find Coordinator: what it is answered.
    struct FindCoordinatorResponse {
        throttle_time_ms: i32 [1],
        error_code: i16 [0 to 3],
        error_message: Option<String> [1 to 3],
        node_id: i32 [0 to 3],
        host: String [0 to 3],
        port: i32 [0 to 3],
        coordinators: Vec<Coordinator> [4],
    }
}
