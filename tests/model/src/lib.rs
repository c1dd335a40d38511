//! A model of the replication protocol: append, fence, repair, seal, and what goes wrong meanwhile.
//!
//! # Purpose
//!
//! `src/replica` is the protocol as it runs; this is the protocol alone, small enough that every order in which things
//! can happen is tried. Each rule stands in the tail of the node that keeps it (`follower.rs`, `leader.rs`,
//! `sealer.rs`, `metadata.rs`) and is called what it is called there. `docs/replication.md` explains the rules;
//! this crate shows that they are enough, and, with one of them planted wrong (`bug.rs`), that they are needed.
//!
//! # What is modelled
//!
//! - The network is a set: a message that was sent can arrive at any time from then on, any number of times, or never.
//! - A leader never learns that it was fenced: it goes on until it cannot get its quorum.
//! - Coordinators race, and may stop anywhere.
//! - Processes crash with a write in flight, which is then lost, whole or torn. Disks are lost, rolled back, or rot.
//! - Metadata is one atomic register, since it is a Raft group's state machine.
//!
//! # Limits
//!
//! A frame is who framed it: two frames are the same bytes when they have the same writer. A chain value is therefore
//! the list of writers up to an LSN. Retention, shipping of sealed segments and producers' retries are not modelled.
#![forbid(unsafe_code)]

pub mod bug;
pub mod config;
pub mod disk;
pub mod explore;
pub mod follower;
pub mod frames;
pub mod invariants;
pub mod leader;
pub mod message;
pub mod metadata;
pub mod planted;
pub mod reader;
pub mod sealer;
pub mod space;
pub mod state;
pub mod step;
pub mod trace;
