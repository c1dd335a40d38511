//! Opens a shard and runs it on its ring thread.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use tidelog_format::Salt;
use tidelog_format::entry::Row;
use tidelog_format::shard_state;
use tidelog_format::span_start::SpanStart;
use tidelog_io::Disk;
use tidelog_io::clock::Clock;
use tidelog_io::random::Entropy;

use crate::appender::{Appender, Beginning};
use crate::commits::{Commits, OwnDisk};
use crate::ending::end_all;
use crate::error::OpenError;
use crate::following::{Following, FrameWriter};
use crate::keeper::Keeper;
use crate::options::Options;
use crate::reads::Reads;
use crate::recovery::{self, Ended, Found, Purpose, Recovered, Resumed, SpanBase, SpanEnd};
use crate::segments::{Active, SegmentId};
use crate::shared::{Ends, Shared, State, Status};
use crate::spares::Spares;
use crate::tail::Tail;
use crate::wal::Wal;
use crate::writing::Writing;

/// Which shard, and where.
#[derive(Debug, Clone)]
pub struct ShardSpec {
    /// The shard's id.
    pub shard: u64,
    /// Its folder; made when it is missing.
    pub dir: PathBuf,
    /// Where bytes go that recovery cuts off; made when it is needed.
    pub lost_and_found: PathBuf,
    /// The cluster's id: segments of another cluster are refused.
    pub cluster: [u8; 16],
    /// Epoch of the span to be opened: higher than that of any span before.
    pub epoch: u32,
}

/// A shard's worker. Lives on the thread of its disk.
pub struct Engine<D: Disk> {
    disk: D,
    keeper: Rc<Keeper<D>>,
    writer: Writer<D>,
    ends: Ends,
}

enum Writer<D: Disk> {
    Leading(Box<Appender<D>>),
    Following(Box<Following<D>>),
}

/// The span to be opened behind what was found.
#[derive(Debug)]
pub struct OpenSpan {
    /// Salt of its first segment; without one a random one is taken.
    pub salt: Option<Salt>,
    /// What its first frame says about it.
    pub start: Option<SpanStart>,
    /// Whether the first frame also says what the shard's partitions and producers are: for holders that have nothing of
    /// what came before.
    pub state: bool,
    /// The partitions that take batches, and how far they must have come for it at least: one that goes on in another shard,
    /// or comes from there and is not here yet, takes none. Without it all do.
    pub writable: Option<BTreeMap<u64, u64>>,
    /// Who says what of it is committed.
    pub commits: Box<dyn Commits + Send>,
}

/// A shard that was looked at: nothing has been written yet.
pub struct FoundShard<D: Disk> {
    disk: D,
    spec: ShardSpec,
    options: Options,
    found: recovery::Found<D::File>,
}

/// Looks at a shard: scans what is not sealed and judges how it ends. Writes nothing but a missing folder. `base` is what
/// the metadata says about the span that is not sealed.
///
/// # Errors
/// Settings out of range, a failing disk, a newer format, files of another shard.
pub async fn find_shard<D: Disk>(
    disk: D,
    spec: ShardSpec,
    base: Option<SpanBase>,
    options: Options,
) -> Result<FoundShard<D>, OpenError> {
    options.validate()?;
    disk.create_dir_all(&spec.dir).await?;
    let found = recovery::recover(&disk, &spec, base, Purpose::Judge, &options).await?;
    Ok(FoundShard { disk, spec, options, found })
}

impl<D: Disk> FoundShard<D> {
    /// How far its frames go.
    pub fn ended(&self) -> Ended {
        self.found.ended()
    }

    /// Cuts what is torn, seals what is open, and prepares the first segment of the span.
    ///
    /// Acknowledged data that is damaged makes the shard read-only ([`Status::ReadOnly`]) unless
    /// [`Options::accept_loss`] is set.
    ///
    /// # Errors
    /// A failing disk.
    pub async fn open(
        self,
        span: OpenSpan,
        clock: Clock,
        entropy: Entropy,
    ) -> Result<(Wal, Engine<D>, Recovered), OpenError> {
        let FoundShard { disk, spec, options, mut found } = self;
        let to_end = std::mem::take(&mut found.to_end);
        end_all(&disk, &spec, to_end, &mut found.segments, &mut found.report).await?;
        let Prepared { shared, ends, keeper } = prepare(&disk, &spec, options, clock, &mut found).await?;
        if matches!(shared.state().status, Status::Running) {
            keeper.prepare_first(found.next_number == 1).await?;
        }
        let mut start: Vec<(Row, Bytes)> = Vec::new();
        start.extend(span.start.map(|start| start.encode()).map(|(row, body)| (row, Bytes::from(body))));
        if span.state {
            let (row, body) = shard_state::encode(&shared.state().index, found.from.next_lsn)?;
            start.push((row, Bytes::from(body)));
        }
        let beginning = Beginning {
            cluster: spec.cluster,
            epoch: spec.epoch,
            salt: span.salt,
            start,
            writable: span.writable,
            commits: span.commits,
        };
        let appender = Appender::new(disk.clone(), Rc::clone(&keeper), beginning, entropy, found.from);
        let engine = Engine { disk, keeper, writer: Writer::Leading(Box::new(appender)), ends };
        Ok((Wal::new(shared), engine, found.report))
    }
}

/// What every kind of writer needs.
struct Prepared<D: Disk> {
    shared: Arc<Shared>,
    ends: Ends,
    keeper: Rc<Keeper<D>>,
}

async fn prepare<D: Disk>(
    disk: &D,
    spec: &ShardSpec,
    options: Options,
    clock: Clock,
    found: &mut Found<D::File>,
) -> Result<Prepared<D>, OpenError> {
    let spares = Spares::open(disk.clone(), &spec.dir, options.segment_bytes).await?;
    let state = State {
        index: std::mem::take(&mut found.index),
        tail: Tail::within(options.tail_bytes),
        waiters: rustc_hash::FxHashMap::default(),
        segments: std::mem::take(&mut found.segments),
        active: None,
        status: found.hole.clone().map_or(Status::Running, Status::ReadOnly),
    };
    let (shared, ends) = Shared::new((spec.shard, spec.epoch), spec.dir.clone(), options, clock, state);
    shared.stats.next_lsn.store(found.from.next_lsn, Ordering::Relaxed);
    shared.stats.committed_lsn.store(found.from.next_lsn, Ordering::Relaxed);
    shared.stats.producers.store(shared.state().index.producers().len() as u64, Ordering::Relaxed);
    let next_id = SegmentId { number: found.next_number, epoch: spec.epoch };
    let keeper = Rc::new(Keeper::new(Arc::clone(&shared), spares, next_id));
    Ok(Prepared { shared, ends, keeper })
}

/// A follower's part in a span, running.
pub struct Followed<D: Disk> {
    /// For readers. Nothing can be appended through it.
    pub wal: Wal,
    /// For the leader's frames.
    pub writer: FrameWriter,
    /// The worker.
    pub engine: Engine<D>,
    /// How far the frames go on this disk.
    pub ended: Ended,
    /// What was found.
    pub recovered: Recovered,
}

/// Goes on with a span of the shard, its last one here, as one of its followers: `spec.epoch` is that of the span, `base`
/// says where it begins. The segment that is open stays open; frames that are not known to be committed are not shown.
///
/// # Errors
/// As [`find_shard`]. A damaged shard opens read-only.
pub async fn follow_shard<D: Disk>(
    disk: D,
    spec: ShardSpec,
    base: SpanBase,
    options: Options,
    clock: Clock,
) -> Result<Followed<D>, OpenError> {
    options.validate()?;
    disk.create_dir_all(&spec.dir).await?;
    let mut found = recovery::recover(&disk, &spec, Some(base), Purpose::Follow, &options).await?;
    let ended = found.ended();
    let to_end = std::mem::take(&mut found.to_end);
    end_all(&disk, &spec, to_end, &mut found.segments, &mut found.report).await?;
    let Prepared { shared, ends, keeper } = prepare(&disk, &spec, options, clock, &mut found).await?;
    if matches!(shared.state().status, Status::Running) {
        shared.state_mut().status = Status::Following;
    }
    let writing = found.resumed.map(|resumed| {
        let Resumed { id, handle, walk, next_salt, shown } = resumed;
        let writing = Writing::resumed(id, Rc::new(handle), &walk, next_salt, &found.from);
        if shown > 0 {
            shared.state_mut().active = Some(Active { id, salt: writing.salt, end: shown });
        }
        writing
    });
    let committed = found.uncommitted.front().map_or(ended.lsn, |first| first.header.lsn);
    shared.stats.committed_lsn.store(committed, Ordering::Relaxed);
    let (following, writer) = Following::new(
        disk.clone(),
        Rc::clone(&keeper),
        found.from,
        writing,
        found.uncommitted,
        committed.max(ended.committed),
    );
    let engine = Engine { disk, keeper, writer: Writer::Following(Box::new(following)), ends };
    Ok(Followed { wal: Wal::new(shared), writer, engine, ended, recovered: found.report })
}

/// Ends the shard's last span here where the metadata says: what stands behind is dropped, the last segment gets its
/// footer. The shard must not be running.
///
/// # Errors
/// As [`find_shard`], and [`OpenError::Elsewhere`] when this disk does not hold all frames below the end: then nothing was
/// changed.
pub async fn end_shard<D: Disk>(
    disk: D,
    spec: ShardSpec,
    base: SpanBase,
    end: SpanEnd,
    options: Options,
) -> Result<Recovered, OpenError> {
    options.validate()?;
    let found = recovery::recover(&disk, &spec, Some(base), Purpose::End(end), &options).await?;
    let Found { to_end, mut segments, mut report, from, hole, .. } = found;
    if hole.is_some() || (from.next_lsn, from.chain) != (end.lsn, end.chain) {
        let found = SpanEnd { lsn: from.next_lsn, chain: from.chain };
        return Err(OpenError::Elsewhere { shard: spec.shard, found, end });
    }
    end_all(&disk, &spec, to_end, &mut segments, &mut report).await?;
    Ok(report)
}

/// Recovers a shard and opens its next span, where this disk alone says what is committed: the metadata's shard, whose
/// quorum is the Raft group's business, and shards in tests. Others go by [`find_shard`].
///
/// # Errors
/// As [`find_shard`] and [`FoundShard::open`].
pub async fn open_shard<D: Disk>(
    disk: D,
    spec: ShardSpec,
    options: Options,
    clock: Clock,
    entropy: Entropy,
) -> Result<(Wal, Engine<D>, Recovered), OpenError> {
    let found = find_shard(disk, spec, None, options).await?;
    let commits = Box::new(OwnDisk::from(found.ended().lsn));
    let span = OpenSpan { salt: None, start: None, state: false, writable: None, commits };
    found.open(span, clock, entropy).await
}

impl<D: Disk> Engine<D> {
    /// What the shard's readers want from its disk, to be served on another thread: then those who read old data do not
    /// hold up the writer. What is not taken is served by [`Engine::run`].
    pub fn take_reads(&mut self) -> Option<Reads> {
        let jobs = self.ends.reads.take()?;
        Some(Reads { shared: Arc::clone(&self.keeper.shared), jobs, paced: true })
    }

    /// Works until [`Wal::close`]: appends, seals, prepares segments and serves reads. Must run inside the
    /// runtime of its disk, where `tokio::task::spawn_local` works.
    pub async fn run(self) {
        let Engine { disk, keeper, writer, ends } = self;
        let shared = Arc::clone(&keeper.shared);
        let keeping = tokio::task::spawn_local(Rc::clone(&keeper).run(ends.keeper));
        let reads = ends.reads.map(|jobs| Reads { shared: Arc::clone(&shared), jobs, paced: false });
        let reading = reads.map(|reads| tokio::task::spawn_local(reads.serve(disk)));
        match writer {
            Writer::Leading(appender) => appender.run().await,
            Writer::Following(following) => following.run().await,
        }
        keeping.abort();
        if let Some(reading) = reading {
            reading.abort();
        }
        shared.closed.send_replace(true);
    }
}
