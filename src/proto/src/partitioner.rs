//! # Purpose
//! Which partition a record goes to when the producer names none: keyed records by the same hash as Kafka's Java
//! client, so that both kinds of producers agree; keyless records stick to one partition per request.

/// Kafka's murmur2 (32 bits, seed 0x9747b28c), as the signed number that the Java client computes.
pub fn murmur2(data: &[u8]) -> i32 {
    const SEED: u32 = 0x9747_b28c;
    const M: u32 = 0x5bd1_e995;
    // The Java client mixes in the length as a 32-bit int; longer keys cannot exist here, they wrap there.
    let len = u32::try_from(data.len() & 0xffff_ffff).unwrap_or(u32::MAX);
    let mut h = SEED ^ len;
    let (words, tail) = data.as_chunks::<4>();
    for word in words {
        let mut k = u32::from_le_bytes(*word);
        k = k.wrapping_mul(M);
        k ^= k >> 24;
        k = k.wrapping_mul(M);
        h = h.wrapping_mul(M) ^ k;
    }
    if !tail.is_empty() {
        for (n, byte) in tail.iter().enumerate() {
            h ^= u32::from(*byte) << (8 * n);
        }
        h = h.wrapping_mul(M);
    }
    h ^= h >> 13;
    h = h.wrapping_mul(M);
    h ^= h >> 15;
    h.cast_signed()
}

/// The partition of a keyed record among `partitions`; a topic without partitions gives 0.
pub fn for_key(key: &[u8], partitions: u32) -> u32 {
    let positive = (murmur2(key) & i32::MAX).cast_unsigned();
    positive.checked_rem(partitions).unwrap_or(0)
}

/// Places the records of one request: keyed ones by hash, all keyless ones on one partition.
#[derive(Debug, Clone, Copy)]
pub struct Partitioner {
    partitions: u32,
    sticky: u32,
}

impl Partitioner {
    /// For one request to a topic of `partitions`; `turn` is any number that differs between requests (a counter, or
    /// something random) and picks the partition of the keyless records.
    pub fn new(partitions: u32, turn: u32) -> Self {
        Partitioner { partitions, sticky: turn.checked_rem(partitions).unwrap_or(0) }
    }

    /// The partition for a record with this key.
    pub fn place(&self, key: Option<&[u8]>) -> u32 {
        key.map_or(self.sticky, |key| for_key(key, self.partitions))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn murmur2_gives_the_numbers_of_the_java_client() {
        let known: [(&str, i32); 7] = [
            ("21", -973_932_308),
            ("foobar", -790_332_482),
            ("a-little-bit-long-string", -985_981_536),
            ("a-little-bit-longer-string", -1_486_304_829),
            ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
            ("abc", 479_470_107),
            ("", 275_646_681),
        ];
        for (key, hash) in known {
            assert_eq!(murmur2(key.as_bytes()), hash, "{key}");
        }
    }

    #[test]
    fn a_negative_hash_is_made_positive_by_its_mask_not_by_its_magnitude() {
        let positive = u32::try_from(-973_932_308_i64 & 0x7fff_ffff).unwrap();
        assert_eq!(for_key(b"21", 1000), positive % 1000);
    }

    #[test]
    fn keyless_records_of_one_request_stay_together_and_the_next_request_moves_on() {
        let first = Partitioner::new(3, 4);
        assert_eq!((first.place(None), first.place(None)), (1, 1));
        assert_eq!(Partitioner::new(3, 5).place(None), 2);
    }

    #[test]
    fn a_topic_without_partitions_does_not_divide_by_zero() {
        assert_eq!((for_key(b"k", 0), Partitioner::new(0, 7).place(None)), (0, 0));
    }

    proptest! {
        #[test]
        fn every_key_lands_inside_the_topic(key in proptest::collection::vec(any::<u8>(), 0..64), n in 1u32..10_001) {
            prop_assert!(for_key(&key, n) < n);
        }
    }
}
