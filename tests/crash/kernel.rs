//! The kernel under the server crashes: User-Mode Linux is killed under load, and with it whatever its page cache and its disk
//! queue held. The guest's root is the host's; its ext4 lies on a file, which the host mounts for the audit. What was
//! acknowledged is written down on the host, outside of what crashes.

use std::fs::{File, OpenOptions};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use crate::audit::Audit;
use crate::load::{self, Acknowledged, Ledger};
use crate::mounted::Image;
use crate::support::chance::Chance;
use crate::support::disks::skip;
use crate::support::node::{Node, program};
use crate::support::{offline, wait};
use crate::{CONFIG, count, create_topics};

/// Everything is read again every so many crashes, and behind the last.
const IN_FULL: u64 = 20;
/// Where the guest finds the folder that it shares with the host, and the number of the crash that it is to have.
const PLACE: &str = "TIDELOG_GUEST";
const CYCLE: &str = "TIDELOG_GUEST_CYCLE";

/// Names below the folder.
const LEDGER: &str = "ledger";
const MOUNT: &str = "mount";

/// A kernel that runs.
struct Guest {
    child: Child,
    log: PathBuf,
}

impl Guest {
    /// Boots it; it mounts the image and begins the load.
    fn boot(uml: &Path, place: &Path, image: &Path, cycle: u64) -> Guest {
        let (init, log) = (place.join("init"), place.join("log"));
        let test = std::env::current_exe().unwrap();
        let place = place.display();
        let script = format!(
            "#!/bin/sh\nset -e\nmount -t proc proc /proc\nmount -t sysfs sysfs /sys\n[ -e /dev/ubda ] || mount -t devtmpfs dev /dev\n\
             ip link set lo up\nmount -t ext4 /dev/ubda {place}/{MOUNT}\n\
             export TMPDIR={place}/tmp {PLACE}={place} {CYCLE}={cycle} TIDELOG_BIN={}\n\
             exec {} --ignored --exact --nocapture kernel::the_load_of_a_guest\n",
            program().display(),
            test.display()
        );
        std::fs::write(&init, script).unwrap();
        let made = Command::new("chmod").arg("+x").arg(&init).status();
        assert!(made.unwrap().success());
        let out = File::create(&log).unwrap();
        let mut command = Command::new(uml);
        command.arg(format!("umid=tidelog-{}", std::process::id())).arg(format!("uml_dir={place}"));
        command.args([
            "mem=256M",
            "root=/dev/root",
            "rootfstype=hostfs",
            "rw",
            "quiet",
            "con=null",
            "ssl=null",
        ]);
        command.args(["con0=null,fd:1", "con1=null,fd:1"]);
        command.arg(format!("init={}", init.display())).arg(format!("ubda={}", image.display()));
        command.stdin(Stdio::null()).stdout(out.try_clone().unwrap()).stderr(out).process_group(0);
        Guest { child: command.spawn().unwrap(), log }
    }

    /// The crash: kernel and all that runs on it.
    fn crash(mut self) {
        self.kill();
    }

    fn kill(&mut self) {
        let group = format!("-{}", self.child.id());
        let _ = Command::new("kill").args(["-KILL", "--", &group]).status();
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            println!("the guest's last words:\n{}", std::fs::read_to_string(&self.log).unwrap_or_default());
        }
    }
}

/// User-Mode Linux, as Debian installs it; `None` after saying that the test is skipped.
fn uml() -> Option<PathBuf> {
    let place = PathBuf::from("/usr/bin/linux.uml");
    if place.exists() {
        return Some(place);
    }
    skip("User-Mode Linux is not installed (Debian's package user-mode-linux)");
    None
}

/// What the ledger holds from a line on. The last line may be half written.
fn told(place: &Path, from: usize) -> Vec<Acknowledged> {
    let text = std::fs::read_to_string(place.join(LEDGER)).unwrap_or_default();
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    whole.lines().skip(from).map(Acknowledged::of_line).collect()
}

#[test]
fn a_crash_of_the_kernel_under_load_loses_nothing() {
    let all = count("TIDELOG_KERNEL_CRASHES", 2);
    let Some(uml) = uml() else { return };
    let dir = TempDir::new().unwrap();
    let place = dir.path();
    for name in [MOUNT, "tmp"] {
        std::fs::create_dir(place.join(name)).unwrap();
    }
    let Some(image) = Image::make(place.join("image"), place.join(MOUNT)) else { return };
    let mut chance = Chance::new("crash of the kernel");
    let (mut audit, mut known) = (Audit::default(), 0);
    let data = place.join(MOUNT).join("data");
    image.with_mounted(|| {
        let mut node = Node::unstarted(CONFIG, Some(&data));
        node.restart();
        create_topics(&node);
    });
    for cycle in 0..all {
        let guest = Guest::boot(&uml, place, image.path(), cycle);
        let wanted = known + usize::try_from(chance.within(1, 400)).unwrap();
        wait::until("records to be acknowledged in the guest", || {
            (told(place, 0).len() > wanted).then_some(())
        });
        guest.crash();
        let acknowledged = told(place, known);
        known += acknowledged.len();
        let in_full = cycle + 1 == all || cycle % IN_FULL == IN_FULL - 1;
        image.with_mounted(|| {
            if let Some(inspector) = offline::inspector().filter(|_| in_full) {
                offline::verify(&inspector, &data);
            }
            let mut node = Node::unstarted(CONFIG, Some(&data));
            node.restart();
            audit.take(Ledger { acknowledged, ..Ledger::default() });
            audit.check(node.address(), !in_full);
        });
    }
    println!("{all} crashes of the kernel: {audit}");
}

#[test]
#[ignore = "runs in the guest that another test boots"]
fn the_load_of_a_guest() {
    let place = PathBuf::from(std::env::var_os(PLACE).expect("the other test says where"));
    let mut node = Node::unstarted(CONFIG, Some(&place.join(MOUNT).join("data")));
    node.restart();
    let ledger = OpenOptions::new().create(true).append(true).open(place.join(LEDGER)).unwrap();
    load::produce_into(&node, count(CYCLE, 0), ledger);
}
