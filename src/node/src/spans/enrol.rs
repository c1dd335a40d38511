//! # Purpose
//! Tells the metadata that this node's process starts, after judging whether its data directory is what it was.
//!
//! # Recovery
//! The superblock is written before the metadata hears of it, so one that is behind the metadata is an older one. A node
//! alone keeps its metadata in the same directory: it finds out when its files are of different times, and cannot find out
//! when all of them went back together.

use std::path::PathBuf;

use tidelog_format::promise::Promises;
use tidelog_meta::{Command, Illegal, NodeInfo, State, StoreId};
use tidelog_replica::start::{self, Identity, Nameless};
use tidelog_wal::{PromisesFound, Store};

use crate::config::{Advertised, Config};
use crate::metadata::{ChangeError, Metadata};
use crate::open::StartError;
use crate::ring::Beside;
use crate::spans::Me;

/// Why a data directory is not gone on with.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unfit {
    /// Older than its own metadata.
    #[error(
        "{dir}: {why}. Put all of its files back as they were at one and the same moment",
        dir = dir.display()
    )]
    RolledBack { dir: PathBuf, why: Nameless },
    /// The promise journal is damaged or gone.
    #[error(
        "{file}: {what}. What this directory has promised is not known. This node is alone, so its metadata knows every \
         promise it can have made: start with --accept-loss to write the journal anew from it (a damaged one is kept in \
         lost+found)",
        file = file.display()
    )]
    NoPromises { file: PathBuf, what: String },
    /// Another directory's metadata.
    #[error("the metadata knows node {node} with another data directory than this one ({dir})", dir = dir.display())]
    OtherStore { node: u64, dir: PathBuf },
}

/// Judges the directory, completes its promises, and gives who this node is and the command that says that it starts; none
/// where that was said already: a directory that joins a cluster gets its number before anything else.
pub(crate) async fn enrol(
    config: &Config,
    store: &Store,
    beside: &Beside,
    metadata: &Metadata,
) -> Result<(Me, Option<Command>), StartError> {
    let state = metadata.read(State::clone);
    let known = state.node_of(StoreId(store.store_id()));
    let generation = known.and_then(|node| state.nodes.get(&node)).map(|node| node.generation);
    if known.is_none() && !state.nodes.is_empty() && metadata.member().is_none() {
        let node = *state.nodes.keys().next().unwrap_or(&0);
        return Err(Unfit::OtherStore { node, dir: store.dir().to_owned() }.into());
    }
    judge(store, beside, known.is_some(), generation, config.accept_loss)?;
    let promised = promised_in(&state, StoreId(store.store_id()));
    match beside.found() {
        PromisesFound::All => {}
        // A new directory begins its journal before the metadata hears of it: from then on a missing one is a loss.
        PromisesFound::Missing | PromisesFound::Unproved => beside.keep(promised).await?,
        PromisesFound::Damaged { .. } => {
            let kept_in = beside.begin_anew(store.lost_and_found(), promised).await?;
            tracing::error!(kept_in = %kept_in.display(), "loss accepted: the promise journal is written anew");
        }
    }
    let node = known.unwrap_or_else(|| state.next_node());
    let me = Me { node, store: store.store_id(), incarnation: store.incarnation() };
    let info = info(config, metadata);
    if known.is_none() && metadata.member().is_some() {
        return Ok((register(me, store.generation(), info, metadata).await?, None));
    }
    Ok((me, Some(says(me, store.generation(), known.is_some(), info))))
}

/// Registers a new node with the next number, whichever that is by then.
async fn register(me: Me, generation: u64, info: NodeInfo, metadata: &Metadata) -> Result<Me, ChangeError> {
    let mut me = me;
    loop {
        let given = me.node;
        match metadata.propose(says(me, generation, false, info.clone())).await {
            Ok(_) => return Ok(me),
            Err(ChangeError::Illegal(Illegal::NodeNumber { .. })) => {
                metadata.reach_newer(|state| state.next_node() > given).await;
                me.node = metadata.read(State::next_node);
            }
            Err(error) => return Err(error),
        }
    }
}

/// What this node says about itself.
fn info(config: &Config, metadata: &Metadata) -> NodeInfo {
    let address = match metadata.member() {
        Some(member) => member.peers().me().address().to_owned(),
        None => config.http.to_string(),
    };
    let told = |at: Option<Advertised>| at.map_or_else(String::new, |at| at.to_string());
    let (kafka, http) = (told(config.reached_by_kafka()), told(config.reached_by_http()));
    NodeInfo { address, kafka, http, ..NodeInfo::default() }
}

fn judge(
    store: &Store,
    beside: &Beside,
    known: bool,
    generation: Option<u64>,
    accept_loss: bool,
) -> Result<(), StartError> {
    let (readable, what) = match beside.found() {
        PromisesFound::All | PromisesFound::Unproved => (true, String::new()),
        PromisesFound::Missing => (!known, "the promise journal is missing".to_owned()),
        PromisesFound::Damaged { what } => (false, format!("the promise journal is damaged {what}")),
    };
    // A directory whose superblock this start has made has no past that could be missing.
    let found = store.found_generation().unwrap_or(0);
    let identity = Identity { store: store.store_id(), generation: found };
    match start::judge(Some(identity), readable || accept_loss, generation) {
        Ok(_) => Ok(()),
        Err(why @ (Nameless::RolledBack { .. } | Nameless::NoSuperblock)) => {
            Err(Unfit::RolledBack { dir: store.dir().to_owned(), why }.into())
        }
        Err(Nameless::NoPromises) => {
            let file = store.dir().join(tidelog_format::name::PROMISES);
            Err(Unfit::NoPromises { file, what }.into())
        }
    }
}

/// The command by which this start is told.
fn says(me: Me, generation: u64, known: bool, info: NodeInfo) -> Command {
    let Me { node, incarnation, .. } = me;
    let store = StoreId(me.store);
    match known {
        true => Command::StartNode { node, store, incarnation, generation, info },
        false => Command::RegisterNode { node, store, incarnation, generation, info },
    }
}

/// Every promise that this store can have made, by the metadata: the newest attempt or span of each shard that it holds.
fn promised_in(state: &State, store: StoreId) -> Promises {
    let mut promised = Promises::new();
    for (shard, span) in state.spans().filter(|(_, span)| span.replicas.iter().any(|one| one.store == store))
    {
        let epoch = match span.state {
            tidelog_meta::SpanState::Sealing { attempt, .. } => attempt,
            _ => span.epoch,
        };
        let known = promised.entry(shard).or_insert(epoch);
        *known = epoch.max(*known);
    }
    promised
}
