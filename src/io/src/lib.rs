//! The only place where Tidelog touches the world: disks, connections between nodes, clock, randomness, locks.
//!
//! # Purpose
//! Everything above this crate sees a disk through [`Disk`] and [`DiskFile`] and nothing else. Three backends
//! pass one conformance suite: [`uring::Uring`] (io_uring through tokio-uring, the fast one), [`posix::Posix`]
//! (positional reads and writes on a thread pool, where io_uring is forbidden or missing) and [`sim::Sim`] (a
//! disk in memory that loses, tears and refuses by seed). [`choose`] finds out which real one works here.
//!
//! # Durability
//! * A write to a file opened with [`Access::Durable`] that returned `Ok` survives a loss of power, provided
//!   the device honours flushes. It overwrites blocks in place, so a *failed* write leaves any mix of old and
//!   new sectors behind.
//! * A write to a file opened with [`Access::Bulk`] survives only after [`DiskFile::sync`] returned `Ok`.
//! * A name (create, rename, remove) survives only after [`Disk::sync_dir`] of its directory returned `Ok`;
//!   [`Disk::create_dir_all`] does that itself for the directories it makes.
//! * After a failed write or sync nothing may be assumed about what it covered, and a second try that succeeds
//!   proves nothing: the kernel may have dropped the dirty data. Callers must poison what they were writing.
//!
//! # Limits
//! Positions and lengths of reads and writes are multiples of [`BLOCK`]; one operation moves at most
//! [`MAX_TRANSFER`] bytes. Futures are not `Send`: a disk lives on the thread whose runtime made it, only
//! [`Buf`] travels. Removing or shrinking a large written file takes tens of milliseconds: shrink in steps,
//! or recycle by renaming. Linux only.
#![allow(unsafe_code, reason = "the one crate that talks to the kernel; each block states why it is sound")]

mod blocking;
mod buf;
mod choose;
pub mod clock;
#[cfg(any(test, feature = "conformance"))]
#[allow(clippy::unwrap_used, clippy::panic, reason = "a suite of tests: a failure is a panic")]
pub mod conformance;
mod disk;
mod error;
pub mod file;
#[doc(hidden)]
pub mod fuzz;
pub mod lock;
pub mod net;
#[cfg(test)]
mod own_process;
pub mod posix;
pub mod random;
pub mod sim;
pub mod uring;

pub use buf::Buf;
pub use choose::{BackendKind, Chosen, TRIAL, choose};
pub use disk::{Access, BLOCK, DirEntry, Disk, DiskFile, MAX_TRANSFER, Outcome};
pub use error::{Fault, IoError};
pub use posix::block_on_posix;
pub use uring::block_on_uring;
