//! # Purpose
//! Consumer groups: who is a member, which generation it is, who has which partitions, and how far each group has read.
//!
//! | file | what it is |
//! |---|---|
//! | `group`, `joining`, `rebalance`, `belonging`, `member` | the machine of one group: `step(now, event) -> effects`, no clock, no socket |
//! | `event`, `error`, `settings` | what goes in, what comes out, what may be set |
//!
//! # Invariants
//! - A generation has one leader, and only its assignments are given out.
//! - Whoever waits for a join or a sync is answered: by the others, by a time-out, or by the end of the group.
//! - Generations of a group grow.
//!
//! # Limits
//! Members of a group, bytes of their metadata and assignments, groups of the node: see `settings`.
#![expect(dead_code, reason = "the driver comes with the next step")]

mod belonging;
mod error;
mod event;
mod group;
mod joining;
mod member;
mod rebalance;
mod settings;

#[cfg(test)]
mod group_tests;
#[cfg(test)]
mod random_tests;
