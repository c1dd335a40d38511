//! A file system of the kernel on a loop device that is a file of the rig: what it does not flush, the rig may lose.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use fault::Tearing;
use tempfile::TempDir;

use crate::support::disks::skip;
use crate::support::wait;

/// The file that is the device.
const DEVICE: &str = "device";
/// Its size; xfs takes no smaller one.
const DEVICE_BYTES: u64 = 320 << 20;

/// The file system, mounted. Dropping it unmounts it.
pub(crate) struct Mounted {
    kind: &'static str,
    dir: TempDir,
    device: Option<String>,
}

impl Mounted {
    /// Makes a file system on a new file of the rig; `None` after saying that the machine cannot.
    pub(crate) fn make(kind: &'static str, rig: &Path) -> Option<Mounted> {
        let program = format!("mkfs.{kind}");
        let places = [format!("/usr/sbin/{program}"), format!("/sbin/{program}")];
        let places: Vec<&str> = places.iter().map(String::as_str).collect();
        let Some(mkfs) = places.iter().map(PathBuf::from).find(|place| place.exists()) else {
            skip(&format!("{program} is not installed"));
            return None;
        };
        let file = rig.join(DEVICE);
        File::create(&file).unwrap().set_len(DEVICE_BYTES).unwrap();
        let quiet: &[&str] = if kind == "ext4" { &["-q", "-F", "-J", "size=4"] } else { &["-q", "-f"] };
        must(Command::new(mkfs).args(quiet).arg(&file));
        File::open(&file).unwrap().sync_all().unwrap();
        File::open(rig).unwrap().sync_all().unwrap();
        let mut mounted = Mounted { kind, dir: TempDir::new().unwrap(), device: None };
        if let Err(why) = mounted.try_attach(rig) {
            skip(&format!("{kind} cannot be mounted on a loop device: {why}"));
            return None;
        }
        Some(mounted)
    }

    /// What its journal can put right. xfs takes a block whose first sector is new for a whole new one, and does not
    /// write it again from its journal: with sectors smaller than its blocks, 1 in 100 cuts leaves it unmountable.
    pub(crate) fn tearing(&self) -> Tearing {
        if self.kind == "xfs" { Tearing::Pages } else { Tearing::Whole }
    }

    pub(crate) fn join(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Mounts it again, once the rig is there again.
    pub(crate) fn attach(&mut self, rig: &Path) {
        self.try_attach(rig).unwrap_or_else(|why| panic!("{}: {why}", self.kind));
    }

    fn try_attach(&mut self, rig: &Path) -> Result<(), String> {
        let mut losetup = Command::new("losetup");
        losetup.args(["--find", "--show", "--direct-io=on"]).arg(rig.join(DEVICE));
        let device = output(&mut losetup)?.trim().to_owned();
        let mount = output(Command::new("mount").args(["-t", self.kind, &device]).arg(self.dir.path()));
        self.device = Some(device);
        mount.map(|_| ())
    }

    /// Takes it off the rig; nothing uses it any more, and its device may be dead.
    pub(crate) fn detach(&mut self) {
        let Some(device) = self.device.take() else { return };
        // The kernel closes the files of a killed process, and those of its ring, a little later.
        wait::until("the file system to be free", || {
            output(Command::new("umount").arg(self.dir.path())).ok()
        });
        must(Command::new("losetup").arg("--detach").arg(&device));
        wait::until("the loop device to be free", || output(Command::new("losetup").arg(&device)).err());
    }
}

/// An ext4 in a file, mounted only for as long as something is done in it.
pub(crate) struct Image {
    file: PathBuf,
    place: PathBuf,
}

impl Image {
    /// Makes it; `None` after saying that the machine cannot.
    pub(crate) fn make(file: PathBuf, place: PathBuf) -> Option<Image> {
        File::create(&file).unwrap().set_len(DEVICE_BYTES).unwrap();
        let made = output(Command::new("/usr/sbin/mkfs.ext4").args(["-q", "-F", "-J", "size=4"]).arg(&file));
        let image = Image { file, place };
        match made.and_then(|_| image.mount()) {
            Ok(()) => image.unmount(),
            Err(why) => {
                skip(&format!("ext4 cannot be mounted from a file: {why}"));
                return None;
            }
        }
        Some(image)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.file
    }

    fn mount(&self) -> Result<(), String> {
        let mount = output(Command::new("mount").args(["-o", "loop"]).arg(&self.file).arg(&self.place));
        mount.map(|_| ())
    }

    fn unmount(&self) {
        // The kernel closes the files of a killed process, and those of its ring, a little later.
        wait::until("the image to be free", || output(Command::new("umount").arg(&self.place)).ok());
    }

    /// Does something with it mounted.
    pub(crate) fn with_mounted(&self, work: impl FnOnce()) {
        self.mount().unwrap_or_else(|why| panic!("{why}"));
        let _mounted = Unmount(self);
        work();
    }
}

/// Unmounts, also when a test fails.
struct Unmount<'a>(&'a Image);

impl Drop for Unmount<'_> {
    fn drop(&mut self) {
        self.0.unmount();
    }
}

fn output(command: &mut Command) -> Result<String, String> {
    let Output { status, stdout, stderr } = command.output().map_err(|error| error.to_string())?;
    if status.success() {
        return Ok(String::from_utf8_lossy(&stdout).into_owned());
    }
    Err(format!("{command:?}: {status}: {}", String::from_utf8_lossy(&stderr)))
}

fn must(command: &mut Command) {
    output(command).unwrap_or_else(|why| panic!("{why}"));
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let Some(device) = self.device.take() else { return };
        let _ = Command::new("umount").arg("-l").arg(self.dir.path()).output();
        let _ = Command::new("losetup").arg("--detach").arg(device).output();
    }
}
