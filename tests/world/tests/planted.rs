//! The simulator against bugs planted on purpose: each is found within its number of seeds. Without the feature there
//! is nothing to find, and `tests/seeds.rs` shows that nothing is found.
#![cfg(feature = "planted")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may be blunt")]

use tidelog_replica::planted::{self, Bug};
use world::run;

/// Seeds within which each bug must be found, about twice of what it took when this was written.
const WITHIN: [(Bug, u64); 23] = [
    (Bug::SmallFence, 50),
    (Bug::UnfencedLength, 10),
    (Bug::ShortestEnd, 20),
    (Bug::CommittedEnd, 50),
    (Bug::VolatilePromise, 10),
    (Bug::AckBeforeSync, 10),
    (Bug::EmptyDiskVotes, 50),
    (Bug::ReadLocalEnd, 20),
    (Bug::ResumedLeader, 20),
    (Bug::NoTailRepair, 20),
    (Bug::AckWhileClosing, 20),
    (Bug::WeakQuorum, 10),
    (Bug::RepairCounts, 100),
    (Bug::FirstBadIsEnd, 50),
    (Bug::RotIsTorn, 50),
    (Bug::ForgottenProducers, 10),
    (Bug::SelfAuthorised, 400),
    (Bug::DeletesUnknown, 100),
    (Bug::RolledBackRejoins, 400),
    (Bug::BelievesClose, 400),
    (Bug::ClosesAtItsEnd, 20),
    (Bug::PrefixOnly, 400),
    (Bug::SubstituteVotes, 800),
];

/// The first seed whose world finds the bug, and how.
fn found(bug: Bug, within: u64) -> Option<(u64, String)> {
    planted::plant(Some(bug));
    let found = (0..within).find_map(|seed| run(seed, false).wrong.map(|wrong| (seed, wrong)));
    planted::plant(None);
    found
}

#[test]
fn every_planted_bug_is_found_within_its_number_of_seeds() {
    let next = std::sync::atomic::AtomicUsize::new(0);
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let work = || {
        let mut missed = Vec::new();
        while let Some((bug, within)) = WITHIN.get(next.fetch_add(1, std::sync::atomic::Ordering::Relaxed)) {
            match found(*bug, *within) {
                Some((seed, wrong)) => println!("{bug:?}: seed {seed}: {wrong}"),
                None => missed.push((*bug, *within)),
            }
        }
        missed
    };
    let missed: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..cores).map(|_| scope.spawn(work)).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    assert!(missed.is_empty(), "not found: {missed:?}");
}

#[test]
fn every_bug_has_its_number_of_seeds() {
    for (bug, name, _) in Bug::ALL {
        assert!(WITHIN.iter().any(|(known, _)| *known == bug), "{name}");
    }
}
