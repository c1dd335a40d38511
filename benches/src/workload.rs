//! Loads and the batches they send.

use bytes::BytesMut;
use tidelog_format::batch::{Batch, BatchBuilder, Codec, Record};
use tidelog_io::random::Entropy;

use crate::BenchError;
use crate::args::Shape;

/// A load with its name.
#[derive(Debug, Clone, Copy)]
pub struct Case {
    /// For the table.
    pub name: &'static str,
    /// The load.
    pub shape: Shape,
    /// Rounds of retention are as rare as in a server, also with one partition: for comparisons with many.
    pub retain_rarely: bool,
}

impl Case {
    /// The load of the command line.
    pub fn given(shape: Shape) -> Case {
        Case { name: "append", shape, retain_rarely: false }
    }
}

/// The workloads by which Tidelog is compared.
pub fn standard() -> Vec<Case> {
    let case = |name, producers, batch| {
        let shape = Shape { producers, batch, record: 256, partitions: 1 };
        Case { name, shape, retain_rarely: false }
    };
    vec![
        case("W1", 1, 1),
        case("W2", 64, 1),
        case("W3, 1 producer", 1, 1000),
        case("W3, 4 producers", 4, 1000),
    ]
}

/// Bytes of prebuilt batches in a pool: past the processor's caches, as what comes from a socket is warm but new.
const POOL_BYTES: usize = 16 * 1024 * 1024;
const MOST: usize = 4096;

/// Batches built ahead, with distinct bytes.
#[derive(Debug)]
pub struct Pool {
    batches: Vec<Batch>,
    records: u32,
}

impl Pool {
    /// Builds batches of random values until they fill some MiB; at least two.
    ///
    /// # Errors
    /// When a batch of this shape is too large.
    pub fn build(shape: Shape, seed: u64, max: usize) -> Result<Pool, BenchError> {
        let entropy = Entropy::seeded(seed);
        let mut batches = Vec::new();
        let mut bytes = 0;
        while batches.len() < 2 || (bytes < POOL_BYTES && batches.len() < MOST) {
            let batch = sized(shape, &entropy, max)?;
            bytes += batch.len();
            batches.push(batch);
        }
        Ok(Pool { batches, records: shape.batch })
    }

    /// Bytes that a batch of this shape is stored in.
    ///
    /// # Errors
    /// As [`Pool::build`].
    pub fn stored_of(shape: Shape, seed: u64, max: usize) -> Result<usize, BenchError> {
        Ok(sized(shape, &Entropy::seeded(seed), max)?.len())
    }

    /// Batches that were built.
    pub fn len(&self) -> usize {
        self.batches.len()
    }

    /// Never: at least two are built.
    pub fn is_empty(&self) -> bool {
        self.batches.is_empty()
    }

    /// Bytes of one batch as it is stored.
    pub fn stored(&self) -> usize {
        self.batches.first().map_or(0, Batch::len)
    }

    /// Records of one batch.
    pub fn records(&self) -> u32 {
        self.records
    }

    /// A copy of the bytes of batch number `turn`, counted round: what a server has just received.
    pub fn received(&self, turn: usize) -> BytesMut {
        BytesMut::from(self.batch(turn).bytes())
    }

    /// A copy of batch number `turn`, counted round, that needs no further check.
    pub fn checked(&self, turn: usize) -> Batch {
        self.batch(turn).clone()
    }

    fn batch(&self, turn: usize) -> &Batch {
        &self.batches[turn % self.batches.len()]
    }
}

/// A batch that is at most `max` bytes long.
fn sized(shape: Shape, entropy: &Entropy, max: usize) -> Result<Batch, BenchError> {
    let planned = (shape.record as usize).saturating_mul(shape.batch as usize);
    if planned > max {
        return Err(BenchError::TooLarge { len: planned, max });
    }
    let batch = random_batch(shape, entropy)?;
    if batch.len() > max {
        return Err(BenchError::TooLarge { len: batch.len(), max });
    }
    Ok(batch)
}

fn random_batch(shape: Shape, entropy: &Entropy) -> Result<Batch, BenchError> {
    let mut builder = BatchBuilder::new(Codec::None);
    let mut value = vec![0; shape.record as usize];
    for timestamp in (1_700_000_000_000..).take(shape.batch as usize) {
        for piece in value.chunks_mut(8) {
            piece.copy_from_slice(&entropy.u64().to_le_bytes()[..piece.len()]);
        }
        builder.push(&Record { timestamp, key: None, value: Some(&value), headers: Vec::new() })?;
    }
    Ok(builder.finish()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: Shape = Shape { producers: 1, batch: 3, record: 100, partitions: 1 };

    #[test]
    fn batches_of_a_pool_are_sound_and_distinct() {
        let pool = Pool::build(SMALL, 7, 1 << 20).unwrap();
        assert!(pool.batches.len() > 100);
        let (first, second) = (pool.received(0), pool.received(1));
        assert_ne!(first, second);
        assert_eq!(first.len(), pool.stored());
        assert_eq!(pool.received(pool.batches.len()), first, "counted round");
        let batch = Batch::validate(first).unwrap();
        batch.validate_records().unwrap();
        assert_eq!(batch.count(), 3);
    }

    #[test]
    fn the_same_seed_gives_the_same_bytes() {
        let bytes = |seed| Pool::build(SMALL, seed, 1 << 20).unwrap().received(5);
        assert_eq!(bytes(1), bytes(1));
        assert_ne!(bytes(1), bytes(2));
    }

    #[test]
    fn a_commit_that_does_not_fit_is_refused_before_it_is_built() {
        let huge = Shape { batch: 1_000_000, record: 1 << 20, ..SMALL };
        assert!(
            matches!(Pool::build(huge, 1, 8 << 20), Err(BenchError::TooLarge { max, .. }) if max == 8 << 20)
        );
        assert!(matches!(Pool::build(SMALL, 1, 300), Err(BenchError::TooLarge { len, .. }) if len > 300));
    }
}
