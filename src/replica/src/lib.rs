//! Tidelog's replication rules, as pure state machines: `step(event) -> effects`.
//!
//! # Purpose
//! What may be acknowledged, who may write, where a span ends. No threads, sockets, files or clocks are here, and
//! nothing depends on the order of a hash map: the same events give the same effects. The executor (`src/node`) and the
//! simulator (`tests/world`) run the same code.
//!
//! | module | rules of |
//! |---|---|
//! | [`leader`] | who frames, sends, commits; holders that lag; the close of a span |
//! | [`follower`] | a store's part: appends, promises, repairs, seals, deletes |
//! | [`sealer`] | the coordinator of a seal |
//! | [`quorum`] | [`Committed`](quorum::Committed), which can be made there only |
//! | [`suspicion`], [`succession`] | when a leader is given up; who leads and holds what follows |
//! | [`copier`] | copies of sealed spans: repair, and the replacement of lost holders |
//! | [`start`], [`grade`] | what a directory and its tails are worth after a restart |
//!
//! # A span's life
//! ```text
//!             append, ack                BeginSeal(a)               CommitSeal(a, end)
//!   Open ---------------------> Open -------------------> Sealing(a) ---------------> Sealed(end)
//!     |                                                    |      ^
//!     |  LeaderClose(end = committed)                      +------+ a newer attempt takes over
//!     +-------------------------------------------------------------------------------> Sealed(end)
//! ```
//! # Invariants
//! I1 to I12 of the design stand where they are kept; each module says which.
//!
//! # Durability
//! Nothing here is durable by itself: the executor says when a write has returned, and only then is it counted.
#![forbid(unsafe_code)]

pub mod copier;
pub mod follower;
pub mod frame;
pub mod grade;
pub mod leader;
pub mod message;
pub mod planted;
pub mod quorum;
pub mod sealer;
pub mod span;
pub mod start;
pub mod succession;
pub mod suspicion;

#[cfg(test)]
mod made;
