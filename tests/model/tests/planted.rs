//! With a rule planted wrong the model finds the harm, so that finding none means something.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests may be blunt")]

use model::bug::{Bug, Bugs};
use model::config::Config;
use model::explore::{exhaustively, until};
use model::planted::{Planted, all, harmless_alone};
use model::trace;

/// No way to harm is longer; a longer one would say that the world was not chosen well.
const MOST_STEPS: usize = 20;

fn names(planted: &Planted) -> Vec<&'static str> {
    planted.bugs.iter().map(|bug| bug.name()).collect()
}

#[test]
fn every_planted_bug_is_found() {
    for planted in all() {
        let explored = until(planted.config, 1, planted.violates);
        let names = names(&planted);
        let path = explored.violated.get(planted.violates);
        let steps = path.unwrap_or_else(|| panic!("{names:?} was not found: {explored}")).len() - 1;
        println!("{names:?}: {} in {steps} steps, {} states", &planted.violates[..2], explored.unique);
        assert!(steps <= MOST_STEPS, "{names:?} took {steps} steps");
    }
}

#[test]
fn every_bug_has_its_world() {
    for bug in Bug::ALL {
        let count = all().iter().filter(|planted| planted.bugs.contains(bug)).count();
        assert_eq!(count, 1, "{}", bug.name());
    }
}

#[test]
fn without_the_bug_its_world_is_sound() {
    for planted in all() {
        let explored = exhaustively(Config { bugs: Bugs::NONE, ..planted.config }, 1);
        if let Some((invariant, path)) = explored.violated.iter().next() {
            panic!("without {:?}: {}", names(&planted), trace::told(invariant, path));
        }
    }
}

#[test]
fn a_repair_that_is_acknowledged_and_one_that_is_not_fenced_are_each_harmless_alone() {
    for planted in harmless_alone() {
        let explored = exhaustively(planted.config, 1);
        println!("{:?}: {explored}", names(&planted));
        assert!(explored.unique > 50_000, "{explored}");
        if let Some((invariant, path)) = explored.violated.iter().next() {
            panic!("{:?}: {}", names(&planted), trace::told(invariant, path));
        }
    }
}
