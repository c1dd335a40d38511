//! `tidelog-inspect` as its users run it, on small directories with all kinds of damage.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may be blunt")]

// How a store writes is said once, in the format crate's tests.
#[path = "../../../../format/tests/support/mod.rs"]
mod support;

mod ahead;
mod chain;
mod damage;
mod diff;
mod dump;
mod explain;
mod export;
mod filters;
mod index;
mod misplaced;
mod place;
mod producers;
mod promises;
mod repair;
mod running;
mod stat;
mod tails;
mod usage;
mod vectors;
