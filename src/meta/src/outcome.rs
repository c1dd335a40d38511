//! What became of a proposed command.

use serde::{Deserialize, Serialize};

use crate::illegal::Illegal;
use crate::state::Applied;

/// What became of a proposed command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It is durable and took effect.
    Applied {
        /// What it did.
        applied: Applied,
        /// The state's version behind it.
        version: u64,
    },
    /// It changes nothing, now and later: somebody else was faster, or it never was possible. Read again.
    Illegal(Illegal),
    /// It may have taken effect, may still do so, or never will. Read again and compare; never assume.
    Indeterminate,
}
