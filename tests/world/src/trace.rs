//! What happened, as a hash that two runs of a seed must share, and as text for people.

/// The trace of a run.
#[derive(Debug, Default)]
pub struct Trace {
    hash: u64,
    events: u64,
    shown: bool,
}

impl Trace {
    /// A trace; `shown` prints it.
    pub fn new(shown: bool) -> Trace {
        Trace { hash: 0xcbf2_9ce4_8422_2325, events: 0, shown }
    }

    /// Whether anybody reads the text.
    pub fn is_shown(&self) -> bool {
        self.shown
    }

    /// Notes an event by numbers that tell it from others.
    pub fn note(&mut self, words: &[u64]) {
        self.events += 1;
        for word in words {
            self.hash = (self.hash ^ word).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(23);
        }
    }

    /// Prints a line, if anybody reads it.
    #[expect(clippy::print_stdout, reason = "the readable trace is what --seed is for")]
    pub fn say(&self, now: u64, line: impl FnOnce() -> String) {
        if self.shown {
            println!("{:>9.3} {}", now as f64 / 1000.0, line());
        }
    }

    /// The hash so far.
    pub fn hash(&self) -> u64 {
        self.hash
    }

    /// Events so far.
    pub fn events(&self) -> u64 {
        self.events
    }
}
