//! Answers: JSON, and every failure in one shape.

use axum::body::Body;
use axum::http::header::{CONNECTION, CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use tidelog_proto::http::body::JSON;
use tidelog_proto::http::error::{ErrorAnswer, ErrorCode};

use crate::failure::Failure;

/// Seconds after which a client that was turned away may come again.
pub(crate) const RETRY_SECONDS: &str = "1";

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        if self.code.status() >= 500 {
            tracing::debug!(code = %self.code, message = self.message, "request failed");
        }
        let body = ErrorAnswer::new(self.code, self.message).to_json();
        let mut response = typed(self.code.status(), JSON, body);
        if self.code.is_retriable() {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static(RETRY_SECONDS));
        }
        if self.code == ErrorCode::TooLarge {
            // The rest of what was too large is not read.
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}

/// A JSON answer.
pub(super) fn json(value: &impl Serialize) -> Response {
    // Plain structs of numbers and strings always become JSON.
    typed(200, JSON, serde_json::to_vec(value).unwrap_or_default())
}

/// An answer of this media type.
pub(super) fn typed(status: u16, media_type: &'static str, body: impl Into<Body>) -> Response {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    (status, [(CONTENT_TYPE, HeaderValue::from_static(media_type))], body.into()).into_response()
}
