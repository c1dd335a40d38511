//! Batches: building, checking, compressing.
#![allow(
    missing_docs,
    clippy::expect_used,
    reason = "criterion's macros make public items; a bench may be blunt"
)]

mod settings;

use bytes::BytesMut;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use settings::{batch, build, random, settings};
use std::fmt::Write;
use std::hint::black_box;
use tidelog_format::batch::{Batch, Codec};
use tidelog_format::compression::{compress, decompress};
use tidelog_io::random::Entropy;

fn build_and_check(c: &mut Criterion) {
    for (name, records) in [("1 record", 1), ("1000 records", 1000)] {
        let values = random(records * 256, 1);
        let stored = BytesMut::from(batch(records, 256, 1).bytes());
        let mut group = c.benchmark_group(format!("batch of {name} of 256 B"));
        group.throughput(Throughput::Bytes(stored.len() as u64));
        group.bench_function("build", |b| b.iter(|| build(Codec::None, black_box(&values), 256)));
        group.bench_function("validate", |b| {
            b.iter_batched(|| stored.clone(), Batch::validate, BatchSize::LargeInput);
        });
        let checked = Batch::validate(stored.clone()).expect("sound");
        group.bench_function("validate records", |b| b.iter(|| black_box(&checked).validate_records()));
        group.finish();
    }
}

/// Lines as a web server writes them.
fn lines(len: usize) -> Vec<u8> {
    let entropy = Entropy::seeded(1);
    let mut text = String::new();
    while text.len() < len {
        let (host, path, bytes) = (entropy.below(200), entropy.below(50), entropy.below(100_000));
        let second = text.len() / 1000;
        writeln!(
            text,
            r#"{{"time":"2026-01-01T00:00:{second:02}Z","host":"web-{host}","path":"/api/v1/items/{path}","status":200,"bytes":{bytes}}}"#
        )
        .expect("memory");
    }
    text.truncate(len);
    text.into_bytes()
}

fn zstd(c: &mut Criterion) {
    const LEN: usize = 64 * 1024;
    for (name, plain) in [("JSON lines", lines(LEN)), ("random bytes", random(LEN, 1))] {
        let mut packed = Vec::new();
        compress(Codec::Zstd, &plain, &mut packed).expect("memory");
        let mut group = c.benchmark_group(format!("zstd, 64 KiB of {name}, to {} B", packed.len()));
        group.throughput(Throughput::Bytes(LEN as u64));
        let mut out = Vec::with_capacity(2 * LEN);
        group.bench_function("compress", |b| {
            b.iter(|| {
                out.clear();
                compress(Codec::Zstd, black_box(&plain), &mut out)
            });
        });
        group.bench_function("decompress", |b| {
            b.iter(|| decompress(Codec::Zstd, black_box(&packed), &mut out, LEN));
        });
        group.finish();
    }
}

criterion_group! { name = benches; config = settings(); targets = build_and_check, zstd }
criterion_main!(benches);
