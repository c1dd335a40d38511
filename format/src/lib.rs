//! Tidelog's bytes: what stands on disk and on the wire between nodes, and the one parser that reads it.
//!
//! # Purpose
//! Everything here is pure: no I/O, no clock, no threads. The write-ahead log, recovery, the offline
//! inspector and the fuzzers all read through [`scan::scan`], so there is one opinion on what a byte means.
//!
//! # Format
//! The normative text is `format/SPEC.md`; module docs repeat only what a reader of the code needs.
//!
//! # Invariants
//! - Nothing is allocated from a length that has not been checked against the bytes at hand.
//! - No input makes a decoder panic.
//! - A newer version or an unknown incompatible feature is [`Unsupported`], never damage.
#![forbid(unsafe_code)]

pub mod batch;
pub mod block;
pub mod compression;
pub mod end_block;
pub mod entry;
pub mod first_block;
pub mod footer;
pub mod frame;
#[doc(hidden)]
pub mod fuzz;
pub mod index;
mod le;
pub mod name;
pub mod opening;
pub mod partition_taken;
pub mod producers;
pub mod promise;
pub mod record_format;
pub mod scan;
pub mod shard_state;
pub mod span_start;
pub mod superblock;
pub mod time_text;
pub mod trailer;
pub mod verdict;
pub mod walk;

pub use block::{BLOCK, Damage, FORMAT_MAJOR, FORMAT_MINOR, Salt, Unsupported};
