//! Members leave.

use super::field::message;

message! {
    /// Part of the message: member identity.
    struct MemberIdentity {
        member_id: String [3],
        group_instance_id: Option<String> [3],
        reason: Option<String> [5],
    }

    /// Leave Group: what a client asks.
    struct LeaveGroupRequest {
        group_id: String [0],
        member_id: String [0 to 2],
        members: Vec<MemberIdentity> [3],
    }

    /// Member: what it is answered.
    struct MemberResponse {
        member_id: String [3],
        group_instance_id: Option<String> [3],
        error_code: i16 [3],
    }

    /// Leave Group: what it is answered.
    struct LeaveGroupResponse {
        throttle_time_ms: i32 [1],
        error_code: i16 [0],
        members: Vec<MemberResponse> [3],
    }
}
