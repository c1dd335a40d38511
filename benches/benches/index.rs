//! The index: looking an offset up, and footers of many partitions.
#![allow(
    missing_docs,
    clippy::expect_used,
    reason = "criterion's macros make public items; a bench may be blunt"
)]

mod settings;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use settings::settings;
use std::hint::black_box;
use tidelog_format::footer::{Footer, PartitionIndex, Position};
use tidelog_io::random::Entropy;

fn partition(number: u64, positions: u32) -> PartitionIndex {
    let mut row = PartitionIndex::empty(number, 0, 0);
    row.next_offset = u64::from(positions) * 256;
    row.positions = (0..positions)
        .map(|at| Position { offset: u64::from(at) * 256, max_timestamp: i64::from(at), block: at * 16 })
        .collect();
    row
}

fn look_up(c: &mut Criterion) {
    let row = partition(1, 2000);
    let entropy = Entropy::seeded(1);
    let offsets: Vec<u64> = (0..1024).map(|_| entropy.below(row.next_offset)).collect();
    let mut group = c.benchmark_group("index");
    group.throughput(Throughput::Elements(offsets.len() as u64));
    group.bench_function("position_of among 2000, 1024 times", |b| {
        b.iter(|| {
            offsets.iter().filter_map(|offset| row.position_of(*offset)).fold(0, |sum, at| sum ^ at.block)
        });
    });
    group.finish();
}

fn footer(c: &mut Criterion) {
    let footer = Footer {
        salt: [7; 16],
        base_lsn: 1,
        next_lsn: 100,
        chain: 5,
        epoch: 1,
        block_index: 1000,
        first_append_time: 1,
        last_append_time: 2,
        partitions: (0..10_000).map(|number| partition(number, 1)).collect(),
        producers: Vec::new(),
    };
    let bytes = footer.encode();
    assert_eq!(Footer::decode(&bytes), Ok(footer.clone()));
    let mut group = c.benchmark_group("footer of 10000 partitions");
    group.throughput(Throughput::Bytes(bytes.len() as u64));
    group.bench_function("encode", |b| b.iter(|| black_box(&footer).encode()));
    group.bench_function("decode", |b| b.iter(|| Footer::decode(black_box(&bytes))));
    group.finish();
}

criterion_group! { name = benches; config = settings(); targets = look_up, footer }
criterion_main!(benches);
