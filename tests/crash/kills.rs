//! The loop: load, kill -9, perhaps a kill of the start as well, restart, audit.

use std::path::PathBuf;
use std::time::Duration;

use crate::audit::Audit;
use crate::load::{Begin, Lasting, Load};
use crate::support::chance::Chance;
use crate::support::node::Node;
use crate::support::offline;
use crate::{CONFIG, count, create_topics};

/// Cycles on one directory. Then a new one begins, so that audits stay short and first starts are killed too.
const LIFE: u64 = 200;
/// Everything is read again, and the inspector run over all files, every so many cycles and at the end of a life.
const IN_FULL: u64 = 40;

/// One directory from its first start on.
struct Life<'a> {
    node: Node,
    audit: Audit,
    /// Where the load's names and producers go on.
    lasting: Option<Lasting>,
    chance: &'a mut Chance,
    inspector: Option<PathBuf>,
    /// Kills of starts.
    starts: u64,
}

impl Life<'_> {
    fn begin(chance: &mut Chance) -> Life<'_> {
        let (node, inspector) = (Node::unstarted(CONFIG, None), offline::inspector());
        let lasting = Some(Lasting::new(chance));
        let mut life = Life { node, audit: Audit::default(), lasting, chance, inspector, starts: 0 };
        for _ in 0..life.chance.within(0, 2) {
            life.kill_start();
        }
        life.node.restart();
        create_topics(&life.node);
        life
    }

    /// Starts the server and kills it wherever it is then.
    fn kill_start(&mut self) {
        self.node.spawn();
        // Where the kill hits is left to chance; nothing depends on this time.
        std::thread::sleep(Duration::from_micros(self.chance.within(0, 60_000)));
        self.node.kill();
        self.starts += 1;
    }

    fn cycle(&mut self, cycle: u64, last: bool) {
        let lasting = self.lasting.take().unwrap();
        let from = self.audit.tail();
        let load =
            Load::start(&self.node, Begin { cycle, lasting, from, chance: self.chance, faults: false });
        // Often soon, while everything is new to the server, sometimes late.
        let most = [3, 30, 150][usize::try_from(self.chance.within(0, 2)).unwrap()];
        load.wait_for_answers(self.chance.within(1, most));
        std::thread::sleep(Duration::from_micros(self.chance.within(0, 2_000)));
        self.node.kill();
        let (ledger, lasting) = load.finish();
        self.lasting = Some(lasting);
        let in_full = last || cycle % IN_FULL == IN_FULL - 1;
        if let Some(inspector) = self.inspector.as_ref().filter(|_| in_full) {
            offline::verify(inspector, &self.node.data());
        }
        // What one backend wrote the other one reads.
        let io = if cycle.is_multiple_of(2) { "posix" } else { "auto" };
        self.node.configure(&format!("io = \"{io}\"\n{CONFIG}"));
        if cycle % 3 == 2 {
            self.kill_start();
        }
        self.node.restart();
        self.audit.take(ledger);
        self.audit.check(self.node.address(), !in_full);
    }
}

#[test]
fn kill_9_under_load_loses_changes_reorders_and_doubles_nothing() {
    let mut chance = Chance::new("kill -9 under load");
    let (all, mut done) = (count("TIDELOG_CRASH_CYCLES", 5), 0);
    while done < all {
        let cycles = LIFE.min(all - done);
        let mut life = Life::begin(&mut chance);
        for cycle in 0..cycles {
            life.cycle(cycle, cycle + 1 == cycles);
        }
        done += cycles;
        println!("{done} kills under load; in this life {} of starts: {}", life.starts, life.audit);
        assert!(life.audit.acknowledged() > 0);
    }
}
