//! The simulated machine's disk: names, contents, what is in flight, and what is planned to fail.

use super::faults::{Counters, Faults, Kind, Trace, cause_of};
use super::medium::{Medium, SECTOR};
use super::names::{Inode, Names, Node, clean};
use crate::random::Entropy;
use crate::{Access, Buf, DirEntry, Fault, IoError, Outcome};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

pub(super) struct State {
    pub(super) chance: Entropy,
    pub(super) names: Names,
    pub(super) faults: Faults,
    pub(super) counters: Counters,
    pub(super) trace: Trace,
    /// Bytes of space on the disk.
    pub(super) limit: u64,
    contents: BTreeMap<Inode, Medium>,
    handles: BTreeMap<Inode, usize>,
    flights: BTreeMap<u64, Flight>,
    next_inode: Inode,
    /// Counts everything that happens; orders changes against syncs.
    step: u64,
    dead: bool,
}

/// A write that was submitted and has not completed.
struct Flight {
    inode: Inode,
    path: PathBuf,
    buf: Buf,
    len: usize,
    pos: u64,
    access: Access,
    fault: Option<Fault>,
}

/// Space of a disk nobody limited.
const ROOMY: u64 = 1 << 40;

impl State {
    pub(super) fn new(seed: u64) -> State {
        State {
            chance: Entropy::seeded(seed),
            names: Names::default(),
            faults: Faults::default(),
            counters: Counters::default(),
            trace: Trace::default(),
            limit: ROOMY,
            contents: BTreeMap::new(),
            handles: BTreeMap::new(),
            flights: BTreeMap::new(),
            next_inode: 1,
            step: 0,
            dead: false,
        }
    }

    /// Counts an operation, writes it down and answers with the fault it is to have.
    pub(super) fn begin(
        &mut self,
        kind: Kind,
        operation: &'static str,
        path: &Path,
        range: (u64, u64),
    ) -> Result<Option<Fault>, IoError> {
        self.alive(operation, path)?;
        self.step += 1;
        self.counters.count(kind, range.1);
        let fault = self.faults.next(kind);
        let (step, shown) = (self.step, path.display());
        let failing = fault.map_or_else(String::new, |fault| format!(" -> {fault:?}"));
        self.trace.note(format_args!("{step} {operation} {shown} {}+{}{failing}", range.0, range.1));
        Ok(fault)
    }

    /// As `begin`, with the fault already made into an error.
    pub(super) fn begin_plain(
        &mut self,
        kind: Kind,
        operation: &'static str,
        path: &Path,
    ) -> Result<(), IoError> {
        match self.begin(kind, operation, path, (0, 0))? {
            Some(fault) => Err(IoError::new(operation, path, cause_of(fault))),
            None => Ok(()),
        }
    }

    /// An error after the machine has crashed.
    pub(super) fn alive(&self, operation: &'static str, path: &Path) -> Result<(), IoError> {
        if self.dead {
            return Err(IoError::new(operation, path, io::Error::other("the simulated machine has crashed")));
        }
        Ok(())
    }

    pub(super) fn step(&self) -> u64 {
        self.step
    }

    pub(super) fn open(&mut self, path: &Path) -> io::Result<Inode> {
        match self.names.get(path) {
            Some(Node::File(inode)) => {
                *self.handles.entry(inode).or_default() += 1;
                Ok(inode)
            }
            Some(Node::Dir) => Err(errno(libc::EISDIR)),
            None => Err(errno(libc::ENOENT)),
        }
    }

    pub(super) fn create(&mut self, path: &Path) -> io::Result<Inode> {
        if self.names.get(path).is_some() {
            return Err(errno(libc::EEXIST));
        }
        if !self.names.has_parent(path) {
            return Err(errno(libc::ENOENT));
        }
        let inode = self.new_inode();
        self.names.add(path.to_owned(), Node::File(inode), self.step);
        self.open(path)
    }

    pub(super) fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        match self.names.get(from) {
            None => return Err(errno(libc::ENOENT)),
            Some(Node::Dir) => {
                return Err(io::Error::new(io::ErrorKind::InvalidInput, "sim renames files only"));
            }
            Some(Node::File(_)) => {}
        }
        if self.names.get(to).is_some() {
            return Err(errno(libc::EEXIST));
        }
        if !self.names.has_parent(to) {
            return Err(errno(libc::ENOENT));
        }
        self.names.rename(from, to, self.step);
        Ok(())
    }

    pub(super) fn remove(&mut self, path: &Path) -> io::Result<()> {
        match self.names.get(path) {
            None => return Err(errno(libc::ENOENT)),
            Some(Node::Dir) => return Err(errno(libc::EISDIR)),
            Some(Node::File(_)) => self.names.remove(path, self.step),
        }
        Ok(())
    }

    pub(super) fn sync_dir(&mut self, path: &Path, until: u64) -> io::Result<()> {
        match self.names.get(path) {
            None => return Err(errno(libc::ENOENT)),
            Some(Node::File(_)) => return Err(errno(libc::ENOTDIR)),
            Some(Node::Dir) => self.names.sync(path, until),
        }
        self.forget_unreachable();
        Ok(())
    }

    /// Makes the missing directories and syncs their parents.
    pub(super) fn create_dir_all(&mut self, path: &Path) -> io::Result<()> {
        let above: Vec<PathBuf> = path.ancestors().map(Path::to_owned).collect();
        for dir in above.iter().rev() {
            match self.names.get(dir) {
                Some(Node::Dir) => continue,
                Some(Node::File(_)) => return Err(errno(libc::ENOTDIR)),
                None => self.names.add(dir.clone(), Node::Dir, self.step),
            }
            self.names.sync(dir.parent().unwrap_or(Path::new("")), self.step);
        }
        Ok(())
    }

    pub(super) fn list(&mut self, dir: &Path) -> io::Result<Vec<DirEntry>> {
        match self.names.get(dir) {
            None => return Err(errno(libc::ENOENT)),
            Some(Node::File(_)) => return Err(errno(libc::ENOTDIR)),
            Some(Node::Dir) => {}
        }
        let entry = |(path, node): (PathBuf, Node)| DirEntry {
            name: path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default(),
            len: if let Node::File(inode) = node { self.len_of(inode) } else { 0 },
            is_dir: node == Node::Dir,
        };
        Ok(self.names.children(dir).into_iter().map(entry).collect())
    }

    pub(super) fn close(&mut self, inode: Inode) {
        if let Some(count) = self.handles.get_mut(&inode) {
            *count -= 1;
            if *count == 0 {
                self.handles.remove(&inode);
                self.forget_unreachable();
            }
        }
    }

    pub(super) fn content(&mut self, inode: Inode) -> &mut Medium {
        self.contents.entry(inode).or_default()
    }

    pub(super) fn len_of(&self, inode: Inode) -> u64 {
        self.contents.get(&inode).map_or(0, Medium::len)
    }

    /// Content by path, for tests to look at and to damage.
    pub(super) fn content_at(&mut self, path: &Path) -> io::Result<&mut Medium> {
        match self.names.get(path) {
            Some(Node::File(inode)) => Ok(self.content(inode)),
            Some(Node::Dir) => Err(errno(libc::EISDIR)),
            None => Err(errno(libc::ENOENT)),
        }
    }

    /// A durable file out of nothing, replacing what was there.
    pub(super) fn plant(&mut self, path: &Path, bytes: &[u8]) {
        let inode = match self.names.get(path) {
            Some(Node::File(inode)) => inode,
            _ => self.new_inode(),
        };
        self.names.plant(path, inode);
        let mut medium = Medium::default();
        let mut padded = bytes.to_vec();
        padded.resize(bytes.len().next_multiple_of(SECTOR), 0);
        medium.write_durable(&padded, 0);
        medium.set_len(bytes.len() as u64, 0);
        medium.sync(u64::MAX, bytes.len() as u64);
        self.contents.insert(inode, medium);
    }

    /// Bytes of space that are not taken by files which have a name or are open.
    pub(super) fn free(&self) -> u64 {
        let named: BTreeSet<Inode> = self.names.files().map(|(_, inode)| inode).collect();
        let counts = |inode: &Inode| self.handles.contains_key(inode) || named.contains(inode);
        let taken = self.contents.iter().filter(|(inode, _)| counts(inode));
        self.limit.saturating_sub(taken.map(|(_, medium)| medium.allocated()).sum())
    }

    /// Submits a write; its buffer stays here until it lands.
    pub(super) fn take_off(
        &mut self,
        inode: Inode,
        path: &Path,
        access: Access,
        buf: Buf,
        len: usize,
        pos: u64,
    ) -> Result<u64, (IoError, Buf)> {
        let fault = match self.begin(Kind::Write, "write", path, (pos, len as u64)) {
            Ok(fault) => fault,
            Err(error) => return Err((error, buf)),
        };
        let path = path.to_owned();
        self.flights.insert(self.step, Flight { inode, path, buf, len, pos, access, fault });
        Ok(self.step)
    }

    /// Completes a write.
    pub(super) fn land(&mut self, number: u64) -> Outcome<()> {
        let Some(flight) = self.flights.remove(&number) else {
            let lost = io::Error::other("no such write is in flight");
            return (Err(IoError::new("write", Path::new(""), lost)), Buf::heap(0));
        };
        let result = self.alive("write", &flight.path).and_then(|()| self.settle(&flight));
        self.step += 1;
        let (step, ok) = (self.step, result.is_ok());
        self.trace.note(format_args!("{step} write {number} done {ok}"));
        (result, flight.buf)
    }

    fn settle(&mut self, flight: &Flight) -> Result<(), IoError> {
        let (bytes, pos, step) = (&flight.buf[..flight.len], flight.pos, self.step);
        let total = flight.len as u64;
        let fail = |cause| Err(IoError::new("write", &flight.path, cause).at(pos, total));
        if flight.access == Access::Read {
            return fail(errno(libc::EBADF));
        }
        match flight.fault {
            Some(Fault::ShortWrite) => {
                let part = self.chance.below(total / SECTOR as u64) * SECTOR as u64;
                self.content(flight.inode).write_volatile(&bytes[..part as usize], pos, step);
                return Err(IoError::short_write(&flight.path, pos, total, part));
            }
            Some(fault) => {
                if fault == Fault::Io {
                    self.scatter(flight);
                }
                return fail(cause_of(fault));
            }
            None => {}
        }
        let more =
            self.contents.get(&flight.inode).map_or(total, |medium| medium.would_allocate(pos, flight.len));
        // Adding up what is taken is slow, so it is left out where nothing is limited.
        if more > 0 && self.limit < ROOMY && more > self.free() {
            return fail(errno(libc::ENOSPC));
        }
        match flight.access {
            Access::Durable => self.content(flight.inode).write_durable(bytes, pos),
            _ => self.content(flight.inode).write_volatile(bytes, pos, step),
        }
        Ok(())
    }

    /// A failed or interrupted write: any of its sectors may have arrived, none for certain.
    fn scatter(&mut self, flight: &Flight) {
        for (at, sector) in flight.buf[..flight.len].chunks(SECTOR).enumerate() {
            if self.chance.one_in(2) {
                let pos = flight.pos + (at * SECTOR) as u64;
                let step = self.step;
                self.content(flight.inode).write_volatile(sector, pos, step);
            }
        }
    }

    /// Kills this machine and returns the disk that the next one finds.
    pub(super) fn crash(&mut self, seed: u64) -> State {
        let mut next = State::new(seed);
        let chance = Entropy::seeded(seed ^ 0xC4A5_4ED0);
        next.names = self.names.clone();
        next.names.lose_power(&chance);
        next.contents = self.contents.clone();
        for flight in self.flights.values().filter(|flight| flight.access != Access::Read) {
            let medium = next.contents.entry(flight.inode).or_default();
            medium.write_volatile(&flight.buf[..flight.len], flight.pos, self.step);
        }
        next.contents.values_mut().for_each(|medium| medium.lose_power(&chance));
        (next.limit, next.next_inode) = (self.limit, self.next_inode);
        next.forget_unreachable();
        self.dead = true;
        next
    }

    pub(super) fn dirty_sectors(&self) -> usize {
        self.contents.values().map(Medium::dirty_sectors).sum()
    }

    pub(super) fn flights(&self) -> usize {
        self.flights.len()
    }

    fn new_inode(&mut self) -> Inode {
        self.next_inode += 1;
        self.next_inode - 1
    }

    fn forget_unreachable(&mut self) {
        let (names, handles, flights) = (&self.names, &self.handles, &self.flights);
        self.contents.retain(|inode, _| {
            let flying = flights.values().any(|flight| flight.inode == *inode);
            flying || handles.contains_key(inode) || names.may_reach(*inode)
        });
    }
}

/// The path in the one spelling the names know.
pub(super) fn key(path: &Path) -> PathBuf {
    clean(path)
}

fn errno(number: i32) -> io::Error {
    io::Error::from_raw_os_error(number)
}
