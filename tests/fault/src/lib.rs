//! # Purpose
//! A file system in memory that does to a real server what disks do to it: fails an operation, is full, becomes
//! read-only, loses its power. Mounted through FUSE, so that what is tested is the program as it is shipped, with io_uring
//! and `O_DIRECT`.
//!
//! # Durability
//! What was written lies in a volatile cache until the file is synced, what was named until the directory is. When the
//! power goes each sector of 512 bytes and each change of names survives or does not, by seed; see [`Tearing`].
//!
//! # Limits
//! Needs `/dev/fuse` and root, or fusermount3: [`Rig::mount`] says what is missing. No hard links, no symbolic ones.

mod chance;
mod fault;
mod medium;
mod names;
mod rig;
mod serve;
mod state;

pub use fault::{Fault, Kind, Plan};
pub use medium::Tearing;
pub use rig::Rig;
pub use state::Counters;
