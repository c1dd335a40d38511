//! Commands to the metadata, as they are journalled: JSON with names that never change.
//!
//! # Format
//! A command is an object with one member, its name. What a reader does not know it does not skip: neither a command
//! nor a member of one. New members are optional and left out when they say nothing new, so that what an older version
//! can understand it can read.

use serde::{Deserialize, Serialize};

use crate::member::{NodeInfo, NodeState};
use crate::span::{Leader, Manifest, NewSpan, Replica, StoreId, Substitute};
use crate::topic::{Carried, Retention};

/// One change of the metadata. Each states what it builds on: when that has changed meanwhile, the command is illegal
/// and changes nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Command {
    /// The process of a node that belongs to no cluster yet starts; grows with every start.
    BumpIncarnation {
        /// The new one.
        incarnation: u64,
    },
    /// A shard begins to exist. Its number is the next one.
    OpenShard {
        /// The next number.
        shard: u64,
        /// What it carries.
        class: Retention,
    },
    /// A shard without partitions serves another class from now on.
    SetShardClass {
        /// Which.
        shard: u64,
        /// What it carries from now on.
        class: Retention,
    },
    /// A topic begins to exist. Partition ids are given out by the state.
    CreateTopic {
        /// A name that no live topic has.
        name: String,
        /// 32 hex digits that no topic ever had.
        id: String,
        /// How long its records are kept.
        retention: Retention,
        /// The shard of each partition.
        shards: Vec<u64>,
    },
    /// A topic gets more partitions, behind those that it has.
    AddPartitions {
        /// The topic's name.
        name: String,
        /// Which one of that name.
        id: String,
        /// The shard of each new partition.
        shards: Vec<u64>,
    },
    /// Producer ids are reserved to be given out.
    AllocProducerIds {
        /// The next one.
        first: u64,
        /// How many.
        count: u64,
    },
    /// A topic ends.
    DeleteTopic {
        /// The topic's name.
        name: String,
        /// Which one of that name.
        id: String,
    },
    /// How long a topic's records are kept is changed.
    SetTopicConfig {
        /// The topic's name.
        name: String,
        /// Which one of that name.
        id: String,
        /// What it was.
        was: Retention,
        /// What it is from now on.
        retention: Retention,
    },
    /// Records of a partition below an offset are not wanted any more.
    Trim {
        /// The topic's name.
        name: String,
        /// Which one of that name.
        id: String,
        /// Number of the partition within the topic.
        partition: u32,
        /// First offset that is wanted; higher than before.
        offset: u64,
    },
    /// A partition goes on in another shard of its topic's class. Proposed by the leader of `from`, which takes no record of
    /// it any more and has committed all that it took.
    MovePartition {
        /// The topic's name.
        name: String,
        /// Which one of that name.
        id: String,
        /// Number of the partition within the topic.
        partition: u32,
        /// The shard that takes its records now.
        from: u64,
        /// Epoch of that shard's last span, in which it was closed: once that span has ended, somebody else may have taken
        /// records.
        epoch: u32,
        /// The shard that takes those from `at` on.
        to: u64,
        /// Where it was closed: the offset of its next record.
        at: u64,
        /// First offset that is wanted, as the leader of `from` has it.
        #[serde(default, skip_serializing_if = "is_zero")]
        start: u64,
        /// What its producers wrote last, for the leader of `to`.
        #[serde(default, skip_serializing_if = "Carried::is_empty")]
        producers: Carried,
    },
    /// The shard to which a partition moved has it: what was carried for it stands in a frame that is committed there.
    TakePartition {
        /// The topic's name.
        name: String,
        /// Which one of that name.
        id: String,
        /// Number of the partition within the topic.
        partition: u32,
        /// The shard that takes its records.
        shard: u64,
    },
    /// A data directory joins the cluster as a node. Its number is the next one.
    RegisterNode {
        /// The next number.
        node: u64,
        /// A directory that never was a node.
        store: StoreId,
        /// Its present process start.
        incarnation: u64,
        /// Its superblock's generation.
        generation: u64,
        /// What it says about itself.
        info: NodeInfo,
    },
    /// A node's process starts. Its superblock said so first.
    StartNode {
        /// The node.
        node: u64,
        /// Its directory.
        store: StoreId,
        /// Higher than at the start before.
        incarnation: u64,
        /// Higher than what is known.
        generation: u64,
        /// What it says about itself now.
        info: NodeInfo,
    },
    /// A running node has written a newer superblock.
    RaiseGeneration {
        /// The node.
        node: u64,
        /// Its directory.
        store: StoreId,
        /// Higher than what is known.
        generation: u64,
    },
    /// What may be put on a node changes.
    SetNodeState {
        /// The node.
        node: u64,
        /// What it was.
        was: NodeState,
        /// What it is from now on.
        state: NodeState,
    },
    /// The first span of a shard opens. The state gives it the next epoch.
    OpenFirstSpan {
        /// A shard without spans.
        shard: u64,
        /// Where, and who leads.
        span: NewSpan,
        /// LSN of its first frame.
        #[serde(default, skip_serializing_if = "is_zero")]
        base: u64,
    },
    /// A span opens behind one that was sealed with none to follow it. The state gives it the next epoch.
    OpenNextSpan {
        /// The shard.
        shard: u64,
        /// Epoch of its last span, which is sealed.
        after: u32,
        /// Where, and who leads.
        span: NewSpan,
    },
    /// Somebody begins to find out where an unsealed span ends. The state gives the attempt the next epoch.
    BeginSeal {
        /// The shard.
        shard: u64,
        /// Epoch of its last span.
        epoch: u32,
        /// Any number that no other attempt carries: tells the proposer, when it got no clear answer, whether the
        /// attempt it finds is its own.
        token: u64,
    },
    /// A span ends. Only the newest attempt may say where.
    CommitSeal {
        /// The shard.
        shard: u64,
        /// Epoch of its last span.
        epoch: u32,
        /// The attempt that fenced the replicas.
        attempt: u32,
        /// LSN behind the last frame.
        end: u64,
        /// The chain value there.
        chain: u64,
        /// Who holds all of the span in the place of which replica, whose copy cannot be had any more.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        substitutes: Vec<Substitute>,
        /// The span that follows, with the attempt as its epoch.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        next: Option<NewSpan>,
    },
    /// A span's own leader ends it, having stopped to acknowledge. Illegal once anybody began to seal it.
    LeaderClose {
        /// The shard.
        shard: u64,
        /// Epoch of its last span.
        epoch: u32,
        /// The span's leader.
        leader: Leader,
        /// What is committed: LSN behind the last frame.
        end: u64,
        /// The chain value there.
        chain: u64,
        /// The span that follows. The state gives it the next epoch.
        next: NewSpan,
    },
    /// A sealed span has been copied to another node, and every file verified.
    SwapReplica {
        /// The shard.
        shard: u64,
        /// Epoch of the span.
        epoch: u32,
        /// Who holds it no longer; absent when the copy is one more.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        old: Option<Replica>,
        /// Who holds it now.
        new: Replica,
        /// Digest of the list of files.
        manifest: Manifest,
    },
    /// The oldest span of a shard is not wanted any more.
    DropSpan {
        /// The shard.
        shard: u64,
        /// Epoch of its first span, which is not its last.
        epoch: u32,
        /// The proof: for each live partition that may have records in the shard, its id and its next offset at the
        /// span's end (0 if it had no record then), by id. None may be above the partition's start.
        ends: Vec<(u64, u64)>,
    },
    /// Things that older programs do not understand may be used from now on.
    SetFeatureLevel {
        /// The level until now.
        was: u32,
        /// A higher one that every node knows.
        level: u32,
    },
    /// What the state of a node hashed to at a version. A node that finds another hash of its own for that version has
    /// gone astray and must stop.
    CheckState {
        /// The version that the hash is of.
        version: u64,
        /// 32 hex digits.
        hash: String,
    },
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn is_zero(lsn: &u64) -> bool {
    *lsn == 0
}

impl Command {
    /// As it is journalled.
    pub fn encode(&self) -> Vec<u8> {
        // Plain structs of numbers and strings always become JSON.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Reads what [`Command::encode`] wrote.
    ///
    /// # Errors
    /// It is not a command that this version knows.
    pub fn decode(body: &[u8]) -> Result<Command, serde_json::Error> {
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
    fn the_names_of_the_cluster_s_commands_on_disk_stay_as_they_are() {
        let replica = |node| Replica { node, store: StoreId([node as u8; 16]) };
        let leader = Leader { node: 1, incarnation: 2 };
        let span = NewSpan { replicas: vec![replica(1)], quorum: 1, leader, salt: [0xab; 16] };
        let info = NodeInfo { address: "a:1".into(), rack: "r".into(), features: 1, ..NodeInfo::default() };
        let known = [
            (
                Command::RegisterNode {
                    node: 1,
                    store: StoreId([1; 16]),
                    incarnation: 2,
                    generation: 3,
                    info: info.clone(),
                },
                r#"{"register_node":{"node":1,"store":"01010101010101010101010101010101","incarnation":2,"generation":3,"info":{"address":"a:1","rack":"r","features":1}}}"#,
            ),
            (
                Command::StartNode {
                    node: 1,
                    store: StoreId([1; 16]),
                    incarnation: 3,
                    generation: 4,
                    info: NodeInfo { address: "a:1".into(), ..NodeInfo::default() },
                },
                r#"{"start_node":{"node":1,"store":"01010101010101010101010101010101","incarnation":3,"generation":4,"info":{"address":"a:1"}}}"#,
            ),
            (
                Command::StartNode {
                    node: 1,
                    store: StoreId([1; 16]),
                    incarnation: 3,
                    generation: 4,
                    info: NodeInfo {
                        address: "a:1".into(),
                        kafka: "k:2".into(),
                        http: "h:3".into(),
                        ..NodeInfo::default()
                    },
                },
                r#"{"start_node":{"node":1,"store":"01010101010101010101010101010101","incarnation":3,"generation":4,"info":{"address":"a:1","kafka":"k:2","http":"h:3"}}}"#,
            ),
            (
                Command::RaiseGeneration { node: 1, store: StoreId([1; 16]), generation: 5 },
                r#"{"raise_generation":{"node":1,"store":"01010101010101010101010101010101","generation":5}}"#,
            ),
            (
                Command::SetNodeState { node: 1, was: NodeState::ReadWrite, state: NodeState::DataLoss },
                r#"{"set_node_state":{"node":1,"was":"read_write","state":"data_loss"}}"#,
            ),
            (
                Command::OpenFirstSpan { shard: 1, span: span.clone(), base: 0 },
                r#"{"open_first_span":{"shard":1,"span":{"replicas":[{"node":1,"store":"01010101010101010101010101010101"}],"quorum":1,"leader":{"node":1,"incarnation":2},"salt":"abababababababababababababababab"}}}"#,
            ),
            (
                Command::OpenFirstSpan { shard: 1, span: span.clone(), base: 1 },
                r#"{"open_first_span":{"shard":1,"span":{"replicas":[{"node":1,"store":"01010101010101010101010101010101"}],"quorum":1,"leader":{"node":1,"incarnation":2},"salt":"abababababababababababababababab"},"base":1}}"#,
            ),
            (
                Command::BeginSeal { shard: 1, epoch: 2, token: 9 },
                r#"{"begin_seal":{"shard":1,"epoch":2,"token":9}}"#,
            ),
            (
                Command::CommitSeal {
                    shard: 1,
                    epoch: 2,
                    attempt: 3,
                    end: 10,
                    chain: 11,
                    substitutes: Vec::new(),
                    next: None,
                },
                r#"{"commit_seal":{"shard":1,"epoch":2,"attempt":3,"end":10,"chain":11}}"#,
            ),
            (
                Command::CommitSeal {
                    shard: 1,
                    epoch: 2,
                    attempt: 3,
                    end: 10,
                    chain: 11,
                    substitutes: vec![Substitute { old: replica(1), new: replica(2) }],
                    next: None,
                },
                r#"{"commit_seal":{"shard":1,"epoch":2,"attempt":3,"end":10,"chain":11,"substitutes":[{"old":{"node":1,"store":"01010101010101010101010101010101"},"new":{"node":2,"store":"02020202020202020202020202020202"}}]}}"#,
            ),
            (
                Command::SwapReplica {
                    shard: 1,
                    epoch: 2,
                    old: None,
                    new: replica(2),
                    manifest: Manifest([7; 16]),
                },
                r#"{"swap_replica":{"shard":1,"epoch":2,"new":{"node":2,"store":"02020202020202020202020202020202"},"manifest":"07070707070707070707070707070707"}}"#,
            ),
            (
                Command::DropSpan { shard: 1, epoch: 2, ends: vec![(5, 100)] },
                r#"{"drop_span":{"shard":1,"epoch":2,"ends":[[5,100]]}}"#,
            ),
            (
                Command::Trim { name: "t".into(), id: "ab".into(), partition: 0, offset: 5 },
                r#"{"trim":{"name":"t","id":"ab","partition":0,"offset":5}}"#,
            ),
            (
                Command::MovePartition {
                    name: "t".into(),
                    id: "ab".into(),
                    partition: 0,
                    from: 1,
                    epoch: 7,
                    to: 2,
                    at: 5,
                    start: 0,
                    producers: Carried::default(),
                },
                r#"{"move_partition":{"name":"t","id":"ab","partition":0,"from":1,"epoch":7,"to":2,"at":5}}"#,
            ),
            (
                Command::MovePartition {
                    name: "t".into(),
                    id: "ab".into(),
                    partition: 0,
                    from: 1,
                    epoch: 7,
                    to: 2,
                    at: 5,
                    start: 3,
                    producers: Carried::from(vec![0, 0xab]),
                },
                r#"{"move_partition":{"name":"t","id":"ab","partition":0,"from":1,"epoch":7,"to":2,"at":5,"start":3,"producers":"00ab"}}"#,
            ),
            (
                Command::TakePartition { name: "t".into(), id: "ab".into(), partition: 0, shard: 2 },
                r#"{"take_partition":{"name":"t","id":"ab","partition":0,"shard":2}}"#,
            ),
            (
                Command::SetTopicConfig {
                    name: "t".into(),
                    id: "ab".into(),
                    was: Retention::default(),
                    retention: Retention { max_age_ms: None, max_bytes: Some(1) },
                },
                r#"{"set_topic_config":{"name":"t","id":"ab","was":{},"retention":{"max_bytes":1}}}"#,
            ),
            (Command::SetFeatureLevel { was: 0, level: 1 }, r#"{"set_feature_level":{"was":0,"level":1}}"#),
            (
                Command::CheckState { version: 1024, hash: "00".into() },
                r#"{"check_state":{"version":1024,"hash":"00"}}"#,
            ),
        ];
        for (command, text) in known {
            assert_eq!(String::from_utf8(command.encode()).unwrap(), text);
            assert_eq!(Command::decode(text.as_bytes()).unwrap(), command);
        }
        let close = Command::LeaderClose { shard: 1, epoch: 2, leader, end: 1, chain: 2, next: span.clone() };
        let next = Command::OpenNextSpan { shard: 1, after: 2, span };
        for (command, name) in
            [(close, "{\"leader_close\":{\"shard\":"), (next, "{\"open_next_span\":{\"shard\":")]
        {
            assert!(command.encode().starts_with(name.as_bytes()));
            assert_eq!(Command::decode(&command.encode()).unwrap(), command);
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
