//! The command line as people and scripts use it: the real binary, against a real server.

#[path = "cli/admin.rs"]
mod admin;
#[path = "cli/consume.rs"]
mod consume;
#[path = "cli/harness.rs"]
mod harness;
#[path = "cli/produce.rs"]
mod produce;
#[path = "cli/usage.rs"]
mod usage;
