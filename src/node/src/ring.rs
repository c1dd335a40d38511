//! # Purpose
//! The threads that drive the disk. Each runs one ring with its own single-threaded runtime; a shard lives on one
//! of them from its opening to its end. Nothing of the network runs here.
//!
//! # Invariants
//! A panic on one of these threads leaves shards in an unknown state, so it ends the process (see [`abort_on_panic`]);
//! recovery at the next start decides what holds.

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};

use tidelog_io::clock::Clock;
use tidelog_io::random::Entropy;
use tidelog_io::{BackendKind, Disk, IoError, block_on_posix, block_on_uring};
use tidelog_wal::{OpenError, Options, Recovered, ShardSpec, Store, StoreError, Wal, open_shard};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

const NAME: &str = "ring-";

/// Why a ring did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RingError {
    #[error(transparent)]
    Io(#[from] IoError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("shard {shard}: {source}")]
    Open { shard: u64, source: Box<OpenError> },
    #[error("a disk thread could not be started: {0}")]
    Thread(std::io::Error),
    #[error("a disk thread has ended")]
    Gone,
}

enum Job {
    OpenStore {
        dir: PathBuf,
        reply: oneshot::Sender<Result<(Store, Vec<u64>), RingError>>,
    },
    OpenShard {
        spec: ShardSpec,
        options: Options,
        reply: oneshot::Sender<Result<(Wal, Recovered), RingError>>,
    },
}

/// All ring threads of this process.
#[derive(Debug)]
pub(crate) struct Rings {
    rings: Vec<Ring>,
    next: AtomicUsize,
}

#[derive(Debug)]
struct Ring {
    jobs: mpsc::UnboundedSender<Job>,
}

/// What every shard needs beside its own spec.
#[derive(Clone)]
struct Surroundings {
    clock: Clock,
    entropy: Entropy,
}

impl Rings {
    /// Starts `count` threads on this backend.
    pub(crate) fn start(kind: BackendKind, count: u32, clock: &Clock) -> Result<Rings, RingError> {
        let around = Surroundings { clock: clock.clone(), entropy: Entropy::system() };
        let rings = (0..count).map(|n| Ring::start(kind, n, around.clone())).collect::<Result<_, _>>()?;
        Ok(Rings { rings, next: AtomicUsize::new(0) })
    }

    /// Opens the data directory; answers it with the shards that have a folder there.
    pub(crate) async fn open_store(&self, dir: PathBuf) -> Result<(Store, Vec<u64>), RingError> {
        let (reply, answer) = oneshot::channel();
        self.send(Job::OpenStore { dir, reply })?;
        answer.await.map_err(|_| RingError::Gone)?
    }

    /// Recovers a shard on the next thread in turn and runs it there until it is closed.
    pub(crate) async fn open_shard(
        &self,
        spec: ShardSpec,
        options: Options,
    ) -> Result<(Wal, Recovered), RingError> {
        let (reply, answer) = oneshot::channel();
        self.send(Job::OpenShard { spec, options, reply })?;
        answer.await.map_err(|_| RingError::Gone)?
    }

    fn send(&self, job: Job) -> Result<(), RingError> {
        let turn = self.next.fetch_add(1, Ordering::Relaxed);
        let ring = self.rings.get(turn % self.rings.len().max(1)).ok_or(RingError::Gone)?;
        ring.jobs.send(job).map_err(|_| RingError::Gone)
    }
}

impl Ring {
    fn start(kind: BackendKind, number: u32, around: Surroundings) -> Result<Ring, RingError> {
        let (jobs, ends) = mpsc::unbounded_channel();
        let body = move || {
            let done = match kind {
                BackendKind::Uring => block_on_uring(async |disk| work(disk, ends, around).await),
                BackendKind::Posix => block_on_posix(async |disk| work(disk, ends, around).await),
            };
            if let Err(error) = done {
                tracing::error!(%error, "a disk thread could not run");
            }
        };
        // Nobody joins it: a shard that is closed has nothing left to do there.
        std::thread::Builder::new().name(format!("{NAME}{number}")).spawn(body).map_err(RingError::Thread)?;
        Ok(Ring { jobs })
    }
}

async fn work<D: Disk>(disk: D, mut jobs: mpsc::UnboundedReceiver<Job>, around: Surroundings) {
    let mut running = JoinSet::new();
    while let Some(job) = jobs.recv().await {
        running.spawn_local(serve(disk.clone(), job, around.clone()));
        while running.try_join_next().is_some() {}
    }
    while running.join_next().await.is_some() {}
}

async fn serve<D: Disk>(disk: D, job: Job, around: Surroundings) {
    match job {
        Job::OpenStore { dir, reply } => {
            let opened = open_store(&disk, dir, &around).await;
            let _ = reply.send(opened);
        }
        Job::OpenShard { spec, options, reply } => {
            let shard = spec.shard;
            match open_shard(disk, spec, options, around.clock, around.entropy).await {
                Ok((wal, engine, recovered)) => {
                    if reply.send(Ok((wal, recovered))).is_ok() {
                        engine.run().await;
                    }
                }
                Err(source) => {
                    let _ = reply.send(Err(RingError::Open { shard, source: Box::new(source) }));
                }
            }
        }
    }
}

async fn open_store<D: Disk>(
    disk: &D,
    dir: PathBuf,
    around: &Surroundings,
) -> Result<(Store, Vec<u64>), RingError> {
    let store = Store::open(disk, &dir, &around.entropy, &around.clock).await?;
    let shards = store.shards_on_disk(disk).await?;
    Ok((store, shards))
}

/// Makes a panic on a ring thread end the process, after the usual message: tokio would catch it, and everyone who
/// waits for that shard would wait for ever.
pub(crate) fn abort_on_panic() {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        usual(panic);
        if std::thread::current().name().is_some_and(|name| name.starts_with(NAME)) {
            std::process::abort();
        }
    }));
}
