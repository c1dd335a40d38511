//! When which group has to look at the clock. One task for all groups.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use crate::node::Node;

/// Times at which groups want to be woken.
#[derive(Debug, Default)]
pub(super) struct Timers {
    due: Mutex<BTreeSet<(i64, String)>>,
    earlier: Notify,
}

impl Timers {
    /// Wakes a group at this time.
    pub(super) fn arm(&self, at: i64, group: &str) {
        let mut due = self.due.lock().unwrap_or_else(PoisonError::into_inner);
        let is_first = due.first().is_none_or(|(first, _)| at < *first);
        due.insert((at, group.to_owned()));
        drop(due);
        if is_first {
            self.earlier.notify_one();
        }
    }

    /// The next group whose time has come.
    fn pop(&self, now: i64) -> Option<String> {
        let mut due = self.due.lock().unwrap_or_else(PoisonError::into_inner);
        due.first().filter(|(at, _)| *at <= now)?;
        due.pop_first().map(|(_, group)| group)
    }

    fn next(&self) -> Option<i64> {
        self.due.lock().unwrap_or_else(PoisonError::into_inner).first().map(|(at, _)| *at)
    }
}

/// Wakes groups until the node stops.
pub(super) async fn run(node: Arc<Node>) {
    let timers = &node.groups.timers;
    loop {
        while let Some(group) = timers.pop(node.clock.now_ms()) {
            node.groups.tick(&group);
        }
        let pause = timers.next().map(|at| at.saturating_sub(node.clock.now_ms()).max(1));
        let pause = Duration::from_millis(pause.and_then(|ms| u64::try_from(ms).ok()).unwrap_or(60_000));
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = timers.earlier.notified() => {}
            () = node.until_stopping() => return,
        }
    }
}
