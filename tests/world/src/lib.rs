//! A simulated cluster: three to seven machines that run the real replication rules over the real metadata state
//! machine, on simulated disks that hold real frames, in a simulated network.
//!
//! # Purpose
//! To find what is wrong with the rules before they touch a socket, and to show that it would be found: bugs can be
//! planted, and each is caught within a stated number of seeds.
//!
//! # Phases
//! *Chaos*: power cuts, torn and failed writes, rot, lost and rolled-back disks, slow and full ones, a network that
//! loses, repeats, delays and cuts one way, metadata that answers late or not at all, wrong suspicions, hand-overs,
//! trims. *Heal*: everything runs again. *Liveness*: the cluster must come to rest with every span sealed or writable,
//! its copies complete and the same bytes. Then every acknowledged record must be there once, in order.
//!
//! # Invariants
//! A run depends on its seed alone; the hash of the trace shows it. [`judge`] checks I1 to I10 while it happens. I11
//! (no clock) and I12 (no metadata in a steady append) hold by what the rules are given.
//!
//! # Limits
//! One machine of each world has the bad disk (rot, loss, roll-back): a minority, as the promise is made for.
#![forbid(unsafe_code)]

pub mod chance;
mod chaos;
mod client;
pub mod disk;
pub mod fabric;
pub mod files;
mod finale;
pub mod journal;
pub mod judge;
pub mod machine;
pub mod record;
pub mod trace;
pub mod truth;
mod world;

pub use world::{Outcome, run};
