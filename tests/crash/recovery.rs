//! Kills that hit recovery itself: the directory was left by a kill under load, and the server that repairs it is killed
//! while it does, again and again. What the first one finds that comes to its end must be all that was acknowledged.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::audit::Audit;
use crate::support::chance::Chance;
use crate::support::node::{Node, scratch};
use crate::support::{offline, wait};
use crate::{count, create_topics, first_load};

/// A segment so large that all of the load lies in the one that is open: recovery has much to read.
const CONFIG: &str = "[storage]\nsegment_bytes = 67108864\nshards = 1\n";
/// So many requests are acknowledged before the first kill.
const REQUESTS: u64 = 1_000;

/// Starts the server and kills it up to `within` µs after its first word; true when it did not listen yet.
fn kill_recovery(node: &mut Node, chance: &mut Chance, within: u64) -> bool {
    node.spawn();
    wait::until("the server to open its disk", || node.output().contains("disk backend").then_some(()));
    // Where the kill hits is left to chance; nothing depends on this time.
    std::thread::sleep(Duration::from_micros(chance.within(0, within)));
    node.kill();
    !node.output().contains("listening")
}

fn copy(from: &Path, to: &Path) {
    let done = Command::new("cp").arg("-r").arg("--sparse=always").arg(from).arg(to).status();
    assert!(done.unwrap().success());
}

#[test]
fn kills_during_recovery_change_nothing_that_was_acknowledged() {
    let mut chance = Chance::new("kills during recovery");
    let mut node = Node::start(CONFIG);
    create_topics(&node);
    let load = first_load(&node, &mut chance);
    load.wait_for_answers(REQUESTS);
    node.kill();
    let mut audit = Audit::default();
    audit.take(load.finish().0);
    let (_keep, dir) = scratch();
    copy(&node.data(), &dir.join("killed"));
    let (wanted, mut hit, mut recovered, mut within) = (count("TIDELOG_RECOVERY_KILLS", 5), 0, 0, 20_000);
    while hit < wanted {
        if kill_recovery(&mut node, &mut chance, within) {
            hit += 1;
            within += within / 20;
            continue;
        }
        // Recovery was over. Is all there? Then from the beginning.
        within = (within - within / 4).max(100);
        recovered += 1;
        assert!(recovered < 10 * wanted + 100, "recovery is over before a kill can hit it");
        audit_after_recovery(&mut node, &mut audit);
        std::fs::remove_dir_all(node.data()).unwrap();
        copy(&dir.join("killed"), &node.data());
    }
    audit_after_recovery(&mut node, &mut audit);
    println!("{hit} kills during recovery, which came to its end {} times: {audit}", recovered + 1);
}

fn audit_after_recovery(node: &mut Node, audit: &mut Audit) {
    if let Some(inspector) = offline::inspector() {
        offline::verify(&inspector, &node.data());
    }
    node.restart();
    audit.check(node.address(), false);
    node.kill();
}
