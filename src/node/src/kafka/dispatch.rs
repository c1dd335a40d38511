//! Which request leads where.

use std::pin::Pin;
use std::sync::Arc;

use bytes::BytesMut;
use tidelog_proto::kafka::api_versions::ApiVersionsResponse;
use tidelog_proto::kafka::{Request, RequestHeader, Response};

use super::{admin, configs, epochs, fetch, list_offsets, metadata, produce, producer_ids};
use crate::node::Node;

type Later<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// What a request is answered with.
pub(super) enum Answer {
    Now(Response),
    /// Once its batches are durable.
    Later(Later<Response>),
    /// Nothing, as the client wants it; the connection ends if that hides a failure.
    Never(Later<Result<(), String>>),
}

/// Carries a request out; a produce request is only begun. `frame` is what the request was decoded from.
///
/// # Errors
/// Why the connection ends.
pub(super) async fn begin(
    node: &Arc<Node>,
    header: &RequestHeader,
    request: Request,
    frame: BytesMut,
) -> Result<Answer, String> {
    let response: Response = match request {
        Request::ApiVersions(_) => ApiVersionsResponse::all(0).into(),
        Request::Produce(request) => return Ok(produce::begin(node, request, frame).await),
        Request::Fetch(request) => fetch::fetch(node, header.version, request).await.into(),
        Request::ListOffsets(request) => list_offsets::list_offsets(node, request).await.into(),
        Request::Metadata(request) => metadata::metadata(node, header.version, request).await.into(),
        Request::DescribeCluster(_) => metadata::describe_cluster(node).into(),
        Request::OffsetForLeaderEpoch(request) => epochs::ends(node, request).await.into(),
        Request::InitProducerId(request) => producer_ids::init(node, request).await.into(),
        Request::CreateTopics(request) => admin::create_topics(node, request).await.into(),
        Request::DeleteTopics(request) => admin::delete_topics(node, header.version, request).await.into(),
        Request::CreatePartitions(request) => admin::create_partitions(node, request).await.into(),
        Request::DeleteRecords(request) => admin::delete_records(node, request).await.into(),
        Request::DescribeConfigs(request) => configs::describe(node, &request).into(),
        _ => return Err(format!("{} is not there yet", header.api.name())),
    };
    Ok(Answer::Now(response))
}
