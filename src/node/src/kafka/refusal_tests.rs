//! Codes for what a test cannot make happen from outside: a full disk, a node that stops.

use tidelog_proto::kafka::ErrorCode;
use tidelog_wal::{AppendError, ReadError};

use super::{failure, groups_api};
use crate::failure::Failure;
use crate::groups::GroupError;

#[test]
fn a_disk_without_room_is_a_storage_error() {
    assert_eq!(failure::append(&AppendError::Full), ErrorCode::KafkaStorageError);
    assert_eq!(failure::of(&AppendError::Full.into()), ErrorCode::KafkaStorageError);
}

#[test]
fn a_node_that_stops_leads_no_partition() {
    assert_eq!(failure::append(&AppendError::Closed), ErrorCode::NotLeaderOrFollower);
    assert_eq!(failure::read(&ReadError::Closed), ErrorCode::NotLeaderOrFollower);
    assert_eq!(failure::of(&Failure::stopping()), ErrorCode::NotLeaderOrFollower);
}

#[test]
fn a_partition_deleted_meanwhile_is_unknown() {
    assert_eq!(failure::append(&AppendError::UnknownPartition(7)), ErrorCode::UnknownTopicOrPartition);
    assert_eq!(failure::read(&ReadError::UnknownPartition(7)), ErrorCode::UnknownTopicOrPartition);
}

#[test]
fn a_coordinator_that_cannot_answer_is_not_available() {
    assert_eq!(groups_api::code(GroupError::CoordinatorNotAvailable), ErrorCode::CoordinatorNotAvailable);
}
