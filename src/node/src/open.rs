//! # Purpose
//! Opening a node: backend, data directory, metadata, the spans of its shards, and making shards agree with the metadata.

use std::collections::BTreeSet;
use std::sync::Arc;

use tidelog_io::clock::Clock;
use tidelog_io::lock::LockError;
use tidelog_io::{Chosen, IoError, choose};
use tidelog_wal::{OpenError, Recovered, ShardSpec, Status, Store, StoreError, Wal};

use crate::config::{Config, ConfigError};
use crate::groups;
use crate::metadata::{self, ChangeError, JoinError, Listening, Metadata, Unjoined};
use crate::node::{Node, Shard};
use crate::reconcile::{self, ReconcileError};
use crate::ring::{Beside, RingError, Rings};
use crate::spans::enrol::{self, Unfit};
use crate::spans::seal::Start;
use crate::spans::{Me, is_here};
use tidelog_meta::{Command, METADATA_SHARD, MetaError, StoreId};
use tokio::sync::watch;

/// Why the node does not start.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error("{0}")]
    Io(#[from] IoError),
    #[error(transparent)]
    Ring(#[from] RingError),
    #[error(transparent)]
    Meta(#[from] MetaError),
    #[error(transparent)]
    Change(ChangeError),
    #[error(transparent)]
    Unjoined(#[from] Unjoined),
    #[error(
        "shard {shard} was written before there were spans: start this directory once without --peer, with its former configuration"
    )]
    Spanless { shard: u64 },
    #[error("shard {shard} carries partitions and its folder {} is missing or holds no segment; restore it, or start with --accept-loss", dir.display())]
    MissingShard { shard: u64, dir: std::path::PathBuf },
    #[error("the metadata folder {} is missing or holds no segment, and there are data shards; restore it from a copy", dir.display())]
    MissingMetadata { dir: std::path::PathBuf },
    #[error(transparent)]
    Unfit(#[from] Unfit),
    #[error(
        "shard {shard}: where its last span ends is not known, and nothing is damaged: please report this"
    )]
    Unsealed { shard: u64 },
    #[cfg(test)]
    #[error("stopped at {0:?}, as the test wanted")]
    Stopped(crate::spans::seal::Point),
    #[error("shards and metadata cannot be brought to agree: {0}")]
    Reconcile(#[from] ReconcileError),
    #[error("cannot listen on {address}: {source}")]
    Listen { address: std::net::SocketAddr, source: std::io::Error },
    #[error("the runtime cannot be started: {0}")]
    Runtime(std::io::Error),
}

impl From<ChangeError> for StartError {
    fn from(error: ChangeError) -> StartError {
        match error {
            ChangeError::Meta(error) => error.into(),
            ChangeError::Illegal(why) => MetaError::Illegal(why).into(),
            ChangeError::Append(error) => MetaError::Append(error).into(),
            other => StartError::Change(other),
        }
    }
}

impl From<metadata::StartError> for StartError {
    fn from(error: metadata::StartError) -> StartError {
        match error {
            metadata::StartError::Meta(error) => error.into(),
            metadata::StartError::Unjoined(error) => error.into(),
        }
    }
}

impl From<JoinError> for StartError {
    fn from(error: JoinError) -> StartError {
        Unjoined::from(error).into()
    }
}

impl StartError {
    /// The exit code of the process: 1 error, 2 usage, 5 corruption found, 6 refused as unsafe.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            StartError::Config(ConfigError::Insecure(_)) => 6,
            StartError::Config(_) => 2,
            StartError::Ring(RingError::Store(StoreError::Lock(LockError::Held { .. }))) => 6,
            StartError::Ring(RingError::Store(
                StoreError::NotOurs { .. } | StoreError::OtherCluster { .. },
            )) => 6,
            StartError::Unjoined(
                Unjoined::HasMetadata { .. }
                | Unjoined::NeedsPeer { .. }
                | Unjoined::Unfinished { .. }
                | Unjoined::Join(JoinError::Refused { .. }),
            ) => 6,
            StartError::Ring(RingError::Store(StoreError::RolledBack { .. })) => 5,
            StartError::Ring(RingError::Store(StoreError::Superblock { source, .. })) => match source {
                tidelog_format::superblock::SuperblockError::Damaged { .. } => 5,
                tidelog_format::superblock::SuperblockError::Unsupported(_) => 1,
            },
            StartError::Ring(RingError::Open { source, .. }) if matches!(**source, OpenError::Read(_)) => 5,
            StartError::Meta(
                MetaError::Hole(_)
                | MetaError::Read(_)
                | MetaError::Replay { .. }
                | MetaError::Beheaded { .. },
            ) => 5,
            StartError::MissingShard { .. } | StartError::MissingMetadata { .. } | StartError::Unfit(_) => 5,
            _ => 1,
        }
    }
}

/// Opens everything below the listeners.
pub(crate) async fn open(config: Config) -> Result<Node, StartError> {
    let clock = Clock::system();
    let backend = backend(&config)?;
    let rings = Rings::start(backend.kind, config.rings(), &clock)?;
    let refused = |(address, source)| StartError::Listen { address, source };
    let here = metadata::listen(&config).await.map_err(refused)?;
    let cluster = metadata::cluster_to_join(&config, here.as_ref()).await?;
    let (store, on_disk, beside) = rings.open_store(config.data.clone(), cluster).await?;
    let (stopping, ending) = (watch::Sender::new(false), watch::Sender::new(false));
    let others = on_disk.iter().any(|shard| *shard != METADATA_SHARD);
    if others && !on_disk.contains(&METADATA_SHARD) {
        return Err(StartError::MissingMetadata { dir: store.shard_dir(METADATA_SHARD) });
    }
    let others_reach = (here, ending.subscribe());
    let enrolled = enrolled(&config, &store, &beside, &rings, &on_disk, others_reach).await;
    if enrolled.is_err() {
        // A directory that is not gone on with must not look younger for it, or it would pass after some more tries.
        beside.take_back().await?;
    }
    let Enrolled { wal, recovered, metadata, me, starts } = enrolled?;
    let rings = Arc::new(rings);
    let start =
        Start { config: &config, store: &store, beside: &beside, rings: &rings, metadata: &metadata, me };
    let (shards, replicated) = match metadata.member() {
        None => (start.open_all(starts).await?, None),
        Some(_) => (Vec::new(), Some(start.take_part(starts, &on_disk, ending.subscribe()).await?)),
    };
    let own = (store, beside, me);
    let node = Node::new(config, clock, backend, own, rings, (metadata, replicated), (stopping, ending));
    node.add_shard(METADATA_SHARD, Shard { wal, recovered, span: None });
    for (id, shard) in shards {
        node.add_shard(id, shard);
    }
    match &node.replicated {
        Some(shards) => {
            for shard in node.follow_shards(shards) {
                reconcile::agree(&node, shard).await;
            }
        }
        None => reconcile::reconcile(&node).await?,
    }
    node.route_all();
    groups::follow(&node).await;
    Ok(node)
}

/// A directory that may be gone on with, and its metadata.
struct Enrolled {
    wal: Wal,
    recovered: Recovered,
    metadata: Metadata,
    me: Me,
    starts: Option<Command>,
}

async fn enrolled(
    config: &Config,
    store: &Store,
    beside: &Beside,
    rings: &Rings,
    on_disk: &[u64],
    (here, stopping): (Option<Listening>, watch::Receiver<bool>),
) -> Result<Enrolled, StartError> {
    let metadata_spec = spec(store, METADATA_SHARD, store.epoch());
    let (wal, recovered) = rings.open_shard(metadata_spec, config.metadata_options()).await?;
    report(METADATA_SHARD, &recovered, &wal);
    let metadata = metadata::start(config, store, wal.clone(), here, stopping).await?;
    check_folders(config, (store, beside), &metadata, on_disk)?;
    let (me, starts) = enrol::enrol(config, store, beside, &metadata).await?;
    if let Some(member) = metadata.member() {
        member.peers().me().is_node(me.node);
        member.peers().me().raised(store.generation());
    }
    Ok(Enrolled { wal, recovered, metadata, me, starts })
}

fn backend(config: &Config) -> Result<Chosen, StartError> {
    std::fs::create_dir_all(&config.data).map_err(|cause| IoError::new("create", &config.data, cause))?;
    let backend = choose(&config.data, config.io.wanted())?;
    match &backend.reason {
        None => tracing::info!(backend = %backend.kind, "disk backend"),
        Some(reason) => tracing::warn!(backend = %backend.kind, reason, "disk backend: not the fastest one"),
    }
    Ok(backend)
}

/// Where a shard of this store lives.
pub(crate) fn spec(store: &Store, shard: u64, epoch: u32) -> ShardSpec {
    ShardSpec {
        shard,
        dir: store.shard_dir(shard),
        lost_and_found: store.lost_and_found(),
        cluster: store.cluster(),
        epoch,
    }
}

/// Whether the folders on the disk are those of the metadata's shards.
fn check_folders(
    config: &Config,
    (store, beside): (&Store, &Beside),
    metadata: &Metadata,
    on_disk: &[u64],
) -> Result<(), StartError> {
    let loads = metadata.read(|state| state.loads());
    let known: BTreeSet<u64> = loads.keys().copied().collect();
    for shard in on_disk.iter().filter(|shard| **shard != METADATA_SHARD && !known.contains(shard)) {
        let dir = store.shard_dir(*shard);
        tracing::error!(shard, dir = %dir.display(), "a shard that the metadata does not know: left as it is");
    }
    let is_member = metadata.member().is_some();
    let mine = |shard| {
        let here = metadata.read(|state| is_here(state, shard, StoreId(store.store_id())));
        // What others hold too they still have; and a member may be named before it has written anything.
        let alone = metadata.read(|state| state.last_span(shard).is_none_or(|span| span.replicas.len() == 1));
        here && (!is_member || alone && beside.promised().contains_key(&shard))
    };
    let missing =
        |(shard, partitions): &(u64, usize)| *partitions > 0 && !on_disk.contains(shard) && mine(*shard);
    match loads.into_iter().find(missing) {
        Some((shard, _)) if !config.accept_loss => {
            Err(StartError::MissingShard { shard, dir: store.shard_dir(shard) })
        }
        _ => Ok(()),
    }
}

/// Says what recovery found.
pub(crate) fn report(shard: u64, recovered: &Recovered, wal: &Wal) {
    let Recovered { frames_scanned, bytes_scanned, verdicts, cut, took } = recovered;
    tracing::info!(shard, frames_scanned, bytes_scanned, ?took, "shard open");
    for verdict in verdicts {
        tracing::info!(shard, file = %verdict.file.display(), position = verdict.position, lsn = verdict.lsn,
            verdict = ?verdict.verdict, "end of a segment that was open");
    }
    for cut in cut {
        tracing::warn!(shard, ?cut, "bytes that nothing proves were cut off and kept aside");
    }
    if let Status::ReadOnly(hole) = wal.status() {
        tracing::error!(shard, %hole, "the shard is read-only");
    }
}
