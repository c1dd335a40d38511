//! Directories: the names that are seen now, and the ones a loss of power would leave.
//!
//! A change of names is durable once every directory it touches was synced; syncing the file itself does not help. At a
//! loss of power each change that is not durable happened or did not, and one that happened takes those with it that it
//! builds upon. A rename is one change, as in a journaling file system.

use std::collections::{BTreeMap, BTreeSet};

use crate::chance::Chance;

pub(crate) type Inode = u64;
/// The root directory.
pub(crate) const ROOT: Inode = 1;

/// Directory and name in it.
type Name = (Inode, String);

/// What a name stands for after an edit; `None` when it is gone.
type Edit = (Name, Option<Inode>);

#[derive(Debug)]
struct Change {
    edits: Vec<Edit>,
    /// Directories that must still be synced.
    unsynced: BTreeSet<Inode>,
}

#[derive(Debug, Default)]
pub(crate) struct Names {
    now: BTreeMap<Name, Inode>,
    durable: BTreeMap<Name, Inode>,
    pending: Vec<Change>,
}

impl Names {
    pub(crate) fn get(&self, dir: Inode, name: &str) -> Option<Inode> {
        self.now.get(&(dir, name.to_owned())).copied()
    }

    /// Names in a directory, in byte order.
    pub(crate) fn list(&self, dir: Inode) -> Vec<(String, Inode)> {
        let inside = self.now.range((dir, String::new())..(dir + 1, String::new()));
        inside.map(|((_, name), inode)| (name.clone(), *inode)).collect()
    }

    pub(crate) fn add(&mut self, dir: Inode, name: &str, inode: Inode) {
        self.change(vec![((dir, name.to_owned()), Some(inode))]);
    }

    pub(crate) fn remove(&mut self, dir: Inode, name: &str) {
        self.change(vec![((dir, name.to_owned()), None)]);
    }

    /// Takes the place of what has the new name, if anything has.
    pub(crate) fn rename(&mut self, from: (Inode, &str), to: (Inode, &str)) {
        let moved = self.get(from.0, from.1);
        self.change(vec![((from.0, from.1.to_owned()), None), ((to.0, to.1.to_owned()), moved)]);
    }

    fn change(&mut self, edits: Vec<Edit>) {
        apply(&mut self.now, &edits);
        let unsynced = edits.iter().map(|((dir, _), _)| *dir).collect();
        self.pending.push(Change { edits, unsynced });
    }

    /// Makes the names in a directory durable.
    pub(crate) fn sync(&mut self, dir: Inode) {
        for change in &mut self.pending {
            change.unsynced.remove(&dir);
        }
        let done: Vec<bool> = self.pending.iter().map(|change| change.unsynced.is_empty()).collect();
        self.settle(done, |_| false);
    }

    /// The power is lost.
    pub(crate) fn lose_power(&mut self, chance: &mut Chance) {
        let all = chance.below(6);
        let kept = self.pending.iter().map(|_| match all {
            0 => false,
            1 => true,
            _ => chance.one_in(2),
        });
        let kept = kept.collect();
        self.settle(kept, |_| true);
        self.now = self.durable.clone();
    }

    /// Makes the chosen changes durable, with those that they build upon; drops of the others those that are to go.
    fn settle(&mut self, mut chosen: Vec<bool>, drop: impl Fn(&Change) -> bool) {
        for at in (0..self.pending.len()).rev() {
            let later = self.pending[at + 1..].iter().zip(&chosen[at + 1..]);
            let needed =
                later.filter(|(_, chosen)| **chosen).any(|(later, _)| later.needs(&self.pending[at]));
            chosen[at] |= needed;
        }
        let mut chosen = chosen.into_iter();
        let durable = &mut self.durable;
        self.pending.retain(|change| {
            let settled = chosen.next() == Some(true);
            if settled {
                apply(durable, &change.edits);
            }
            !settled && !drop(change)
        });
    }

    /// Every inode that has a name, or may have one after a loss of power.
    pub(crate) fn alive(&self) -> BTreeSet<Inode> {
        let pending = self.pending.iter().flat_map(|change| change.edits.iter().filter_map(|edit| edit.1));
        self.now.values().chain(self.durable.values()).copied().chain(pending).chain([ROOT]).collect()
    }
}

impl Change {
    /// Whether this one cannot have happened without an earlier one.
    fn needs(&self, earlier: &Change) -> bool {
        let same = |edit: &Edit| earlier.edits.iter().any(|(name, _)| *name == edit.0);
        let inside = |edit: &Edit| earlier.edits.iter().any(|(_, made)| *made == Some(edit.0.0));
        self.edits.iter().any(|edit| same(edit) || inside(edit))
    }
}

fn apply(names: &mut BTreeMap<Name, Inode>, edits: &[Edit]) {
    for (name, inode) in edits {
        match inode {
            Some(inode) => names.insert(name.clone(), *inode),
            None => names.remove(name),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Names of the root after a loss of power, over many seeds.
    fn outcomes(make: impl Fn(&mut Names)) -> BTreeSet<Vec<String>> {
        let after = |seed| {
            let mut names = Names::default();
            make(&mut names);
            names.lose_power(&mut Chance::new(seed));
            names.now.into_iter().map(|((dir, name), inode)| format!("{dir}/{name}={inode}")).collect()
        };
        (0..100).map(after).collect()
    }

    fn seen(all: &[&[&str]]) -> BTreeSet<Vec<String>> {
        all.iter().map(|names| names.iter().map(|name| (*name).to_owned()).collect()).collect()
    }

    #[test]
    fn a_name_is_there_for_sure_once_its_directory_was_synced() {
        let unsynced = outcomes(|names| names.add(1, "a", 2));
        assert_eq!(unsynced, seen(&[&[], &["1/a=2"]]));
        let synced = outcomes(|names| {
            names.add(1, "a", 2);
            names.sync(1);
        });
        assert_eq!(synced, seen(&[&["1/a=2"]]));
    }

    #[test]
    fn a_rename_between_directories_needs_both_synced_and_never_halves() {
        let left = outcomes(|names| {
            names.add(1, "a", 2);
            names.add(1, "d", 3);
            names.sync(1);
            names.rename((1, "a"), (3, "b"));
            names.sync(3);
        });
        assert_eq!(left, seen(&[&["1/a=2", "1/d=3"], &["1/d=3", "3/b=2"]]));
    }

    #[test]
    fn what_survives_takes_with_it_what_it_builds_upon() {
        let left = outcomes(|names| {
            names.add(1, "d", 3);
            names.add(3, "a", 4);
        });
        assert_eq!(left, seen(&[&[], &["1/d=3"], &["1/d=3", "3/a=4"]]));
    }
}
