//! Which versions a server speaks.

use super::field::message;

message! {
    /// Api Versions: what a client asks.
    struct ApiVersionsRequest {
        client_software_name: String [3],
        client_software_version: String [3],
    }

    /// Versions of one API.
    struct ApiVersion {
        api_key: i16 [0],
        min_version: i16 [0],
        max_version: i16 [0],
    }

    /// Api Versions: what it is answered.
    struct ApiVersionsResponse {
        error_code: i16 [0],
        api_keys: Vec<ApiVersion> [0],
        throttle_time_ms: i32 [1],
    }
}
