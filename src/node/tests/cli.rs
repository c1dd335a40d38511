//! The command line as people and scripts use it: the real binary, against a real server.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

#[path = "cli/admin.rs"]
mod admin;
#[path = "cli/consume.rs"]
mod consume;
#[path = "cli/group.rs"]
mod group;
#[path = "cli/harness.rs"]
mod harness;
#[path = "cli/produce.rs"]
mod produce;
#[path = "cli/usage.rs"]
mod usage;
