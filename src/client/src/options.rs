//! How patient the client is.

use std::time::Duration;

/// Times of a client. `Default` gives the documented defaults.
#[derive(Debug, Clone)]
pub struct Options {
    /// For one connection to come about. Default 5 s.
    pub connect_timeout: Duration,
    /// For the whole answer to one request, beside what the request itself asks the server to wait. Default 30 s.
    pub request_timeout: Duration,
    /// How long a request is tried again where that cannot do it twice (no connection, overload). Default 30 s;
    /// zero: never.
    pub retry_for: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            connect_timeout: Duration::from_secs(5),
            request_timeout: Duration::from_secs(30),
            retry_for: Duration::from_secs(30),
        }
    }
}

/// Pauses between tries: doubling, bounded, in total not longer than allowed.
#[derive(Debug)]
pub(crate) struct Backoff {
    left: Duration,
    next: Duration,
}

impl Backoff {
    const FIRST: Duration = Duration::from_millis(50);
    const LONGEST: Duration = Duration::from_secs(2);

    pub(crate) fn new(in_total: Duration) -> Backoff {
        Backoff { left: in_total, next: Self::FIRST }
    }

    /// The pause before the next try, or `None` when it is time to give up.
    pub(crate) fn pause(&mut self) -> Option<Duration> {
        if self.left.is_zero() {
            return None;
        }
        let pause = self.next.min(self.left);
        self.left -= pause;
        self.next = (self.next * 2).min(Self::LONGEST);
        Some(pause)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_and_end_when_the_time_is_up() {
        let mut backoff = Backoff::new(Duration::from_secs(8));
        let pauses: Vec<u128> =
            std::iter::from_fn(|| backoff.pause()).map(|pause| pause.as_millis()).collect();
        assert_eq!(pauses, [50, 100, 200, 400, 800, 1600, 2000, 2000, 850]);
        assert_eq!(Backoff::new(Duration::ZERO).pause(), None);
    }
}
