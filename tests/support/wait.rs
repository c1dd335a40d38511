//! Waiting: a condition is polled until it holds; the deadline is generous and only ends what would hang for ever.

use std::time::{Duration, Instant};

/// How long anything may take before the test gives up.
pub(crate) const PATIENCE: Duration = Duration::from_secs(90);
const PAUSE: Duration = Duration::from_millis(2);

/// Polls until `condition` gives something.
pub(crate) fn until<T>(what: &str, condition: impl FnMut() -> Option<T>) -> T {
    let found = within(PATIENCE, condition);
    found.unwrap_or_else(|| panic!("waited {} s in vain for: {what}", PATIENCE.as_secs()))
}

/// The same, and gives up without a word.
pub(crate) fn within<T>(patience: Duration, mut condition: impl FnMut() -> Option<T>) -> Option<T> {
    let end = Instant::now() + patience;
    loop {
        let found = condition();
        if found.is_some() || Instant::now() >= end {
            return found;
        }
        std::thread::sleep(PAUSE);
    }
}
