//! Real clients against the real server. What they sent is known from a proxy between; what is stored is read back and
//! compared, also when the server is killed in the middle.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may be blunt")]
#![allow(clippy::print_stdout, reason = "the test runner shows it when a test fails")]

#[path = "../support/mod.rs"]
mod support;

mod collectd;
mod fail2ban;
mod inspector;
mod kafka;
mod netdata;
mod points;
