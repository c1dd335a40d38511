//! What keeps the inspector from going on.

use std::io;
use std::path::PathBuf;

use tidelog_io::{Fault, IoError};

/// An error that ends the command.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InspectError {
    #[error("{} does not exist", .0.display())]
    NotFound(PathBuf),
    #[error("{} holds nothing of Tidelog; give a data directory, a folder of its `shards`, or a .seg file", .0.display())]
    Nothing(PathBuf),
    #[error("{} is not a file; give a segment, a superblock or a file with one batch", .0.display())]
    NotAFile(PathBuf),
    #[error("refused: {}: {why}", path.display())]
    Unsafe { path: PathBuf, why: String },
    #[error("{} can't be written: {cause}", path.display())]
    Write { path: PathBuf, cause: io::Error },
    #[error("more than {most} partitions; choose some of them")]
    TooMany { most: usize },
    #[error("batches are exported as they are stored; a key or a pattern chooses records")]
    WholeBatches,
    /// A mistake of this program, found before anything wrong was written.
    #[error("a frame that was laid anew does not read back; nothing of it was written")]
    Rewrite,
    #[error("the pattern can't be used: {}", last_line(.0))]
    Pattern(Box<regex::Error>),
    #[error("byte {at} lies behind the file's end, which is at {len}")]
    Behind { at: u64, len: u64 },
    #[error("{} can't be listed: {cause}", path.display())]
    List { path: PathBuf, cause: io::Error },
    #[error(transparent)]
    Io(IoError),
    /// Ends a command that was asked for no more. No failure.
    #[error("as many were shown as were asked for")]
    Enough,
    #[error("output failed: {0}")]
    Output(#[from] io::Error),
}

/// What is wrong with a pattern; the lines before point at it.
fn last_line(error: &regex::Error) -> String {
    let text = error.to_string();
    let line = text.lines().last().unwrap_or_default();
    line.strip_prefix("error: ").unwrap_or(line).to_owned()
}

impl InspectError {
    /// A failed listing of `path`.
    pub(crate) fn list(path: &std::path::Path, cause: io::Error) -> InspectError {
        match cause.kind() {
            io::ErrorKind::NotFound => InspectError::NotFound(path.to_owned()),
            _ => InspectError::List { path: path.to_owned(), cause },
        }
    }

    /// Whether nobody reads the output any more; that is no failure.
    pub(crate) fn is_closed_pipe(&self) -> bool {
        matches!(self, InspectError::Output(cause) if cause.kind() == io::ErrorKind::BrokenPipe)
    }

    /// The process' exit code.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            InspectError::Pattern(_) | InspectError::WholeBatches => 2,
            InspectError::Unsafe { .. } => 6,
            error if error.is_not_found() => 3,
            _ => 1,
        }
    }

    /// Whether the thing asked for is not there.
    pub(crate) fn is_not_found(&self) -> bool {
        matches!(self, InspectError::NotFound(_) | InspectError::Nothing(_) | InspectError::Behind { .. })
    }
}

impl From<IoError> for InspectError {
    fn from(error: IoError) -> InspectError {
        match error.kind() {
            Fault::NotFound => InspectError::NotFound(error.path().to_owned()),
            _ => InspectError::Io(error),
        }
    }
}
