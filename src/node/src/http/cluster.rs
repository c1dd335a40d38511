//! The cluster: what it is, and what is asked of it as a whole.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderMap, Method, Uri};
use axum::response::Response;
use tidelog_proto::http::cluster::MoveLeader;
use tidelog_proto::http::error::ErrorCode;

use super::answer::json;
use super::body;
use super::records::segment;
use crate::cluster::{self, Moved};
use crate::failure::Failure;
use crate::node::Node;
use crate::routing::forward::{self, Ask, Hop};

/// `GET /v1/cluster`. Who leads the metadata's group tells it if it is reached, since it knows most.
pub(super) async fn status(State(node): State<Arc<Node>>, headers: HeaderMap) -> Response {
    if let Some(leader) = cluster::better_informed(&node).filter(|_| Hop::of(&headers) == Hop::First) {
        match forward::to_node(&node, leader, &Ask::get("/v1/cluster".to_owned())).await {
            Ok(answer) if answer.status.is_success() => return answer.into_response(),
            Ok(answer) => tracing::debug!(leader, status = %answer.status, "the cluster's status"),
            Err(failure) => tracing::debug!(leader, cause = failure.message, "the cluster's status"),
        }
    }
    json(&cluster::status(&node))
}

/// `POST /v1/cluster/shards/S/leader`.
pub(super) async fn move_leader(
    State(node): State<Arc<Node>>,
    path: Result<Path<String>, PathRejection>,
    uri: Uri,
    headers: HeaderMap,
    request: Body,
) -> Result<Response, Failure> {
    let mut share = node.budget.share();
    let bytes = body::read(&node, &headers, request, &mut share).await?;
    let shard = number("a shard", path)?;
    let MoveLeader { node: to } = MoveLeader::decode(&body::decoded(&node, &headers, &bytes, &mut share)?)?;
    match cluster::move_leader(&node, shard, to).await? {
        Moved::Done(moved) => Ok(json(&moved)),
        Moved::By(leader) if Hop::of(&headers) == Hop::First => {
            let ask = Ask::of(Method::POST, &uri, &headers, bytes.freeze());
            Ok(forward::to_node(&node, leader, &ask).await?.into_response())
        }
        Moved::By(leader) => {
            let message = format!("node {leader} leads shard {shard}, not this one");
            Err(Failure::new(ErrorCode::NotLeader, message))
        }
    }
}

/// `POST /v1/cluster/nodes/N/drain`.
pub(super) async fn drain(
    State(node): State<Arc<Node>>,
    path: Result<Path<String>, PathRejection>,
) -> Result<Response, Failure> {
    Ok(json(&cluster::drain(&node, number("a node", path)?).await?))
}

/// `DELETE /v1/cluster/nodes/N/drain`.
pub(super) async fn cancel_drain(
    State(node): State<Arc<Node>>,
    path: Result<Path<String>, PathRejection>,
) -> Result<Response, Failure> {
    Ok(json(&cluster::cancel_drain(&node, number("a node", path)?).await?))
}

/// `DELETE /v1/cluster/nodes/N`, with `?force=true` for one that is lost.
pub(super) async fn remove(
    State(node): State<Arc<Node>>,
    path: Result<Path<String>, PathRejection>,
    RawQuery(query): RawQuery,
) -> Result<Response, Failure> {
    let force = match query.as_deref() {
        None | Some("" | "force=false") => false,
        Some("force=true") => true,
        Some(_) => {
            let message = "the only parameter is `force`, true or false";
            return Err(Failure::new(ErrorCode::InvalidParameter, message));
        }
    };
    Ok(json(&cluster::remove(&node, number("a node", path)?, force).await?))
}

/// The number in a path.
fn number(what: &str, path: Result<Path<String>, PathRejection>) -> Result<u64, Failure> {
    let text = segment(path)?;
    match text.parse() {
        Ok(number) if !text.starts_with('+') => Ok(number),
        _ => {
            let shown: String = text.chars().filter(|c| !c.is_control()).take(64).collect();
            Err(Failure::new(ErrorCode::InvalidParameter, format!("{what} is a number, not `{shown}`")))
        }
    }
}
