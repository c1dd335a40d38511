//! # Purpose
//! Consumer groups as JSON: `/v1/groups` and below. Members come and go through Kafka's port; here people look at groups
//! and move them.

use serde::{Deserialize, Serialize};

use super::admin::{AdminError, from_json};

/// Answer to `GET /v1/groups`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct GroupList {
    /// Sorted by name.
    pub groups: Vec<GroupSummary>,
}

/// One group of the list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupSummary {
    /// Its name.
    pub group: String,
    /// Empty, PreparingRebalance, CompletingRebalance or Stable.
    pub state: String,
    /// How many members it has.
    pub members: usize,
}

/// Answer to `GET /v1/groups/G`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupDescription {
    /// Its name.
    pub group: String,
    /// As in [`GroupSummary`].
    pub state: String,
    /// Counts its rebalances since the server started; 0 when none of its members came since.
    pub generation: i32,
    /// How the partitions are assigned, "range" for instance; empty without members.
    pub protocol: String,
    /// Member id of the one who assigns; empty without members.
    pub leader: String,
    /// By id.
    pub members: Vec<GroupMember>,
    /// By topic and partition.
    pub offsets: Vec<GroupOffset>,
}

/// A member of a group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupMember {
    /// Its id, made by the server.
    pub member_id: String,
    /// Its own name, if it is a static member.
    pub instance_id: Option<String>,
    /// What its client calls itself.
    pub client_id: String,
    /// Where it came from.
    pub client_host: String,
    /// What it reads now, by topic. Empty during a rebalance, and for members that are no consumers.
    pub assignment: Vec<AssignedTopic>,
}

/// Partitions of a topic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AssignedTopic {
    /// The topic's name.
    pub topic: String,
    /// Their numbers, ascending.
    pub partitions: Vec<i32>,
}

/// How far a group has come in a partition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupOffset {
    /// The topic's name.
    pub topic: String,
    /// The partition's number.
    pub partition: i32,
    /// The next offset that the group will read.
    pub offset: i64,
    /// The offset behind the partition's last record; absent when the partition is gone.
    pub end_offset: Option<u64>,
    /// Records between the two; absent when the partition is gone.
    pub lag: Option<u64>,
    /// What the member that committed it wanted kept beside it.
    pub metadata: String,
    /// When it was committed, ms since 1970.
    pub committed_at: i64,
}

/// `POST /v1/groups/G/offsets`: moves a group without members.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SetOffsets {
    /// The places and the next offset to read at each.
    pub offsets: Vec<SetOffset>,
}

/// One place to move to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SetOffset {
    /// The topic's name.
    pub topic: String,
    /// The partition's number.
    pub partition: u32,
    /// The next offset to read, within what is stored.
    pub offset: u64,
}

impl SetOffsets {
    /// Decodes a body.
    ///
    /// # Errors
    /// When it is not the JSON expected.
    pub fn decode(body: &[u8]) -> Result<SetOffsets, AdminError> {
        from_json(body)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_to_move_a_group_reads_back_and_takes_nothing_else() {
        let one = SetOffset { topic: "t".to_owned(), partition: 3, offset: 7 };
        let request = SetOffsets { offsets: vec![one] };
        let json = serde_json::to_vec(&request).unwrap();
        assert_eq!(SetOffsets::decode(&json), Ok(request));
        for bad in
            ["", "{}", r#"{"offsets":[{"topic":"t","partition":-1,"offset":0}]}"#, r#"{"offsets":[],"x":1}"#]
        {
            assert!(SetOffsets::decode(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
