//! OpenTSDB over HTTP: storing points, and what its clients ask before they do.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::http::header::RETRY_AFTER;
use axum::http::{HeaderMap, HeaderValue, Method};
use axum::response::{IntoResponse, Response};
use tidelog_proto::http::body::JSON;
use tidelog_proto::http::error::ErrorCode;
use tidelog_proto::opentsdb::http::{
    AGGREGATORS, CONFIG_FILTERS, Failure as PutFailure, PutAnswer, PutBody, PutFlags, error_body,
    version_body,
};

use super::answer::{RETRY_SECONDS, typed};
use super::body;
use crate::budget::Share;
use crate::failure::Failure;
use crate::node::{LiveTopic, Node};
use crate::points::collect;
use crate::produce::{self, Batches, Collector};
use crate::routing::forward::Hop;

/// The version as OpenTSDB's clients read it.
pub(crate) const REVISION: &str = match option_env!("TIDELOG_REVISION") {
    Some(revision) => revision,
    None => "unknown",
};

/// `POST /api/put`.
pub(super) async fn put(
    State(node): State<Arc<Node>>,
    method: Method,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    request: Body,
) -> Response {
    if method != Method::POST {
        body::drain(request).await;
        return answer(PutAnswer::failure(PutFailure::Method));
    }
    let flags = match PutFlags::parse(query.as_deref().unwrap_or_default()) {
        Ok(flags) => flags,
        Err(message) => {
            body::drain(request).await;
            return answer(PutAnswer { status: 400, body: error_body(400, &message, None) });
        }
    };
    let stored = store(&node, &headers, request, flags).await;
    stored.map_or_else(|failure| refused(&node, &failure), answer)
}

async fn store(
    node: &Arc<Node>,
    headers: &HeaderMap,
    request: Body,
    flags: PutFlags,
) -> Result<PutAnswer, Failure> {
    let mut share = node.budget.share();
    let bytes = body::read(node, headers, request, &mut share).await?;
    let bytes = body::decoded(node, headers, &bytes, &mut share)?;
    if node.is_stopping() {
        return Err(Failure::stopping());
    }
    let put = match body::work(bytes.len(), || PutBody::decode(&bytes, &node.config.limits)) {
        Ok(put) => put,
        Err(error) => return Ok(PutAnswer::refused(&error)),
    };
    if put.success() > 0 {
        let topic = node.topic_to_write(&node.config.topics.tsdb).await?;
        let mut batches = body::work(bytes.len(), || batches(node, &topic, &put, &mut share))?;
        let appended = produce::append(node, &topic, &mut batches, Hop::First);
        match flags.sync_timeout_ms.map(std::time::Duration::from_millis) {
            None => appended.await?,
            Some(after) => tokio::time::timeout(after, appended).await.map_err(|_| late())??,
        };
    }
    Ok(PutAnswer::stored(&put, flags))
}

fn late() -> Failure {
    Failure::new(ErrorCode::Overloaded, "the points were not stored within sync_timeout; they may be yet")
}

fn batches(node: &Node, topic: &LiveTopic, put: &PutBody<'_>, share: &mut Share) -> Result<Batches, Failure> {
    let mut collector = Collector::new(node, topic);
    for point in put.points() {
        collect(&mut collector, &point)?;
    }
    share.grow(collector.len())?;
    Ok(collector.finish()?)
}

/// Only bad data is a 4xx: collectors drop what was refused that way.
fn refused(node: &Node, failure: &Failure) -> Response {
    match failure.code {
        ErrorCode::TooLarge => {
            answer(PutAnswer::failure(PutFailure::TooLarge(node.config.limits.request_bytes)))
        }
        ErrorCode::InvalidBody | ErrorCode::UnsupportedMediaType => {
            answer(PutAnswer { status: 400, body: error_body(400, &failure.message, None) })
        }
        _ => answer(PutAnswer::failure(PutFailure::Unavailable(&failure.message))),
    }
}

fn answer(answer: PutAnswer) -> Response {
    if answer.body.is_empty() {
        let status = axum::http::StatusCode::from_u16(answer.status);
        return status.unwrap_or(axum::http::StatusCode::NO_CONTENT).into_response();
    }
    let mut response = typed(answer.status, JSON, answer.body);
    if answer.status == 503 {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static(RETRY_SECONDS));
    }
    response
}

/// `/api/version`.
pub(super) async fn version() -> Response {
    typed(200, JSON, version_body(env!("CARGO_PKG_VERSION"), REVISION))
}

/// `/api/aggregators`.
pub(super) async fn aggregators() -> Response {
    typed(200, JSON, AGGREGATORS)
}

/// `/api/config/filters`.
pub(super) async fn filters() -> Response {
    typed(200, JSON, CONFIG_FILTERS)
}
