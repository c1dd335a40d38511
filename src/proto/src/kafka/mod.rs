//! # Purpose
//! Kafka's protocol as a server speaks it: requests decoded, responses encoded, no sockets.
//!
//! | module | holds |
//! |---|---|
//! | [`api`] | the table of APIs and versions; a request and a response as a whole |
//! | [`ask`] | the client's side: a request written, its response read |
//! | [`wire`] | primitive types, bounded reading, writing without copying batches |
//! | [`field`] | what can be a field, and the form in which messages are declared |
//! | [`error_code`] | the codes that clients decide by |
//! | [`produce_start`] | the beginning of a produce request that is too long to be read |
//! | [`fuzz`] | bodies of the fuzz targets |
//! | the others | one API each, as tables of fields and versions |
//!
//! # Invariants
//! Both directions of a message come from one table. Nothing is allocated from a length that was not compared with the
//! bytes at hand. Record batches are neither copied nor changed: a request says where they stand in its frame, a response
//! takes them as they are stored.

pub mod api;
pub mod ask;
#[cfg(test)]
pub(crate) mod differential;
pub mod error_code;
pub mod field;
pub mod fuzz;
pub mod wire;

pub mod api_versions;
pub mod create_partitions;
pub mod create_topics;
pub mod delete_groups;
pub mod delete_records;
pub mod delete_topics;
pub mod describe_cluster;
pub mod describe_configs;
pub mod describe_groups;
pub mod fetch;
pub mod find_coordinator;
pub mod heartbeat;
pub mod init_producer_id;
pub mod join_group;
pub mod leave_group;
pub mod list_groups;
pub mod list_offsets;
pub mod metadata;
pub mod offset_commit;
pub mod offset_fetch;
pub mod offset_for_leader_epoch;
pub mod produce;
pub mod produce_start;
pub mod sync_group;

pub use api::{ApiKey, Request, RequestError, RequestHeader, Response};
pub use error_code::ErrorCode;
