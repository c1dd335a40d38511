//! # Purpose
//! The threads that drive the disk. Each runs one ring with its own single-threaded runtime; a shard lives on one
//! of them from its opening to its end. Nothing of the network runs here. What readers want from the disk goes through
//! one more thread for all shards, so that whoever reads old data does not hold up those who write.
//!
//! # Invariants
//! A panic on one of these threads leaves shards in an unknown state, so it ends the process (see [`abort_on_panic`]);
//! recovery at the next start decides what holds.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tidelog_format::promise::Promises;
use tidelog_io::clock::Clock;
use tidelog_io::random::Entropy;
use tidelog_io::{BackendKind, Disk, IoError, block_on_posix, block_on_uring};
use tidelog_wal::{
    Ended, FrameWriter, OpenError, OpenSpan, Options, PromiseFile, PromisesFound, Reads, Recovered,
    ShardSpec, SpanBase, Store, StoreError, SuperblockFile, Wal, find_shard, follow_shard, open_shard,
};
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

/// Who waits for a job.
type Reply<T> = oneshot::Sender<Result<T, RingError>>;

enum Job {
    OpenStore {
        dir: PathBuf,
        cluster: Option<[u8; 16]>,
        reply: Reply<(Store, Vec<u64>, Beside)>,
    },
    FindShard {
        spec: ShardSpec,
        base: Option<SpanBase>,
        options: Options,
        reply: Reply<Ended>,
        open: oneshot::Receiver<(OpenSpan, Reply<(Wal, Recovered)>)>,
    },
    OpenShard {
        spec: ShardSpec,
        options: Options,
        reply: Reply<(Wal, Recovered)>,
    },
    FollowShard {
        spec: ShardSpec,
        base: SpanBase,
        options: Options,
        reply: Reply<Followed>,
    },
}

/// A span that another node leads, gone on with here.
#[derive(Debug)]
pub(crate) struct Followed {
    /// For readers.
    pub(crate) wal: Wal,
    /// For the leader's frames.
    pub(crate) writer: FrameWriter,
    /// How far the frames go on this disk.
    pub(crate) ended: Ended,
}

/// What a data directory keeps beside its shards, on the thread where it was opened: superblock and promises.
#[derive(Debug, Clone)]
pub(crate) struct Beside {
    jobs: mpsc::Sender<BesideJob>,
    found: Arc<PromisesFound>,
    promised: Arc<Promises>,
}

enum BesideJob {
    Raise(Reply<u64>),
    TakeBack(Reply<()>),
    Keep(Promises, Reply<()>),
    BeginAnew(PathBuf, Promises, Reply<PathBuf>),
    Free(Reply<u64>),
}

/// A shard that was looked at, and waits on its thread for what is decided about it.
#[derive(Debug)]
pub(crate) struct Found {
    /// How far its frames go.
    pub(crate) ended: Ended,
    open: oneshot::Sender<(OpenSpan, Reply<(Wal, Recovered)>)>,
}

impl Found {
    /// Opens the next span, on the thread that looked.
    pub(crate) async fn open(self, span: OpenSpan) -> Result<(Wal, Recovered), RingError> {
        let (reply, answer) = oneshot::channel();
        self.open.send((span, reply)).map_err(|_| RingError::Gone)?;
        answer.await.map_err(|_| RingError::Gone)?
    }
}

impl Beside {
    /// What was found of the promise journal.
    pub(crate) fn found(&self) -> &PromisesFound {
        &self.found
    }

    /// What the journal said at the start.
    pub(crate) fn promised(&self) -> &Promises {
        &self.promised
    }

    /// Writes the superblock's next generation, durably.
    pub(crate) async fn raise(&self) -> Result<u64, RingError> {
        self.ask(BesideJob::Raise).await
    }

    /// Leaves the superblock at the generation that was found.
    pub(crate) async fn take_back(&self) -> Result<(), RingError> {
        self.ask(BesideJob::TakeBack).await
    }

    /// Makes promises durable, all with one write.
    pub(crate) async fn keep(&self, promises: Promises) -> Result<(), RingError> {
        self.ask(|reply| BesideJob::Keep(promises, reply)).await
    }

    /// Puts a damaged journal aside and begins it anew; answers where the old one is.
    pub(crate) async fn begin_anew(&self, aside: PathBuf, promises: Promises) -> Result<PathBuf, RingError> {
        self.ask(|reply| BesideJob::BeginAnew(aside, promises, reply)).await
    }

    /// Bytes that the directory's disk has left.
    pub(crate) async fn free(&self) -> Result<u64, RingError> {
        self.ask(BesideJob::Free).await
    }

    async fn ask<T>(&self, job: impl FnOnce(Reply<T>) -> BesideJob) -> Result<T, RingError> {
        let (reply, answer) = oneshot::channel();
        self.jobs.send(job(reply)).await.map_err(|_| RingError::Gone)?;
        answer.await.map_err(|_| RingError::Gone)?
    }
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
    /// To the thread that reads.
    reads: mpsc::UnboundedSender<Reads>,
}

impl Rings {
    /// Starts `count` threads on this backend.
    pub(crate) fn start(kind: BackendKind, count: u32, clock: &Clock) -> Result<Rings, RingError> {
        let around =
            Surroundings { clock: clock.clone(), entropy: Entropy::system(), reads: start_reading()? };
        let rings = (0..count).map(|n| Ring::start(kind, n, around.clone())).collect::<Result<_, _>>()?;
        Ok(Rings { rings, next: AtomicUsize::new(0) })
    }

    /// Opens the data directory, of this cluster if one is given; answers it with the shards that have a folder there.
    pub(crate) async fn open_store(
        &self,
        dir: PathBuf,
        cluster: Option<[u8; 16]>,
    ) -> Result<(Store, Vec<u64>, Beside), RingError> {
        let (reply, answer) = oneshot::channel();
        self.send(Job::OpenStore { dir, cluster, reply })?;
        answer.await.map_err(|_| RingError::Gone)?
    }

    /// Looks at a shard on the next thread in turn, which then waits to be told what span to open, and runs it until it is
    /// closed.
    pub(crate) async fn find_shard(
        &self,
        spec: ShardSpec,
        base: Option<SpanBase>,
        options: Options,
    ) -> Result<Found, RingError> {
        let (reply, answer) = oneshot::channel();
        let (go, open) = oneshot::channel();
        self.send(Job::FindShard { spec, base, options, reply, open })?;
        let ended = answer.await.map_err(|_| RingError::Gone)??;
        Ok(Found { ended, open: go })
    }

    /// Recovers the metadata's shard on the next thread in turn and runs it there until it is closed.
    pub(crate) async fn open_shard(
        &self,
        spec: ShardSpec,
        options: Options,
    ) -> Result<(Wal, Recovered), RingError> {
        let (reply, answer) = oneshot::channel();
        self.send(Job::OpenShard { spec, options, reply })?;
        answer.await.map_err(|_| RingError::Gone)?
    }

    /// Goes on with a span as a follower on the next thread in turn, and runs it there until it is closed.
    pub(crate) async fn follow_shard(
        &self,
        spec: ShardSpec,
        base: SpanBase,
        options: Options,
    ) -> Result<Followed, RingError> {
        let (reply, answer) = oneshot::channel();
        self.send(Job::FollowShard { spec, base, options, reply })?;
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

/// Starts the thread that reads for all data shards. It uses plain system calls: its reads are large and few, and a ring
/// more would take locked memory from those that write.
fn start_reading() -> Result<mpsc::UnboundedSender<Reads>, RingError> {
    let (reads, mut shards) = mpsc::unbounded_channel::<Reads>();
    let body = move || {
        let done = block_on_posix(async |disk| {
            while let Some(reads) = shards.recv().await {
                tokio::task::spawn_local(reads.serve(disk.clone()));
            }
        });
        if let Err(error) = done {
            tracing::error!(%error, "the thread that reads could not run");
        }
    };
    std::thread::Builder::new().name(format!("{NAME}reads")).spawn(body).map_err(RingError::Thread)?;
    Ok(reads)
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
        Job::OpenStore { dir, cluster, reply } => open_store(disk, (dir, cluster), around, reply).await,
        Job::OpenShard { spec, options, reply } => {
            let shard = spec.shard;
            let opened = open_shard(disk, spec, options, around.clock, around.entropy).await;
            run(opened.map_err(|source| failed(shard, source)), reply).await;
        }
        Job::FollowShard { spec, base, options, reply } => {
            let shard = spec.shard;
            match follow_shard(disk, spec, base, options, around.clock).await {
                Ok(tidelog_wal::Followed { wal, writer, mut engine, ended, .. }) => {
                    hand_over_reads(&mut engine, &around.reads);
                    if reply.send(Ok(Followed { wal, writer, ended })).is_ok() {
                        engine.run().await;
                    }
                }
                Err(source) => {
                    let _ = reply.send(Err(failed(shard, source)));
                }
            }
        }
        Job::FindShard { spec, base, options, reply, open } => {
            let shard = spec.shard;
            let found = match find_shard(disk, spec, base, options).await {
                Ok(found) => found,
                Err(source) => {
                    let _ = reply.send(Err(failed(shard, source)));
                    return;
                }
            };
            let _ = reply.send(Ok(found.ended()));
            // Whoever looked may have given up.
            let Ok((span, reply)) = open.await else { return };
            let mut opened = found.open(span, around.clock, around.entropy).await;
            if let Ok((_, engine, _)) = &mut opened {
                hand_over_reads(engine, &around.reads);
            }
            run(opened.map_err(|source| failed(shard, source)), reply).await;
        }
    }
}

/// Hands a shard's reads to the thread that reads, which ends with the process.
fn hand_over_reads<D: Disk>(engine: &mut tidelog_wal::Engine<D>, readers: &mpsc::UnboundedSender<Reads>) {
    if let Some(reads) = engine.take_reads() {
        let _ = readers.send(reads);
    }
}

fn failed(shard: u64, source: OpenError) -> RingError {
    RingError::Open { shard, source: Box::new(source) }
}

/// Hands an opened shard over and runs its engine.
async fn run<D: Disk>(
    opened: Result<(Wal, tidelog_wal::Engine<D>, Recovered), RingError>,
    reply: Reply<(Wal, Recovered)>,
) {
    match opened {
        Ok((wal, engine, recovered)) => {
            if reply.send(Ok((wal, recovered))).is_ok() {
                engine.run().await;
            }
        }
        Err(error) => {
            let _ = reply.send(Err(error));
        }
    }
}

/// Opens the directory, and stays to write its superblock and its promises.
async fn open_store<D: Disk>(
    disk: D,
    (dir, cluster): (PathBuf, Option<[u8; 16]>),
    around: Surroundings,
    reply: Reply<(Store, Vec<u64>, Beside)>,
) {
    let opened = async {
        let store = Store::open_in(&disk, &dir, cluster, &around.entropy, &around.clock).await?;
        let shards = store.shards_on_disk(&disk).await?;
        let superblock = store.superblock_file(&disk).await?;
        let (of, entropy) = (dir.clone(), around.entropy);
        let (promises, found) = PromiseFile::open(disk.clone(), of, store.cluster(), entropy).await?;
        Ok::<_, RingError>((store, shards, superblock, promises, found))
    };
    match opened.await {
        Ok((store, shards, superblock, promises, found)) => {
            let (jobs, ends) = mpsc::channel(1);
            let promised = Arc::new(promises.promises().clone());
            let beside = Beside { jobs, found: Arc::new(found), promised };
            if reply.send(Ok((store, shards, beside))).is_ok() {
                keep_beside((disk, dir), superblock, promises, ends).await;
            }
        }
        Err(error) => {
            let _ = reply.send(Err(error));
        }
    }
}

/// Writes what it is asked to, one after the other, until nobody can ask any more. An answer that nobody waits for is
/// dropped.
async fn keep_beside<D: Disk>(
    (disk, dir): (D, PathBuf),
    mut superblock: SuperblockFile<D::File>,
    mut promises: PromiseFile<D>,
    mut jobs: mpsc::Receiver<BesideJob>,
) {
    while let Some(job) = jobs.recv().await {
        match job {
            BesideJob::Raise(reply) => {
                let _ = reply.send(superblock.raise().await.map_err(RingError::Io));
            }
            BesideJob::TakeBack(reply) => {
                let _ = reply.send(superblock.take_back().await.map_err(RingError::Io));
            }
            BesideJob::Keep(more, reply) => {
                let _ = reply.send(promises.keep(&more).await.map_err(RingError::Io));
            }
            BesideJob::BeginAnew(aside, more, reply) => {
                let done = async {
                    let kept_in = promises.put_aside(aside).await?;
                    promises.keep(&more).await?;
                    Ok(kept_in)
                };
                let _ = reply.send(done.await.map_err(RingError::Io));
            }
            BesideJob::Free(reply) => {
                let _ = reply.send(disk.free_space(&dir).await.map_err(RingError::Io));
            }
        }
    }
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
