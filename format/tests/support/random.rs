//! Seeded choice: the same seed gives the same test.

/// The seeds of a test: `few`, or as many times more as `TIDELOG_SEEDS` says for a long run by hand.
pub(crate) fn seeds(few: u64) -> std::ops::Range<u64> {
    let times = std::env::var("TIDELOG_SEEDS")
        .ok()
        .map_or(1, |times| times.parse().expect("TIDELOG_SEEDS is a number"));
    0..few * times
}

/// SplitMix64.
#[derive(Clone, Debug)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Random {
        Random(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number below `limit`, which is not 0.
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(limit).unwrap()).unwrap()
    }

    /// True once in `n` times.
    pub(crate) fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    pub(crate) fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.next().to_le_bytes()[0]).collect()
    }

    pub(crate) fn id(&mut self) -> [u8; 16] {
        self.bytes(16).try_into().unwrap()
    }
}
