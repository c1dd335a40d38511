//! Commands about nodes, their directories and what their programs know.

use crate::command::Command;
use crate::illegal::Illegal;
use crate::member::{MAX_ADDRESS, MAX_NAME, Node, NodeInfo, NodeState};
use crate::span::StoreId;
use crate::state::State;

impl State {
    /// The number that the next node to join gets.
    pub fn next_node(&self) -> u64 {
        self.nodes.last_key_value().map_or(1, |(last, _)| last.saturating_add(1))
    }

    /// The nodes that take new copies and new spans, alive or not, by number.
    pub fn takers(&self) -> impl Iterator<Item = (u64, &Node)> {
        let takes = |(_, node): &(&u64, &Node)| node.state == NodeState::ReadWrite;
        self.nodes.iter().filter(takes).map(|(number, node)| (*number, node))
    }

    /// Which node a data directory is.
    pub fn node_of(&self, store: StoreId) -> Option<u64> {
        self.nodes.iter().find(|(_, node)| node.store == store).map(|(number, _)| *number)
    }

    /// The feature level that the programs of all nodes know. `None` while there are no nodes.
    pub fn known_level(&self) -> Option<u32> {
        let here = self.nodes.values().filter(|node| node.state != NodeState::Gone);
        here.map(|node| node.info.features).min()
    }

    pub(crate) fn check_nodes(&self, command: &Command) -> Result<(), Illegal> {
        match command {
            Command::BumpIncarnation { incarnation } if *incarnation <= self.incarnation => {
                Err(Illegal::Incarnation { given: *incarnation, last: self.incarnation })
            }
            Command::RegisterNode { node, store, info, .. } => self.check_register(*node, *store, info),
            Command::StartNode { node, store, incarnation, generation, info } => {
                let known = self.check_store(*node, *store)?;
                if *incarnation <= known.incarnation {
                    return Err(Illegal::Incarnation { given: *incarnation, last: known.incarnation });
                }
                newer(*node, known, *generation)?;
                self.check_info(*node, info)
            }
            Command::RaiseGeneration { node, store, generation } => {
                newer(*node, self.check_store(*node, *store)?, *generation)
            }
            Command::SetNodeState { node, was, state } => self.check_node_state(*node, *was, *state),
            Command::SetFeatureLevel { was, level } => {
                let (is, known) = (self.feature_level, self.known_level().unwrap_or(0));
                let rises = *was == is && *level > is && *level <= known;
                if rises { Ok(()) } else { Err(Illegal::FeatureLevel { is, to: *level, known }) }
            }
            _ => Ok(()),
        }
    }

    fn check_register(&self, node: u64, store: StoreId, info: &NodeInfo) -> Result<(), Illegal> {
        if let Some(node) = self.node_of(store) {
            return Err(Illegal::StoreInUse { store: store.to_string(), node });
        }
        let next = self.next_node();
        if node != next {
            return Err(Illegal::NodeNumber { given: node, next });
        }
        self.check_info(node, info)
    }

    fn check_info(&self, node: u64, info: &NodeInfo) -> Result<(), Illegal> {
        let named = !info.address.is_empty() && info.address.len() <= MAX_NAME && info.rack.len() <= MAX_NAME;
        let fits = named && info.kafka.len() <= MAX_ADDRESS && info.http.len() <= MAX_ADDRESS;
        if !fits {
            return Err(Illegal::NodeInfo(node));
        }
        let (knows, level) = (info.features, self.feature_level);
        if knows < level { Err(Illegal::TooOld { node, knows, level }) } else { Ok(()) }
    }

    /// A node by number and directory, if what it holds counts.
    pub(crate) fn check_store(&self, node: u64, store: StoreId) -> Result<&Node, Illegal> {
        let known = self.nodes.get(&node).ok_or(Illegal::NoNode(node))?;
        if known.store != store {
            return Err(Illegal::OtherStore(node));
        }
        if !known.state.counts() {
            return Err(Illegal::NodeState { node, state: known.state });
        }
        Ok(known)
    }

    fn check_node_state(&self, node: u64, was: NodeState, to: NodeState) -> Result<(), Illegal> {
        let is = self.nodes.get(&node).ok_or(Illegal::NoNode(node))?.state;
        if is != was {
            return Err(Illegal::NodeChanged { node, was, is });
        }
        if !is.may_become(to) {
            return Err(Illegal::NodeTransition { from: is, to });
        }
        match self.spans().find(|(_, span)| span.is_on(node)) {
            Some((shard, span)) if to == NodeState::Gone => {
                Err(Illegal::NodeHolds { node, shard, epoch: span.epoch })
            }
            _ => Ok(()),
        }
    }

    /// Carries out a command that was checked.
    pub(crate) fn apply_nodes(&mut self, command: &Command) {
        match command {
            Command::BumpIncarnation { incarnation } => self.incarnation = *incarnation,
            Command::RegisterNode { node, store, incarnation, generation, info } => {
                let (incarnation, generation, info) = (*incarnation, *generation, info.clone());
                let state = NodeState::ReadWrite;
                let joined = Node { store: *store, incarnation, generation, info, state };
                self.nodes.insert(*node, joined);
            }
            Command::StartNode { node, incarnation, generation, info, .. } => {
                if let Some(node) = self.nodes.get_mut(node) {
                    (node.incarnation, node.generation) = (*incarnation, *generation);
                    node.info = info.clone();
                }
            }
            Command::RaiseGeneration { node, generation, .. } => {
                if let Some(node) = self.nodes.get_mut(node) {
                    node.generation = *generation;
                }
            }
            Command::SetNodeState { node, state, .. } => {
                if let Some(node) = self.nodes.get_mut(node) {
                    node.state = *state;
                }
            }
            Command::SetFeatureLevel { level, .. } => self.feature_level = *level,
            _ => {}
        }
    }
}

/// A superblock counts up. One that does not is an older one: the disk was rolled back.
fn newer(node: u64, known: &Node, given: u64) -> Result<(), Illegal> {
    let last = known.generation;
    if given > last { Ok(()) } else { Err(Illegal::Generation { node, given, last }) }
}
