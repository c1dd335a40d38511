//! Opens a shard and runs it on its ring thread.

use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use tidelog_format::Salt;
use tidelog_format::span_start::SpanStart;
use tidelog_io::Disk;
use tidelog_io::clock::Clock;
use tidelog_io::random::Entropy;

use crate::appender::{Appender, Beginning};
use crate::commits::{Commits, OwnDisk};
use crate::ending::end_all;
use crate::error::OpenError;
use crate::frames;
use crate::keeper::Keeper;
use crate::options::Options;
use crate::recovery::{self, Ended, Recovered, SpanBase};
use crate::segments::SegmentId;
use crate::shared::{Ends, Shared, State, Status};
use crate::spares::Spares;
use crate::tail::Tail;
use crate::wal::Wal;

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
    appender: Appender<D>,
    ends: Ends,
}

/// The span to be opened behind what was found.
#[derive(Debug)]
pub struct OpenSpan {
    /// Salt of its first segment; without one a random one is taken.
    pub salt: Option<Salt>,
    /// What its first frame says about it.
    pub start: Option<SpanStart>,
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
    let found = recovery::recover(&disk, &spec, base, &options).await?;
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
        let spares = Spares::open(disk.clone(), &spec.dir, options.segment_bytes).await?;
        let status = found.hole.clone().map_or(Status::Running, Status::ReadOnly);
        let writable = matches!(status, Status::Running);
        let state = State {
            index: found.index,
            tail: Tail::default(),
            waiters: std::collections::HashMap::new(),
            segments: found.segments,
            active: None,
            status,
        };
        let (shared, ends) = Shared::new((spec.shard, spec.epoch), spec.dir, options, clock, state);
        shared.stats.next_lsn.store(found.from.next_lsn, Ordering::Relaxed);
        shared.stats.committed_lsn.store(found.from.next_lsn, Ordering::Relaxed);
        shared.stats.producers.store(shared.state().index.producers().len() as u64, Ordering::Relaxed);
        let next_id = SegmentId { number: found.next_number, epoch: spec.epoch };
        let keeper = Rc::new(Keeper::new(Arc::clone(&shared), spares, next_id));
        if writable {
            keeper.prepare_first(found.next_number == 1).await?;
        }
        let start = span.start.map(|start| start.encode()).map(|(row, body)| (row, Bytes::from(body)));
        let beginning = Beginning {
            cluster: spec.cluster,
            epoch: spec.epoch,
            salt: span.salt,
            start,
            commits: span.commits,
        };
        let appender = Appender::new(disk.clone(), Rc::clone(&keeper), beginning, entropy, found.from);
        Ok((Wal::new(shared), Engine { disk, keeper, appender, ends }, found.report))
    }
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
    found.open(OpenSpan { salt: None, start: None, commits }, clock, entropy).await
}

impl<D: Disk> Engine<D> {
    /// Works until [`Wal::close`]: appends, seals, prepares segments and serves reads. Must run inside the
    /// runtime of its disk, where `tokio::task::spawn_local` works.
    pub async fn run(self) {
        let Engine { disk, keeper, appender, ends } = self;
        let shared = Arc::clone(&keeper.shared);
        let keeping = tokio::task::spawn_local(Rc::clone(&keeper).run(ends.keeper));
        let reading = tokio::task::spawn_local(frames::serve(disk, keeper, ends.reads));
        appender.run().await;
        keeping.abort();
        reading.abort();
        shared.closed.send_replace(true);
    }
}
