//! An empty directory asks the nodes that it was told of to be let in.

use std::time::{Duration, Instant};

use tidelog_meta::MetaStore;
use tidelog_meta::raft::{Answered, Asked, Group, Voter};
use tidelog_proto::peer::Message;

use crate::config::{Advertised, Config};
use crate::peers::{CallError, Ended, Peers};

/// How long the cluster has to be found, to let a directory in, and to send it what there is. Who refuses says so at once.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long one node has to answer.
const ANSWER: Duration = Duration::from_secs(5);
/// Of a node that belongs to a cluster already, who is asked to be compared only.
const GLANCE: Duration = Duration::from_secs(1);
/// Between two tries.
const PAUSE: Duration = Duration::from_millis(200);

/// Why a directory did not join.
#[derive(Debug, thiserror::Error)]
pub(crate) enum JoinError {
    /// It never will.
    #[error("the node at {address} does not let this one into its cluster: {why}")]
    Refused { address: String, why: String },
    /// Nobody of those that were named let it in within [`PATIENCE`].
    #[error(
        "no node of a cluster to join lets this one in ({last}); see that one of them runs with --peer, and that most of \
         the metadata's voters do"
    )]
    Nobody { last: String },
    /// It was let in, and what there is did not come.
    #[error(
        "the cluster let this node in, and did not send its metadata to {address}: can the others reach that?"
    )]
    NotSent { address: String },
}

/// The cluster of the nodes that a configuration names. `patient` waits for the first of them.
///
/// # Errors
/// Nobody said so in time, or this program is refused; without patience that is no error.
pub(super) async fn cluster_of(
    config: &Config,
    here: &str,
    patient: bool,
) -> Result<Option<[u8; 16]>, JoinError> {
    let (end, answer) = (Instant::now() + PATIENCE, if patient { ANSWER } else { GLANCE });
    let others = others(config, here);
    loop {
        let mut last = "none is named but this one itself".to_owned();
        for address in &others {
            match Peers::introduce(address, answer).await {
                Ok(hello) => return Ok(Some(hello.cluster)),
                Err(error) => match refusal(&error).filter(|_| patient) {
                    Some(why) => return Err(JoinError::Refused { address: address.clone(), why }),
                    None => last = error.to_string(),
                },
            }
        }
        if !patient {
            return Ok(None);
        }
        if Instant::now() >= end || others.is_empty() {
            return Err(JoinError::Nobody { last });
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Asks to be let in until this member has the cluster's metadata.
///
/// # Errors
/// It is refused, or it takes too long.
pub(super) async fn let_in(
    peers: &Peers,
    config: &Config,
    group: &Group,
    me: &Voter,
) -> Result<(), JoinError> {
    let end = Instant::now() + PATIENCE;
    let named = others(config, &me.address);
    let version = loop {
        let mut last = "none is named but this one itself".to_owned();
        let mut asked = named.clone();
        let mut found = None;
        while let Some(address) = asked.pop() {
            match ask(peers, &address, me).await? {
                Turn::In(version) => {
                    found = Some(version);
                    break;
                }
                // Who leads has the last word; it is asked once in a round.
                Turn::Ask(leader) if !named.contains(&leader) => asked.push(leader),
                Turn::Ask(leader) => last = format!("{leader} leads, and was not reached or leads no more"),
                Turn::Not(why) => last = why,
            }
        }
        if let Some(version) = found {
            break version;
        }
        if Instant::now() >= end {
            return Err(JoinError::Nobody { last });
        }
        tracing::info!(last, "nobody has let this node in yet");
        tokio::time::sleep(PAUSE).await;
    };
    let mut versions = group.watch();
    let came = versions.wait_for(|here| *here >= version);
    match tokio::time::timeout_at((Instant::now() + PATIENCE).into(), came).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(_)) | Err(_) => Err(JoinError::NotSent { address: me.address.clone() }),
    }
}

/// The nodes that the configuration names, this one apart.
fn others(config: &Config, here: &str) -> Vec<String> {
    config.join.iter().map(Advertised::to_string).filter(|address| address != here).collect()
}

enum Turn {
    In(u64),
    Ask(String),
    Not(String),
}

async fn ask(peers: &Peers, address: &str, me: &Voter) -> Result<Turn, JoinError> {
    let question = Message::Propose(Asked::LetIn(me.clone()).encode());
    let refused = |why: String| JoinError::Refused { address: address.to_owned(), why };
    let body = match peers.ask_at(address, &question, ANSWER).await {
        Ok(Message::Proposed(body)) => body,
        Ok(other) => return Ok(Turn::Not(format!("{address} answered with {}", other.kind().name()))),
        Err(error) => {
            return match refusal(&error) {
                Some(why) => Err(refused(why)),
                None => Ok(Turn::Not(error.to_string())),
            };
        }
    };
    Ok(match Answered::decode(&body) {
        Ok(Answered::Version(version)) => Turn::In(version),
        Ok(Answered::NotLeader(Some(leader))) if leader.address != address => Turn::Ask(leader.address),
        Ok(Answered::Refused(why)) => return Err(refused(why.to_string())),
        Ok(other) => Turn::Not(format!("{address}: {other:?}")),
        Err(error) => Turn::Not(format!("{address}: {error}")),
    })
}

/// Why a node refused the connection itself: it will not think better of it.
pub(super) fn refusal(error: &CallError) -> Option<String> {
    match error {
        CallError::Ended { ended: Ended::RefusedThere(why), .. } => Some(why.clone()),
        CallError::Ended { ended: Ended::RefusedHere(why), .. } => Some(why.to_string()),
        _ => None,
    }
}
