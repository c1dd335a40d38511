//! Which request leads where.

use std::pin::Pin;
use std::sync::Arc;

use bytes::BytesMut;
use tidelog_proto::kafka::api_versions::ApiVersionsResponse;
use tidelog_proto::kafka::{Request, RequestHeader, Response};

use super::{
    admin, configs, epochs, fetch, groups_api, list_offsets, metadata, offsets_api, produce, producer_ids,
};
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

/// Carries a request out; a produce request is only begun. `frame` is what the request was decoded from, `host` who
/// sent it.
///
/// # Errors
/// Why the connection ends.
pub(super) async fn begin(
    node: &Arc<Node>,
    header: &RequestHeader,
    request: Request,
    frame: BytesMut,
    host: &str,
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
        Request::FindCoordinator(request) => {
            groups_api::find_coordinator(node, header.version, request).into()
        }
        Request::JoinGroup(request) => {
            let client = header.client_id.as_deref().unwrap_or_default();
            groups_api::join(node, header.version, client, host, request).await.into()
        }
        Request::SyncGroup(request) => groups_api::sync(node, request).await.into(),
        Request::Heartbeat(request) => groups_api::heartbeat(node, request).await.into(),
        Request::LeaveGroup(request) => groups_api::leave(node, header.version, request).await.into(),
        Request::ListGroups(request) => groups_api::list(node, &request).into(),
        Request::DescribeGroups(request) => groups_api::describe(node, request).into(),
        Request::DeleteGroups(request) => groups_api::delete(node, request).await.into(),
        Request::OffsetCommit(request) => offsets_api::commit(node, request).await.into(),
        Request::OffsetFetch(request) => offsets_api::fetch(node, header.version, request).into(),
    };
    Ok(Answer::Now(response))
}
