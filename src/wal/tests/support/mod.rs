//! A shard on a simulated disk, and a ledger of what it acknowledged.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "support of tests, each file uses its part"
)]

pub mod spans;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use tidelog_format::batch::{Batch, BatchBuilder, BatchView, Codec, Record};
use tidelog_io::clock::Clock;
use tidelog_io::random::Entropy;
use tidelog_io::sim::{Sim, block_on_sim};
use tidelog_wal::{Control, OpenError, Options, Recovered, ShardSpec, Wal, open_shard};

pub const SEGMENT: u64 = 256 * 1024;

pub fn options() -> Options {
    Options {
        segment_bytes: SEGMENT,
        gather_bytes: 64 * 1024,
        queue_bytes: 1024 * 1024,
        tail_bytes: 64 * 1024,
        sync_mark_after: Duration::from_secs(3600),
        fill_pause: Duration::ZERO,
        ..Options::default()
    }
}

pub fn spec(epoch: u32) -> ShardSpec {
    ShardSpec {
        shard: 1,
        dir: PathBuf::from("/data/shards/1"),
        lost_and_found: PathBuf::from("/data/lost+found"),
        cluster: [9; 16],
        epoch,
    }
}

/// Opens the shard on `sim`, runs `body` beside its engine, and drops both as they are (no close).
pub fn with_shard<T>(
    sim: &Sim,
    epoch: u32,
    options: Options,
    body: impl AsyncFnOnce(Wal, Recovered) -> T,
) -> Result<T, OpenError> {
    with_clock(sim, epoch, options, Clock::manual(1_700_000_000_000), body)
}

pub fn with_clock<T>(
    sim: &Sim,
    epoch: u32,
    options: Options,
    clock: Clock,
    body: impl AsyncFnOnce(Wal, Recovered) -> T,
) -> Result<T, OpenError> {
    block_on_sim(sim, async |disk| {
        let entropy = Entropy::seeded(u64::from(epoch) * 7919);
        let (wal, engine, recovered) = open_shard(disk, spec(epoch), options, clock, entropy).await?;
        let running = tokio::task::spawn_local(engine.run());
        let out = body(wal, recovered).await;
        running.abort();
        Ok(out)
    })
    .expect("a runtime")
}

/// A batch of `values`, uncompressed.
pub fn batch(values: &[String]) -> Batch {
    batch_at(values, 1_000)
}

pub fn batch_at(values: &[String], timestamp: i64) -> Batch {
    let mut builder = BatchBuilder::new(Codec::None);
    for value in values {
        builder
            .push(&Record { timestamp, key: None, value: Some(value.as_bytes()), headers: Vec::new() })
            .expect("fits");
    }
    builder.finish().expect("not empty")
}

/// All records of a partition from `offset` on: offset and value, read in small steps.
pub async fn read_all(wal: &Wal, partition: u64, mut offset: u64) -> Vec<(u64, String)> {
    let mut out = Vec::new();
    loop {
        let fetched = wal.read(partition, offset, 16 * 1024).await.expect("readable");
        if fetched.batches.is_empty() {
            return out;
        }
        for bytes in fetched.batches {
            let view = BatchView::parse(&bytes).expect("a batch");
            let mut scratch = Vec::new();
            for record in view.records(&mut scratch).expect("records") {
                let (at, record) = record.expect("a record");
                if at >= offset {
                    assert_eq!(at, offset, "offsets are dense");
                    out.push((at, String::from_utf8(record.value.expect("a value").to_vec()).expect("text")));
                    offset = at + 1;
                }
            }
        }
    }
}

pub async fn create(wal: &Wal, partition: u64) {
    let name = format!("topic/{partition}");
    wal.control(Control::CreatePartition { partition, name }).await.expect("created");
}

/// What was acknowledged: partition -> offset -> value.
#[derive(Default, Clone)]
pub struct Ledger {
    pub acked: BTreeMap<u64, BTreeMap<u64, String>>,
}

impl Ledger {
    pub fn note(&mut self, partition: u64, base_offset: u64, values: &[String]) {
        let partition = self.acked.entry(partition).or_default();
        for (offset, value) in (base_offset..).zip(values) {
            assert!(partition.insert(offset, value.clone()).is_none(), "offset {offset} acknowledged twice");
        }
    }

    /// Every acknowledged record is there, unchanged, and offsets are dense from 0.
    pub async fn audit(&self, wal: &Wal) {
        for (partition, acked) in &self.acked {
            let found: BTreeMap<u64, String> = read_all(wal, *partition, 0).await.into_iter().collect();
            for (offset, value) in acked {
                assert_eq!(found.get(offset), Some(value), "partition {partition}, offset {offset}");
            }
        }
    }
}
