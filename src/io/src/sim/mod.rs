//! A disk in memory that behaves as badly as a real one may.
//!
//! # Purpose
//! Tests of everything above run on it: the same seed gives the same interleavings, the same damage and the same
//! trace. [`Sim::crash`] cuts the power and gives the disk the next start finds.
//!
//! # Durability
//! Sectors are 512 bytes. A write to a [`Access::Durable`] file is on the platter when it completes; a write to a
//! [`Access::Bulk`] file, and every change of length, lies in a volatile cache until a sync that began after it has
//! ended. Names lie in a volatile cache until their directory is synced. At a crash each sector not on the platter
//! (those of writes in flight included) survives, vanishes or tears in half, by seed; each change of names happened
//! or did not. A failed write leaves any mix of old and new sectors; after a failed sync a part of the dirty data is
//! lost for good though reads still show it and the next sync succeeds, as Linux does it.
//!
//! # Limits
//! Renames of a file are atomic, as in a journaling file system; directories cannot be renamed.

mod faults;
mod file;
mod medium;
mod names;
mod state;
#[cfg(test)]
mod tests;

pub use faults::{Counters, Kind};
pub use file::SimFile;

use crate::{Access, Buf, DirEntry, Disk, Fault, IoError};
use faults::Plan;
use state::{State, key};
use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::rc::Rc;

/// The simulated disk; clones are the same disk.
#[derive(Clone)]
pub struct Sim {
    state: Rc<RefCell<State>>,
}

/// Runs `body` on a current-thread tokio runtime with a LocalSet, for tests on a simulated disk.
///
/// # Errors
/// When no runtime can be made.
///
/// # Panics
/// Inside another runtime, and when `body` panics.
pub fn block_on_sim<T>(sim: &Sim, body: impl AsyncFnOnce(Sim) -> T) -> Result<T, IoError> {
    crate::block_on_posix(async |_| body(sim.clone()).await)
}

impl Sim {
    /// An empty disk whose every choice comes from `seed`.
    pub fn new(seed: u64) -> Sim {
        Sim::from_state(State::new(seed))
    }

    /// Cuts the power. The returned disk holds what survived, chosen by `seed`; this one answers every further
    /// operation, also those under way, with [`Fault::Io`]. Planned faults are not carried over, the limit of
    /// space is.
    pub fn crash(&self, seed: u64) -> Sim {
        Sim::from_state(self.state.borrow_mut().crash(seed))
    }

    /// Makes the `n`th read, write or sync from now fail with `fault` (1 is the next one), once.
    pub fn fail_nth(&self, n: u64, fault: Fault) {
        self.plan(None, n, fault, false);
    }

    /// Makes the `n`th operation of one kind from now fail with `fault` (1 is the next one), once.
    pub fn fail_nth_of(&self, kind: Kind, n: u64, fault: Fault) {
        self.plan(Some(kind), n, fault, false);
    }

    /// Makes the `n`th operation of one kind from now and all later ones fail with `fault`.
    pub fn fail_from(&self, kind: Kind, n: u64, fault: Fault) {
        self.plan(Some(kind), n, fault, true);
    }

    /// Forgets all planned faults.
    pub fn clear_faults(&self) {
        self.state.borrow_mut().faults.clear();
    }

    /// Gives the disk a size in bytes; what would go beyond fails with [`Fault::Full`]. Holes take no space.
    pub fn limit_space(&self, bytes: u64) {
        self.state.borrow_mut().limit = bytes;
    }

    /// Flips one bit (0 to 7) of a byte of a file, on the platter too.
    ///
    /// # Errors
    /// `NotFound`, or `Invalid` when the file is shorter.
    pub fn flip_bit(&self, path: impl AsRef<Path>, byte: u64, bit: u8) -> Result<(), IoError> {
        let path = path.as_ref();
        let mut state = self.state.borrow_mut();
        let medium = state.content_at(&key(path)).map_err(|cause| IoError::new("flip", path, cause))?;
        if !medium.flip(byte, bit) {
            return Err(IoError::invalid("flip", path, "beyond the end of the file").at(byte, 1));
        }
        Ok(())
    }

    /// The whole content of a file as reads see it, past all faults and counters; works on a dead machine too.
    ///
    /// # Errors
    /// `NotFound`, or `Invalid` for a directory.
    pub fn read_file(&self, path: impl AsRef<Path>) -> Result<Vec<u8>, IoError> {
        let path = path.as_ref();
        let mut state = self.state.borrow_mut();
        let medium = state.content_at(&key(path)).map_err(|cause| IoError::new("read", path, cause))?;
        let mut bytes = vec![0; usize::try_from(medium.len()).unwrap_or(usize::MAX)];
        medium.read(&mut bytes, 0);
        Ok(bytes)
    }

    /// Plants a file with this content (any length), durably, with its directories; replaces what was there.
    pub fn write_file(&self, path: impl AsRef<Path>, bytes: &[u8]) {
        self.state.borrow_mut().plant(&key(path.as_ref()), bytes);
    }

    /// Paths of all files, sorted.
    pub fn files(&self) -> Vec<PathBuf> {
        self.state.borrow().names.files().map(|(path, _)| path.clone()).collect()
    }

    /// What was asked of this disk so far.
    pub fn counters(&self) -> Counters {
        self.state.borrow().counters
    }

    /// What happened, a line per event; the latest 20,000.
    pub fn trace(&self) -> Vec<String> {
        self.state.borrow().trace.lines()
    }

    /// A digest of the whole trace, equal for equal runs.
    pub fn trace_digest(&self) -> u64 {
        self.state.borrow().trace.digest()
    }

    /// Sectors that a crash now could change, those of writes in flight not counted.
    pub fn dirty_sectors(&self) -> usize {
        self.state.borrow().dirty_sectors()
    }

    /// Writes submitted and not completed.
    pub fn in_flight(&self) -> usize {
        self.state.borrow().flights()
    }

    fn from_state(state: State) -> Sim {
        Sim { state: Rc::new(RefCell::new(state)) }
    }

    fn plan(&self, kind: Option<Kind>, n: u64, fault: Fault, for_ever: bool) {
        let plan = Plan { kind, skip: n.saturating_sub(1), fault, for_ever };
        self.state.borrow_mut().faults.add(plan);
    }

    /// Lets other tasks run a number of times chosen by the seed.
    async fn pause(&self) {
        let times = self.state.borrow().chance.below(4);
        for _ in 0..times {
            tokio::task::yield_now().await;
        }
    }

    /// An operation on names: done at once, answered later, so that a crash between may find it done or not.
    async fn on_names<T>(
        &self,
        operation: &'static str,
        path: &Path,
        work: impl FnOnce(&mut State, &Path) -> std::io::Result<T>,
    ) -> Result<T, IoError> {
        let result = {
            let mut state = self.state.borrow_mut();
            state.begin_plain(Kind::Name, operation, path)?;
            work(&mut state, &key(path)).map_err(|cause| IoError::new(operation, path, cause))
        };
        self.pause().await;
        self.state.borrow().alive(operation, path)?;
        result
    }

    async fn open_with(&self, path: &Path, access: Access, create: bool) -> Result<SimFile, IoError> {
        let operation = if create { "create" } else { "open" };
        // The handle is made inside, so that it is closed again if this future is dropped.
        let open = |state: &mut State, path: &Path| {
            let inode = if create { state.create(path) } else { state.open(path) }?;
            Ok(SimFile::new(self, inode, path, access))
        };
        self.on_names(operation, path, open).await
    }
}

impl Disk for Sim {
    type File = SimFile;

    fn name(&self) -> &'static str {
        "sim"
    }

    fn buffer(&self, capacity: usize) -> Buf {
        Buf::heap(capacity)
    }

    async fn open(&self, path: &Path, access: Access) -> Result<SimFile, IoError> {
        self.open_with(path, access, false).await
    }

    async fn create(&self, path: &Path, access: Access) -> Result<SimFile, IoError> {
        self.open_with(path, access, true).await
    }

    async fn rename(&self, from: &Path, to: &Path) -> Result<(), IoError> {
        self.on_names("rename", from, |state, from| state.rename(from, &key(to))).await
    }

    async fn remove(&self, path: &Path) -> Result<(), IoError> {
        self.on_names("remove", path, |state, path| state.remove(path)).await
    }

    async fn sync_dir(&self, path: &Path) -> Result<(), IoError> {
        let operation = "sync of directory";
        let until = {
            let mut state = self.state.borrow_mut();
            state.begin_plain(Kind::Sync, operation, path)?;
            state.step()
        };
        self.pause().await;
        let mut state = self.state.borrow_mut();
        state.alive(operation, path)?;
        state.sync_dir(&key(path), until).map_err(|cause| IoError::new(operation, path, cause))
    }

    async fn create_dir_all(&self, path: &Path) -> Result<(), IoError> {
        self.on_names("create of directory", path, |state, path| state.create_dir_all(path)).await
    }

    async fn list(&self, dir: &Path) -> Result<Vec<DirEntry>, IoError> {
        self.on_names("list", dir, |state, dir| state.list(dir)).await
    }

    async fn free_space(&self, path: &Path) -> Result<u64, IoError> {
        self.on_names("free space", path, |state, _| Ok(state.free())).await
    }
}
