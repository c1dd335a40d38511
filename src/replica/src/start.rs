//! At a start: whether what is found in a data directory may go by its old name.
//!
//! # Invariants
//! A directory without its proven past counts toward nothing (I9): it joins under a new name, empty. What it held goes
//! on to be missing until it is copied from other holders.
//!
//! A process serves nothing before the metadata shows it in this very life ([`is_begun`]): no answer to a command says as
//! much. One that runs without it is named as a leader by its life before, for ever, and leads nothing.

use crate::planted::{self, Bug};
use crate::span::{Process, Replica, StoreId};

/// What the superblock says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The directory.
    pub store: StoreId,
    /// How often the superblock was written.
    pub generation: u64,
}

/// Why a directory must take a new name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Nameless {
    /// There is no superblock, or both copies are damaged.
    #[error("the data directory has no readable superblock: it is new, or its disk was lost")]
    NoSuperblock,
    /// The promise journal cannot be read.
    #[error("the promise journal cannot be read, so what this directory promised is not known")]
    NoPromises,
    /// The superblock is older than what the metadata knows.
    #[error(
        "the data directory is at generation {found} and was at {known}: the disk was rolled back to an older state"
    )]
    RolledBack {
        /// In the superblock.
        found: u64,
        /// In the metadata.
        known: u64,
    },
}

/// Judges a directory. `known` is the generation that the metadata has for the store that the superblock names.
///
/// # Errors
/// Why it must take a new name; under the old one it is to be reported as lost.
pub fn judge(
    found: Option<Identity>,
    promises_readable: bool,
    known: Option<u64>,
) -> Result<Identity, Nameless> {
    let identity = found.ok_or(Nameless::NoSuperblock)?;
    if !promises_readable {
        return Err(Nameless::NoPromises);
    }
    match known {
        Some(known) if identity.generation < known && !planted::has(Bug::RolledBackRejoins) => {
            Err(Nameless::RolledBack { found: identity.generation, known })
        }
        _ => Ok(identity),
    }
}

/// Whether a start is over: `shown` is the life that a linearizable read shows of the node, with its directory. An answer
/// that says "done" is not enough, because it may be the answer to an earlier question; and what got no answer may be
/// done all the same.
pub fn is_begun(me: Replica, life: Process, shown: Option<(Replica, Process)>) -> bool {
    shown == Some((me, life))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_start_is_over_when_the_metadata_shows_this_life_and_no_other() {
        let me = Replica { node: 5, store: [1; 16] };
        let life = Process { node: 5, incarnation: 6 };
        assert!(is_begun(me, life, Some((me, life))));
        let before = Process { incarnation: 5, ..life };
        assert!(!is_begun(me, life, Some((me, before))), "a late answer to the read before it");
        assert!(!is_begun(me, life, None), "not registered yet");
        let other = Replica { store: [2; 16], ..me };
        assert!(!is_begun(me, life, Some((other, life))), "somebody else took the number");
    }

    #[test]
    fn only_a_directory_with_its_whole_past_keeps_its_name() {
        let found = Identity { store: [1; 16], generation: 7 };
        assert_eq!(judge(Some(found), true, None), Ok(found), "the metadata has not heard of it yet");
        assert_eq!(judge(Some(found), true, Some(7)), Ok(found));
        assert_eq!(judge(Some(found), true, Some(6)), Ok(found), "its last superblock was not told yet");
        assert_eq!(judge(Some(found), true, Some(8)), Err(Nameless::RolledBack { found: 7, known: 8 }));
        assert_eq!(judge(Some(found), false, Some(7)), Err(Nameless::NoPromises));
        assert_eq!(judge(None, true, Some(7)), Err(Nameless::NoSuperblock));
    }
}
