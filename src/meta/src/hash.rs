//! The hash of a state, by which nodes find out that one of them has gone astray.
//!
//! At every [`EVERY`]th version each node hashes its state and keeps the hash within it, so the next hash covers the one
//! before: two histories that differ once differ for ever. The leader then proposes what it found
//! ([`Command::CheckState`]); a node that found another thing gets [`Illegal::Astray`] when it applies that, alone among
//! all nodes or with others of its kind, and stops.
//!
//! [`Command::CheckState`]: crate::Command::CheckState

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::Xxh3;

use crate::hex;
use crate::illegal::Illegal;
use crate::state::State;

/// Versions from one comparison to the next.
pub const EVERY: u64 = 1024;

/// What a state hashed to.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Checkpoint {
    /// The version that was hashed.
    pub version: u64,
    /// 32 hex digits.
    pub hash: String,
}

struct Hashing(Xxh3);

impl std::io::Write for Hashing {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl State {
    /// XXH3-128 of the state as it is written into a snapshot, in 32 hex digits.
    pub fn hash(&self) -> String {
        let mut hashing = Hashing(Xxh3::new());
        // Plain structs of numbers and strings always become JSON, and the hasher takes everything.
        let _ = serde_json::to_writer(&mut hashing, self);
        hex::text(&hashing.0.digest128().to_be_bytes())
    }

    pub(crate) fn remember_hash(&mut self) {
        if self.version.is_multiple_of(EVERY) {
            self.checkpoint = Some(Checkpoint { version: self.version, hash: self.hash() });
        }
    }

    pub(crate) fn check_hash(&self, version: u64, theirs: &str) -> Result<(), Illegal> {
        match &self.checkpoint {
            Some(ours) if ours.version == version && ours.hash == theirs => Ok(()),
            Some(ours) if ours.version == version => {
                Err(Illegal::Astray { version, ours: ours.hash.clone(), theirs: theirs.to_owned() })
            }
            _ => Err(Illegal::NoCheckpoint(version)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::Command;

    fn start(state: &mut State, versions: u64) {
        for _ in 0..versions {
            state.apply(&Command::BumpIncarnation { incarnation: state.incarnation + 1 }).unwrap();
        }
    }

    #[test]
    fn the_hash_of_a_state_is_the_same_for_ever() {
        // A change here means that nodes of two versions call each other astray.
        assert_eq!(State::default().hash(), "18d018c10e7e89a82540a237bdad368b");
        assert_eq!(crate::cluster_tests::cluster().hash(), "5bf2d70e9b48b9e33ce6e3bae2209c1c");
    }

    #[test]
    fn one_that_went_astray_is_told_so_long_after_it_agrees_again() {
        let (mut good, mut bad) = (State::default(), State::default());
        start(&mut good, EVERY);
        start(&mut bad, EVERY - 1);
        bad.next_producer = 7;
        start(&mut bad, 1);
        bad.next_producer = 0;
        assert_ne!(good.checkpoint, bad.checkpoint);
        start(&mut good, EVERY);
        start(&mut bad, EVERY);
        let Checkpoint { version, hash } = good.checkpoint.clone().unwrap();
        assert_eq!(version, 2 * EVERY);
        let check = Command::CheckState { version, hash };
        assert!(good.apply(&check).is_ok());
        assert!(matches!(bad.apply(&check), Err(Illegal::Astray { .. })));
    }

    #[test]
    fn what_is_not_remembered_is_not_judged() {
        let mut state = State::default();
        let check = Command::CheckState { version: 5, hash: "0".repeat(32) };
        assert_eq!(state.apply(&check), Err(Illegal::NoCheckpoint(5)));
    }
}
