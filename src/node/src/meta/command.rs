//! Commands to the metadata, as they are journalled: JSON with names that never change.

use serde::{Deserialize, Serialize};

/// How long the records of a topic are kept; also the class of shards that carry it, so that records of about the
/// same life share segments. Absent means without limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Retention {
    /// Milliseconds after which a record may go.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) max_age_ms: Option<u64>,
    /// Bytes of a partition that are kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) max_bytes: Option<u64>,
}

/// One change of the metadata.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Command {
    /// The process starts; grows with every start.
    BumpIncarnation { incarnation: u64 },
    /// A shard begins to exist. Its number is the next one.
    OpenShard { shard: u64, class: Retention },
    /// A shard without partitions serves another class from now on.
    SetShardClass { shard: u64, class: Retention },
    /// A topic begins to exist; `shards` names the shard of each partition. Partition ids are given out by the state.
    CreateTopic { name: String, id: String, retention: Retention, shards: Vec<u64> },
    /// A topic gets more partitions, behind those that it has; `shards` names the shard of each.
    AddPartitions { name: String, id: String, shards: Vec<u64> },
    /// Producer ids from `first` on are reserved to be given out. `first` is the next one.
    AllocProducerIds { first: u64, count: u64 },
    /// A topic ends. The id says which one of that name.
    DeleteTopic { name: String, id: String },
}

/// Why a command changes nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Illegal {
    #[error(
        "incarnation {given} does not follow {last}: the disk or a part of it was rolled back to an older state"
    )]
    Incarnation { given: u64, last: u64 },
    #[error("shard {given} is not the next one, which is {next}")]
    ShardNumber { given: u64, next: u64 },
    #[error("there is no shard {0}")]
    NoShard(u64),
    #[error("shard {0} carries partitions of its class")]
    ShardInUse(u64),
    #[error("shard {0} serves topics with another retention")]
    OtherClass(u64),
    #[error("topic `{0}` exists")]
    TopicExists(String),
    #[error("topic id {0} is in use or not of 32 hex digits")]
    TopicId(String),
    #[error("a topic needs at least one partition")]
    NoPartitions,
    #[error("producer ids from {given} on were to be reserved, and the next one is {next}")]
    ProducerIds { given: u64, next: u64 },
    #[error("there is no topic `{0}` with that id")]
    NoTopic(String),
}

impl Command {
    /// As it is journalled.
    pub(crate) fn encode(&self) -> Vec<u8> {
        // Plain structs of numbers and strings always become JSON.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Reads what [`Command::encode`] wrote.
    pub(crate) fn decode(body: &[u8]) -> Result<Command, serde_json::Error> {
        serde_json::from_slice(body)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_on_disk_stay_as_they_are() {
        let week = Retention { max_age_ms: Some(604_800_000), max_bytes: None };
        let known = [
            (Command::BumpIncarnation { incarnation: 3 }, r#"{"bump_incarnation":{"incarnation":3}}"#),
            (
                Command::OpenShard { shard: 1, class: Retention::default() },
                r#"{"open_shard":{"shard":1,"class":{}}}"#,
            ),
            (
                Command::SetShardClass { shard: 1, class: week },
                r#"{"set_shard_class":{"shard":1,"class":{"max_age_ms":604800000}}}"#,
            ),
            (
                Command::CreateTopic {
                    name: "t".into(),
                    id: "ab".into(),
                    retention: week,
                    shards: vec![1, 2],
                },
                r#"{"create_topic":{"name":"t","id":"ab","retention":{"max_age_ms":604800000},"shards":[1,2]}}"#,
            ),
            (
                Command::AddPartitions { name: "t".into(), id: "ab".into(), shards: vec![2] },
                r#"{"add_partitions":{"name":"t","id":"ab","shards":[2]}}"#,
            ),
            (
                Command::AllocProducerIds { first: 1000, count: 500 },
                r#"{"alloc_producer_ids":{"first":1000,"count":500}}"#,
            ),
            (
                Command::DeleteTopic { name: "t".into(), id: "ab".into() },
                r#"{"delete_topic":{"name":"t","id":"ab"}}"#,
            ),
        ];
        for (command, text) in known {
            assert_eq!(String::from_utf8(command.encode()).unwrap(), text);
            assert_eq!(Command::decode(text.as_bytes()).unwrap(), command);
        }
    }

    #[test]
    fn what_a_newer_version_wrote_is_not_half_understood() {
        for text in
            [r#"{"merge_topics":{}}"#, r#"{"delete_topic":{"name":"t","id":"ab","when":5}}"#, "", "{}"]
        {
            assert!(Command::decode(text.as_bytes()).is_err(), "{text}");
        }
    }
}
