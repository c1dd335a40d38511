//! Directories of the simulated disk: the names that are seen now, and the ones a loss of power would leave.

use crate::random::Entropy;
use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

/// Number of a file's content.
pub(super) type Inode = u64;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Node {
    Dir,
    File(Inode),
}

#[derive(Debug, Clone)]
enum Change {
    Add(PathBuf, Node),
    Remove(PathBuf, Node),
    Rename(PathBuf, PathBuf, Node),
}

/// A change that is not durable yet.
#[derive(Debug, Clone)]
struct Pending {
    change: Change,
    step: u64,
    /// Directories that must still be synced before it is.
    unsynced: Vec<PathBuf>,
}

#[derive(Debug, Clone, Default)]
pub(super) struct Names {
    now: BTreeMap<PathBuf, Node>,
    durable: BTreeMap<PathBuf, Node>,
    pending: Vec<Pending>,
}

/// The path without `.` parts, so that each name has one spelling.
pub(super) fn clean(path: &Path) -> PathBuf {
    path.components().filter(|part| *part != Component::CurDir).collect()
}

fn parent(path: &Path) -> PathBuf {
    path.parent().map(Path::to_owned).unwrap_or_default()
}

/// `/` and the current directory exist always.
fn is_root(path: &Path) -> bool {
    path.as_os_str().is_empty() || path == Path::new("/")
}

impl Names {
    pub(super) fn get(&self, path: &Path) -> Option<Node> {
        if is_root(path) { Some(Node::Dir) } else { self.now.get(path).copied() }
    }

    pub(super) fn is_dir(&self, path: &Path) -> bool {
        self.get(path) == Some(Node::Dir)
    }

    pub(super) fn has_parent(&self, path: &Path) -> bool {
        self.is_dir(&parent(path))
    }

    /// Names directly in `dir`, in byte order.
    pub(super) fn children(&self, dir: &Path) -> Vec<(PathBuf, Node)> {
        let inside = self.now.iter().filter(|(path, _)| parent(path) == dir);
        inside.map(|(path, node)| (path.clone(), *node)).collect()
    }

    /// All paths of files, in order.
    pub(super) fn files(&self) -> impl Iterator<Item = (&PathBuf, Inode)> {
        self.now.iter().filter_map(|(path, node)| match node {
            Node::File(inode) => Some((path, *inode)),
            Node::Dir => None,
        })
    }

    pub(super) fn add(&mut self, path: PathBuf, node: Node, step: u64) {
        self.change(Change::Add(path, node), step);
    }

    /// Adds a name that is durable at once, with its missing parents; for planting things.
    pub(super) fn plant(&mut self, path: &Path, inode: Inode) {
        let mut node = Node::File(inode);
        for at in path.ancestors().take_while(|at| !is_root(at)) {
            self.now.insert(at.to_owned(), node);
            self.durable.insert(at.to_owned(), node);
            self.pending.retain(|pending| !pending.change.touches(at));
            node = Node::Dir;
        }
    }

    pub(super) fn remove(&mut self, path: &Path, step: u64) {
        if let Some(node) = self.get(path) {
            self.change(Change::Remove(path.to_owned(), node), step);
        }
    }

    pub(super) fn rename(&mut self, from: &Path, to: &Path, step: u64) {
        if let Some(node) = self.get(from) {
            self.change(Change::Rename(from.to_owned(), to.to_owned(), node), step);
        }
    }

    /// Makes the changes in `dir` up to step `until` durable. A rename between directories needs both synced.
    pub(super) fn sync(&mut self, dir: &Path, until: u64) {
        for pending in self.pending.iter_mut().filter(|pending| pending.step <= until) {
            pending.unsynced.retain(|waiting| waiting != dir);
        }
        let mut settled = vec![false; self.pending.len()];
        for at in (0..self.pending.len()).rev() {
            // What a durable change builds upon must be durable too.
            let later = self.pending[at + 1..].iter().zip(&settled[at + 1..]);
            let needed =
                later.filter(|(_, settled)| **settled).any(|(later, _)| later.shares_name(&self.pending[at]));
            settled[at] = needed || self.pending[at].unsynced.is_empty();
        }
        let mut settled = settled.into_iter();
        let (done, open) =
            std::mem::take(&mut self.pending).into_iter().partition(|_| settled.next() == Some(true));
        self.pending = open;
        let done: Vec<Pending> = done;
        done.iter().for_each(|pending| pending.change.apply(&mut self.durable));
    }

    /// The power fails: each change that was not durable did or did not happen.
    pub(super) fn lose_power(&mut self, chance: &Entropy) {
        for pending in std::mem::take(&mut self.pending) {
            if chance.one_in(2) {
                pending.change.apply(&mut self.durable);
            }
        }
        let all = std::mem::take(&mut self.durable);
        // In order of paths a directory comes before what it holds.
        for (path, node) in all {
            let above = parent(&path);
            if is_root(&above) || self.durable.get(&above) == Some(&Node::Dir) {
                self.durable.insert(path, node);
            }
        }
        self.now = self.durable.clone();
    }

    /// Whether any name, now or after a loss of power, may lead to this content.
    pub(super) fn may_reach(&self, inode: Inode) -> bool {
        let file = Node::File(inode);
        let named = |names: &BTreeMap<PathBuf, Node>| names.values().any(|node| *node == file);
        named(&self.now)
            || named(&self.durable)
            || self.pending.iter().any(|pending| pending.change.node() == file)
    }

    fn change(&mut self, change: Change, step: u64) {
        change.apply(&mut self.now);
        let mut unsynced: Vec<PathBuf> = change.paths().map(parent).collect();
        unsynced.dedup();
        self.pending.push(Pending { change, step, unsynced });
    }
}

impl Pending {
    fn shares_name(&self, other: &Pending) -> bool {
        other.change.paths().any(|path| self.change.touches(path))
    }
}

impl Change {
    fn paths(&self) -> impl Iterator<Item = &Path> {
        let (first, second) = match self {
            Change::Add(path, _) | Change::Remove(path, _) => (path, None),
            Change::Rename(from, to, _) => (from, Some(to)),
        };
        std::iter::once(first.as_path()).chain(second.map(PathBuf::as_path))
    }

    fn touches(&self, path: &Path) -> bool {
        self.paths().any(|own| own == path)
    }

    fn node(&self) -> Node {
        match self {
            Change::Add(_, node) | Change::Remove(_, node) | Change::Rename(_, _, node) => *node,
        }
    }

    /// Does nothing where the names do not fit, which happens when an earlier change was lost with the power.
    fn apply(&self, names: &mut BTreeMap<PathBuf, Node>) {
        match self {
            Change::Add(path, node) => {
                names.entry(path.clone()).or_insert(*node);
            }
            Change::Remove(path, node) => {
                if names.get(path) == Some(node) {
                    names.remove(path);
                }
            }
            Change::Rename(from, to, node) => {
                if names.get(from) == Some(node) && !names.contains_key(to) {
                    names.remove(from);
                    names.insert(to.clone(), *node);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    /// The sets of names that losses of power with 64 seeds leave.
    fn outcomes(names: &Names) -> BTreeSet<Vec<String>> {
        let left = |seed| {
            let mut names = names.clone();
            names.lose_power(&Entropy::seeded(seed));
            names.files().map(|(path, _)| path.display().to_string()).collect::<Vec<_>>()
        };
        (0..64).map(left).collect()
    }

    fn set(outcomes: &[&[&str]]) -> BTreeSet<Vec<String>> {
        outcomes.iter().map(|names| names.iter().map(ToString::to_string).collect()).collect()
    }

    #[test]
    fn a_name_is_certain_only_after_its_directory_was_synced() {
        let mut names = Names::default();
        names.add("a".into(), Node::File(1), 1);
        assert_eq!(outcomes(&names), set(&[&[], &["a"]]));
        names.sync(Path::new(""), 0);
        assert_eq!(outcomes(&names), set(&[&[], &["a"]]), "a sync covers what happened before it started");
        names.sync(Path::new(""), 1);
        assert_eq!(outcomes(&names), set(&[&["a"]]));
        names.remove(Path::new("a"), 2);
        assert_eq!(outcomes(&names), set(&[&[], &["a"]]));
    }

    #[test]
    fn a_rename_happened_or_not_and_never_half() {
        let mut names = Names::default();
        names.plant(Path::new("a"), 1);
        names.rename(Path::new("a"), Path::new("b"), 1);
        assert_eq!(outcomes(&names), set(&[&["a"], &["b"]]));
        names.sync(Path::new(""), 1);
        assert_eq!(outcomes(&names), set(&[&["b"]]));
    }

    #[test]
    fn a_rename_between_directories_needs_both_synced() {
        let mut names = Names::default();
        names.plant(Path::new("d/a"), 1);
        names.plant(Path::new("e/x"), 2);
        names.rename(Path::new("d/a"), Path::new("e/a"), 1);
        names.sync(Path::new("e"), 1);
        assert_eq!(outcomes(&names), set(&[&["d/a", "e/x"], &["e/a", "e/x"]]));
        names.sync(Path::new("d"), 1);
        assert_eq!(outcomes(&names), set(&[&["e/a", "e/x"]]));
    }

    #[test]
    fn what_a_durable_change_builds_upon_is_durable_too() {
        let mut names = Names::default();
        names.plant(Path::new("d/a"), 1);
        names.plant(Path::new("e/x"), 2);
        names.rename(Path::new("d/a"), Path::new("e/a"), 1);
        names.remove(Path::new("e/a"), 2);
        names.sync(Path::new("e"), 2);
        assert_eq!(outcomes(&names), set(&[&["e/x"]]));
    }

    #[test]
    fn a_file_goes_with_its_lost_directory() {
        let mut names = Names::default();
        names.add("d".into(), Node::Dir, 1);
        names.add("d/a".into(), Node::File(1), 2);
        names.sync(Path::new("d"), 2);
        assert_eq!(outcomes(&names), set(&[&[], &["d/a"]]));
    }
}
