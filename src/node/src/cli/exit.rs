//! How a command ends: the exit code, and what people are told on stderr.

use std::io::{self, Write};
use std::process::ExitCode;

use tidelog_client::Error;
use tidelog_format::record_format::is_unsafe;
use tidelog_proto::http::error::ErrorCode;

const ERROR: u8 = 1;
const USAGE: u8 = 2;
const NOT_FOUND: u8 = 3;
const UNREACHABLE: u8 = 4;
const REFUSED: u8 = 6;
const INTERRUPTED: u8 = 130;

/// Why a command did not do what it was asked.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Something failed.
    Error(String),
    /// The arguments contradict what is there.
    Usage(String),
    /// The topic or partition does not exist.
    NotFound(String),
    /// No server.
    Unreachable(String),
    /// It would destroy something and nobody confirmed, or the server holds it for unsafe.
    Refused(String),
    /// The user stopped it; the text, if any, says how far it came.
    Interrupted(Option<String>),
    /// The reader of stdout is gone and wants no more. Not an error.
    OutputClosed,
}

impl Failure {
    fn code(&self) -> u8 {
        match self {
            Failure::Error(_) => ERROR,
            Failure::Usage(_) => USAGE,
            Failure::NotFound(_) => NOT_FOUND,
            Failure::Unreachable(_) => UNREACHABLE,
            Failure::Refused(_) => REFUSED,
            Failure::Interrupted(_) => INTERRUPTED,
            Failure::OutputClosed => 0,
        }
    }

    fn message(&self) -> Option<&str> {
        match self {
            Failure::Error(text)
            | Failure::Usage(text)
            | Failure::NotFound(text)
            | Failure::Unreachable(text)
            | Failure::Refused(text) => Some(text),
            Failure::Interrupted(text) => text.as_deref(),
            Failure::OutputClosed => None,
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        let text = error.to_string();
        match error {
            Error::NotFound { .. } | Error::NoPartition { .. } => Failure::NotFound(text),
            Error::Unreachable { .. } => {
                Failure::Unreachable(format!("{text}; is it running? --server gives another address"))
            }
            Error::Address { .. } => Failure::Usage(text),
            Error::Status {
                code:
                    ErrorCode::NotAHolder | ErrorCode::HolderBehind | ErrorCode::NodeState | ErrorCode::NodeNeeded,
                ..
            } => Failure::Refused(text),
            _ => Failure::Error(text),
        }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Failure {
        Failure::Error(error.to_string())
    }
}

/// Tells people what went wrong and gives the process its exit code.
pub(crate) fn code(result: Result<(), Failure>) -> ExitCode {
    let Err(failure) = result else { return ExitCode::SUCCESS };
    if let Some(message) = failure.message() {
        tell(&format!("error: {message}"));
    }
    ExitCode::from(failure.code())
}

/// One line for people, on stderr, without control characters. When nobody can read it that is no error.
pub(crate) fn tell(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{}", printable(text));
}

/// Ends the process with 130 on Ctrl-C, wherever it is then. Must be called inside a runtime.
pub(crate) fn end_on_interrupt() {
    tokio::spawn(async {
        if tokio::signal::ctrl_c().await.is_ok() {
            std::process::exit(i32::from(INTERRUPTED));
        }
    });
}

/// `text` with everything escaped that a terminal might obey or that reorders what is read.
pub(crate) fn printable(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if is_unsafe(c) {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_failure_has_the_code_of_the_convention() {
        let unreachable = Error::Unreachable { server: "h:1".to_owned(), cause: "refused".to_owned() };
        let missing = Error::NotFound { code: ErrorCode::UnknownTopic, message: "no topic".to_owned() };
        let partition = Error::NoPartition { topic: "t".to_owned(), partition: 5, partitions: 1 };
        let failed = Error::Status { status: 500, code: ErrorCode::Internal, message: "oops".to_owned() };
        let behind = Error::Status { status: 409, code: ErrorCode::HolderBehind, message: "wait".to_owned() };
        let address = Error::Address { given: "x y".to_owned(), why: "bad".to_owned() };
        let codes: Vec<u8> = [failed, address, missing, partition, unreachable, behind]
            .into_iter()
            .map(|error| Failure::from(error).code())
            .collect();
        assert_eq!(codes, [1, 2, 3, 3, 4, 6]);
        assert_eq!(Failure::Refused(String::new()).code(), 6);
        assert_eq!(Failure::Interrupted(None).code(), 130);
        assert_eq!(Failure::OutputClosed.code(), 0);
    }

    #[test]
    fn what_a_server_says_cannot_steer_the_terminal() {
        assert_eq!(printable("a\x1b[31mb\nc\u{202e}d ä"), "a\\u{1b}[31mb\\nc\\u{202e}d ä");
    }
}
