//! With the rules as they are nothing goes wrong in any order of events, and the spaces are as large as is claimed.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests may be blunt")]

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{available_parallelism, scope};

use model::explore::{Explored, exhaustively};
use model::space::{QUICK, Space};
use model::trace;

/// What all spaces together hold at least.
const STATES: usize = 7_700_000;

fn check(space: &Space, explored: &Explored) {
    let name = space.config.name;
    if let Some((invariant, path)) = explored.violated.iter().next() {
        panic!("{name}: {}", trace::told(invariant, path));
    }
    assert_eq!(
        explored.unique, space.states,
        "{name}: another space than the one that docs/replication.md names"
    );
    for seen in space.seen {
        assert!(explored.seen.contains(seen), "{name}: never {seen}");
    }
}

#[test]
fn the_invariants_hold_in_every_space_and_every_space_is_as_large_as_is_claimed() {
    let (next, all) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    scope(|scope| {
        for _ in 0..available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                while let Some(space) = QUICK.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let explored = exhaustively(space.config, 1);
                    println!("{explored}");
                    check(space, &explored);
                    all.lock().unwrap().push(explored.unique);
                }
            });
        }
    });
    let all = all.into_inner().unwrap();
    let sum: usize = all.iter().sum();
    println!("{} spaces, {sum} unique states", all.len());
    assert_eq!(all.len(), QUICK.len());
    assert!(sum >= STATES, "only {sum} states in all");
}
