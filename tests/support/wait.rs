//! Waiting: a condition is polled until it holds; the deadline is generous and only ends what would hang for ever.

use std::time::{Duration, Instant};

/// How long anything may take before the test gives up.
pub(crate) const PATIENCE: Duration = Duration::from_secs(90);
const PAUSE: Duration = Duration::from_millis(2);

/// Polls until `condition` gives something.
pub(crate) fn until<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = condition() {
            return found;
        }
        assert!(Instant::now() < end, "waited {} s in vain for: {what}", PATIENCE.as_secs());
        std::thread::sleep(PAUSE);
    }
}
