//! A bar for those who wait, on a terminal's standard error only.

use std::io::{self, IsTerminal};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

/// How often the bar is drawn.
const PAUSE: Duration = Duration::from_millis(100);

/// Counts bytes; clones count together.
#[derive(Debug, Clone, Default)]
pub(crate) struct Progress(Arc<AtomicU64>);

impl Progress {
    /// So many bytes more.
    pub(crate) fn add(&self, bytes: u64) {
        self.0.fetch_add(bytes, Ordering::Relaxed);
    }

    fn bytes(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The bar; it goes away when it is dropped.
pub(crate) struct Bar {
    bar: ProgressBar,
    progress: Progress,
}

impl Bar {
    /// A bar for `total` bytes; invisible when standard error is no terminal.
    pub(crate) fn new(total: u64, progress: Progress) -> Bar {
        if !io::stderr().is_terminal() {
            return Bar { bar: ProgressBar::hidden(), progress };
        }
        let bar = ProgressBar::new(total);
        let template = "{bar:30} {bytes}/{total_bytes} ({binary_bytes_per_sec}, {eta} left)";
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        Bar { bar, progress }
    }

    /// Draws until `done` says so; does nothing when nobody sees it.
    pub(crate) fn draw_until(&self, done: impl Fn() -> bool) {
        while !self.bar.is_hidden() && !done() {
            self.bar.set_position(self.progress.bytes());
            std::thread::sleep(PAUSE);
        }
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
