//! The mounted disk, and what a test does to it.

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use fuser::{BackgroundSession, Config, MountOption, Session};
use tempfile::TempDir;

use crate::fault::Plan;
use crate::medium::Tearing;
use crate::serve::Shared;
use crate::state::Counters;

/// How long the kernel may take to let go of a mount whose users are gone.
const PATIENCE: Duration = Duration::from_secs(60);

/// A disk that is mounted. Dropping it unmounts and forgets it.
#[derive(Debug)]
pub struct Rig {
    dir: TempDir,
    disk: Shared,
    session: Option<BackgroundSession>,
}

impl Rig {
    /// Mounts an empty disk.
    ///
    /// # Errors
    /// What this machine lacks.
    pub fn mount() -> io::Result<Rig> {
        if !Path::new("/dev/fuse").exists() {
            return Err(io::Error::new(io::ErrorKind::NotFound, "there is no /dev/fuse"));
        }
        let mut rig = Rig { dir: TempDir::new()?, disk: Shared::new(), session: None };
        rig.attach()?;
        Ok(rig)
    }

    /// Where it is mounted.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// A file or directory in it.
    pub fn join(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }

    fn attach(&mut self) -> io::Result<()> {
        let mut config = Config::default();
        config.mount_options = vec![MountOption::FSName("fault".to_owned()), MountOption::NoAtime];
        let session = Session::new(self.disk.clone(), self.dir.path(), &config)?;
        self.session = Some(session.spawn()?);
        Ok(())
    }

    /// From now on every operation fails, and what was not synced is at the mercy of [`Rig::power_on`].
    pub fn power_off(&self) {
        self.disk.state().powered = false;
    }

    /// The disk as it comes back, mounted anew so that nothing of it is cached: whoever used it must be gone.
    ///
    /// # Errors
    /// When somebody still uses it.
    pub fn power_on(&mut self, seed: u64, tearing: Tearing) -> io::Result<()> {
        self.power_off();
        self.detach()?;
        self.disk.state().lose_power(seed, tearing);
        self.attach()
    }

    fn detach(&mut self) -> io::Result<()> {
        let Some(session) = self.session.take() else { return Ok(()) };
        let begun = Instant::now();
        // The kernel closes the files of a killed process, and those of its ring, a little later.
        while let Err(error) = unmount(self.dir.path()) {
            if begun.elapsed() > PATIENCE {
                self.session = Some(session);
                return Err(error);
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        session.join()
    }

    /// Plans a fault.
    pub fn fail(&self, plan: Plan) {
        self.disk.state().plans.push(plan);
    }

    /// Forgets all planned faults.
    pub fn heal(&self) {
        self.disk.state().plans.clear();
    }

    /// Gives the disk room for so many bytes more than it holds now.
    pub fn leave_room(&self, bytes: u64) {
        let mut state = self.disk.state();
        let taken = state.room - state.free();
        state.room = taken + bytes;
    }

    /// Whether syncs say that they are done and keep nothing, as some disks do.
    pub fn lie(&self, lies: bool) {
        self.disk.state().lies = lies;
    }

    /// What was done so far.
    pub fn counters(&self) -> Counters {
        self.disk.state().counters
    }
}

fn unmount(dir: &Path) -> io::Result<()> {
    let done = std::process::Command::new("umount").arg(dir).output()?;
    if done.status.success() {
        return Ok(());
    }
    Err(io::Error::other(String::from_utf8_lossy(&done.stderr).into_owned()))
}

impl Drop for Rig {
    fn drop(&mut self) {
        self.power_off();
        if let Some(session) = self.session.take() {
            // Lazily: a process that a failing test left behind must not keep it for ever.
            let _ = std::process::Command::new("umount").arg("-l").arg(self.dir.path()).output();
            drop(session);
        }
    }
}
