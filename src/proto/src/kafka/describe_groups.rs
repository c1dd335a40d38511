//! A group's state and members.

use bytes::Bytes;

use super::field::message;

message! {
    /// Describe Groups: what a client asks.
    struct DescribeGroupsRequest {
        groups: Vec<String> [0],
        include_authorized_operations: bool [3],
    }

    /// Part of the message: described group member.
    struct DescribedGroupMember {
        member_id: String [0],
        group_instance_id: Option<String> [4],
        client_id: String [0],
        client_host: String [0],
        member_metadata: Bytes [0],
        member_assignment: Bytes [0],
    }

    /// Part of the message: described group.
    struct DescribedGroup {
        error_code: i16 [0],
        group_id: String [0],
        group_state: String [0],
        protocol_type: String [0],
        protocol_data: String [0],
        members: Vec<DescribedGroupMember> [0],
        authorized_operations: i32 [3 or i32::MIN],
    }

    /// Describe Groups: what it is answered.
    struct DescribeGroupsResponse {
        throttle_time_ms: i32 [1],
        groups: Vec<DescribedGroup> [0],
    }
}
