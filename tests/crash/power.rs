//! Cuts of the power under load: what was not synced is lost, reordered, torn, and names with it.
//!
//! The moment of the cut is one instant for the whole disk; the server is killed behind it, and then the disk comes back
//! as the seed says. Each rig is also shown to see: with a disk that says it has synced and has not, it must find a loss.

use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::time::Duration;

use fault::{Rig, Tearing};

use crate::audit::Audit;
use crate::load::{Begin, Lasting, Load};
use crate::mounted::Mounted;
use crate::support::chance::Chance;
use crate::support::node::Node;
use crate::support::offline;
use crate::{CONFIG, count, create_topics, rig};

/// Cuts of one disk; then a new one begins.
const LIFE: u64 = 100;
/// Everything is read again every so many cuts, and at the end of a life.
const IN_FULL: u64 = 25;

/// What the server's directory lies on.
enum Ground {
    /// The rig itself.
    Bare,
    /// A file system of the kernel on a device that is a file of the rig.
    On(Mounted),
}

impl Ground {
    fn data(&self, rig: &Rig) -> PathBuf {
        match self {
            Ground::Bare => rig.join("data"),
            Ground::On(mounted) => mounted.join("data"),
        }
    }

    /// The power comes back; the server is gone.
    fn power_on(&mut self, rig: &mut Rig, seed: u64) {
        match self {
            Ground::Bare => rig.power_on(seed, Tearing::Halves).unwrap(),
            Ground::On(mounted) => {
                mounted.detach();
                rig.power_on(seed, mounted.tearing()).unwrap();
                mounted.attach(rig.path());
            }
        }
    }
}

/// One disk from empty on.
struct Life<'a> {
    // In the order in which they have to go.
    node: Node,
    ground: Ground,
    rig: Rig,
    audit: Audit,
    lasting: Option<Lasting>,
    chance: &'a mut Chance,
    /// Cuts of starts.
    starts: u64,
}

impl<'a> Life<'a> {
    fn begin(rig: Rig, ground: Ground, chance: &'a mut Chance) -> Life<'a> {
        let node = Node::unstarted(CONFIG, Some(&ground.data(&rig)));
        let lasting = Some(Lasting::new(chance));
        let mut life = Life { node, ground, rig, audit: Audit::default(), lasting, chance, starts: 0 };
        for _ in 0..life.chance.within(0, 2) {
            life.cut_start();
        }
        life.node.restart();
        create_topics(&life.node);
        life
    }

    fn cut(&mut self) {
        self.rig.power_off();
        self.node.kill();
    }

    fn power_on(&mut self) {
        let seed = self.chance.next();
        self.ground.power_on(&mut self.rig, seed);
    }

    /// Starts the server and cuts the power wherever it is then.
    fn cut_start(&mut self) {
        self.node.spawn();
        // Where the cut hits is left to chance; nothing depends on this time.
        std::thread::sleep(Duration::from_micros(self.chance.within(0, 60_000)));
        self.cut();
        self.power_on();
        self.starts += 1;
    }

    /// Load, cut, restart, audit.
    fn cycle(&mut self, cycle: u64, in_full: bool) {
        let (lasting, from) = (self.lasting.take().unwrap(), self.audit.tail());
        let load = Load::start(&self.node, Begin { cycle, lasting, from, chance: self.chance, faults: true });
        let most = [3, 30, 120][usize::try_from(self.chance.within(0, 2)).unwrap()];
        load.wait_for_answers(self.chance.within(1, most));
        std::thread::sleep(Duration::from_micros(self.chance.within(0, 2_000)));
        self.cut();
        let (ledger, lasting) = load.finish();
        self.lasting = Some(lasting);
        self.rig.lie(false);
        self.power_on();
        if cycle % 4 == 3 {
            self.cut_start();
        }
        let inspector = offline::inspector().filter(|_| in_full);
        if let Some(inspector) = inspector {
            offline::verify(&inspector, &self.node.data());
        }
        let io = if cycle.is_multiple_of(2) { "posix" } else { "auto" };
        self.node.configure(&format!("io = \"{io}\"\n{CONFIG}"));
        self.node.restart();
        self.audit.take(ledger);
        self.audit.check(self.node.address(), !in_full);
    }
}

/// So many cuts on disks that `ground` makes; none where it cannot.
fn cuts(test: &str, all: u64, ground: impl Fn(&Rig) -> Option<Ground>) {
    let mut chance = Chance::new(test);
    let mut done = 0;
    while done < all {
        let Some(rig) = rig() else { return };
        let Some(ground) = ground(&rig) else { return };
        let cuts = LIFE.min(all - done);
        let mut life = Life::begin(rig, ground, &mut chance);
        for cycle in 0..cuts {
            life.cycle(cycle, cycle + 1 == cuts || cycle % IN_FULL == IN_FULL - 1);
        }
        done += cuts;
        println!("{done} cuts under load; in this life {} of starts: {}", life.starts, life.audit);
        assert!(life.audit.acknowledged() > 0);
    }
}

/// A disk that acknowledges syncs and keeps nothing must be found out within a few cuts.
fn finds_the_lie(test: &str, ground: impl Fn(&Rig) -> Option<Ground>) {
    const MOST: u64 = 20;
    let mut chance = Chance::new(test);
    for cycle in 0..MOST {
        let Some(rig) = rig() else { return };
        let Some(ground) = ground(&rig) else { return };
        let mut life = Life::begin(rig, ground, &mut chance);
        life.rig.lie(true);
        let audited = catch_unwind(AssertUnwindSafe(|| life.cycle(cycle, false)));
        if audited.is_err() {
            println!("found after {} cuts", cycle + 1);
            return;
        }
    }
    panic!("a disk that lies about its syncs went unnoticed through {MOST} cuts: this test cannot see");
}

fn mounted(kind: &'static str) -> impl Fn(&Rig) -> Option<Ground> {
    move |rig| Mounted::make(kind, rig.path()).map(Ground::On)
}

fn bare(_: &Rig) -> Option<Ground> {
    Some(Ground::Bare)
}

#[test]
fn a_power_cut_under_load_loses_changes_reorders_and_doubles_nothing() {
    cuts("power cut", count("TIDELOG_POWER_CUTS", 5), bare);
}

#[test]
fn a_power_cut_under_ext4_loses_nothing() {
    cuts("power cut, ext4", count("TIDELOG_EXT4_CUTS", 2), mounted("ext4"));
}

#[test]
fn a_power_cut_under_xfs_loses_nothing() {
    cuts("power cut, xfs", count("TIDELOG_XFS_CUTS", 2), mounted("xfs"));
}

#[test]
fn a_disk_that_lies_about_its_syncs_is_found_out() {
    finds_the_lie("lying disk", bare);
}

#[test]
fn a_disk_that_lies_under_ext4_is_found_out() {
    finds_the_lie("lying disk, ext4", mounted("ext4"));
}

#[test]
fn a_disk_that_lies_under_xfs_is_found_out() {
    finds_the_lie("lying disk, xfs", mounted("xfs"));
}

#[test]
fn what_was_written_and_not_synced_can_be_lost_and_what_was_synced_stays() {
    let Some(mut rig) = rig() else { return };
    let write = |path: PathBuf, byte: u8| {
        let mut file = std::fs::File::create(path).unwrap();
        file.write_all(&[byte; 10_000]).unwrap();
        file
    };
    write(rig.join("synced"), 7).sync_all().unwrap();
    std::fs::File::open(rig.path()).unwrap().sync_all().unwrap();
    let mut lost = 0;
    for seed in 0..20 {
        drop(write(rig.join("unsynced"), seed));
        rig.power_on(seed.into(), Tearing::Halves).unwrap();
        assert_eq!(std::fs::read(rig.join("synced")).unwrap(), [7; 10_000]);
        lost += u64::from(std::fs::read(rig.join("unsynced")).unwrap_or_default() != [seed; 10_000]);
    }
    assert!((5..20).contains(&lost), "lost {lost} times of 20");
}
