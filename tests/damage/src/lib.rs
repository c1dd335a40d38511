//! Small data directories, every way of damaging them, and what may come of it.
//!
//! # Purpose
//! [`samples`] are written by the real write-ahead log on the simulated disk, with a list of what was acknowledged
//! ([`truth`]). [`damage`] counts through every single flipped bit, every length, every 512-byte sector zeroed, stale
//! or swapped, files exchanged, missing and doubled, and as many random combinations as are wanted. Each damaged
//! directory goes through both readers: recovery with everything read back ([`recovered`]), and `verify` of the inspector
//! ([`inspected`]). [`sweep`] judges the two answers against the truth and counts.
//!
//! # Invariants
//! Every case is one of
//! - *named*: a reader says what is wrong and where, and serves nothing false;
//! - *unproved*: the end of an open segment that nothing proves was cut, said so, and kept in `lost+found`;
//! - *untold*: nothing is left that tells of the last writes; only the metadata or another node can;
//! - *harmless*: everything that was acknowledged is served as it was written.
//!
//! Most cases are read like another one, and only that one is judged ([`alike`]). Of what is unproved or untold each case
//! must be excused by a rule with its proof ([`excused`]). What is harmless and said by nobody must lie where nothing was
//! written ([`region`]). A reader never changes a file.
#![forbid(unsafe_code)]

mod alike;
mod build;
mod damage;
mod directory;
mod excused;
mod fuzz;
mod heads;
mod inspected;
mod opened;
mod recovered;
mod region;
mod samples;
mod sweep;
mod truth;

pub use damage::Kind;
pub use fuzz::fuzz_recovery;
pub use samples::{names, sample};
pub use sweep::{Counts, Sweep};
