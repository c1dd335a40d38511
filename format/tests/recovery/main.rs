//! What recovery and the inspector may conclude from a segment, tried exhaustively: SPEC.md, "Recovery".
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may be blunt")]

#[path = "../support/mod.rs"]
mod support;

mod crashes;
mod flips;
mod rot;
mod samples;
mod table;
