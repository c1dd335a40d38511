//! The brokers.

use super::field::message;

message! {
    /// Describe Cluster: what a client asks.
    struct DescribeClusterRequest {
        include_cluster_authorized_operations: bool [0],
        endpoint_type: i8 [1 or 1],
        include_fenced_brokers: bool [2],
    }

    /// Part of the message: describe cluster broker.
    struct DescribeClusterBroker {
        broker_id: i32 [0],
        host: String [0],
        port: i32 [0],
        rack: Option<String> [0],
        is_fenced: bool [2],
    }

    /// Describe Cluster: what it is answered.
    struct DescribeClusterResponse {
        throttle_time_ms: i32 [0],
        error_code: i16 [0],
        error_message: Option<String> [0],
        endpoint_type: i8 [1 or 1],
        cluster_id: String [0],
        controller_id: i32 [0 or -1],
        brokers: Vec<DescribeClusterBroker> [0],
        cluster_authorized_operations: i32 [0 or i32::MIN],
    }
}
