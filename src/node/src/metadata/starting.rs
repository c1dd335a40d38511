//! What a directory's metadata is at the start: a lone node's, a group's first, a group member's, or none yet.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tidelog_format::name;
use tidelog_meta::raft::{Asked, Begin, Group, GroupError, Past, Settings, Voter, past};
use tidelog_meta::{MetaError, MetaStore, Metadata as Alone, State, StoreId};
use tidelog_proto::peer::Message;
use tidelog_wal::{Store, Wal};
use tokio::net::TcpListener;
use tokio::sync::watch;

use super::Metadata;
use super::incoming::Incoming;
use super::joining::{self, JoinError};
use super::member::{Member, OverPeers};
use crate::config::Config;
use crate::peers::{Identity, Peers};

/// While there is no quorum, that is told this often.
const TELL: Duration = Duration::from_secs(5);
/// How long one member has to say what it thinks of this one.
const GLANCE: Duration = Duration::from_secs(2);

/// Why a directory's metadata cannot be what the node was told.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unjoined {
    #[error(transparent)]
    Join(#[from] JoinError),
    #[error(transparent)]
    Group(Box<GroupError>),
    #[error(
        "{dir} has metadata of its own, and --join is for an empty directory: leave --join away to go on with this one, \
         or give another --data",
        dir = dir.display()
    )]
    HasMetadata { dir: std::path::PathBuf },
    #[error(
        "{dir} belongs to a cluster whose nodes must reach it: start with --peer IP:PORT, the address that it had is \
         known to them",
        dir = dir.display()
    )]
    NeedsPeer { dir: std::path::PathBuf },
    #[error(
        "{dir} was to join a cluster and did not get so far: start with --join again, or give an empty directory",
        dir = dir.display()
    )]
    Unfinished { dir: std::path::PathBuf },
}

/// A listener for other nodes, and where they reach it.
#[derive(Debug)]
pub(crate) struct Listening {
    listener: TcpListener,
    address: SocketAddr,
}

/// Listens for other nodes, if there is an address for that.
pub(crate) async fn listen(config: &Config) -> Result<Option<Listening>, (SocketAddr, std::io::Error)> {
    let Some(address) = config.peer else { return Ok(None) };
    let listener = TcpListener::bind(address).await.map_err(|error| (address, error))?;
    let address = listener.local_addr().map_err(|error| (address, error))?;
    Ok(Some(Listening { listener, address }))
}

/// The cluster that the directory is to be of. A new directory waits until somebody says which; one that is of a cluster
/// is held against whoever answers at once.
pub(crate) async fn cluster_to_join(
    config: &Config,
    here: Option<&Listening>,
) -> Result<Option<[u8; 16]>, JoinError> {
    let (false, Some(here)) = (config.join.is_empty(), here) else { return Ok(None) };
    let is_new = !config.data.join(name::SUPERBLOCK).exists();
    joining::cluster_of(config, &here.address.to_string(), is_new).await
}

/// The node's handle on its metadata, which can be asked and changed from then on.
///
/// # Errors
/// The journal cannot be read, or is not what the configuration says.
pub(crate) async fn start(
    config: &Config,
    store: &Store,
    wal: Wal,
    here: Option<Listening>,
    stopping: watch::Receiver<bool>,
) -> Result<Metadata, StartError> {
    let dir = || store.dir().to_owned();
    let Some(here) = here else { return alone(store, wal).await };
    let joins = !config.join.is_empty();
    let begin = match past(&wal).await? {
        Past::Alone if joins => return Err(Unjoined::HasMetadata { dir: dir() }.into()),
        Past::Empty if joins => Begin::Join,
        Past::Empty if store.node() == 0 => return Err(Unjoined::Unfinished { dir: dir() }.into()),
        Past::Empty | Past::Alone => Begin::Form,
        Past::Member => Begin::Join,
    };
    member(config, store, wal, here, begin, stopping).await
}

/// The metadata of a node that no other one reaches. Its journal is read once; only one that is not a lone node's is read
/// again, to say why.
async fn alone(store: &Store, wal: Wal) -> Result<Metadata, StartError> {
    let dir = || store.dir().to_owned();
    let alone = match Alone::replay(wal.clone()).await {
        Ok(alone) => alone,
        Err(error) => {
            return match past(&wal).await? {
                Past::Member => Err(Unjoined::NeedsPeer { dir: dir() }.into()),
                Past::Empty | Past::Alone => Err(error.into()),
            };
        }
    };
    if store.node() == 0 && alone.read(|state| *state == State::default()) {
        return Err(Unjoined::Unfinished { dir: dir() }.into());
    }
    Ok(Metadata::Alone(Box::new(alone)))
}

/// What can go wrong in [`start`].
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    #[error(transparent)]
    Meta(#[from] MetaError),
    #[error(transparent)]
    Unjoined(#[from] Unjoined),
}

impl From<GroupError> for StartError {
    fn from(error: GroupError) -> StartError {
        match error {
            GroupError::Meta(error) => StartError::Meta(error),
            other => StartError::Unjoined(Unjoined::Group(Box::new(other))),
        }
    }
}

impl From<JoinError> for StartError {
    fn from(error: JoinError) -> StartError {
        StartError::Unjoined(error.into())
    }
}

async fn member(
    config: &Config,
    store: &Store,
    wal: Wal,
    here: Listening,
    begin: Begin,
    stopping: watch::Receiver<bool>,
) -> Result<Metadata, StartError> {
    let me = Voter { address: here.address.to_string(), store: StoreId(store.store_id()) };
    // What it found is what it can show: a directory that went back in time has written as many generations since as the
    // sound one had. The one of this start counts from the moment at which the metadata is told of it.
    let generation = store.found_generation().unwrap_or(store.generation());
    let ids = (store.cluster(), store.store_id());
    let identity = Identity::new(ids, 0, store.incarnation(), generation, me.address.clone());
    let peers = Peers::new(identity, crate::peers::Settings::default(), stopping);
    let carrier = OverPeers(peers.clone());
    let group = Group::open(wal, me.clone(), begin, carrier, Settings::default()).await?;
    peers.learn(group.recent());
    let member = Arc::new(Member::new(group, peers.clone()));
    peers.hand_metadata_to(Arc::new(Incoming(Arc::downgrade(&member))));
    tokio::spawn(peers.clone().listen(here.listener));
    // A crash may have fallen between being let in and hearing of it.
    if begin == Begin::Join && !member.standing().is_member(me.store) && !config.join.is_empty() {
        joining::let_in(&peers, config, &member.group, &me).await?;
        tracing::info!(version = member.recent().version, "joined the cluster");
    }
    quorum(&member, &me).await?;
    Ok(Metadata::Member(member))
}

/// Waits until the metadata is known for sure, for as long as that takes: a node starts with what its cluster has decided.
///
/// # Errors
/// Another member refuses this one, so waiting would not help.
async fn quorum(member: &Member, me: &Voter) -> Result<(), Unjoined> {
    let mut told = Instant::now();
    loop {
        let read = tokio::time::timeout(GLANCE, member.read()).await;
        member.peers.learn(member.recent());
        if let Ok(Ok(_)) = read {
            return Ok(());
        }
        let standing = member.standing();
        if let Some(why) = standing.broken {
            return Err(Unjoined::Group(Box::new(GroupError::Raft(why))));
        }
        if told.elapsed() >= TELL {
            told = Instant::now();
            let voters = standing.voters.len();
            tracing::warn!(voters, "no quorum of the metadata's group answers yet: the start waits for it");
        }
        for other in standing.voters.iter().filter(|voter| voter.store != me.store) {
            let question = Message::Propose(Asked::Version.encode());
            if let Err(error) = member.peers.ask_at(&other.address, &question, GLANCE).await
                && let Some(why) = joining::refusal(&error)
            {
                return Err(JoinError::Refused { address: other.address.clone(), why }.into());
            }
        }
    }
}
