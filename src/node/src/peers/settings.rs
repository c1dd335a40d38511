//! Bounds and times of the connections between nodes.

use std::time::Duration;

/// Bounds and times.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// How long the other side has to say who it is, and a dialled address to answer. Default 2 s.
    pub(crate) hello: Duration,
    /// Each side says this often that it lives. Default 1 s.
    pub(crate) alive: Duration,
    /// A connection on which nothing came for so long is given up. Default 10 s.
    pub(crate) silence: Duration,
    /// First and longest pause between tries to reach a node. Default 50 ms and 2 s.
    pub(crate) pauses: (Duration, Duration),
    /// Bytes that may wait for a node on one connection. Default 64 MiB, twice the window of replication.
    pub(crate) outbox: u32,
    /// Bytes of messages that one connection may have brought and not been answered. Default 64 MiB.
    pub(crate) unanswered: u32,
    /// Connections that other nodes may have to this one. Default 256.
    pub(crate) connections: usize,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            hello: Duration::from_secs(2),
            alive: Duration::from_secs(1),
            silence: Duration::from_secs(10),
            pauses: (Duration::from_millis(50), Duration::from_secs(2)),
            outbox: 64 << 20,
            unanswered: 64 << 20,
            connections: 256,
        }
    }
}
