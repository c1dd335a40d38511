//! A member of the metadata's group, as the rest of the node meets it.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tidelog_meta::raft::{Answered, Asked, Carrier, Group, Standing, Voter};
use tidelog_meta::{Applied, Command, Heard, MetaStore, Outcome, State, Unavailable};
use tidelog_proto::peer::{Load, Message};
use tokio::sync::watch;

use super::ChangeError;
use crate::peers::{AskError, Peers};

/// How long a change or a sure look waits for a group that has no leader or no quorum.
pub(crate) const PATIENCE: Duration = Duration::from_secs(15);
/// How long another member has to answer.
const ANSWER: Duration = Duration::from_secs(12);
/// How much room a node has is not known any more after this.
const OLD: Duration = Duration::from_secs(10);
/// Between two tries.
const PAUSE: Duration = Duration::from_millis(50);
/// How long another member has to come to lead before this one stops: an election that goes wrong takes longer than one that
/// nobody has begun.
const ROOM: Duration = Duration::from_millis(1500);
/// How long a message of the group may be under way.
const CARRY: Duration = Duration::from_secs(5);

/// Messages of the group go over the connections between nodes.
#[derive(Debug, Clone)]
pub(super) struct OverPeers(pub(super) Peers);

impl Carrier for OverPeers {
    async fn carry(&self, to: &Voter, message: Bytes) -> io::Result<Bytes> {
        match self.0.ask(to.store, &to.address, &Message::Group(message), CARRY).await {
            Ok(Message::GroupAnswer(answer)) => Ok(answer),
            Ok(other) => Err(io::Error::other(format!("answered with {}", other.kind().name()))),
            Err(error) => Err(io::Error::other(error)),
        }
    }
}

/// What a node said about itself last.
#[derive(Debug, Clone, Copy)]
struct Pulse {
    at: Instant,
    load: Load,
}

/// A member that runs.
#[derive(Debug)]
pub(crate) struct Member {
    pub(super) group: Group,
    pub(super) peers: Peers,
    /// By node.
    pulses: Mutex<BTreeMap<u64, Pulse>>,
}

/// What asking whoever leads came to, when it is no answer to the question.
enum Unasked {
    /// Nothing was done.
    For(Unavailable),
    /// Something may have been.
    Lost,
}

impl Member {
    pub(super) fn new(group: Group, peers: Peers) -> Member {
        Member { group, peers, pulses: Mutex::default() }
    }

    /// The state, as far as this node knows it.
    pub(crate) fn recent(&self) -> Arc<State> {
        self.group.recent()
    }

    pub(crate) fn watch(&self) -> watch::Receiver<u64> {
        self.group.watch()
    }

    /// How this member stands in its group.
    pub(crate) fn standing(&self) -> Standing {
        self.group.standing()
    }

    /// Connections to the other nodes.
    pub(crate) fn peers(&self) -> &Peers {
        &self.peers
    }

    /// Has another member lead the group, if this one does. Without it the group would have nobody to decide anything until
    /// this one's silence is noticed.
    pub(crate) async fn make_room(&self) {
        let begun = Instant::now();
        if self.group.make_room(&OverPeers(self.peers.clone()), ROOM).await {
            tracing::info!(after = ?begun.elapsed(), "another node leads the metadata's group");
        } else if self.group.leads() && self.standing().voters.len() > 1 {
            tracing::warn!("no other node leads the metadata's group yet: the others elect one");
        }
    }

    /// Takes part no longer. The journal is the caller's to close.
    pub(crate) async fn stop(&self) {
        self.group.stop().await;
    }

    /// What was heard of the nodes.
    pub(crate) fn heard(&self) -> BTreeMap<u64, Heard> {
        let pulses = self.pulses.lock().unwrap_or_else(PoisonError::into_inner);
        let heard = |pulse: &Pulse| Heard {
            silent_ms: u64::try_from(pulse.at.elapsed().as_millis()).unwrap_or(u64::MAX),
            free_bytes: pulse.load.free_bytes,
        };
        pulses.iter().map(|(node, pulse)| (*node, heard(pulse))).collect()
    }

    /// Bytes that a node's disk still takes; `None` where that was not heard of late.
    pub(crate) fn free_bytes(&self, node: u64) -> Option<u64> {
        let pulses = self.pulses.lock().unwrap_or_else(PoisonError::into_inner);
        let pulse = pulses.get(&node).filter(|pulse| pulse.at.elapsed() < OLD)?;
        Some(pulse.load.free_bytes)
    }

    /// A node lives.
    pub(super) fn hears(&self, node: u64, load: Load) {
        let pulse = Pulse { at: Instant::now(), load };
        self.pulses.lock().unwrap_or_else(PoisonError::into_inner).insert(node, pulse);
    }

    /// Has a command carried out, and waits until it is in the state here.
    ///
    /// # Errors
    /// It is illegal, the metadata cannot be changed now, or nobody knows what became of it.
    pub(crate) async fn propose(&self, command: Command) -> Result<Applied, ChangeError> {
        let end = Instant::now() + PATIENCE;
        // Something may have become of a try whose outcome did not come.
        let mut doubtful = false;
        loop {
            self.check_running()?;
            let unavailable = match self.ask(&Asked::Change(command.clone())).await {
                Ok(Answered::Outcome(Outcome::Applied { applied, version })) => {
                    return self.reach(version, end).await.map(|()| applied);
                }
                Ok(Answered::Outcome(Outcome::Illegal(why))) => {
                    if doubtful && let Some(applied) = self.read().await?.shows(&command) {
                        return Ok(applied);
                    }
                    return Err(why.into());
                }
                Ok(Answered::Outcome(Outcome::Indeterminate)) | Err(Unasked::Lost) => {
                    doubtful = true;
                    Unavailable::NoAnswer
                }
                Ok(Answered::Unavailable(why @ Unavailable::TooLong { .. })) => return Err(why.into()),
                Ok(Answered::Unavailable(why)) | Err(Unasked::For(why)) => why,
                Ok(other) => unexpected(&other),
            };
            if Instant::now() >= end {
                return Err(if doubtful { ChangeError::Unknown } else { unavailable.into() });
            }
            tracing::debug!(%unavailable, "the metadata's leader is asked again");
            tokio::time::sleep(PAUSE).await;
            if doubtful && let Some(applied) = self.read().await.ok().and_then(|state| state.shows(&command))
            {
                return Ok(applied);
            }
        }
    }

    /// A state that shows every change whose outcome anybody knew at the call.
    ///
    /// # Errors
    /// Nobody can say for sure now.
    pub(crate) async fn read(&self) -> Result<Arc<State>, Unavailable> {
        let end = Instant::now() + PATIENCE;
        loop {
            self.check_running()?;
            let unavailable = match self.ask(&Asked::Version).await {
                Ok(Answered::Version(version)) => {
                    self.reach(version, end).await.map_err(|_| Unavailable::NoAnswer)?;
                    return Ok(self.recent());
                }
                Ok(Answered::Unavailable(why)) | Err(Unasked::For(why)) => why,
                Err(Unasked::Lost) => Unavailable::NoAnswer,
                Ok(other) => unexpected(&other),
            };
            if Instant::now() >= end {
                return Err(unavailable);
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// A member that has stopped by itself does not come back before a restart.
    fn check_running(&self) -> Result<(), Unavailable> {
        self.group.standing().broken.map_or(Ok(()), |why| Err(Unavailable::Broken(why)))
    }

    /// Asks whoever leads: this member itself, or another one.
    async fn ask(&self, asked: &Asked) -> Result<Answered, Unasked> {
        let leader = match self.group.ask(asked.clone()).await {
            Answered::NotLeader(Some(leader)) if leader.store != self.peers.me().store() => leader,
            Answered::NotLeader(_) => return Err(Unasked::For(Unavailable::NotLeader { leader: None })),
            answered => return Ok(answered),
        };
        let question = Message::Propose(asked.encode());
        match self.peers.ask(leader.store, &leader.address, &question, ANSWER).await {
            Ok(Message::Proposed(body)) => match Answered::decode(&body) {
                Ok(Answered::NotLeader(leader)) => {
                    let leader = leader.map(|leader| leader.address);
                    Err(Unasked::For(Unavailable::NotLeader { leader }))
                }
                Ok(answered) => Ok(answered),
                Err(error) => Err(Unasked::For(Unavailable::Broken(error.to_string()))),
            },
            Ok(_) | Err(AskError::Lost) => Err(Unasked::Lost),
            Err(AskError::NotSent(why)) => {
                tracing::debug!(%why, "the metadata's leader is not reached");
                Err(Unasked::For(Unavailable::NoAnswer))
            }
        }
    }

    /// Waits until this member has come so far.
    async fn reach(&self, version: u64, end: Instant) -> Result<(), ChangeError> {
        let mut versions = self.watch();
        let reached = versions.wait_for(|here| *here >= version);
        match tokio::time::timeout_at(end.into(), reached).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(ChangeError::Unknown),
        }
    }
}

/// The group as a store: who carries the rules of shards out decides what an outcome that is not clear means to it.
impl MetaStore for Member {
    async fn propose(&self, command: Command) -> Result<Outcome, Unavailable> {
        match Member::propose(self, command).await {
            Ok(applied) => Ok(Outcome::Applied { applied, version: Member::recent(self).version }),
            Err(ChangeError::Illegal(why)) => Ok(Outcome::Illegal(why)),
            Err(ChangeError::Unavailable(why)) => Err(why),
            Err(ChangeError::Unknown) => Ok(Outcome::Indeterminate),
            Err(error @ (ChangeError::Append(_) | ChangeError::Meta(_))) => {
                Err(Unavailable::Broken(error.to_string()))
            }
        }
    }

    async fn read(&self) -> Result<Arc<State>, Unavailable> {
        Member::read(self).await
    }

    fn recent(&self) -> Arc<State> {
        Member::recent(self)
    }

    fn watch(&self) -> watch::Receiver<u64> {
        Member::watch(self)
    }
}

fn unexpected(answered: &Answered) -> Unavailable {
    Unavailable::Broken(format!("the metadata's leader answered something else: {answered:?}"))
}
