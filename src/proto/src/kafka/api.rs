//! The APIs that are spoken, with their versions, and requests and responses as a whole.
//!
//! # Format
//! A request is a length i32, then API key i16, version i16, correlation id i32 and client id (a nullable string in the
//! classic encoding), tagged fields in flexible versions, and the body. A response is a length, the correlation id,
//! tagged fields in flexible versions, and the body. The response to ApiVersions never has the tagged fields: its
//! reader does not yet know which versions the server speaks.

use std::ops::RangeInclusive;

use bytes::Bytes;

use super::field::Field;
use super::wire::{Layout, Reader, WireError, Writer};
use super::{
    api_versions::*, create_partitions::*, create_topics::*, delete_groups::*, delete_records::*,
    delete_topics::*, describe_cluster::*, describe_configs::*, describe_groups::*, fetch::*,
    find_coordinator::*, heartbeat::*, init_producer_id::*, join_group::*, leave_group::*, list_groups::*,
    list_offsets::*, metadata::*, offset_commit::*, offset_fetch::*, offset_for_leader_epoch::*, produce::*,
    sync_group::*,
};

macro_rules! apis {
    ($($name:ident = $key:literal, $versions:expr, flexible $flexible:literal, $request:ty, $response:ty;)*) => {
        /// An API.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum ApiKey {
            $(
                #[doc = concat!("Key ", $key, ".")]
                $name,
            )*
        }

        impl ApiKey {
            /// All that are spoken.
            pub const ALL: &'static [ApiKey] = &[$(ApiKey::$name,)*];

            /// Its number on the wire.
            pub fn number(self) -> i16 {
                match self { $(ApiKey::$name => $key,)* }
            }

            /// The API of a number.
            pub fn from_number(number: i16) -> Option<ApiKey> {
                match number { $($key => Some(ApiKey::$name),)* _ => None }
            }

            /// The versions that are spoken.
            pub fn versions(self) -> RangeInclusive<i16> {
                match self { $(ApiKey::$name => $versions,)* }
            }

            /// As people know it.
            pub fn name(self) -> &'static str {
                match self { $(ApiKey::$name => stringify!($name),)* }
            }

            fn first_flexible(self) -> i16 {
                match self { $(ApiKey::$name => $flexible,)* }
            }
        }

        /// A request's body.
        #[derive(Debug, Clone, PartialEq)]
        pub enum Request {
            $(
                #[doc = stringify!($name)]
                $name($request),
            )*
        }

        impl Request {
            fn read(api: ApiKey, reader: &mut Reader<'_>, layout: Layout) -> Result<Request, WireError> {
                match api { $(ApiKey::$name => Field::read(reader, layout).map(Request::$name),)* }
            }

            pub(super) fn write(&self, writer: &mut Writer, layout: Layout) {
                match self { $(Request::$name(body) => body.write(writer, layout),)* }
            }

            #[cfg(test)]
            pub(super) fn sample(api: ApiKey, source: &mut super::differential::Source) -> Request {
                use super::differential::Sample;
                match api { $(ApiKey::$name => Request::$name(Sample::sample(source)),)* }
            }
        }

        /// A response's body.
        #[derive(Debug, Clone, PartialEq)]
        pub enum Response {
            $(
                #[doc = stringify!($name)]
                $name($response),
            )*
        }

        impl Response {
            fn write(&self, writer: &mut Writer, layout: Layout) {
                match self { $(Response::$name(body) => body.write(writer, layout),)* }
            }

            pub(super) fn read(api: ApiKey, reader: &mut Reader<'_>, layout: Layout) -> Result<Response, WireError> {
                match api { $(ApiKey::$name => Field::read(reader, layout).map(Response::$name),)* }
            }

            #[cfg(test)]
            pub(super) fn sample(api: ApiKey, source: &mut super::differential::Source) -> Response {
                use super::differential::Sample;
                match api { $(ApiKey::$name => Response::$name(Sample::sample(source)),)* }
            }

            fn api(&self) -> ApiKey {
                match self { $(Response::$name(_) => ApiKey::$name,)* }
            }
        }

        $(impl super::ask::Ask for $request {
            type Answer = $response;
            const API: ApiKey = ApiKey::$name;
        })*

        $(impl From<$response> for Response {
            fn from(body: $response) -> Response {
                Response::$name(body)
            }
        })*
    };
}

apis! {
    Produce = 0, 0..=11, flexible 9, ProduceRequest, ProduceResponse;
    Fetch = 1, 4..=17, flexible 12, FetchRequest, FetchResponse;
    ListOffsets = 2, 1..=10, flexible 6, ListOffsetsRequest, ListOffsetsResponse;
    Metadata = 3, 0..=13, flexible 9, MetadataRequest, MetadataResponse;
    OffsetCommit = 8, 2..=9, flexible 8, OffsetCommitRequest, OffsetCommitResponse;
    OffsetFetch = 9, 1..=9, flexible 6, OffsetFetchRequest, OffsetFetchResponse;
    FindCoordinator = 10, 0..=6, flexible 3, FindCoordinatorRequest, FindCoordinatorResponse;
    JoinGroup = 11, 0..=9, flexible 6, JoinGroupRequest, JoinGroupResponse;
    Heartbeat = 12, 0..=4, flexible 4, HeartbeatRequest, HeartbeatResponse;
    LeaveGroup = 13, 0..=5, flexible 4, LeaveGroupRequest, LeaveGroupResponse;
    SyncGroup = 14, 0..=5, flexible 4, SyncGroupRequest, SyncGroupResponse;
    DescribeGroups = 15, 0..=5, flexible 5, DescribeGroupsRequest, DescribeGroupsResponse;
    ListGroups = 16, 0..=5, flexible 3, ListGroupsRequest, ListGroupsResponse;
    ApiVersions = 18, 0..=4, flexible 3, ApiVersionsRequest, ApiVersionsResponse;
    CreateTopics = 19, 2..=7, flexible 5, CreateTopicsRequest, CreateTopicsResponse;
    DeleteTopics = 20, 1..=6, flexible 4, DeleteTopicsRequest, DeleteTopicsResponse;
    DeleteRecords = 21, 0..=2, flexible 2, DeleteRecordsRequest, DeleteRecordsResponse;
    InitProducerId = 22, 0..=5, flexible 2, InitProducerIdRequest, InitProducerIdResponse;
    OffsetForLeaderEpoch = 23, 2..=4, flexible 4, OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse;
    DescribeConfigs = 32, 1..=4, flexible 4, DescribeConfigsRequest, DescribeConfigsResponse;
    CreatePartitions = 37, 0..=3, flexible 2, CreatePartitionsRequest, CreatePartitionsResponse;
    DeleteGroups = 42, 0..=2, flexible 2, DeleteGroupsRequest, DeleteGroupsResponse;
    DescribeCluster = 60, 0..=2, flexible 0, DescribeClusterRequest, DescribeClusterResponse;
}

impl ApiKey {
    /// How a version of its messages is laid out.
    pub fn layout(self, version: i16) -> Layout {
        Layout { version, flexible: version >= self.first_flexible() }
    }
}

/// What stands before a request's body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestHeader {
    /// The API.
    pub api: ApiKey,
    /// The version of request and response.
    pub version: i16,
    /// Stands in the response too.
    pub correlation_id: i32,
    /// What the client calls itself.
    pub client_id: Option<String>,
}

/// Why a frame is not a request that can be answered as it is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// An API that is not spoken.
    #[error("API {key} is not spoken by this server")]
    UnknownApi {
        /// Its number.
        key: i16,
    },
    /// A version that is not spoken.
    #[error("version {version} of {} is not spoken, {} to {} are", api.name(), api.versions().start(), api.versions().end())]
    Version {
        /// The API.
        api: ApiKey,
        /// The version asked for.
        version: i16,
        /// Of the request.
        correlation_id: i32,
    },
    /// Bytes that are no such request.
    #[error("{error}, in version {version} of {}", api.name())]
    Malformed {
        /// The API.
        api: ApiKey,
        /// The version of the request.
        version: i16,
        /// What is wrong.
        error: WireError,
    },
    /// Fewer bytes than a header.
    #[error("the header: {0}")]
    Header(WireError),
}

impl RequestHeader {
    /// Decodes a frame: what follows the length. Bytes behind the request are ignored, as Kafka's own server does it:
    /// librdkafka leaves three there when it asks for all topics in a flexible version.
    ///
    /// # Errors
    /// When the API or the version is not spoken, and when the bytes are no such request.
    pub fn decode(frame: &[u8]) -> Result<(RequestHeader, Request), RequestError> {
        let mut reader = Reader::new(frame);
        let classic = Layout { version: 0, flexible: false };
        let start: [u8; 8] = reader.array().map_err(RequestError::Header)?;
        let [k, ey, v, n, c, o, r, id] = start;
        let (key, version) = (i16::from_be_bytes([k, ey]), i16::from_be_bytes([v, n]));
        let correlation_id = i32::from_be_bytes([c, o, r, id]);
        let api = ApiKey::from_number(key).ok_or(RequestError::UnknownApi { key })?;
        if !api.versions().contains(&version) {
            return Err(RequestError::Version { api, version, correlation_id });
        }
        let malformed = |error| RequestError::Malformed { api, version, error };
        let layout = api.layout(version);
        let client_id = Option::<String>::read(&mut reader, classic).map_err(malformed)?;
        if layout.flexible {
            reader.tagged(|_, _| Ok(())).map_err(malformed)?;
        }
        let request = Request::read(api, &mut reader, layout).map_err(malformed)?;
        Ok((RequestHeader { api, version, correlation_id, client_id }, request))
    }
}

impl Response {
    /// The response as a frame, in the version of its request.
    pub fn encode(&self, version: i16, correlation_id: i32) -> Vec<Bytes> {
        let api = self.api();
        let layout = api.layout(version);
        let mut writer = Writer::new();
        writer.put(&correlation_id.to_be_bytes());
        if layout.flexible && api != ApiKey::ApiVersions {
            writer.tagged(Vec::new());
        }
        self.write(&mut writer, layout);
        writer.into_frame()
    }
}

impl ApiVersionsResponse {
    /// All that is spoken.
    pub fn all(error_code: i16) -> ApiVersionsResponse {
        let version = |api: &ApiKey| ApiVersion {
            api_key: api.number(),
            min_version: *api.versions().start(),
            max_version: *api.versions().end(),
        };
        ApiVersionsResponse {
            error_code,
            api_keys: ApiKey::ALL.iter().map(version).collect(),
            throttle_time_ms: 0,
        }
    }
}
