//! Brokers, topics and who leads their partitions.

use super::field::message;

message! {
    /// Part of the message: metadata request topic.
    struct MetadataRequestTopic {
        topic_id: [u8; 16] [10],
        name: Option<String> [0],
    }

    /// Metadata: what a client asks.
    struct MetadataRequest {
        topics: Option<Vec<MetadataRequestTopic>> [0],
        allow_auto_topic_creation: bool [4 or true],
        include_cluster_authorized_operations: bool [8 to 10],
        include_topic_authorized_operations: bool [8],
    }

    /// Part of the message: metadata response broker.
    struct MetadataResponseBroker {
        node_id: i32 [0],
        host: String [0],
        port: i32 [0],
        rack: Option<String> [1],
    }

    /// Part of the message: metadata response partition.
    struct MetadataResponsePartition {
        error_code: i16 [0],
        partition_index: i32 [0],
        leader_id: i32 [0],
        leader_epoch: i32 [7 or -1],
        replica_nodes: Vec<i32> [0],
        isr_nodes: Vec<i32> [0],
        offline_replicas: Vec<i32> [5],
    }

    /// Part of the message: metadata response topic.
    struct MetadataResponseTopic {
        error_code: i16 [0],
        name: Option<String> [0],
        topic_id: [u8; 16] [10],
        is_internal: bool [1],
        partitions: Vec<MetadataResponsePartition> [0],
        topic_authorized_operations: i32 [8 or i32::MIN],
    }

    /// Metadata: what it is answered.
    struct MetadataResponse {
        throttle_time_ms: i32 [3],
        brokers: Vec<MetadataResponseBroker> [0],
        cluster_id: Option<String> [2],
        controller_id: i32 [1 or -1],
        topics: Vec<MetadataResponseTopic> [0],
        cluster_authorized_operations: i32 [8 to 10 or i32::MIN],
        error_code: i16 [13],
    }
}
