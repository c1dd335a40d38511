//! Writes a directory with the real write-ahead log, step by step, and keeps the truth and every earlier content.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tidelog_format::batch::{BATCH_HEADER_LEN, Batch, BatchBuilder, Codec, Record};
use tidelog_format::name;
use tidelog_io::clock::Clock;
use tidelog_io::random::Entropy;
use tidelog_io::sim::{Sim, block_on_sim};
use tidelog_wal::{Control, Durable, OpenError, Options, Recovered, ShardSpec, Stats, Wal, open_shard};

use crate::directory::{Directory, folder, on_disk};
use crate::truth::{Partition, Shard, Stored, Truth};

/// The smallest segment.
pub(crate) const SEGMENT: u64 = 64 * 1024;
pub(crate) const CLUSTER: [u8; 16] = [9; 16];
const NOW: i64 = 1_700_000_000_000;

/// One thing done to a shard.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    Create(u64),
    Delete(u64),
    /// A batch of so many records of so many bytes each.
    Append {
        partition: u64,
        records: u32,
        bytes: usize,
        codec: Codec,
    },
    /// The next batch of an idempotent producer.
    Produce {
        partition: u64,
        producer: i64,
    },
    /// The last batch of an idempotent producer once more.
    Resend {
        partition: u64,
        producer: i64,
    },
    Trim {
        partition: u64,
        offset: u64,
    },
    /// Releases segments that nobody wants.
    Retain,
    /// A command of the metadata.
    Command(String),
    /// Waits for the mark that says that the last write returned.
    Mark,
    /// The power goes; the next step is of another life.
    Crash,
    /// A clean stop; the next step is of another life.
    Stop,
}

/// A directory, and what is known of it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Built {
    pub(crate) directory: Directory,
    pub(crate) truth: Truth,
    /// Every content that a file had before, by path.
    pub(crate) earlier: BTreeMap<String, Vec<Arc<Vec<u8>>>>,
    /// The epoch of the next life.
    pub(crate) epoch: u32,
}

/// How shards are run here: as small as can be, silent, and at once.
pub(crate) fn options() -> Options {
    Options {
        segment_bytes: SEGMENT,
        gather_bytes: 16 * 1024,
        queue_bytes: 256 * 1024,
        tail_bytes: 0,
        sync_mark_after: Duration::from_secs(3600),
        fill_pause: Duration::ZERO,
        spares: 0,
        ..Options::default()
    }
}

pub(crate) fn spec(shard: u64, epoch: u32) -> ShardSpec {
    ShardSpec {
        shard,
        dir: on_disk(&folder(shard)),
        lost_and_found: on_disk(name::LOST_AND_FOUND),
        cluster: CLUSTER,
        epoch,
    }
}

/// Opens a shard, runs `body` beside its engine, and drops both as they are.
pub(crate) fn with_shard<T>(
    sim: &Sim,
    spec: ShardSpec,
    options: Options,
    body: impl AsyncFnOnce(Wal, Recovered) -> T,
) -> Result<T, OpenError> {
    block_on_sim(sim, async |disk| {
        let entropy = Entropy::seeded(u64::from(spec.epoch) * 7919 + spec.shard);
        let (wal, engine, recovered) = open_shard(disk, spec, options, Clock::manual(NOW), entropy).await?;
        let running = tokio::task::spawn_local(engine.run());
        let out = body(wal, recovered).await;
        running.abort();
        Ok(out)
    })?
}

/// Runs the steps on a shard of `before`. Steps that the shard refuses change nothing.
pub(crate) fn build(before: Built, shard: u64, seed: u64, steps: &[Step]) -> Result<Built, OpenError> {
    let mut built = before;
    built.epoch = built.epoch.max(1);
    built.truth.entry(shard).or_default();
    let mut sim = built.directory.disk();
    for life in steps.split_inclusive(|step| matches!(step, Step::Crash | Step::Stop)) {
        let marked = life.iter().any(|step| matches!(step, Step::Mark));
        let spares = life.iter().any(|step| matches!(step, Step::Retain));
        let mark = if marked { Duration::ZERO } else { Duration::from_secs(3600) };
        let options = Options { sync_mark_after: mark, spares: usize::from(spares) * 2, ..options() };
        let disk = sim.clone();
        built = with_shard(&sim, spec(shard, built.epoch), options, async |wal, _| {
            let mut writer = Writer { sim: disk, wal, shard, built, sequences: BTreeMap::new() };
            for step in life {
                writer.step(step).await;
            }
            writer.built
        })?;
        built.epoch += 1;
        sim = sim.crash(seed ^ u64::from(built.epoch));
    }
    built.directory = Directory::of(&sim);
    Ok(built)
}

struct Writer {
    sim: Sim,
    wal: Wal,
    shard: u64,
    built: Built,
    /// Next sequence and last batch of each producer.
    sequences: BTreeMap<(u64, i64), (i32, Batch)>,
}

impl Writer {
    fn truth(&mut self) -> &mut Shard {
        self.built.truth.entry(self.shard).or_default()
    }

    async fn step(&mut self, step: &Step) {
        match step {
            Step::Create(partition) => self.create(*partition).await,
            Step::Delete(partition) => self.delete(*partition).await,
            Step::Append { partition, records, bytes, codec } => {
                let salt = self.truth().last_lsn;
                let batch = values(BatchBuilder::new(*codec), *records, *bytes, salt);
                self.append(*partition, batch).await;
            }
            Step::Produce { partition, producer } => self.produce(*partition, *producer).await,
            Step::Resend { partition, producer } => {
                if let Some((_, batch)) = self.sequences.get(&(*partition, *producer)).cloned() {
                    self.append(*partition, batch).await;
                }
            }
            Step::Trim { partition, offset } => self.trim(*partition, *offset).await,
            Step::Retain => {
                // What cannot be released now stays; nothing wanted goes either way.
                let _ = self.wal.retain(&|_| None).await;
            }
            Step::Command(text) => self.command(text).await,
            Step::Mark => self.mark().await,
            Step::Crash => {}
            Step::Stop => {
                // A shard that was refused everything may refuse this, too.
                let _ = self.wal.close().await;
            }
        }
        self.note_files();
    }

    fn note_files(&mut self) {
        for (path, bytes) in Directory::of(&self.sim).files {
            let earlier = self.built.earlier.entry(path).or_default();
            if earlier.last() != Some(&bytes) {
                earlier.push(bytes);
            }
        }
    }

    fn acknowledged(&mut self, durable: Durable) {
        let truth = self.truth();
        truth.last_lsn = truth.last_lsn.max(durable.lsn());
    }

    async fn create(&mut self, partition: u64) {
        if self.truth().known().contains(&partition) {
            return;
        }
        let name = format!("topic/{partition}");
        if let Ok(durable) = self.wal.control(Control::CreatePartition { partition, name }).await {
            self.acknowledged(durable);
            let changed = durable.lsn();
            self.truth().partitions.insert(partition, Partition { changed, ..Partition::default() });
        }
    }

    async fn delete(&mut self, partition: u64) {
        if let Ok(durable) = self.wal.control(Control::DeletePartition { partition }).await {
            self.acknowledged(durable);
            self.truth().partitions.remove(&partition);
            self.truth().deleted.insert(partition, durable.lsn());
        }
    }

    async fn append(&mut self, partition: u64, mut batch: Batch) {
        let epoch = self.built.epoch;
        let Ok(durable) = self.wal.append(partition, batch.clone()).await else { return };
        if durable.is_duplicate() {
            return;
        }
        self.acknowledged(durable);
        batch.stamp(durable.base_offset(), epoch);
        let next = batch.view().header().next_offset();
        let stored = Stored { bytes: batch.bytes().to_vec(), next, lsn: durable.lsn() };
        if let Some(here) = self.truth().partitions.get_mut(&partition) {
            here.next_offset = next;
            here.batches.insert(durable.base_offset(), stored);
        }
    }

    async fn produce(&mut self, partition: u64, producer: i64) {
        let sequence = self.sequences.get(&(partition, producer)).map_or(0, |(next, _)| *next);
        let salt = self.truth().last_lsn;
        let batch = values(BatchBuilder::new(Codec::None).producer(producer, 0, sequence), 2, 40, salt);
        self.sequences.insert((partition, producer), (sequence + 2, batch.clone()));
        self.append(partition, batch).await;
    }

    async fn trim(&mut self, partition: u64, offset: u64) {
        if let Ok(durable) = self.wal.control(Control::Trim { partition, offset }).await {
            self.acknowledged(durable);
            if let Some(here) = self.truth().partitions.get_mut(&partition) {
                here.log_start = here.log_start.max(offset.min(here.next_offset));
                here.changed = durable.lsn();
            }
        }
    }

    async fn command(&mut self, text: &str) {
        let body = Bytes::from(text.to_owned());
        if let Ok(durable) = self.wal.control(Control::Command { body }).await {
            self.acknowledged(durable);
            self.truth().commands.insert(durable.lsn(), text.as_bytes().to_vec());
        }
    }

    async fn mark(&mut self) {
        // Bounded: a shard that was refused everything writes no mark.
        for _ in 0..100_000 {
            let lsn = self.truth().last_lsn;
            if Stats::get(&self.wal.stats().sync_marks) > 0 && self.is_marked(lsn) {
                return;
            }
            tokio::task::yield_now().await;
        }
    }

    /// Whether an end block with the mark names the LSN behind this one.
    fn is_marked(&self, lsn: u64) -> bool {
        let files: BTreeSet<_> = self.sim.files().into_iter().collect();
        files.iter().filter(|path| path.starts_with(on_disk(&folder(self.shard)))).any(|path| {
            let bytes = self.sim.read_file(path).unwrap_or_default();
            bytes
                .chunks_exact(tidelog_format::BLOCK)
                .any(|block| block[14] == 2 && block[32..40] == (lsn + 1).to_le_bytes() && block[72] & 1 == 1)
        })
    }
}

/// A batch of records that look alike and are not the same.
fn values(builder: BatchBuilder, records: u32, bytes: usize, salt: u64) -> Batch {
    let mut builder = builder;
    for record in 0..records {
        let mut value = format!("{salt}.{record} ").into_bytes();
        let noise = Entropy::seeded(salt * 131 + u64::from(record));
        while value.len() < bytes {
            value.extend_from_slice(&noise.u64().to_le_bytes());
        }
        let record = Record {
            timestamp: NOW + i64::from(record),
            key: Some(b"key"),
            value: Some(&value),
            headers: Vec::new(),
        };
        // Sizes here are far below every limit.
        let _ = builder.push(&record);
    }
    debug_assert!(bytes < 60_000 && BATCH_HEADER_LEN > 0);
    match builder.finish() {
        Ok(batch) => batch,
        Err(error) => unreachable!("a batch of {records} records of {bytes} bytes: {error}"),
    }
}
