//! What the benches share: short measurements, and batches of random bytes.
#![allow(dead_code, reason = "each bench uses its part")]

use criterion::Criterion;
use std::time::Duration;
use tidelog_format::batch::{Batch, BatchBuilder, Codec, Record};
use tidelog_io::random::Entropy;

/// A figure in about a second: for a look at a change, not for a paper.
pub(crate) fn settings() -> Criterion {
    Criterion::default()
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_millis(700))
        .sample_size(20)
        .without_plots()
}

/// `len` random bytes.
pub(crate) fn random(len: usize, seed: u64) -> Vec<u8> {
    let entropy = Entropy::seeded(seed);
    let mut bytes: Vec<u8> = (0..len.div_ceil(8)).flat_map(|_| entropy.u64().to_le_bytes()).collect();
    bytes.truncate(len);
    bytes
}

/// A batch of `records` records with values of `len` random bytes.
pub(crate) fn batch(records: usize, len: usize, seed: u64) -> Batch {
    build(Codec::None, &random(records * len, seed), len)
}

/// A batch of the pieces of `bytes` as values of `len` bytes.
pub(crate) fn build(codec: Codec, bytes: &[u8], len: usize) -> Batch {
    let mut builder = BatchBuilder::with_capacity(codec, bytes.len() + bytes.len() / 8);
    for value in bytes.chunks(len) {
        let record =
            Record { timestamp: 1_700_000_000_000, key: None, value: Some(value), headers: Vec::new() };
        builder.push(&record).expect("fits");
    }
    builder.finish().expect("not empty")
}
