//! Numbers that look random and come from a seed.

/// A stream of numbers (splitmix64).
pub(crate) struct Chance(u64);

impl Chance {
    /// Seeded by `TIDELOG_SEED`, else by the time; the seed is printed, so that a failure can be looked at again.
    pub(crate) fn new(test: &str) -> Chance {
        let given = std::env::var("TIDELOG_SEED").ok().and_then(|seed| seed.parse().ok());
        let seed = given.unwrap_or_else(|| {
            let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
            now.map_or(1, |now| u64::try_from(now.as_micros()).unwrap_or(1))
        });
        println!("{test}: TIDELOG_SEED={seed}");
        Chance(seed)
    }

    /// What makes the same stream from here on.
    #[allow(dead_code, reason = "most tests print it once")]
    pub(crate) fn seed(&self) -> u64 {
        self.0
    }

    /// Another stream, told apart by `number`.
    pub(crate) fn fork(&mut self, number: u64) -> Chance {
        Chance(self.next() ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// From `min` to `max`, both included.
    pub(crate) fn within(&mut self, min: u64, max: u64) -> u64 {
        min + self.next() % (max - min + 1)
    }
}
