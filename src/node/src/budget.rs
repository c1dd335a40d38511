//! # Purpose
//! Bounds what requests hold in memory, each and all together. Whoever would exceed the whole is told to come again
//! later; whoever exceeds its own share sends too much.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tidelog_proto::limits::Limits;

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
    used: Arc<AtomicU64>,
    total: u64,
    each: u64,
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
        self.used.load(Ordering::Relaxed)
    }
}

impl Share {
    /// Takes so many bytes more.
    pub(crate) fn grow(&mut self, bytes: usize) -> Result<(), BudgetError> {
        let (bytes, budget) = (bytes as u64, &self.budget);
        if self.held.saturating_add(bytes) > budget.each {
            return Err(BudgetError::TooLarge(budget.each));
        }
        let before = budget.used.fetch_add(bytes, Ordering::Relaxed);
        if before.saturating_add(bytes) > budget.total {
            budget.used.fetch_sub(bytes, Ordering::Relaxed);
            return Err(BudgetError::Overloaded);
        }
        self.held += bytes;
        Ok(())
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.budget.used.fetch_sub(self.held, Ordering::Relaxed);
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
}
