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
pub(super) async fn begin(
    node: &Arc<Node>,
    header: &RequestHeader,
    request: Request,
    frame: BytesMut,
    host: &str,
) -> Answer {
    let response: Response = match request {
        Request::ApiVersions(_) => ApiVersionsResponse::all(0).into(),
        Request::Produce(request) => return produce::begin(node, request, frame).await,
        Request::Fetch(request) => aside(fetch::fetch(node, header.version, request)).await.into(),
        Request::ListOffsets(request) => aside(list_offsets::list_offsets(node, request)).await.into(),
        Request::Metadata(request) => aside(metadata::metadata(node, header.version, request)).await.into(),
        Request::DescribeCluster(_) => metadata::describe_cluster(node).into(),
        Request::OffsetForLeaderEpoch(request) => aside(epochs::ends(node, request)).await.into(),
        Request::InitProducerId(request) => aside(producer_ids::init(node, request)).await.into(),
        Request::CreateTopics(request) => aside(admin::create_topics(node, request)).await.into(),
        Request::DeleteTopics(request) => {
            aside(admin::delete_topics(node, header.version, request)).await.into()
        }
        Request::CreatePartitions(request) => aside(admin::create_partitions(node, request)).await.into(),
        Request::DeleteRecords(request) => aside(admin::delete_records(node, request)).await.into(),
        Request::DescribeConfigs(request) => configs::describe(node, &request).into(),
        Request::FindCoordinator(request) => {
            aside(groups_api::find_coordinator(node, header.version, request)).await.into()
        }
        Request::JoinGroup(request) => {
            let client = header.client_id.as_deref().unwrap_or_default();
            aside(groups_api::join(node, header.version, client, host, request)).await.into()
        }
        Request::SyncGroup(request) => aside(groups_api::sync(node, request)).await.into(),
        Request::Heartbeat(request) => aside(groups_api::heartbeat(node, request)).await.into(),
        Request::LeaveGroup(request) => aside(groups_api::leave(node, header.version, request)).await.into(),
        Request::ListGroups(request) => groups_api::list(node, &request).into(),
        Request::DescribeGroups(request) => groups_api::describe(node, request).into(),
        Request::DeleteGroups(request) => aside(groups_api::delete(node, request)).await.into(),
        Request::OffsetCommit(request) => aside(offsets_api::commit(node, request)).await.into(),
        Request::OffsetFetch(request) => offsets_api::fetch(node, header.version, request).into(),
    };
    Answer::Now(response)
}

/// Puts a request's future on the heap: else the future of every produce request, the most frequent one, would be as large
/// as the largest of them.
fn aside<'a, T>(
    request: impl Future<Output = T> + Send + 'a,
) -> Pin<Box<dyn Future<Output = T> + Send + 'a>> {
    Box::pin(request)
}
