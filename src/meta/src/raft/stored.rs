//! What the group keeps, as it is journalled: JSON with names that never change, whatever openraft calls things.

use std::collections::{BTreeMap, BTreeSet};

use openraft::{
    CommittedLeaderId, Entry, EntryPayload, LogId, Membership, SnapshotMeta, StoredMembership, Vote,
};
use serde::{Deserialize, Serialize};

use super::{Types, Voter};
use crate::command::Command;
use crate::state::State;

/// Which entry: the term and the leader that made it, and its index.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Id {
    term: u64,
    leader: u64,
    index: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    id: Id,
    payload: Payload,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum Payload {
    Blank,
    Command(Command),
    Members(Members),
}

/// Voters (while they change: old ones and new ones), and every member with its address.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Members {
    voters: Vec<BTreeSet<u64>>,
    members: BTreeMap<u64, Voter>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Voted {
    term: u64,
    leader: u64,
    committed: bool,
}

/// A snapshot: the state, and where in the group's order it stands.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Snapshot<S> {
    raft: Place,
    state: S,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Place {
    name: String,
    last: Option<Id>,
    members_at: Option<Id>,
    members: Members,
}

pub(super) type Meta = SnapshotMeta<u64, Voter>;

impl From<&LogId<u64>> for Id {
    fn from(id: &LogId<u64>) -> Id {
        Id { term: id.leader_id.term, leader: id.leader_id.node_id, index: id.index }
    }
}

impl From<Id> for LogId<u64> {
    fn from(id: Id) -> LogId<u64> {
        LogId::new(CommittedLeaderId::new(id.term, id.leader), id.index)
    }
}

impl From<&Membership<u64, Voter>> for Members {
    fn from(membership: &Membership<u64, Voter>) -> Members {
        let members = membership.nodes().map(|(id, voter)| (*id, voter.clone())).collect();
        Members { voters: membership.get_joint_config().clone(), members }
    }
}

impl From<Members> for Membership<u64, Voter> {
    fn from(members: Members) -> Membership<u64, Voter> {
        Membership::new(members.voters, members.members)
    }
}

fn json<T: Serialize>(value: &T) -> Vec<u8> {
    // Plain structs of numbers and strings always become JSON.
    serde_json::to_vec(value).unwrap_or_default()
}

pub(super) fn encode_entry(entry: &Entry<Types>) -> Vec<u8> {
    let payload = match &entry.payload {
        EntryPayload::Blank => Payload::Blank,
        EntryPayload::Normal(command) => Payload::Command(command.clone()),
        EntryPayload::Membership(membership) => Payload::Members(membership.into()),
    };
    json(&Kept { id: (&entry.log_id).into(), payload })
}

pub(super) fn decode_entry(body: &[u8]) -> Result<Entry<Types>, serde_json::Error> {
    let Kept { id, payload } = serde_json::from_slice(body)?;
    let payload = match payload {
        Payload::Blank => EntryPayload::Blank,
        Payload::Command(command) => EntryPayload::Normal(command),
        Payload::Members(members) => EntryPayload::Membership(members.into()),
    };
    Ok(Entry { log_id: id.into(), payload })
}

pub(super) fn encode_vote(vote: &Vote<u64>) -> Vec<u8> {
    let (term, leader, committed) = (vote.leader_id.term, vote.leader_id.node_id, vote.committed);
    json(&Voted { term, leader, committed })
}

pub(super) fn decode_vote(body: &[u8]) -> Result<Vote<u64>, serde_json::Error> {
    let Voted { term, leader, committed } = serde_json::from_slice(body)?;
    Ok(if committed { Vote::new_committed(term, leader) } else { Vote::new(term, leader) })
}

pub(super) fn encode_id(id: &LogId<u64>) -> Vec<u8> {
    json(&Id::from(id))
}

pub(super) fn decode_id(body: &[u8]) -> Result<LogId<u64>, serde_json::Error> {
    serde_json::from_slice::<Id>(body).map(LogId::from)
}

pub(super) fn encode_snapshot(meta: &Meta, state: &State) -> Vec<u8> {
    let raft = Place {
        name: meta.snapshot_id.clone(),
        last: meta.last_log_id.as_ref().map(Id::from),
        members_at: meta.last_membership.log_id().as_ref().map(Id::from),
        members: meta.last_membership.membership().into(),
    };
    json(&Snapshot { raft, state })
}

pub(super) fn decode_snapshot(body: &[u8]) -> Result<(Meta, State), serde_json::Error> {
    let Snapshot { raft, state } = serde_json::from_slice::<Snapshot<State>>(body)?;
    let members = StoredMembership::new(raft.members_at.map(LogId::from), raft.members.into());
    let last_log_id = raft.last.map(LogId::from);
    Ok((SnapshotMeta { last_log_id, last_membership: members, snapshot_id: raft.name }, state))
}

/// The bytes as each of the stored forms: what is understood is written and read as the same again.
pub(crate) fn fuzz(data: &[u8]) {
    if let Ok(entry) = decode_entry(data) {
        assert!(decode_entry(&encode_entry(&entry)).is_ok_and(|again| again.log_id == entry.log_id));
    }
    if let Ok(vote) = decode_vote(data) {
        assert!(decode_vote(&encode_vote(&vote)).is_ok_and(|again| again == vote));
    }
    if let Ok(id) = decode_id(data) {
        assert!(decode_id(&encode_id(&id)).is_ok_and(|again| again == id));
    }
    if let Ok((meta, state)) = decode_snapshot(data) {
        assert!(decode_snapshot(&encode_snapshot(&meta, &state)).is_ok_and(|again| again == (meta, state)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::span::StoreId;

    fn at(index: u64) -> LogId<u64> {
        LogId::new(CommittedLeaderId::new(3, 7), index)
    }

    fn members() -> Membership<u64, Voter> {
        let voter = Voter { address: "a:1".into(), store: StoreId([1; 16]) };
        Membership::new(vec![BTreeSet::from([7])], BTreeMap::from([(7, voter)]))
    }

    #[test]
    fn the_names_on_disk_stay_as_they_are() {
        let text = |bytes| String::from_utf8(bytes).unwrap();
        let entries = [
            (EntryPayload::Blank, r#"{"id":{"term":3,"leader":7,"index":5},"payload":"blank"}"#),
            (
                EntryPayload::Normal(Command::BumpIncarnation { incarnation: 3 }),
                r#"{"id":{"term":3,"leader":7,"index":5},"payload":{"command":{"bump_incarnation":{"incarnation":3}}}}"#,
            ),
            (
                EntryPayload::Membership(members()),
                r#"{"id":{"term":3,"leader":7,"index":5},"payload":{"members":{"voters":[[7]],"members":{"7":{"address":"a:1","store":"01010101010101010101010101010101"}}}}}"#,
            ),
        ];
        for (payload, json) in entries {
            let entry = Entry { log_id: at(5), payload };
            assert_eq!(text(encode_entry(&entry)), json);
            assert_eq!(text(encode_entry(&decode_entry(json.as_bytes()).unwrap())), json);
        }
        let vote = r#"{"term":3,"leader":7,"committed":true}"#;
        assert_eq!(text(encode_vote(&Vote::new_committed(3, 7))), vote);
        assert_eq!(decode_vote(vote.as_bytes()).unwrap(), Vote::new_committed(3, 7));
        assert_eq!(decode_id(&encode_id(&at(5))).unwrap(), at(5));
        let meta = SnapshotMeta {
            last_log_id: Some(at(5)),
            last_membership: StoredMembership::new(Some(at(4)), members()),
            snapshot_id: "n".into(),
        };
        let snapshot = encode_snapshot(&meta, &State::default());
        let start = r#"{"raft":{"name":"n","last":{"term":3,"leader":7,"index":5},"members_at":{"term":3,"leader":7,"index":4},"members":{"voters":[[7]],"#;
        assert!(text(snapshot.clone()).starts_with(start));
        assert_eq!(decode_snapshot(&snapshot).unwrap(), (meta, State::default()));
    }

    #[test]
    fn a_member_s_number_comes_from_its_directory_for_ever() {
        assert_eq!(super::super::voter_id(StoreId([1; 16])), 12_051_968_942_423_986_702);
        assert_ne!(super::super::voter_id(StoreId([1; 16])), super::super::voter_id(StoreId([2; 16])));
    }
}
