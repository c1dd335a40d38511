//! Runs the checker over a configuration.

use std::collections::{BTreeMap, BTreeSet};

use stateright::{Checker, HasDiscoveries, Model};

use crate::config::Config;
use crate::state::State;
use crate::step::{Action, World};

/// A way to a state: each step, and the state before it.
pub type Path = Vec<(State, Option<Action>)>;

/// What was found.
#[derive(Debug)]
pub struct Explored {
    /// What was explored.
    pub config: Config,
    /// Different states.
    pub unique: usize,
    /// States reached, the same ones again included.
    pub reached: usize,
    /// Steps of the longest shortest way.
    pub depth: usize,
    /// Invariants that were violated, with the way there.
    pub violated: BTreeMap<&'static str, Path>,
    /// Behaviours that must occur and did.
    pub seen: BTreeSet<&'static str>,
}

/// Explores every state that can be reached.
pub fn exhaustively(config: Config, threads: usize) -> Explored {
    explore(config, threads, HasDiscoveries::AnyFailures)
}

/// Explores until `invariant` is violated, breadth first: the way found with one thread is a shortest one.
pub fn until(config: Config, threads: usize, invariant: &'static str) -> Explored {
    explore(config, threads, HasDiscoveries::AnyOf(BTreeSet::from([invariant])))
}

fn explore(config: Config, threads: usize, finish: HasDiscoveries) -> Explored {
    let checker = World(config).checker().threads(threads).finish_when(finish).spawn_bfs().join();
    let failures: BTreeSet<&str> = World(config)
        .properties()
        .into_iter()
        .filter(|property| property.expectation.discovery_is_failure())
        .map(|property| property.name)
        .collect();
    let (mut violated, mut seen) = (BTreeMap::new(), BTreeSet::new());
    for (name, path) in checker.discoveries() {
        if failures.contains(name) {
            violated.insert(name, path.into_vec());
        } else {
            seen.insert(name);
        }
    }
    Explored {
        config,
        unique: checker.unique_state_count(),
        reached: checker.state_count(),
        depth: checker.max_depth(),
        violated,
        seen,
    }
}
