//! # Purpose
//! Bounds what requests hold in memory, each and all together. Whoever would exceed the whole is told to come again
//! later; whoever exceeds its own share sends too much.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use tidelog_proto::limits::Limits;
use tokio::sync::Notify;

/// Why bytes are refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BudgetError {
    /// All requests together.
    #[error("requests hold too many bytes in memory at present; send again later")]
    Overloaded,
    /// This request alone.
    #[error("one connection may hold {0} bytes in memory; send less at a time")]
    TooLarge(u64),
}

/// The bytes that all requests may hold.
#[derive(Debug, Clone)]
pub(crate) struct Budget {
    used: Arc<Used>,
    total: u64,
    each: u64,
}

#[derive(Debug, Default)]
struct Used {
    bytes: AtomicU64,
    /// Requests that wait for others to give bytes back.
    waiting: AtomicUsize,
    given_back: Notify,
}

/// One more request waits, until this is dropped.
struct Waiting<'a>(&'a AtomicUsize);

impl Waiting<'_> {
    fn count(waiting: &AtomicUsize) -> Waiting<'_> {
        waiting.fetch_add(1, Ordering::SeqCst);
        Waiting(waiting)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// What one request holds; given back when dropped.
#[derive(Debug)]
pub(crate) struct Share {
    budget: Budget,
    held: u64,
}

impl Budget {
    pub(crate) fn new(limits: &Limits) -> Budget {
        let (total, each) = (limits.memory_bytes, limits.memory_per_connection_bytes);
        Budget { used: Arc::default(), total, each }
    }

    /// An empty share.
    pub(crate) fn share(&self) -> Share {
        Share { budget: self.clone(), held: 0 }
    }

    /// Bytes held now.
    pub(crate) fn used(&self) -> u64 {
        self.used.bytes.load(Ordering::Relaxed)
    }
}

impl Share {
    /// Takes so many bytes more.
    pub(crate) fn grow(&mut self, bytes: usize) -> Result<(), BudgetError> {
        let (bytes, budget) = (bytes as u64, &self.budget);
        if self.held.saturating_add(bytes) > budget.each {
            return Err(BudgetError::TooLarge(budget.each));
        }
        let room = |used: u64| used.checked_add(bytes).filter(|used| *used <= budget.total);
        // Taken in one step: bytes that were only tried would make others wait for something that nobody gives back.
        let taken = budget.used.bytes.fetch_update(Ordering::SeqCst, Ordering::SeqCst, room);
        taken.map_err(|_| BudgetError::Overloaded)?;
        self.held += bytes;
        Ok(())
    }

    /// Takes so many bytes more, waiting for those of others where it must: they are all on their way to an end.
    ///
    /// # Errors
    /// [`BudgetError::TooLarge`]: waiting would not help.
    pub(crate) async fn take(&mut self, bytes: usize) -> Result<(), BudgetError> {
        match self.grow(bytes) {
            Err(BudgetError::Overloaded) => {}
            taken => return taken,
        }
        let used = Arc::clone(&self.budget.used);
        let _counted = Waiting::count(&used.waiting);
        loop {
            // Listening begins before it is tried again, so that nothing is given back unheard in between.
            let mut given_back = pin!(used.given_back.notified());
            given_back.as_mut().enable();
            match self.grow(bytes) {
                Err(BudgetError::Overloaded) => given_back.await,
                taken => return taken,
            }
        }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let used = &self.budget.used;
        used.bytes.fetch_sub(self.held, Ordering::SeqCst);
        // Whoever begins to wait after this has seen the bytes.
        if used.waiting.load(Ordering::SeqCst) > 0 {
            used.given_back.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_bounded_each_and_together_and_come_back() {
        let limits = Limits { memory_bytes: 100, memory_per_connection_bytes: 60, ..Limits::default() };
        let budget = Budget::new(&limits);
        let (mut first, mut second) = (budget.share(), budget.share());
        assert_eq!(first.grow(60), Ok(()));
        assert_eq!(first.grow(1), Err(BudgetError::TooLarge(60)));
        assert_eq!(second.grow(41), Err(BudgetError::Overloaded));
        assert_eq!(second.grow(40), Ok(()));
        drop(first);
        assert_eq!(budget.used(), 40);
        assert_eq!(second.grow(20), Ok(()));
    }

    /// Of 100 bytes the first share holds 70, so that 40 more have to wait.
    fn one_that_holds_most() -> (Budget, Share, Share) {
        let limits = Limits { memory_bytes: 100, memory_per_connection_bytes: 80, ..Limits::default() };
        let budget = Budget::new(&limits);
        let (mut first, second) = (budget.share(), budget.share());
        first.grow(70).unwrap();
        (budget, first, second)
    }

    #[tokio::test]
    async fn who_waits_goes_on_when_bytes_come_back_and_not_before() {
        let (budget, first, mut second) = one_that_holds_most();
        let mut waiting = pin!(second.take(40));
        assert!(futures_util::poll!(waiting.as_mut()).is_pending());
        drop(first);
        assert_eq!(waiting.await, Ok(()));
        assert_eq!(budget.used(), 40);
        assert_eq!(budget.share().take(81).await, Err(BudgetError::TooLarge(80)), "nobody waits for ever");
    }

    #[tokio::test]
    async fn who_gives_up_waiting_holds_nothing() {
        let (budget, _first, mut second) = one_that_holds_most();
        {
            let mut waiting = pin!(second.take(40));
            assert!(futures_util::poll!(waiting.as_mut()).is_pending());
        }
        assert_eq!((budget.used(), budget.used.waiting.load(Ordering::SeqCst)), (70, 0));
    }
}
