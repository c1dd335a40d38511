//! Administration of topics.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::response::Response;
use tidelog_proto::http::admin::{
    CreateTopic, TopicList, TopicSummary, Trim, Trimmed, check_writable_topic_name,
};

use super::answer::json;
use super::body;
use super::records::{segment, segments};
use crate::failure::Failure;
use crate::node::Node;
use crate::topics;

/// `GET /v1/topics`.
pub(super) async fn list(State(node): State<Arc<Node>>) -> Response {
    let topics = node.topics().into_iter().map(|topic| TopicSummary {
        name: topic.name.clone(),
        partitions: u32::try_from(topic.partitions.len()).unwrap_or(u32::MAX),
    });
    json(&TopicList { topics: topics.collect() })
}

/// `POST /v1/topics`.
pub(super) async fn create(
    State(node): State<Arc<Node>>,
    headers: HeaderMap,
    request: Body,
) -> Result<Response, Failure> {
    let mut share = node.budget.share();
    let bytes = body::read(&node, &headers, request, &mut share).await?;
    let request = CreateTopic::decode(&body::decoded(&node, &headers, &bytes, &mut share)?)?;
    let topic = node.create_topic(&request).await?;
    Ok(json(&topics::describe(&topic)))
}

/// `GET /v1/topics/T`.
pub(super) async fn describe(
    State(node): State<Arc<Node>>,
    path: Result<Path<String>, PathRejection>,
) -> Result<Response, Failure> {
    let name = segment(path)?;
    let topic = node.topic(&name).ok_or_else(|| Failure::no_topic(&name))?;
    Ok(json(&topics::describe(&topic)))
}

/// `DELETE /v1/topics/T`.
pub(super) async fn delete(
    State(node): State<Arc<Node>>,
    path: Result<Path<String>, PathRejection>,
) -> Result<Response, Failure> {
    let name = segment(path)?;
    check_writable_topic_name(&name)?;
    Ok(json(&node.delete_topic(&name).await?))
}

/// `POST /v1/topics/T/partitions/P/trim`.
pub(super) async fn trim(
    State(node): State<Arc<Node>>,
    path: Result<Path<(String, String)>, PathRejection>,
    headers: HeaderMap,
    request: Body,
) -> Result<Response, Failure> {
    let mut share = node.budget.share();
    let bytes = body::read(&node, &headers, request, &mut share).await?;
    let (name, partition) = segments(path)?;
    let Trim { offset } = Trim::decode(&body::decoded(&node, &headers, &bytes, &mut share)?)?;
    let start_offset = node.trim(&name, partition, offset).await?;
    Ok(json(&Trimmed { start_offset }))
}
