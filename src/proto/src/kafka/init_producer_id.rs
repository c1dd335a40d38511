//! An id for an idempotent producer.

use super::field::message;

message! {
    /// Init Producer Id: what a client asks.
    struct InitProducerIdRequest {
        transactional_id: Option<String> [0],
        transaction_timeout_ms: i32 [0],
        producer_id: i64 [3 or -1],
        producer_epoch: i16 [3 or -1],
    }

    /// Init Producer Id: what it is answered.
    struct InitProducerIdResponse {
        throttle_time_ms: i32 [0],
        error_code: i16 [0],
        producer_id: i64 [0 or -1],
        producer_epoch: i16 [0],
    }
}
