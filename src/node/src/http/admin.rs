//! Administration of topics.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, Method, Uri};
use axum::response::Response;
use tidelog_proto::http::admin::{
    CreateTopic, TopicList, TopicSummary, Trim, Trimmed, check_writable_topic_name,
};

use super::answer::json;
use super::body;
use super::records::{segment, segments};
use crate::failure::Failure;
use crate::node::Node;
use crate::routing;
use crate::routing::forward::{self, Ask, Hop, Led};
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
    // It is made, whether or not all who lead it can tell of it yet.
    let told = routing::describe(&node, &topic, Hop::First).await;
    Ok(json(&told.unwrap_or_else(|_| topics::describe(&node, &topic))))
}

/// `GET /v1/topics/T`.
pub(super) async fn describe(
    State(node): State<Arc<Node>>,
    path: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let name = segment(path)?;
    let hop = Hop::of(&headers);
    let topic = match hop {
        Hop::First => node.topic(&name).ok_or_else(|| Failure::no_topic(&name))?,
        Hop::Last => node.topic_heard_of(&name).await?,
    };
    Ok(json(&routing::describe(&node, &topic, hop).await?))
}

/// `DELETE /v1/topics/T`.
pub(super) async fn delete(
    State(node): State<Arc<Node>>,
    path: Result<Path<String>, PathRejection>,
) -> Result<Response, Failure> {
    let name = segment(path)?;
    check_writable_topic_name(&name)?;
    let topic = node.topic(&name).ok_or_else(|| Failure::no_topic(&name))?;
    // What cannot be told of it any more does not keep it.
    let described = routing::describe(&node, &topic, Hop::First).await.ok();
    let deleted = node.delete_topic(&name).await?;
    Ok(json(&described.unwrap_or(deleted)))
}

/// `POST /v1/topics/T/partitions/P/trim`.
pub(super) async fn trim(
    State(node): State<Arc<Node>>,
    path: Result<Path<(String, String)>, PathRejection>,
    uri: Uri,
    headers: HeaderMap,
    request: Body,
) -> Result<Response, Failure> {
    let mut share = node.budget.share();
    let bytes = body::read(&node, &headers, request, &mut share).await?;
    let (name, partition) = segments(path)?;
    let Trim { offset } = Trim::decode(&body::decoded(&node, &headers, &bytes, &mut share)?)?;
    check_writable_topic_name(&name)?;
    let topic = node.topic(&name).ok_or_else(|| Failure::no_topic(&name))?;
    if topic.partition(partition)?.led().is_err() && Hop::of(&headers) == Hop::First {
        let ask = Ask::of(Method::POST, &uri, &headers, bytes.freeze());
        if let Led::Answer(answer) = forward::to_leader(&node, &name, partition, &ask).await? {
            return Ok(answer.into_response());
        }
    }
    let start_offset = node.trim(&name, partition, offset).await?;
    Ok(json(&Trimmed { start_offset }))
}
