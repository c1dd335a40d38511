//! Who this node is to others, and whether others are who they say.

use std::sync::atomic::{AtomicU64, Ordering};

use tidelog_meta::{NodeState, State, StoreId};
use tidelog_proto::peer::{Hello, PROTOCOL, Process, Replica};

/// Stands for the cluster of a node that belongs to none yet, and for the number of one that has none yet.
pub(super) const NO_CLUSTER: [u8; 16] = [0; 16];

/// Who this node is.
#[derive(Debug)]
pub(crate) struct Identity {
    cluster: [u8; 16],
    store: [u8; 16],
    /// 0 until the metadata has given one.
    node: AtomicU64,
    incarnation: u64,
    generation: AtomicU64,
    /// HOST:PORT where other nodes reach it.
    address: String,
}

/// Who is at the other end of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Peer {
    /// Its number, 0 before it has one, and its directory.
    pub(crate) replica: Replica,
    /// In which life.
    pub(crate) process: Process,
}

/// Why nothing is to be had from the other side, told to both sides.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error(
        "version {theirs} of the protocol between nodes is spoken there, and {PROTOCOL} here: finish the upgrade"
    )]
    Protocol { theirs: u16 },
    #[error("the node at {address} belongs to another cluster ({theirs}) than the one it calls ({ours})")]
    Cluster { address: String, theirs: StoreId, ours: StoreId },
    #[error(
        "data directory {meant} is meant, and {here} is at this address: a directory that was emptied is another node"
    )]
    OtherStore { meant: StoreId, here: StoreId },
    #[error(
        "data directory {store} is at generation {is}, and {seen} was seen: it went back in time, so it takes no part"
    )]
    FellBack { store: StoreId, is: u64, seen: u64 },
    #[error(
        "node {node} was removed from the cluster (the metadata says {state:?}): its directory takes no part any more. With a \
         new, empty one it joins as a new node"
    )]
    GivenUp { node: u64, state: NodeState },
    #[error("node {node} is known in life {known}, and its life {is} calls")]
    OlderLife { node: u64, is: u64, known: u64 },
}

impl Identity {
    pub(crate) fn new(
        (cluster, store): ([u8; 16], [u8; 16]),
        node: u64,
        incarnation: u64,
        generation: u64,
        address: String,
    ) -> Identity {
        let (node, generation) = (AtomicU64::new(node), AtomicU64::new(generation));
        Identity { cluster, store, node, incarnation, generation, address }
    }

    pub(crate) fn store(&self) -> StoreId {
        StoreId(self.store)
    }

    /// Where other nodes reach it.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// The metadata has given this node its number.
    pub(crate) fn is_node(&self, node: u64) {
        self.node.store(node, Ordering::Relaxed);
    }

    /// The superblock was written again. Said before the metadata hears of it: others are never ahead of this node.
    pub(crate) fn raised(&self, generation: u64) {
        self.generation.fetch_max(generation, Ordering::Relaxed);
    }

    /// What it says first. `to` is whom it means to reach, if it knows, with the latest generation it knows of.
    pub(super) fn hello(&self, to: Option<Replica>, seen: u64) -> Hello {
        let node = self.node.load(Ordering::Relaxed);
        Hello {
            protocol: PROTOCOL,
            features: 0,
            cluster: self.cluster,
            replica: Replica { node, store: self.store },
            process: Process { node, incarnation: self.incarnation },
            generation: self.generation.load(Ordering::Relaxed),
            to,
            seen,
            address: self.address.clone(),
        }
    }

    /// Whether the other side is believed, by what the metadata says of it.
    pub(super) fn judge(&self, hello: &Hello, known: &State) -> Result<Peer, Refusal> {
        if hello.protocol != PROTOCOL {
            return Err(Refusal::Protocol { theirs: hello.protocol });
        }
        if hello.cluster != self.cluster {
            let (theirs, ours) = (StoreId(hello.cluster), StoreId(self.cluster));
            return Err(Refusal::Cluster { address: hello.address.clone(), theirs, ours });
        }
        if let Some(meant) = hello.to.filter(|to| to.store != self.store) {
            return Err(Refusal::OtherStore { meant: StoreId(meant.store), here: self.store() });
        }
        let here = self.generation.load(Ordering::Relaxed);
        if hello.seen > here {
            return Err(Refusal::FellBack { store: self.store(), is: here, seen: hello.seen });
        }
        judge_sender(hello, known)?;
        Ok(Peer { replica: hello.replica, process: hello.process })
    }
}

/// A directory that the metadata does not know is one that joins, or this node has not heard of it yet: it can tell no
/// lie about somebody else's.
fn judge_sender(hello: &Hello, known: &State) -> Result<(), Refusal> {
    let store = StoreId(hello.replica.store);
    let Some((number, node)) = known.nodes.iter().find(|(_, node)| node.store == store) else {
        return Ok(());
    };
    if !node.state.counts() {
        return Err(Refusal::GivenUp { node: *number, state: node.state });
    }
    if hello.process.incarnation < node.incarnation {
        let (is, known) = (hello.process.incarnation, node.incarnation);
        return Err(Refusal::OlderLife { node: *number, is, known });
    }
    if hello.generation < node.generation {
        return Err(Refusal::FellBack { store, is: hello.generation, seen: node.generation });
    }
    Ok(())
}
