//! What an append allocates in the steady state, counted.
//!
//! # What is measured
//! Rounds of producers that each wait for one batch, on the real ring, once few and once many of them: what both do
//! (opening, the first filling of every buffer) falls out of the difference. Batches lie in one piece of memory, as they
//! come from a socket. Counted is the thread on which both shard and producers run.
#![allow(clippy::expect_used, reason = "a test may be blunt")]

use std::path::Path;
use std::time::Duration;

use allocation_counter::{AllocationInfo, measure};
use bytes::BytesMut;
use tidelog_format::batch::{Batch, BatchBuilder, Codec, Record};
use tidelog_io::clock::Clock;
use tidelog_io::random::Entropy;
use tidelog_io::{block_on_uring, choose};
use tidelog_wal::{Control, Options, ShardSpec, open_shard};

const PRODUCERS: usize = 64;
const FEW: usize = 400;
const MANY: usize = 1_400;

/// Of a batch: nothing. The place of its answer is one that an earlier answer had.
const PER_BATCH: f64 = 0.0;
/// Of a whole write: less than one. The index, the tail's lists and the runtime's tables grow now and then, ever more
/// rarely; a new piece of the index comes with each 64 KiB of a partition.
const PER_WRITE: f64 = 0.5;

/// Batches of one record of 256 bytes, one behind the other in memory.
fn batches(count: usize) -> Vec<Batch> {
    let mut builder = BatchBuilder::new(Codec::None);
    let value = [7; 256];
    builder
        .push(&Record { timestamp: 1, key: None, value: Some(&value), headers: Vec::new() })
        .expect("fits");
    let one = builder.finish().expect("not empty");
    let mut all = BytesMut::with_capacity(one.len() * count);
    for _ in 0..count {
        all.extend_from_slice(one.bytes());
    }
    (0..count).map(|_| Batch::validate(all.split_to(one.len())).expect("sound")).collect()
}

fn append(dir: &Path, rounds: usize) -> AllocationInfo {
    let mut ready = batches(rounds * PRODUCERS).into_iter();
    let options = Options { segment_bytes: 64 << 20, tail_bytes: 256 * 1024, ..Options::default() };
    let options = Options { sync_mark_after: Duration::from_secs(3600), ..options };
    let spec = ShardSpec {
        shard: 1,
        dir: dir.to_owned(),
        lost_and_found: dir.join("lost+found"),
        cluster: [9; 16],
        epoch: 1,
    };
    measure(|| {
        let done = block_on_uring(async |disk| {
            let opened = open_shard(disk, spec, options, Clock::system(), Entropy::system()).await;
            let (wal, engine, _) = opened.expect("a fresh shard opens");
            let running = tokio::task::spawn_local(engine.run());
            let made = Control::CreatePartition { partition: 1, name: "t/0".to_owned() };
            wal.control(made).await.expect("durable");
            let mut waiting = Vec::with_capacity(PRODUCERS);
            for _ in 0..rounds {
                for batch in ready.by_ref().take(PRODUCERS) {
                    waiting.push(wal.begin_append(1, batch).await.expect("room"));
                }
                for appending in waiting.drain(..) {
                    appending.await.expect("durable");
                }
            }
            wal.close().await.expect("closed");
            running.await.expect("ended");
        });
        done.expect("a ring");
    })
}

#[test]
fn an_append_allocates_nothing_in_the_steady_state() {
    let dir = tempfile::tempdir().expect("a directory");
    if choose(dir.path(), None).expect("a backend").reason.is_some() {
        // Without io_uring the writes go through threads, which is another path.
        return;
    }
    let few = append(&dir.path().join("few"), FEW);
    let many = append(&dir.path().join("many"), MANY);
    let more = many.count_total.saturating_sub(few.count_total) as f64;
    let (writes, batches) = ((MANY - FEW) as f64, ((MANY - FEW) * PRODUCERS) as f64);
    let beside = (more - PER_BATCH * batches) / writes;
    println!("{:.3} allocations a batch, {beside:.2} a write beside those of its batches", more / batches);
    assert!(beside <= PER_WRITE, "{more} for {batches} batches in {writes} writes");
}
