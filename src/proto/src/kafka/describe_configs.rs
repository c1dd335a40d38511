//! Settings of topics and brokers.

use super::field::message;

message! {
    /// Part of the message: describe configs resource.
    struct DescribeConfigsResource {
        resource_type: i8 [1],
        resource_name: String [1],
        configuration_keys: Option<Vec<String>> [1],
    }

    /// Describe Configs: what a client asks.
    struct DescribeConfigsRequest {
        resources: Vec<DescribeConfigsResource> [1],
        include_synonyms: bool [1],
        include_documentation: bool [3],
    }

    /// Part of the message: describe configs synonym.
    struct DescribeConfigsSynonym {
        name: String [1],
        value: Option<String> [1],
        source: i8 [1],
    }

    /// Part of the message: describe configs resource result.
    struct DescribeConfigsResourceResult {
        name: String [1],
        value: Option<String> [1],
        read_only: bool [1],
        config_source: i8 [1 or -1],
        is_sensitive: bool [1],
        synonyms: Vec<DescribeConfigsSynonym> [1],
        config_type: i8 [3],
        documentation: Option<String> [3],
    }

    /// Part of the message: describe configs result.
    struct DescribeConfigsResult {
        error_code: i16 [1],
        error_message: Option<String> [1],
        resource_type: i8 [1],
        resource_name: String [1],
        configs: Vec<DescribeConfigsResourceResult> [1],
    }

    /// Describe Configs: what it is answered.
    struct DescribeConfigsResponse {
        throttle_time_ms: i32 [1],
        results: Vec<DescribeConfigsResult> [1],
    }
}
