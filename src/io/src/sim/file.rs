//! Files of the simulated disk.

use super::Sim;
use super::faults::{Kind, cause_of};
use super::names::Inode;
use super::state::State;
use crate::disk::check_transfer;
use crate::{Access, Buf, DiskFile, IoError, Outcome};
use std::cell::RefCell;
use std::path::{Path, PathBuf};

/// A file of [`Sim`].
pub struct SimFile {
    sim: Sim,
    inode: Inode,
    path: PathBuf,
    access: Access,
}

impl DiskFile for SimFile {
    async fn write_at(&self, buf: Buf, len: usize, pos: u64) -> Outcome<()> {
        if let Err(error) = check_transfer("write", &self.path, &buf, len, pos) {
            return (Err(error), buf);
        }
        let started = self.state().borrow_mut().take_off(self.inode, &self.path, self.access, buf, len, pos);
        let mut landing = match started {
            Ok(number) => Landing { sim: &self.sim, number: Some(number) },
            Err((error, buf)) => return (Err(error), buf),
        };
        self.sim.pause().await;
        landing.land().unwrap_or_else(|| (Ok(()), Buf::heap(0)))
    }

    async fn read_at(&self, mut buf: Buf, len: usize, pos: u64) -> Outcome<usize> {
        if let Err(error) = check_transfer("read", &self.path, &buf, len, pos) {
            return (Err(error), buf);
        }
        let begun = self.state().borrow_mut().begin(Kind::Read, "read", &self.path, (pos, len as u64));
        let fault = match begun {
            Ok(fault) => fault,
            Err(error) => return (Err(error), buf),
        };
        self.sim.pause().await;
        let mut state = self.state().borrow_mut();
        if let Err(error) = state.alive("read", &self.path) {
            return (Err(error), buf);
        }
        if let Some(fault) = fault {
            return (Err(IoError::new("read", &self.path, cause_of(fault)).at(pos, len as u64)), buf);
        }
        let read = state.content(self.inode).read(&mut buf[..len], pos);
        (Ok(read), buf)
    }

    async fn sync(&self) -> Result<(), IoError> {
        let (fault, until, len) = {
            let mut state = self.state().borrow_mut();
            let fault = state.begin(Kind::Sync, "sync", &self.path, (0, 0))?;
            (fault, state.step(), state.len_of(self.inode))
        };
        self.sim.pause().await;
        let mut state = self.state().borrow_mut();
        state.alive("sync", &self.path)?;
        match fault {
            Some(fault) => {
                let chance = state.chance.clone();
                state.content(self.inode).fail_sync(&chance);
                Err(IoError::new("sync", &self.path, cause_of(fault)))
            }
            None => {
                state.content(self.inode).sync(until, len);
                Ok(())
            }
        }
    }

    async fn len(&self) -> Result<u64, IoError> {
        let mut state = self.state().borrow_mut();
        state.begin_plain(Kind::Name, "length", &self.path)?;
        Ok(state.len_of(self.inode))
    }

    async fn set_len(&self, len: u64) -> Result<(), IoError> {
        let result = {
            let mut state = self.state().borrow_mut();
            match state.begin(Kind::Write, "set length", &self.path, (len, 0))? {
                Some(fault) => Err(IoError::new("set length", &self.path, cause_of(fault)).at(0, len)),
                None if self.access == Access::Read => {
                    Err(IoError::invalid("set length", &self.path, "opened for reading only").at(0, len))
                }
                None => {
                    let step = state.step();
                    state.content(self.inode).set_len(len, step);
                    Ok(())
                }
            }
        };
        self.sim.pause().await;
        self.state().borrow().alive("set length", &self.path)?;
        result
    }
}

impl SimFile {
    /// A handle already counted by the state.
    pub(super) fn new(sim: &Sim, inode: Inode, path: &Path, access: Access) -> SimFile {
        SimFile { sim: sim.clone(), inode, path: path.to_owned(), access }
    }

    fn state(&self) -> &RefCell<State> {
        &self.sim.state
    }
}

impl Drop for SimFile {
    fn drop(&mut self) {
        // Not while the state is borrowed: only when an error path inside drops a file just made, see `open_with`.
        if let Ok(mut state) = self.sim.state.try_borrow_mut() {
            state.close(self.inode);
        }
    }
}

/// Completes its write also when the future that waits for it is dropped, as a kernel does.
struct Landing<'a> {
    sim: &'a Sim,
    number: Option<u64>,
}

impl Landing<'_> {
    fn land(&mut self) -> Option<Outcome<()>> {
        self.number.take().map(|number| self.sim.state.borrow_mut().land(number))
    }
}

impl Drop for Landing<'_> {
    fn drop(&mut self) {
        drop(self.land());
    }
}
