//! The progress bar of `tidelog produce`, on a terminal only.

use std::io::{self, IsTerminal};

use indicatif::{ProgressBar, ProgressStyle};

/// Shows bytes read and records acknowledged; draws nothing when stderr is no terminal.
#[derive(Debug)]
pub(crate) struct Progress {
    bar: ProgressBar,
}

impl Progress {
    /// `total` is the number of bytes to read, if it is known.
    pub(crate) fn new(total: Option<u64>) -> Progress {
        // A line that is being typed and a bar that is being drawn do not go together.
        let typed = total.is_none() && io::stdin().is_terminal();
        if typed || !io::stderr().is_terminal() {
            return Progress { bar: ProgressBar::hidden() };
        }
        let (bar, template) = match total {
            Some(total) => (
                ProgressBar::new(total),
                "{bar:30} {bytes}/{total_bytes} ({binary_bytes_per_sec}, {eta} left), {msg}",
            ),
            None => (ProgressBar::no_length(), "{spinner} {bytes} ({binary_bytes_per_sec}), {msg}"),
        };
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        Progress { bar }
    }

    /// So many bytes are read and records acknowledged by now.
    pub(crate) fn update(&self, bytes: u64, acknowledged: u64) {
        self.bar.set_position(bytes);
        if !self.bar.is_hidden() {
            self.bar.set_message(super::table::counted(acknowledged, "record"));
        }
    }

    /// Removes the bar.
    pub(crate) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}
