//! Randomness: from the kernel, or from a seed so that a run can be repeated.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// 16 random bytes from the kernel.
pub fn salt() -> [u8; 16] {
    Entropy::system().salt()
}

/// A source of random numbers; clones of a seeded one draw from one shared sequence.
#[derive(Debug, Clone)]
pub struct Entropy {
    /// None asks the kernel every time.
    seeded: Option<Arc<AtomicU64>>,
}

impl Entropy {
    /// The kernel's generator.
    pub fn system() -> Entropy {
        Entropy { seeded: None }
    }

    /// The same sequence for the same seed (SplitMix64). Not for secrets.
    pub fn seeded(seed: u64) -> Entropy {
        Entropy { seeded: Some(Arc::new(AtomicU64::new(seed))) }
    }

    /// 16 random bytes, for identities that must never repeat.
    pub fn salt(&self) -> [u8; 16] {
        let mut salt = [0; 16];
        salt[..8].copy_from_slice(&self.u64().to_le_bytes());
        salt[8..].copy_from_slice(&self.u64().to_le_bytes());
        salt
    }

    /// A random number over the whole range.
    pub fn u64(&self) -> u64 {
        match &self.seeded {
            Some(state) => mixed(state.fetch_add(STEP, Ordering::Relaxed).wrapping_add(STEP)),
            None => from_kernel(),
        }
    }

    /// A random number in `[0, bound)`; 0 for a bound of 0. Biased by less than `bound` in 2^64.
    pub fn below(&self, bound: u64) -> u64 {
        ((u128::from(self.u64()) * u128::from(bound)) >> 64) as u64
    }

    /// True once in `n` times on average; never for 0.
    pub fn one_in(&self, n: u64) -> bool {
        n > 0 && self.below(n) == 0
    }
}

const STEP: u64 = 0x9E37_79B9_7F4A_7C15;

fn mixed(mut value: u64) -> u64 {
    value = (value ^ (value >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    value = (value ^ (value >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    value ^ (value >> 31)
}

fn from_kernel() -> u64 {
    let mut bytes = [0_u8; 8];
    loop {
        // SAFETY: `bytes` is writable for the length given and lives until the call returns.
        let got = unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), bytes.len(), 0) };
        if usize::try_from(got) == Ok(bytes.len()) {
            return u64::from_ne_bytes(bytes);
        }
        let interrupted = std::io::Error::last_os_error().kind() == std::io::ErrorKind::Interrupted;
        if got < 0 && !interrupted {
            // No such system call (a very strict seccomp profile): std seeds its hashers by other means too.
            return RandomState::new().hash_one(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn the_same_seed_gives_the_same_sequence_and_another_seed_another() {
        let draw = |seed| {
            let entropy = Entropy::seeded(seed);
            (0..100).map(|_| entropy.u64()).collect::<Vec<_>>()
        };
        assert_eq!(draw(7), draw(7));
        assert_ne!(draw(7), draw(8));
        assert_eq!(draw(0)[0], 0xE220_A839_7B1D_CDAF, "SplitMix64's published first value for seed 0");
    }

    #[test]
    fn salts_from_the_kernel_do_not_repeat() {
        let salts: HashSet<_> = (0..1000).map(|_| salt()).collect();
        assert_eq!(salts.len(), 1000);
    }

    #[test]
    fn clones_share_one_sequence() {
        let (a, b) = (Entropy::seeded(1), Entropy::seeded(1));
        let c = a.clone();
        let expected = [b.u64(), b.u64()];
        assert_eq!([a.u64(), c.u64()], expected);
    }

    #[test]
    fn bounded_numbers_stay_below_their_bound_and_reach_every_value() {
        let entropy = Entropy::seeded(3);
        let seen: HashSet<_> = (0..1000).map(|_| entropy.below(5)).collect();
        assert_eq!(seen, HashSet::from([0, 1, 2, 3, 4]));
        assert_eq!(entropy.below(0), 0);
        assert!(!entropy.one_in(0) && entropy.one_in(1));
    }
}
