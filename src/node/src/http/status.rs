//! What the node says about itself.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use tidelog_proto::http::error::ErrorCode;

use super::answer::{json, typed};
use crate::failure::Failure;
use crate::node::Node;
use crate::{health, metrics};

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const TEXT: &str = "text/plain; charset=utf-8";

/// `/v1/status`.
pub(super) async fn status(State(node): State<Arc<Node>>) -> Response {
    json(&health::status(&node))
}

/// `/metrics`.
pub(super) async fn metrics(State(node): State<Arc<Node>>) -> Result<Response, Failure> {
    let text =
        metrics::render(&node).map_err(|error| Failure::new(ErrorCode::Internal, error.to_string()))?;
    Ok(typed(200, OPEN_METRICS, text))
}

/// `/healthz`.
pub(super) async fn healthz(State(node): State<Arc<Node>>) -> Response {
    match (health::sick(&node), node.metadata.degraded()) {
        // Records are served without it, so nobody should take this node away for it.
        (None, Some(degraded)) => typed(200, TEXT, format!("ok, but {degraded}\n")),
        (sick, _) => told(sick),
    }
}

/// `/readyz`.
pub(super) async fn readyz(State(node): State<Arc<Node>>) -> Response {
    told(health::unready(&node))
}

fn told(cause: Option<String>) -> Response {
    match cause {
        None => typed(200, TEXT, "ok\n"),
        Some(cause) => typed(503, TEXT, format!("{cause}\n")),
    }
}
