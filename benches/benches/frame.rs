//! Frames: laying down and closing one, and reading a window of a segment back.
#![allow(
    missing_docs,
    clippy::expect_used,
    reason = "criterion's macros make public items; a bench may be blunt"
)]

mod settings;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use settings::{batch, settings};
use std::hint::black_box;
use tidelog_format::block::BLOCK;
use tidelog_format::entry::{EntryKind, Row};
use tidelog_format::frame::{FrameBuilder, Stamp};
use tidelog_format::opening::Opening;
use tidelog_format::scan::{Expect, Found, scan, scan_unverified};

const SALT: [u8; 16] = [7; 16];

fn row(body: &[u8], base_offset: u64, count: u32, kind: EntryKind) -> Row {
    let length = u32::try_from(body.len()).expect("small");
    Row { partition: 1, base_offset, length, count, kind: kind as u8 }
}

fn stamp(lsn: u64, chain: u64, at: usize) -> Stamp {
    let block_index = u32::try_from(at / BLOCK).expect("a small segment");
    Stamp { salt: SALT, lsn, committed_lsn: lsn, chain, append_time: 0, epoch: 1, block_index }
}

fn encode(c: &mut Criterion, name: &str, bodies: &[Vec<u8>]) {
    let bytes: usize = bodies.iter().map(Vec::len).sum();
    let mut buffer = vec![0; bytes + 64 * BLOCK];
    let mut builder = FrameBuilder::default();
    let mut group = c.benchmark_group("frame");
    group.throughput(Throughput::Bytes(bytes as u64));
    group.bench_function(name, |b| {
        b.iter(|| {
            for (offset, body) in (0..).zip(bodies) {
                builder.push(&mut buffer, row(body, offset, 1, EntryKind::Batch), body);
            }
            black_box(builder.close(&mut buffer, &stamp(1, 2, 0)))
        });
    });
    group.finish();
}

fn encode_frames(c: &mut Criterion) {
    let many: Vec<_> = (0..64).map(|number| batch(1, 256, number).bytes().to_vec()).collect();
    encode(c, "encode 64 batches of 1 record", &many);
    encode(c, "encode 1 batch of 256 KiB", &[batch(1000, 256, 1).bytes().to_vec()]);
}

/// A window of a segment: its opening frame, then frames of one batch each.
fn window(frames: u64) -> Vec<u8> {
    let mut out = Vec::new();
    let opening = Opening::new([1; 16], 1, 1, 1 << 27).encode().to_vec();
    let mut chain = 0;
    for lsn in 0..=frames {
        let built = batch(32, 256, lsn);
        let (body, count, kind) = match lsn {
            0 => (&opening[..], 0, EntryKind::Opening),
            _ => (built.bytes(), built.count(), EntryKind::Batch),
        };
        let mut buffer = vec![0; body.len() + 2 * BLOCK];
        let mut builder = FrameBuilder::default();
        builder.push(&mut buffer, row(body, 0, count, kind), body);
        let closed = builder.close(&mut buffer, &stamp(lsn, chain, out.len()));
        chain = closed.next_chain;
        out.extend_from_slice(&buffer[..closed.len]);
    }
    out
}

fn walk<'a>(bytes: &'a [u8], read: impl Fn(&'a [u8], &Expect) -> Found<'a>) -> usize {
    let mut expect = Expect { salt: None, block_index: 0, lsn: Some(0), chain: None, epoch: None };
    let (mut at, mut frames) = (0, 0);
    while let Found::Frame(frame) = read(&bytes[at..], &expect) {
        at += frame.bytes().len();
        expect = Expect::after(&frame);
        frames += 1;
    }
    frames
}

fn scan_a_window(c: &mut Criterion) {
    let bytes = window(100);
    assert_eq!(walk(&bytes, scan), 101, "every frame is found");
    let mut group = c.benchmark_group("scan");
    group.throughput(Throughput::Bytes(bytes.len() as u64));
    group.bench_function("window of 100 frames, all checksums", |b| b.iter(|| walk(black_box(&bytes), scan)));
    group.bench_function("window of 100 frames, tables only", |b| {
        b.iter(|| walk(black_box(&bytes), scan_unverified));
    });
    group.finish();
}

fn checksum(c: &mut Criterion) {
    let mut group = c.benchmark_group("crc32c");
    for (name, len) in [("1 KiB", 1 << 10), ("64 KiB", 1 << 16), ("1 MiB", 1 << 20)] {
        let bytes = settings::random(len, 1);
        group.throughput(Throughput::Bytes(len as u64));
        group.bench_function(name, |b| b.iter(|| crc32c::crc32c(black_box(&bytes))));
    }
    group.finish();
}

criterion_group! { name = benches; config = settings(); targets = encode_frames, scan_a_window, checksum }
criterion_main!(benches);
