//! What the metadata remembers of this directory's superblock: an older one was put back.
//!
//! Its files tell it by their names: each start of the directory writes the metadata in an epoch of its own, the number of the
//! start, and the superblock counts a start before there is a file of it. Its commands tell it, too.
//!
//! The commands are JSON (docs/decisions: the metadata is a state machine); of them only the few that raise a generation or
//! count a start are read here, and whatever else they are is no concern of this module.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::finding::{Finding, Severity, Subject};
use crate::identity::Identity;

/// Most directories that are followed; a hostile file may name any number.
const MAX_STORES: usize = 10_000;
/// A command with a generation is far shorter.
const MAX_COMMAND: usize = 64 * 1024;

/// The highest numbers that were told.
#[derive(Debug, Clone, Default)]
pub(crate) struct Remembered {
    /// Generations by store id.
    generations: BTreeMap<String, u64>,
    /// Starts, by the names of the metadata's files, and as a node of before there were spans counted them in commands.
    incarnation: u64,
}

impl Remembered {
    /// Notes what a command of the metadata says.
    pub(crate) fn note(&mut self, body: &[u8]) {
        let Some(Value::Object(command)) =
            (body.len() <= MAX_COMMAND).then(|| serde_json::from_slice(body).ok()).flatten()
        else {
            return;
        };
        for (name, says) in &command {
            match name.as_str() {
                "register_node" | "start_node" | "raise_generation" => self.raise(says),
                "bump_incarnation" => {
                    self.incarnation = self.incarnation.max(says["incarnation"].as_u64().unwrap_or(0));
                }
                _ => {}
            }
        }
    }

    /// Notes that a file of the metadata has this epoch in its name.
    pub(crate) fn note_file(&mut self, epoch: u32) {
        self.incarnation = self.incarnation.max(epoch.into());
    }

    fn raise(&mut self, says: &Value) {
        let (Some(store), Some(generation)) = (says["store"].as_str(), says["generation"].as_u64()) else {
            return;
        };
        if self.generations.len() < MAX_STORES || self.generations.contains_key(store) {
            let known = self.generations.entry(store.to_owned()).or_insert(generation);
            *known = generation.max(*known);
        }
    }

    /// Both together.
    pub(crate) fn add(&mut self, other: Remembered) {
        self.incarnation = self.incarnation.max(other.incarnation);
        for (store, generation) in other.generations {
            let known = self.generations.entry(store).or_insert(generation);
            *known = generation.max(*known);
        }
    }

    /// What to tell of a superblock that is older than the metadata.
    pub(crate) fn judge(&self, file: &str, superblock: &Identity) -> Option<Finding> {
        let generation = self.generations.get(&superblock.store).copied().unwrap_or(0);
        let what = if superblock.generation < generation {
            format!("it holds generation {}, and the metadata knows {generation}", superblock.generation)
        } else if superblock.incarnation < self.incarnation {
            format!(
                "it counts {} starts, and the metadata knows {}",
                superblock.incarnation, self.incarnation
            )
        } else {
            return None;
        };
        let text = format!("{what}: the superblock is of an earlier time, and the node does not start on it");
        Some(Finding::new(Severity::Corrupt, Subject::Superblock, file, text).verdict("rolled back"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn superblock(incarnation: u64, generation: u64) -> Identity {
        let (cluster, store) = (String::new(), "05".repeat(16));
        Identity { cluster, store, node: 1, incarnation, generation, created: 0, cluster_id: [0; 16] }
    }

    #[test]
    fn a_superblock_is_old_by_its_own_generation_only_and_nonsense_says_nothing() {
        let mut known = Remembered::default();
        for (store, generation) in [("05", 4), ("05", 6), ("06", 9)] {
            let store = store.repeat(16);
            known.note(
                format!(r#"{{"raise_generation":{{"node":1,"store":"{store}","generation":{generation}}}}}"#)
                    .as_bytes(),
            );
        }
        for nonsense in [&b"[]"[..], b"{", b"\xff", br#"{"start_node":3}"#, br#"{"bump_incarnation":{}}"#] {
            known.note(nonsense);
        }
        assert_eq!(known.judge("superblock", &superblock(1, 6)), None);
        let old = known.judge("superblock", &superblock(1, 5)).expect("older");
        assert!(old.text.contains("generation 5") && old.text.contains("knows 6"), "{old}");
        known.note(br#"{"bump_incarnation":{"incarnation":3}}"#);
        assert!(known.judge("superblock", &superblock(2, 6)).is_some());
        assert_eq!(known.judge("superblock", &superblock(3, 6)), None);
        known.note_file(4);
        known.note_file(2);
        assert!(known.judge("superblock", &superblock(3, 6)).is_some());
        assert_eq!(known.judge("superblock", &superblock(4, 6)), None);
    }
}
