//! # Purpose
//! The HTTP interface: which path leads where, and how every request is counted.

mod admin;
mod answer;
mod body;
mod cluster;
mod groups;
mod opentsdb;
mod records;
mod status;

use std::sync::Arc;

pub(crate) use opentsdb::REVISION;

use axum::Router;
use axum::extract::{DefaultBodyLimit, MatchedPath, Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use axum::routing::{any, delete, get, post};
use tidelog_proto::http::error::ErrorCode;

use crate::failure::Failure;
use crate::metrics::RequestLabels;
use crate::node::Node;

/// All routes.
pub(crate) fn router(node: Arc<Node>) -> Router {
    Router::new()
        .route("/v1/topics", get(admin::list).post(admin::create))
        .route("/v1/topics/{topic}", get(admin::describe).delete(admin::delete))
        .route("/v1/topics/{topic}/records", post(records::produce))
        .route("/v1/topics/{topic}/partitions/{partition}/records", get(records::read))
        .route("/v1/topics/{topic}/partitions/{partition}/trim", post(admin::trim))
        .route("/v1/groups", get(groups::list))
        .route("/v1/groups/{group}", get(groups::describe).delete(groups::delete))
        .route("/v1/groups/{group}/offsets", post(groups::set_offsets))
        .route("/v1/cluster", get(cluster::status))
        .route("/v1/cluster/shards/{shard}/leader", post(cluster::move_leader))
        .route("/v1/cluster/nodes/{node}", delete(cluster::remove))
        .route("/v1/cluster/nodes/{node}/drain", post(cluster::drain).delete(cluster::cancel_drain))
        .route("/v1/status", get(status::status))
        .route("/metrics", get(status::metrics))
        .route("/healthz", get(status::healthz))
        .route("/readyz", get(status::readyz))
        .route("/api/put", any(opentsdb::put))
        .route("/api/v1/put", any(opentsdb::put))
        .route("/api/version", any(opentsdb::version))
        .route("/api/v1/version", any(opentsdb::version))
        .route("/api/aggregators", any(opentsdb::aggregators))
        .route("/api/v1/aggregators", any(opentsdb::aggregators))
        .route("/api/config/filters", any(opentsdb::filters))
        .route("/api/v1/config/filters", any(opentsdb::filters))
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        // Bodies are bounded by our own limits, while they are read.
        .layer(DefaultBodyLimit::disable())
        .layer(from_fn_with_state(Arc::clone(&node), counted))
        .with_state(node)
}

async fn not_found(request: Request) -> Failure {
    let shown: String = request.uri().path().chars().filter(|c| !c.is_control()).take(100).collect();
    body::drain(request.into_body()).await;
    Failure::new(ErrorCode::NotFound, format!("there is no `{shown}` here"))
}

async fn method_not_allowed(request: Request) -> Failure {
    let message = format!("this path does not take {}", request.method());
    body::drain(request.into_body()).await;
    Failure::new(ErrorCode::MethodNotAllowed, message)
}

async fn counted(State(node): State<Arc<Node>>, request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>().map_or("other", MatchedPath::as_str).to_owned();
    // A made-up method must not make a label of its own.
    let method = match request.method().as_str() {
        known @ ("GET" | "POST" | "PUT" | "DELETE" | "HEAD" | "OPTIONS" | "PATCH") => known.to_owned(),
        _ => "other".to_owned(),
    };
    let response = next.run(request).await;
    let labels = RequestLabels { route, method, status: response.status().as_u16() };
    node.metrics.http_requests.get_or_create(&labels).inc();
    response
}
