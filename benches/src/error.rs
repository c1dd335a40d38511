//! What can go wrong in a run.

use std::path::PathBuf;

use tidelog_format::batch::BatchError;
use tidelog_io::IoError;
use tidelog_wal::{AppendError, OpenError, OptionsError, ReadError};

/// Why there is no figure.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// The directory holds something that is not ours.
    #[error(
        "{dir} is neither empty nor a directory of an earlier bench; give another one, its files are left alone",
        dir = dir.display()
    )]
    NotOurs {
        /// The directory.
        dir: PathBuf,
    },
    /// A file or directory of the bench.
    #[error("{what} {path}: {source}", path = path.display())]
    File {
        /// What was tried.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// How it failed.
        source: std::io::Error,
    },
    /// Batches of this shape can't be stored.
    #[error("a commit of {len} bytes does not fit, at most {max} do; use fewer or smaller records")]
    TooLarge {
        /// Bytes of one batch.
        len: usize,
        /// Bytes allowed.
        max: usize,
    },
    /// A batch of this shape can't be made.
    #[error("the batch can't be made: {0}")]
    Batch(#[from] BatchError),
    /// The shard's settings are out of range.
    #[error(transparent)]
    Options(#[from] OptionsError),
    /// The shard did not open.
    #[error("the shard did not open: {0}")]
    Open(#[from] OpenError),
    /// The disk or its ring.
    #[error(transparent)]
    Io(#[from] IoError),
    /// An append was refused.
    #[error("an append failed: {0}")]
    Append(#[from] AppendError),
    /// A read was refused.
    #[error("a read failed: {0}")]
    Read(#[from] ReadError),
    /// Latencies out of the histogram's range.
    #[error("a latency could not be counted: {0}")]
    Histogram(String),
    /// The thread of the shard ended before its time.
    #[error("the shard's thread ended early")]
    RingGone,
    /// fio ran and failed, or its answer was not understood.
    #[error("fio: {0}")]
    Fio(String),
    /// No server to measure.
    #[error("there is no {path}; build it (cargo build --release) or name it with --server", path = path.display())]
    NoServer {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// A server did not start.
    #[error("{program} did not start or did not say where it listens; start it by hand to see why", program = program.display())]
    NoAddress {
        /// The program.
        program: PathBuf,
    },
    /// A server ended by itself.
    #[error("the server ended before it was killed")]
    ServerGone,
    /// A connection to a server.
    #[error("the connection to the server: {0}")]
    Connection(#[source] std::io::Error),
    /// A server's answer was not the one of a success.
    #[error("the server refused a commit: {0}")]
    Refused(String),
    /// A client's task ended before its time.
    #[error("a client ended early")]
    ClientGone,
    /// The inspector found something, or did not run.
    #[error("tidelog-inspect verify did not find the directory in order: {0}")]
    Inspector(String),
    /// The result could not be written.
    #[error("the result could not be written: {0}")]
    Output(#[source] std::io::Error),
    /// A figure of this process could not be read.
    #[error("{path}: not what was expected there: {found:?}")]
    Proc {
        /// The file under /proc.
        path: String,
        /// Its content.
        found: String,
    },
}

impl BenchError {
    pub(crate) fn file(
        what: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(std::io::Error) -> BenchError {
        let path = path.into();
        move |source| BenchError::File { what, path, source }
    }
}
