//! # Purpose
//! Opening a node: backend, data directory, metadata, shards, and making shards agree with the metadata.

use std::collections::BTreeSet;
use std::sync::Arc;

use tidelog_io::clock::Clock;
use tidelog_io::lock::LockError;
use tidelog_io::{Chosen, IoError, choose};
use tidelog_wal::{OpenError, Options, Recovered, ShardSpec, Status, Store, StoreError, Wal};
use tokio::task::JoinSet;

use crate::config::{Config, ConfigError};
use crate::groups;
use crate::node::{Node, Shard};
use crate::reconcile::{self, ReconcileError};
use crate::ring::{RingError, Rings};
use tidelog_meta::{Command, METADATA_SHARD, MetaError, Metadata};

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
    #[error("shard {shard} carries partitions and its folder {} is missing; restore it, or start with --accept-loss", dir.display())]
    MissingShard { shard: u64, dir: std::path::PathBuf },
    #[error("the metadata folder {} is missing and there are data shards; restore it from a copy", dir.display())]
    MissingMetadata { dir: std::path::PathBuf },
    #[error("shards and metadata cannot be brought to agree: {0}")]
    Reconcile(#[from] ReconcileError),
    #[error("cannot listen on {address}: {source}")]
    Listen { address: std::net::SocketAddr, source: std::io::Error },
    #[error("the runtime cannot be started: {0}")]
    Runtime(std::io::Error),
}

impl StartError {
    /// The exit code of the process: 1 error, 2 usage, 5 corruption found, 6 refused as unsafe.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            StartError::Config(ConfigError::Insecure(_)) => 6,
            StartError::Config(_) => 2,
            StartError::Ring(RingError::Store(StoreError::Lock(LockError::Held { .. }))) => 6,
            StartError::Ring(RingError::Store(StoreError::NotOurs { .. })) => 6,
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
            StartError::MissingShard { .. } | StartError::MissingMetadata { .. } => 5,
            _ => 1,
        }
    }
}

/// Opens everything below the listeners.
pub(crate) async fn open(config: Config) -> Result<Node, StartError> {
    let clock = Clock::system();
    let backend = backend(&config)?;
    let rings = Rings::start(backend.kind, config.rings(), &clock)?;
    let (store, on_disk) = rings.open_store(config.data.clone()).await?;
    let others = on_disk.iter().any(|shard| *shard != METADATA_SHARD);
    if others && !on_disk.contains(&METADATA_SHARD) {
        return Err(StartError::MissingMetadata { dir: store.shard_dir(METADATA_SHARD) });
    }
    let (wal, recovered) = rings.open_shard(spec(&store, METADATA_SHARD), config.metadata_options()).await?;
    report(METADATA_SHARD, &recovered, &wal);
    let metadata = Metadata::replay(wal.clone()).await?;
    metadata.propose(Command::BumpIncarnation { incarnation: store.incarnation() }).await?;
    let rings = Arc::new(rings);
    let shards = open_shards(&config, &store, &rings, &metadata, &on_disk).await?;
    let node = Node::new(config, clock, backend, store, rings, metadata);
    node.add_shard(METADATA_SHARD, Shard { wal, recovered });
    for (id, shard) in shards {
        node.add_shard(id, shard);
    }
    reconcile::reconcile(&node).await?;
    node.route_all();
    groups::restore(&node).await;
    Ok(node)
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
pub(crate) fn spec(store: &Store, shard: u64) -> ShardSpec {
    ShardSpec {
        shard,
        dir: store.shard_dir(shard),
        lost_and_found: store.lost_and_found(),
        cluster: store.cluster(),
        epoch: store.epoch(),
    }
}

/// Opens all data shards of the metadata at once.
async fn open_shards(
    config: &Config,
    store: &Store,
    rings: &Arc<Rings>,
    metadata: &Metadata,
    on_disk: &[u64],
) -> Result<Vec<(u64, Shard)>, StartError> {
    let loads = metadata.read(|state| state.loads());
    let known: BTreeSet<u64> = loads.keys().copied().collect();
    for shard in on_disk.iter().filter(|shard| **shard != METADATA_SHARD && !known.contains(shard)) {
        let dir = store.shard_dir(*shard);
        tracing::error!(shard, dir = %dir.display(), "a shard that the metadata does not know: left as it is");
    }
    let mut opening = JoinSet::new();
    for (shard, partitions) in loads {
        if partitions > 0 && !on_disk.contains(&shard) && !config.accept_loss {
            return Err(StartError::MissingShard { shard, dir: store.shard_dir(shard) });
        }
        let (rings, spec, options) = (Arc::clone(rings), spec(store, shard), config.shard_options());
        opening.spawn(async move { open_shard(&rings, spec, options).await });
    }
    let mut shards = Vec::new();
    while let Some(opened) = opening.join_next().await {
        shards.push(opened.map_err(|_| RingError::Gone)??);
    }
    Ok(shards)
}

/// Opens one shard and says what recovery found.
pub(crate) async fn open_shard(
    rings: &Rings,
    spec: ShardSpec,
    options: Options,
) -> Result<(u64, Shard), RingError> {
    let id = spec.shard;
    let (wal, recovered) = rings.open_shard(spec, options).await?;
    report(id, &recovered, &wal);
    Ok((id, Shard { wal, recovered }))
}

fn report(shard: u64, recovered: &Recovered, wal: &Wal) {
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
