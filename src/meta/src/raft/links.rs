//! Messages of the group as bytes, and the way from a member to another one.
//!
//! # Format
//! A message is the length of its JSON (u32, little-endian), the JSON in openraft's own encoding, and for a piece of a
//! snapshot the piece behind it. All members run the same version of openraft, or versions that read each other: another
//! encoding needs another kind of message between nodes.

use std::io;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use openraft::error::{InstallSnapshotError, RPCError, RaftError, RemoteError, Unreachable};
use openraft::network::{Backoff, RPCOption};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, InstallSnapshotRequest, InstallSnapshotResponse,
    VoteRequest, VoteResponse,
};
use openraft::{Raft, RaftNetwork, RaftNetworkFactory};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::{Types, Voter};

/// A member that could not be reached is tried again after this time.
const AGAIN: Duration = Duration::from_millis(100);

/// Brings a message to another member, and its answer back.
///
/// Whoever carries it makes sure that the receiver is the directory that is meant, and not an older state of it: see
/// [`Greeting`](super::Greeting).
pub trait Carrier: Clone + Send + Sync + 'static {
    /// Carries one message. The answer may be dropped on the way, and the future may be dropped before it comes.
    fn carry(&self, to: &Voter, message: Bytes) -> impl Future<Output = io::Result<Bytes>> + Send;
}

/// What a member asks of another one.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Question {
    Append(AppendEntriesRequest<Types>),
    Vote(VoteRequest<u64>),
    /// Its piece stands behind the JSON.
    Install(InstallSnapshotRequest<Types>),
    /// The leader of this term makes room: stand for election.
    Stand {
        term: u64,
    },
}

type Answer<T, E = openraft::error::Infallible> = Result<T, RaftError<u64, E>>;

/// Why a message of the group cannot be answered.
#[derive(Debug, thiserror::Error)]
pub enum Garbled {
    /// It ends within its JSON.
    #[error("a message of the metadata's group is cut off")]
    Cut,
    /// Another version's, or no message.
    #[error("a message of the metadata's group is not understood: {0}")]
    Json(#[from] serde_json::Error),
}

fn encode<T: Serialize>(value: &T, rest: &[u8]) -> Result<Bytes, Garbled> {
    let json = serde_json::to_vec(value)?;
    let mut out = BytesMut::with_capacity(4 + json.len() + rest.len());
    out.put_u32_le(u32::try_from(json.len()).map_err(|_| Garbled::Cut)?);
    out.put_slice(&json);
    out.put_slice(rest);
    Ok(out.freeze())
}

fn decode<T: DeserializeOwned>(mut message: Bytes) -> Result<(T, Bytes), Garbled> {
    let len = message.first_chunk().map(|len| u32::from_le_bytes(*len));
    let len = len.and_then(|len| usize::try_from(len).ok()).ok_or(Garbled::Cut)?;
    let _ = message.split_to(4);
    if len > message.len() {
        return Err(Garbled::Cut);
    }
    let json = message.split_to(len);
    Ok((serde_json::from_slice(&json)?, message))
}

/// What this member answers to a message of another one.
///
/// # Errors
/// It is no message of the group.
pub(super) async fn answer(raft: &Raft<Types>, message: Bytes) -> Result<Bytes, Garbled> {
    match decode(message)? {
        (Question::Append(question), _) => encode(&raft.append_entries(question).await, &[]),
        (Question::Vote(question), _) => encode(&raft.vote(question).await, &[]),
        (Question::Install(mut question), piece) => {
            question.data = piece.to_vec();
            encode(&raft.install_snapshot(question).await, &[])
        }
        (Question::Stand { term }, _) => {
            // One that comes late would cost a leader its place that makes room for nobody.
            let asked = raft.metrics().borrow().current_term == term;
            let stands = asked && raft.trigger().elect().await.is_ok();
            encode(&stands, &[])
        }
    }
}

/// Asks a member to stand for election, since the leader of this term makes room; whether it does.
pub(super) async fn ask_to_stand(carrier: &impl Carrier, to: &Voter, term: u64) -> bool {
    let Ok(question) = encode(&Question::Stand { term }, &[]) else { return false };
    let answer = carrier.carry(to, question).await;
    answer.ok().and_then(|answer| decode::<bool>(answer).ok()).is_some_and(|(stands, _)| stands)
}

/// The ways from this member to all others.
#[derive(Debug)]
pub(super) struct Links<C>(pub(super) C);

/// The way to one member.
pub(super) struct Link<C> {
    carrier: C,
    id: u64,
    to: Voter,
}

impl<C: Carrier> RaftNetworkFactory<Types> for Links<C> {
    type Network = Link<C>;

    async fn new_client(&mut self, id: u64, voter: &Voter) -> Link<C> {
        Link { carrier: self.0.clone(), id, to: voter.clone() }
    }
}

type Failed<E> = RPCError<u64, Voter, E>;

impl<C: Carrier> Link<C> {
    async fn ask<T, E>(
        &self,
        question: &Question,
        piece: &[u8],
        option: &RPCOption,
    ) -> Result<T, Failed<RaftError<u64, E>>>
    where
        T: DeserializeOwned,
        E: std::error::Error + DeserializeOwned,
    {
        let unreachable = |error: &(dyn std::error::Error + 'static)| {
            RPCError::Unreachable(Unreachable::new(&io::Error::other(error.to_string())))
        };
        let message = encode(question, piece).map_err(|error| unreachable(&error))?;
        let carried = tokio::time::timeout(option.hard_ttl(), self.carrier.carry(&self.to, message)).await;
        let answer = match carried {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => return Err(unreachable(&error)),
            Err(late) => return Err(unreachable(&late)),
        };
        let (answer, _): (Answer<T, E>, _) = decode(answer).map_err(|error| unreachable(&error))?;
        answer.map_err(|error| RPCError::RemoteError(RemoteError::new(self.id, error)))
    }
}

impl<C: Carrier> RaftNetwork<Types> for Link<C> {
    async fn append_entries(
        &mut self,
        question: AppendEntriesRequest<Types>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<u64>, Failed<RaftError<u64>>> {
        self.ask(&Question::Append(question), &[], &option).await
    }

    async fn install_snapshot(
        &mut self,
        mut question: InstallSnapshotRequest<Types>,
        option: RPCOption,
    ) -> Result<InstallSnapshotResponse<u64>, Failed<RaftError<u64, InstallSnapshotError>>> {
        let piece = std::mem::take(&mut question.data);
        self.ask(&Question::Install(question), &piece, &option).await
    }

    async fn vote(
        &mut self,
        question: VoteRequest<u64>,
        option: RPCOption,
    ) -> Result<VoteResponse<u64>, Failed<RaftError<u64>>> {
        self.ask(&Question::Vote(question), &[], &option).await
    }

    fn backoff(&self) -> Backoff {
        Backoff::new(std::iter::repeat(AGAIN))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_piece_of_a_snapshot_travels_as_it_is() {
        let piece = vec![0xff; 1000];
        let message = encode(&"head", &piece).unwrap();
        assert_eq!(message.len(), 4 + 6 + piece.len());
        let (head, rest): (String, _) = decode(message).unwrap();
        assert_eq!((head.as_str(), &rest[..]), ("head", &piece[..]));
    }

    #[test]
    fn what_is_cut_off_or_lies_about_its_length_is_refused() {
        let message = encode(&"head", b"piece").unwrap();
        for len in 0..10 {
            assert!(decode::<String>(message.slice(..len)).is_err(), "{len} bytes");
        }
        let mut lying = message.to_vec();
        lying[..4].copy_from_slice(&u32::MAX.to_le_bytes());
        assert!(matches!(decode::<String>(Bytes::from(lying)), Err(Garbled::Cut)));
        assert!(matches!(decode::<Question>(message), Err(Garbled::Json(_))));
    }
}
