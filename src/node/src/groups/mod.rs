//! # Purpose
//! Consumer groups: who is a member, which generation it is, who has which partitions, and how far each group has read.
//!
//! | file | what it is |
//! |---|---|
//! | `group`, `joining`, `rebalance`, `belonging`, `member` | the machine of one group: `step(now, event) -> effects`, no clock, no socket |
//! | `event`, `error`, `settings` | what goes in, what comes out, what may be set |
//! | `coordinator`, `slot`, `timers` | the driver: finds the group, one event after the other, answers, wakes |
//! | `offsets`, `offset_record`, `journal` | committed offsets: in memory, as records, durable |
//!
//! The node that leads the topic of offsets coordinates all groups. When another one comes to lead it, that one reads the
//! offsets and this one forgets them; members look for their coordinator, join again and go on.
//!
//! # Invariants
//! - A generation has one leader, and only its assignments are given out.
//! - Whoever waits for a join or a sync is answered: by the others, by a time-out, or by the end of the group.
//! - Generations of a group grow.
//!
//! # Durability
//! A committed offset is durable when it is answered. Who is a member is not kept: at another coordinator, and after a
//! restart, members are told that they are not known, and join again. A group without members exists as long as it has offsets; they do not expire.
//!
//! # Limits
//! Members of a group, bytes of their metadata and assignments, groups of the node: see `settings`.

mod belonging;
mod coordinator;
mod error;
mod event;
mod group;
mod joining;
mod journal;
mod member;
mod offset_record;
mod offsets;
mod rebalance;
mod settings;
mod slot;
mod timers;

pub(crate) use coordinator::{GroupDescription, Groups, coordinator, follow, start};
pub(crate) use error::GroupError;
pub(crate) use event::{Caller, Join, JoinRefused, Joined, Leaver, Protocol, Sync};
pub(crate) use group::GroupState;
pub(crate) use journal::OFFSETS_TOPIC;
pub(crate) use offsets::{Committed, Place};
pub(crate) use settings::GroupSettings;

#[cfg(test)]
mod driver_tests;
#[cfg(test)]
mod group_tests;
#[cfg(test)]
mod random_tests;
