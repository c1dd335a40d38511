//! # Purpose
//! The cluster as a whole, for `/v1/cluster` and `tidelog cluster`.
//!
//! | file | what it does |
//! |---|---|
//! | `status` | what this node knows of it |
//! | `nodes` | nodes are emptied and removed |
//! | `leaders` | another node leads a shard because somebody asks for it |

mod leaders;
mod nodes;
mod status;

pub(crate) use leaders::{Moved, move_leader};
pub(crate) use nodes::{cancel_drain, drain, remove};
pub(crate) use status::{better_informed, status};
