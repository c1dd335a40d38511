//! How members make sure that the other one is who it was.

use super::voter_id;
use crate::member::NodeState;
use crate::span::StoreId;
use crate::state::State;

/// What every message between members carries: whom it is for, and the latest generation of that directory which the
/// sender knows of. Whoever is behind it lost writes, its votes perhaps among them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Greeting {
    /// The receiver's directory.
    pub store: StoreId,
    /// The generation of its superblock that the sender knows.
    pub generation: u64,
}

/// Why a message is not for this directory. It takes part in nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Stranger {
    /// It is for another directory.
    #[error("a message of the metadata's group is for data directory {meant}, and this is {here}")]
    OtherStore {
        /// Whom it is for.
        meant: StoreId,
        /// Who got it.
        here: StoreId,
    },
    /// This directory is an older state of itself.
    #[error(
        "this data directory is at generation {here} and others have seen its generation {seen}: it was rolled back, so it may not vote; give it a new, empty directory"
    )]
    RolledBack {
        /// What the sender knows.
        seen: u64,
        /// What is here.
        here: u64,
    },
    /// The cluster gave this directory up.
    #[error("the data directory was removed from the cluster (it is {0:?})")]
    GivenUp(NodeState),
}

impl Greeting {
    /// To a member, as far as a state knows about it.
    pub fn to(store: StoreId, known: &State) -> Greeting {
        let node = known.node_of(store).and_then(|number| known.nodes.get(&number));
        Greeting { store, generation: node.map_or(0, |node| node.generation) }
    }

    /// The group's number of whom it is for.
    pub fn voter(&self) -> u64 {
        voter_id(self.store)
    }

    /// Whether a message with this greeting may be taken by the directory `here`, whose superblock is at `generation`.
    ///
    /// # Errors
    /// It may not, and why.
    pub fn accept(&self, here: StoreId, generation: u64, known: &State) -> Result<(), Stranger> {
        if self.store != here {
            return Err(Stranger::OtherStore { meant: self.store, here });
        }
        let node = known.node_of(here).and_then(|number| known.nodes.get(&number));
        let seen = self.generation.max(node.map_or(0, |node| node.generation));
        if generation < seen {
            return Err(Stranger::RolledBack { seen, here: generation });
        }
        match node.map(|node| node.state) {
            Some(state) if !state.counts() => Err(Stranger::GivenUp(state)),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Command;
    use crate::cluster_tests::{cluster, store};

    #[test]
    fn a_directory_that_fell_back_in_time_or_is_another_one_takes_no_part() {
        let mut state = cluster();
        state.apply(&Command::RaiseGeneration { node: 2, store: store(2), generation: 40 }).unwrap();
        let greeting = Greeting::to(store(2), &state);
        // The receiver's own state may be old, as old as its directory.
        let old = State::default();
        assert_eq!(greeting.accept(store(2), 40, &old), Ok(()));
        assert_eq!(greeting.accept(store(2), 41, &old), Ok(()), "it is ahead of what others know");
        assert_eq!(greeting.accept(store(2), 39, &old), Err(Stranger::RolledBack { seen: 40, here: 39 }));
        let other = Stranger::OtherStore { meant: store(2), here: store(3) };
        assert_eq!(greeting.accept(store(3), 40, &old), Err(other));
    }

    #[test]
    fn a_directory_that_was_given_up_takes_no_part() {
        let mut state = cluster();
        let lost = NodeState::DataLoss;
        state.apply(&Command::SetNodeState { node: 2, was: NodeState::ReadWrite, state: lost }).unwrap();
        let greeting = Greeting::to(store(2), &state);
        assert_eq!(greeting.accept(store(2), 9, &state), Err(Stranger::GivenUp(lost)));
    }
}
