//! What whole-system tests share: the real server as a process, a plain HTTP client, a proxy that keeps a ledger, and
//! the programs of others.
#![allow(dead_code, reason = "each test binary uses its part")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may be blunt")]
#![allow(clippy::print_stdout, reason = "the test runner shows it when a test fails")]

pub(crate) mod chance;
pub(crate) mod disks;
pub(crate) mod http;
pub(crate) mod idempotent;
pub(crate) mod kafka;
pub(crate) mod kcat;
pub(crate) mod node;
pub(crate) mod offline;
pub(crate) mod peers;
pub(crate) mod proxy;
pub(crate) mod read;
pub(crate) mod wait;

use std::io::Write;

/// Says that a test does not run, past the test runner's capture; a failure when everything has to run, as `variable` says.
pub(crate) fn skip(variable: &str, why: &str) {
    let required = std::env::var_os(variable).is_some_and(|required| required != "0");
    assert!(!required, "{variable} is set, and {why}");
    let _ = writeln!(std::io::stderr(), "skipped: {why}");
}
