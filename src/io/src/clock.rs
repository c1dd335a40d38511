//! Time that never runs backwards.
//!
//! # Purpose
//! Records carry wall time, but the wall clock jumps (NTP, operators, suspended machines). [`Clock`] reads it once
//! and counts on from there with the monotonic clock; how far the two have drifted apart can be asked, so that
//! retention by age can stop and alarm instead of deleting everything.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Milliseconds since 1970, from one source shared by all clones.
#[derive(Debug, Clone)]
pub struct Clock {
    source: Source,
}

#[derive(Debug, Clone)]
enum Source {
    System { start_ms: i64, start: Instant },
    Manual(Arc<Manual>),
}

#[derive(Debug)]
struct Manual {
    now_ms: AtomicI64,
    wall_ahead_ms: AtomicI64,
}

impl Clock {
    /// The machine's clock, read now and counted on monotonically.
    pub fn system() -> Clock {
        Clock { source: Source::System { start_ms: wall_ms(), start: Instant::now() } }
    }

    /// A clock that stands at `start_ms` until it is advanced.
    pub fn manual(start_ms: i64) -> Clock {
        let manual = Manual { now_ms: AtomicI64::new(start_ms), wall_ahead_ms: AtomicI64::new(0) };
        Clock { source: Source::Manual(Arc::new(manual)) }
    }

    /// Wall time at the start plus monotonic time since, in milliseconds since 1970. Never decreases.
    pub fn now_ms(&self) -> i64 {
        match &self.source {
            Source::System { start_ms, start } => {
                start_ms.saturating_add(i64::try_from(start.elapsed().as_millis()).unwrap_or(i64::MAX))
            }
            Source::Manual(manual) => manual.now_ms.load(Ordering::Acquire),
        }
    }

    /// Moves a manual clock on, for all its clones; never back. Does nothing to the system's clock.
    pub fn advance(&self, ms: i64) {
        if let Source::Manual(manual) = &self.source {
            manual.now_ms.fetch_add(ms.max(0), Ordering::AcqRel);
        }
    }

    /// Pretends that the machine's wall clock jumped by `ms` (manual clocks only), see [`Clock::wall_jump_ms`].
    pub fn jump_wall(&self, ms: i64) {
        if let Source::Manual(manual) = &self.source {
            manual.wall_ahead_ms.fetch_add(ms, Ordering::AcqRel);
        }
    }

    /// The machine's wall clock minus [`Clock::now_ms`]: how far it was set or has drifted since the start.
    pub fn wall_jump_ms(&self) -> i64 {
        match &self.source {
            Source::System { .. } => wall_ms().saturating_sub(self.now_ms()),
            Source::Manual(manual) => manual.wall_ahead_ms.load(Ordering::Acquire),
        }
    }
}

fn wall_ms() -> i64 {
    match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(since) => i64::try_from(since.as_millis()).unwrap_or(i64::MAX),
        Err(before) => i64::try_from(before.duration().as_millis()).map_or(i64::MIN, |ms| -ms),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manual_clock_moves_only_when_told_and_with_all_its_clones() {
        let clock = Clock::manual(1_000);
        let other = clock.clone();
        assert_eq!(other.now_ms(), 1_000);
        clock.advance(5);
        clock.advance(-5);
        assert_eq!(other.now_ms(), 1_005);
        clock.jump_wall(-60_000);
        assert_eq!((other.wall_jump_ms(), other.now_ms()), (-60_000, 1_005), "a jump does not move the time");
    }

    #[test]
    fn the_systems_clock_never_decreases_and_ignores_advance() {
        let clock = Clock::system();
        let mut last = clock.now_ms();
        assert!(last > 1_577_836_800_000, "later than 2020");
        clock.advance(i64::MAX / 2);
        assert!(clock.now_ms() < i64::MAX / 2, "advance must do nothing");
        for _ in 0..10_000 {
            let now = clock.now_ms();
            assert!(now >= last);
            last = now;
        }
    }
}
