//! The disk: names, contents, planned faults, and whether it has power.

use std::collections::HashMap;

use fuser::Errno;

use crate::chance::Chance;
use crate::fault::{Fault, Kind, Plan, due};
use crate::medium::{Medium, Tearing};
use crate::names::{Inode, Names, ROOT};

/// What an inode is.
#[derive(Debug)]
pub(crate) enum Node {
    Dir,
    File(Medium),
}

/// What happened so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Writes of bytes.
    pub writes: u64,
    /// Syncs of files and directories.
    pub syncs: u64,
    /// Reads of bytes.
    pub reads: u64,
    /// Operations that were made to fail.
    pub failed: u64,
}

#[derive(Debug)]
pub(crate) struct State {
    pub(crate) names: Names,
    pub(crate) nodes: HashMap<Inode, Node>,
    /// What each file was called last, for plans by name.
    called: HashMap<Inode, String>,
    /// Handles of each file that are open.
    open: HashMap<Inode, u64>,
    next: Inode,
    pub(crate) plans: Vec<Plan>,
    pub(crate) counters: Counters,
    /// Bytes the disk has room for.
    pub(crate) room: u64,
    /// Syncs say that they are done, and keep nothing.
    pub(crate) lies: bool,
    pub(crate) powered: bool,
}

impl State {
    pub(crate) fn new() -> State {
        State {
            names: Names::default(),
            nodes: HashMap::from([(ROOT, Node::Dir)]),
            called: HashMap::new(),
            open: HashMap::new(),
            next: ROOT + 1,
            plans: Vec::new(),
            counters: Counters::default(),
            room: 64 << 30,
            lies: false,
            powered: true,
        }
    }

    /// Counts an operation on a file, and gives the fault it is to have.
    fn begin(&mut self, kind: Kind, inode: Inode) -> Result<Option<Fault>, Errno> {
        let name = self.called.get(&inode).cloned().unwrap_or_default();
        self.begin_named(kind, &name)
    }

    fn begin_named(&mut self, kind: Kind, name: &str) -> Result<Option<Fault>, Errno> {
        if !self.powered {
            return Err(Errno::EIO);
        }
        match kind {
            Kind::Read => self.counters.reads += 1,
            Kind::Write => self.counters.writes += 1,
            Kind::Sync => self.counters.syncs += 1,
            Kind::Name => {}
        }
        let fault = due(&mut self.plans, kind, name);
        self.counters.failed += u64::from(fault.is_some());
        Ok(fault)
    }

    pub(crate) fn lookup(&self, dir: Inode, name: &str) -> Result<Inode, Errno> {
        if !self.powered {
            return Err(Errno::EIO);
        }
        self.names.get(dir, name).ok_or(Errno::ENOENT)
    }

    pub(crate) fn file(&mut self, inode: Inode) -> Result<&mut Medium, Errno> {
        match self.nodes.get_mut(&inode) {
            Some(Node::File(medium)) => Ok(medium),
            Some(Node::Dir) => Err(Errno::EISDIR),
            None => Err(Errno::ENOENT),
        }
    }

    pub(crate) fn read(&mut self, inode: Inode, pos: u64, len: usize) -> Result<Vec<u8>, Errno> {
        if let Some(fault) = self.begin(Kind::Read, inode)? {
            return Err(error_of(fault));
        }
        Ok(self.file(inode)?.read(pos, len))
    }

    /// Gives the number of bytes that were written.
    pub(crate) fn write(&mut self, inode: Inode, pos: u64, bytes: &[u8]) -> Result<usize, Errno> {
        let fault = self.begin(Kind::Write, inode)?;
        let len = match fault {
            Some(Fault::Short) => {
                // The kernel tries the rest once more: that must fail, or nobody would see it.
                self.plans.push(Plan::next(Kind::Write, Fault::Io, ""));
                bytes.len() / 2 / 4096 * 4096
            }
            Some(fault) => return Err(error_of(fault)),
            None => bytes.len(),
        };
        let taken = self.file(inode)?.would_allocate(pos, len);
        if taken > self.free() {
            self.counters.failed += 1;
            return Err(Errno::ENOSPC);
        }
        self.file(inode)?.write(&bytes[..len], pos);
        Ok(len)
    }

    pub(crate) fn set_len(&mut self, inode: Inode, len: u64) -> Result<(), Errno> {
        if let Some(fault) = self.begin(Kind::Write, inode)? {
            return Err(error_of(fault));
        }
        self.file(inode)?.set_len(len);
        Ok(())
    }

    pub(crate) fn sync(&mut self, inode: Inode) -> Result<(), Errno> {
        if let Some(fault) = self.begin(Kind::Sync, inode)? {
            return Err(error_of(fault));
        }
        if self.lies {
            return Ok(());
        }
        match self.nodes.get_mut(&inode) {
            Some(Node::File(medium)) => medium.sync(),
            Some(Node::Dir) => {
                self.names.sync(inode);
                self.forget_dead();
            }
            None => return Err(Errno::ENOENT),
        }
        Ok(())
    }

    pub(crate) fn make(&mut self, dir: Inode, name: &str, node: Node) -> Result<Inode, Errno> {
        self.begin_name(name)?;
        if self.names.get(dir, name).is_some() {
            return Err(Errno::EEXIST);
        }
        let inode = self.next;
        self.next += 1;
        self.nodes.insert(inode, node);
        self.called.insert(inode, name.to_owned());
        self.names.add(dir, name, inode);
        Ok(inode)
    }

    fn begin_name(&mut self, name: &str) -> Result<(), Errno> {
        match self.begin_named(Kind::Name, name)? {
            Some(fault) => Err(error_of(fault)),
            None => Ok(()),
        }
    }

    pub(crate) fn remove(&mut self, dir: Inode, name: &str) -> Result<(), Errno> {
        self.begin_name(name)?;
        let inode = self.names.get(dir, name).ok_or(Errno::ENOENT)?;
        if !self.names.list(inode).is_empty() {
            return Err(Errno::ENOTEMPTY);
        }
        self.names.remove(dir, name);
        Ok(())
    }

    pub(crate) fn rename(
        &mut self,
        from: (Inode, &str),
        to: (Inode, &str),
        replace: bool,
    ) -> Result<(), Errno> {
        self.begin_name(to.1)?;
        let inode = self.names.get(from.0, from.1).ok_or(Errno::ENOENT)?;
        if !replace && self.names.get(to.0, to.1).is_some() {
            return Err(Errno::EEXIST);
        }
        self.names.rename(from, to);
        self.called.insert(inode, to.1.to_owned());
        Ok(())
    }

    pub(crate) fn opened(&mut self, inode: Inode) {
        *self.open.entry(inode).or_default() += 1;
    }

    pub(crate) fn released(&mut self, inode: Inode) {
        if let Some(count) = self.open.get_mut(&inode) {
            *count = count.saturating_sub(1);
        }
    }

    /// Bytes that are still free.
    pub(crate) fn free(&self) -> u64 {
        let taken = self.nodes.values().map(|node| match node {
            Node::File(medium) => medium.allocated(),
            Node::Dir => 0,
        });
        self.room.saturating_sub(taken.sum())
    }

    /// Frees what has no name any more, whatever happens, and is not open.
    fn forget_dead(&mut self) {
        let alive = self.names.alive();
        let open = &self.open;
        self.nodes.retain(|inode, _| alive.contains(inode) || open.get(inode).is_some_and(|n| *n > 0));
    }

    /// What a disk that lost its power has when it comes back.
    pub(crate) fn lose_power(&mut self, seed: u64, tearing: Tearing) {
        let mut chance = Chance::new(seed);
        self.names.lose_power(&mut chance);
        self.open.clear();
        self.forget_dead();
        let mut files: Vec<_> = self.nodes.iter_mut().collect();
        // In order, so that the seed decides alone.
        files.sort_by_key(|(inode, _)| **inode);
        for (_, node) in files {
            if let Node::File(medium) = node {
                medium.lose_power(&mut chance, tearing);
            }
        }
        self.plans.clear();
        self.powered = true;
    }
}

fn error_of(fault: Fault) -> Errno {
    match fault {
        Fault::Io | Fault::Short => Errno::EIO,
        Fault::Full => Errno::ENOSPC,
        Fault::ReadOnly => Errno::EROFS,
    }
}
