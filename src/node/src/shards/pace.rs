//! How fast copies of sealed spans come to this node: so many bytes a second for all of them together, so that producers
//! keep their part of the network and of the disk.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// So much may come at once after a quiet time, as a stretch of time at full speed.
const BURST: Duration = Duration::from_secs(1);

/// A bucket of tokens, kept as the time at which it is empty no more.
#[derive(Debug)]
pub(crate) struct Pace {
    /// Bytes a second; `None`: as fast as it goes.
    rate: Option<u64>,
    /// Until when what was let through has paid for itself.
    paid_at: Mutex<Duration>,
}

impl Pace {
    /// For so many bytes a second.
    pub(crate) fn new(rate: Option<u64>) -> Pace {
        Pace { rate: rate.filter(|rate| *rate > 0), paid_at: Mutex::new(Duration::ZERO) }
    }

    /// Takes so many bytes at a time; says how long to wait before they may come.
    pub(super) fn take(&self, now: Duration, bytes: u64) -> Duration {
        let Some(rate) = self.rate else { return Duration::ZERO };
        let cost = Duration::from_nanos(
            u64::try_from(u128::from(bytes) * 1_000_000_000 / u128::from(rate)).unwrap_or(u64::MAX),
        );
        let mut paid_at = self.paid_at.lock().unwrap_or_else(PoisonError::into_inner);
        let begin = (*paid_at).max(now.saturating_sub(BURST));
        *paid_at = begin.saturating_add(cost);
        begin.saturating_sub(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Duration = Duration::from_secs(100);
    const MIB: u64 = 1 << 20;

    #[test]
    fn bytes_come_at_the_rate_whoever_wants_them_and_a_quiet_time_is_made_up_for_by_a_second() {
        let pace = Pace::new(Some(10 * MIB));
        // A second of what was not used, and then 10 MiB a second.
        let mut now = START;
        for _ in 0..60 {
            now += pace.take(now, MIB);
        }
        let took = now - START;
        assert!((Duration::from_millis(4800)..Duration::from_secs(5)).contains(&took), "{took:?}");
        // An hour of quiet is worth a second, no more.
        now += Duration::from_secs(3600);
        let begun = now;
        for _ in 0..30 {
            now += pace.take(now, MIB);
        }
        assert!(now - begun >= Duration::from_millis(1800), "{:?}", now - begun);
    }

    #[test]
    fn without_a_rate_nothing_waits() {
        assert_eq!(Pace::new(None).take(START, u64::MAX), Duration::ZERO);
        assert_eq!(Pace::new(Some(0)).take(START, u64::MAX), Duration::ZERO);
    }
}
