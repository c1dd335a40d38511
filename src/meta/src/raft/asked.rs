//! What a node asks of the member that leads the group, because only that one can say.
//!
//! # Format
//! JSON with names that never change, carried between nodes as the body of one message and of its answer.

use bytes::Bytes;
use openraft::error::{ClientWriteError, RaftError};
use serde::{Deserialize, Serialize};

use super::group::Group;
use super::links::Garbled;
use super::{Voter, voter_id};
use crate::command::Command;
use crate::outcome::Outcome;
use crate::state::State;
use crate::store::{MetaStore, Unavailable};

/// A question to the member that leads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Asked {
    /// To propose a command.
    Change(Command),
    /// At which version the state is, for sure.
    Version,
    /// To let a directory follow the group.
    LetIn(Voter),
}

/// What the member that was asked says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Answered {
    /// What became of the command.
    Outcome(Outcome),
    /// The state is at this version at least, and every change whose outcome anybody knew at the question is in it.
    Version(u64),
    /// It does not lead, and this one does as far as it knows.
    NotLeader(Option<Voter>),
    /// Nothing was done.
    Unavailable(Unavailable),
    /// The directory is not let in. Asking again changes nothing.
    Refused(Refused),
}

/// Why a directory is not let in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Refused {
    /// A node that is known is reached at its address, with another directory.
    #[error(
        "node {node} of the cluster is reached at {address} with data directory {known}, and this one is {store}: start \
         that node with the directory that it had; if that is lost, this one is a new node and needs an address of its own"
    )]
    OtherStore {
        /// The node that is known.
        node: u64,
        /// Where.
        address: String,
        /// The directory that it has.
        known: String,
        /// The directory that asks.
        store: String,
    },
    /// The cluster gave this directory up.
    #[error(
        "data directory {0} was removed from the cluster: it takes no part any more. With a new, empty one the node joins as a \
         new node"
    )]
    GivenUp(String),
}

impl Asked {
    /// The question's bytes.
    pub fn encode(&self) -> Bytes {
        json(self)
    }
}

impl Answered {
    /// The answer of these bytes.
    ///
    /// # Errors
    /// Another version's, or no answer.
    pub fn decode(body: &[u8]) -> Result<Answered, Garbled> {
        Ok(serde_json::from_slice(body)?)
    }
}

fn json<T: Serialize>(value: &T) -> Bytes {
    // Plain structs of numbers and strings always become JSON.
    Bytes::from(serde_json::to_vec(value).unwrap_or_default())
}

impl Group {
    /// Answers a question, if this member leads.
    pub async fn ask(&self, asked: Asked) -> Answered {
        if !self.leads() {
            return Answered::NotLeader(self.leader());
        }
        match asked {
            Asked::Change(command) => match self.propose(command).await {
                Ok(outcome) => Answered::Outcome(outcome),
                Err(unavailable) => self.unavailable(unavailable),
            },
            Asked::Version => match self.read().await {
                Ok(state) => Answered::Version(state.version),
                Err(unavailable) => self.unavailable(unavailable),
            },
            Asked::LetIn(voter) => self.let_in_if_fit(voter).await,
        }
    }

    /// Answers the bytes of a question with those of its answer.
    ///
    /// # Errors
    /// It is no question.
    pub async fn ask_bytes(&self, body: &[u8]) -> Result<Bytes, Garbled> {
        let asked = serde_json::from_slice(body)?;
        Ok(json(&self.ask(asked).await))
    }

    fn unavailable(&self, why: Unavailable) -> Answered {
        match why {
            Unavailable::NotLeader { .. } => Answered::NotLeader(self.leader()),
            other => Answered::Unavailable(other),
        }
    }

    async fn let_in_if_fit(&self, voter: Voter) -> Answered {
        let state = match self.read().await {
            Ok(state) => state,
            Err(unavailable) => return self.unavailable(unavailable),
        };
        if let Err(why) = fits(&voter, &state) {
            return Answered::Refused(why);
        }
        if !self.standing().is_member(voter.store) {
            match self.raft.add_learner(voter_id(voter.store), voter, false).await {
                Ok(_) => {}
                Err(RaftError::APIError(ClientWriteError::ForwardToLeader(_))) => {
                    return Answered::NotLeader(self.leader());
                }
                // Another change of the members is under way, or this member stops.
                Err(error) => {
                    tracing::info!(%error, "a directory could not be let in yet");
                    return Answered::Unavailable(Unavailable::NoAnswer);
                }
            }
        }
        Answered::Version(state.version)
    }
}

/// Whether a directory may follow: it is a known node's, or a new one that nobody else's address leads to.
fn fits(voter: &Voter, state: &State) -> Result<(), Refused> {
    if let Some(node) = state.node_of(voter.store).and_then(|number| state.nodes.get(&number)) {
        let lost = Refused::GivenUp(voter.store.to_string());
        return if node.state.counts() { Ok(()) } else { Err(lost) };
    }
    let counting = state.nodes.iter().filter(|(_, node)| node.state.counts());
    match counting.into_iter().find(|(_, node)| node.info.address == voter.address) {
        Some((number, node)) => Err(Refused::OtherStore {
            node: *number,
            address: voter.address.clone(),
            known: node.store.to_string(),
            store: voter.store.to_string(),
        }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::NodeState;
    use crate::cluster_tests::{cluster, store};

    #[test]
    fn names_stay_as_they_are() {
        let text = |bytes: Bytes| String::from_utf8(bytes.to_vec()).unwrap();
        let voter = Voter { address: "a:1".into(), store: store(1) };
        let asked = [
            (Asked::Version, r#""version""#),
            (
                Asked::LetIn(voter.clone()),
                r#"{"let_in":{"address":"a:1","store":"01010101010101010101010101010101"}}"#,
            ),
            (
                Asked::Change(Command::BumpIncarnation { incarnation: 3 }),
                r#"{"change":{"bump_incarnation":{"incarnation":3}}}"#,
            ),
        ];
        for (asked, json) in asked {
            assert_eq!(text(asked.encode()), json);
            assert_eq!(serde_json::from_str::<Asked>(json).unwrap(), asked);
        }
        let answered = [
            (Answered::Version(3), r#"{"version":3}"#),
            (Answered::NotLeader(None), r#"{"not_leader":null}"#),
            (Answered::Unavailable(Unavailable::NoAnswer), r#"{"unavailable":"no_answer"}"#),
            (Answered::Outcome(Outcome::Indeterminate), r#"{"outcome":"indeterminate"}"#),
            (Answered::Refused(Refused::GivenUp("x".into())), r#"{"refused":{"given_up":"x"}}"#),
        ];
        for (answered, json_text) in answered {
            assert_eq!(text(json(&answered)), json_text);
            assert_eq!(Answered::decode(json_text.as_bytes()).unwrap(), answered);
        }
        assert!(Answered::decode(b"{\"version\":3").is_err());
    }

    #[test]
    fn an_address_leads_to_one_directory_and_a_lost_one_stays_outside() {
        let mut state = cluster();
        let at = |node, address: &str| Voter { address: address.into(), store: store(node) };
        assert_eq!(fits(&at(9, "new:1"), &state), Ok(()));
        assert_eq!(fits(&at(2, "elsewhere:1"), &state), Ok(()), "a node may move");
        let refused = fits(&at(9, "host:1"), &state).unwrap_err();
        assert!(matches!(&refused, Refused::OtherStore { node: 1, .. }), "{refused}");
        let lost = NodeState::DataLoss;
        state.apply(&Command::SetNodeState { node: 2, was: NodeState::ReadWrite, state: lost }).unwrap();
        assert!(matches!(fits(&at(2, "host:1"), &state), Err(Refused::GivenUp(_))));
    }
}
