//! A member of the metadata's group, running.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use openraft::error::{CheckIsLeaderError, Fatal, RaftError};
use openraft::{
    ChangeMembers, Config, ConfigError, LogId, Membership, Raft, ServerState, SnapshotMeta, SnapshotPolicy,
    StoredMembership,
};
use tidelog_wal::{AppendError, Wal};
use tokio::sync::watch;

use super::journal::Journal;
use super::links::{self, Carrier, Garbled, Links};
use super::machine::{Machine, snapshot_name};
use super::recovery::Snapshot;
use super::{Types, Voter, voter_id};
use crate::command::Command;
use crate::local::MetaError;
use crate::outcome::Outcome;
use crate::span::StoreId;
use crate::state::State;
use crate::store::{MetaStore, Unavailable};

/// Longest command, bytes as it is journalled. An entry that did not fit would stop its leader.
pub const MAX_COMMAND: usize = 3 * 1024 * 1024;

/// How a member is run. Times in milliseconds.
#[derive(Debug, Clone)]
pub struct Settings {
    /// A leader says that it lives this often, or half as often again. Default 125.
    pub heartbeat_ms: u64,
    /// A leader that was heard of within twice this is not voted out; a member that hears nothing for between this and
    /// twice this more stands for election. Default 500, so within 1.5 to 2 s.
    pub election_ms: u64,
    /// A snapshot is made every so many entries. Default 5000.
    pub snapshot_every: u64,
    /// So many entries before a snapshot are kept for members that are a little behind. Default 1000.
    pub keep_entries: u64,
    /// How long a proposal or a read waits for a quorum. Default 10 s.
    pub patience: Duration,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            heartbeat_ms: 125,
            election_ms: 500,
            snapshot_every: 5000,
            keep_entries: 1000,
            patience: Duration::from_secs(10),
        }
    }
}

/// What a directory is to the group when it starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Begin {
    /// Its first member, or a member that goes on: what the node had while it was alone becomes the group's first
    /// snapshot.
    Form,
    /// A directory that another member will let in, or a member that goes on.
    Join,
}

/// Why a member does not start or the group does not change.
#[derive(Debug, thiserror::Error)]
pub enum GroupError {
    /// The shard cannot be read.
    #[error(transparent)]
    Meta(#[from] MetaError),
    /// The first snapshot cannot be written.
    #[error("the metadata could not be handed over to a group: {0}")]
    Append(#[from] AppendError),
    /// The directory holds metadata of its own.
    #[error(
        "this data directory has metadata of its own ({topics} topics); only an empty one can join a cluster"
    )]
    HasMetadata {
        /// How many topics it has.
        topics: usize,
    },
    /// Two voters stop at the loss of either, and even numbers bear no more losses than the odd one below.
    #[error("the metadata's group has 1, 3 or 5 voters, not {0}")]
    Voters(usize),
    /// Settings that do not go together.
    #[error("settings of the metadata's group: {0}")]
    Settings(#[from] ConfigError),
    /// openraft refuses or stops.
    #[error("the metadata's group: {0}")]
    Raft(String),
}

/// A member of the metadata's group.
pub struct Group {
    pub(super) raft: Raft<Types>,
    pub(super) store: StoreId,
    /// A leader that no quorum answered for so long, or a member that heard of none, has no quorum.
    pub(super) quorum_within: Duration,
    /// A leader that was heard of so recently is not voted out.
    pub(super) lease: Duration,
    /// Another voter is about to lead: no command is taken here.
    pub(super) makes_room: AtomicBool,
    machine: Machine,
    patience: Duration,
    comparing: tokio::task::JoinHandle<()>,
    since: Instant,
    /// Milliseconds after `since` at which another member was heard last.
    heard: AtomicU64,
}

impl std::fmt::Debug for Group {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Group").field("version", &self.machine.state().version).finish_non_exhaustive()
    }
}

impl Group {
    /// Reads the member's shard and takes part in the group from then on. Must run inside a tokio runtime with time.
    ///
    /// # Errors
    /// A shard that cannot be read, or that does not fit to how the member begins.
    pub async fn open<C: Carrier>(
        wal: Wal,
        me: Voter,
        begin: Begin,
        carrier: C,
        settings: Settings,
    ) -> Result<Group, GroupError> {
        let config = Arc::new(settings.config().validate()?);
        let (journal, mut found) = Journal::open(wal).await?;
        let (store, id) = (me.store, voter_id(me.store));
        let is_member = found.snapshot.is_some() || found.has_entries;
        let has_metadata = !(found.alone.topics.is_empty() && found.alone.shards.is_empty());
        match begin {
            Begin::Form if !is_member => {
                let first = first_snapshot(id, me, std::mem::take(&mut found.alone));
                journal.write_snapshot(&first.meta, &first.state).await?;
                found.snapshot = Some(first);
            }
            Begin::Join if has_metadata && !is_member => {
                return Err(GroupError::HasMetadata { topics: found.alone.topics.len() });
            }
            Begin::Form | Begin::Join => {}
        }
        let machine = Machine::new(journal.clone(), found);
        let raft = Raft::new(id, config, Links(carrier), journal, machine.clone()).await;
        let raft = raft.map_err(|fatal| GroupError::Raft(fatal.to_string()))?;
        let comparing = tokio::spawn(compare_hashes(raft.clone(), machine.checkpoint()));
        let quorum_within = Duration::from_millis(settings.election_ms.saturating_mul(2));
        // As openraft has it: the longest silence.
        let (lease, makes_room) = (quorum_within, AtomicBool::new(false));
        let (since, heard, patience) = (Instant::now(), AtomicU64::new(0), settings.patience);
        let group = Group {
            raft,
            store,
            quorum_within,
            lease,
            makes_room,
            machine,
            patience,
            comparing,
            since,
            heard,
        };
        group.lead_if_alone().await?;
        Ok(group)
    }

    /// The only voter has nobody to wait for.
    async fn lead_if_alone(&self) -> Result<(), GroupError> {
        let (id, stopped) = (voter_id(self.store), |fatal: Fatal<u64>| GroupError::Raft(fatal.to_string()));
        // It answers from within, so this member knows what it found in its journal from then on.
        let alone = self.raft.with_raft_state(move |state| {
            let members = state.membership_state.effective().membership();
            members.voter_ids().eq([id]) && state.server_state != ServerState::Leader
        });
        if alone.await.map_err(stopped)? {
            self.raft.trigger().elect().await.map_err(stopped)?;
        }
        Ok(())
    }

    /// What this member answers to a message that a [`Carrier`] brought from another one.
    ///
    /// # Errors
    /// It is no message of the group.
    pub async fn answer(&self, message: Bytes) -> Result<Bytes, Garbled> {
        let now = u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.heard.fetch_max(now, Ordering::Relaxed);
        links::answer(&self.raft, message).await
    }

    /// How long no other member was heard.
    pub(super) fn silence(&self) -> Duration {
        self.since.elapsed().saturating_sub(Duration::from_millis(self.heard.load(Ordering::Relaxed)))
    }

    /// Lets a directory follow the group: it gets everything and has no vote. Answers its number. Only on the leader.
    ///
    /// # Errors
    /// This member does not lead, or there is no quorum.
    pub async fn let_in(&self, voter: Voter) -> Result<u64, GroupError> {
        let id = voter_id(voter.store);
        let changed = self.raft.add_learner(id, voter, false).await;
        changed.map(|_| id).map_err(|error| GroupError::Raft(error.to_string()))
    }

    /// Lets a member without a vote hear nothing more. Only on the leader.
    ///
    /// # Errors
    /// It votes, or as [`Group::let_in`].
    pub async fn let_go(&self, store: StoreId) -> Result<(), GroupError> {
        let gone = ChangeMembers::RemoveNodes(BTreeSet::from([voter_id(store)]));
        let changed = self.raft.change_membership(gone, true).await;
        changed.map(|_| ()).map_err(|error| GroupError::Raft(error.to_string()))
    }

    /// Decides who votes, of those that were let in; who votes no more goes on to follow. Only on the leader.
    ///
    /// # Errors
    /// The number of voters, or as [`Group::let_in`].
    pub async fn set_voters(&self, voters: BTreeSet<u64>) -> Result<(), GroupError> {
        if !matches!(voters.len(), 1 | 3 | 5) {
            return Err(GroupError::Voters(voters.len()));
        }
        let changed = self.raft.change_membership(voters, true).await;
        changed.map(|_| ()).map_err(|error| GroupError::Raft(error.to_string()))
    }

    /// Whether this member leads, as far as it knows, and takes commands.
    pub fn leads(&self) -> bool {
        self.raft.metrics().borrow().state.is_leader() && !self.makes_room.load(Ordering::Relaxed)
    }

    /// Takes part no longer. The shard is the caller's to close.
    pub async fn stop(&self) {
        self.comparing.abort();
        // It has stopped by itself already, or stops now.
        let _ = self.raft.shutdown().await;
    }

    fn not_leader(&self) -> Unavailable {
        Unavailable::NotLeader { leader: self.leader().map(|leader| leader.address) }
    }

    fn check_running(&self) -> Result<(), Unavailable> {
        match &self.raft.metrics().borrow().running_state {
            Ok(()) => Ok(()),
            Err(fatal) => Err(Unavailable::Broken(fatal.to_string())),
        }
    }
}

impl Settings {
    fn config(&self) -> Config {
        Config {
            cluster_name: "metadata".to_owned(),
            heartbeat_interval: self.heartbeat_ms,
            election_timeout_min: self.election_ms,
            election_timeout_max: self.election_ms.saturating_mul(2),
            snapshot_policy: SnapshotPolicy::LogsSinceLast(self.snapshot_every),
            max_in_snapshot_log_to_keep: self.keep_entries,
            replication_lag_threshold: self.keep_entries,
            // So many of the longest commands still fit into one message between nodes.
            max_payload_entries: 8,
            ..Config::default()
        }
    }
}

/// What a node had while it was alone, as the group's first entry: whoever joins gets it as a snapshot.
fn first_snapshot(id: u64, me: Voter, state: State) -> Snapshot {
    let at = Some(LogId::default());
    let members = Membership::new(vec![BTreeSet::from([id])], std::collections::BTreeMap::from([(id, me)]));
    let meta = SnapshotMeta {
        last_log_id: at,
        last_membership: StoredMembership::new(at, members),
        snapshot_id: snapshot_name(at),
    };
    Snapshot { lsn: 0, meta, state }
}

/// On the leader: proposes each hash of the state, so that a member whose state hashes to another value finds out.
async fn compare_hashes(raft: Raft<Types>, mut checkpoint: watch::Receiver<Option<crate::hash::Checkpoint>>) {
    while checkpoint.changed().await.is_ok() {
        let new = checkpoint.borrow_and_update().clone();
        let leads = raft.metrics().borrow().state.is_leader();
        if let (Some(new), true) = (new, leads) {
            let check = Command::CheckState { version: new.version, hash: new.hash };
            if let Err(error) = raft.client_write(check).await {
                tracing::warn!(%error, "the state's hash could not be compared this time");
            }
        }
    }
}

impl MetaStore for Group {
    async fn propose(&self, command: Command) -> Result<Outcome, Unavailable> {
        let len = command.encode().len();
        if len > MAX_COMMAND {
            return Err(Unavailable::TooLong { len, max: MAX_COMMAND });
        }
        self.check_running()?;
        if !self.leads() {
            return Err(self.not_leader());
        }
        // From here on it may have been handed in, whatever openraft says: an entry that this member took back may be
        // on another one that comes to lead.
        match tokio::time::timeout(self.patience, self.raft.client_write(command)).await {
            Ok(Ok(response)) => Ok(response.data.unwrap_or(Outcome::Indeterminate)),
            Ok(Err(_)) | Err(_) => Ok(Outcome::Indeterminate),
        }
    }

    async fn read(&self) -> Result<Arc<State>, Unavailable> {
        self.check_running()?;
        match tokio::time::timeout(self.patience, self.raft.ensure_linearizable()).await {
            Ok(Ok(_)) => Ok(self.machine.state()),
            Ok(Err(RaftError::APIError(CheckIsLeaderError::ForwardToLeader(_)))) => Err(self.not_leader()),
            Ok(Err(RaftError::Fatal(fatal))) => Err(Unavailable::Broken(fatal.to_string())),
            Ok(Err(RaftError::APIError(CheckIsLeaderError::QuorumNotEnough(_)))) | Err(_) => {
                Err(Unavailable::NoAnswer)
            }
        }
    }

    fn recent(&self) -> Arc<State> {
        self.machine.state()
    }

    fn watch(&self) -> watch::Receiver<u64> {
        self.machine.version()
    }
}

#[cfg(test)]
impl Group {
    pub(super) fn raft(&self) -> &Raft<Types> {
        &self.raft
    }

    pub(super) fn machine(&self) -> &Machine {
        &self.machine
    }
}
