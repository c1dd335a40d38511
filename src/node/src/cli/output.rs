//! Standard output: data only, and a reader that goes away ends the command quietly.

use std::io::{self, Write};

use serde::Serialize;

use super::exit::Failure;

/// Writes all of `bytes` to stdout and flushes.
pub(crate) fn write(bytes: &[u8]) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(bytes).and_then(|()| stdout.flush()).map_err(failure)
}

/// Writes `value` as JSON on one line.
pub(crate) fn json(value: &impl Serialize) -> Result<(), Failure> {
    let mut text = serde_json::to_vec(value).map_err(|error| Failure::Error(error.to_string()))?;
    text.push(b'\n');
    write(&text)
}

fn failure(error: io::Error) -> Failure {
    match error.kind() {
        io::ErrorKind::BrokenPipe => Failure::OutputClosed,
        _ => Failure::Error(format!("standard output: {error}")),
    }
}
