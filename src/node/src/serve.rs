//! # Purpose
//! `tidelog serve`: starts everything, waits for the signal, stops everything in order.
//!
//! # Durability
//! Stopping finishes what was taken, then closes and seals the shards, so that the next start has nothing to scan. A
//! process that is killed instead loses nothing that was acknowledged.

use std::io::Write;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::config::{Config, Kafka, ServeArgs};
use crate::listener::{Bound, Front};
use crate::node::Node;
use crate::open::{self, StartError};
use crate::spans::generation;
use crate::{groups, listener, metadata, retention, ring, routing, serving};

/// How long requests have to come to their end when the node stops.
const FINISH: Duration = Duration::from_secs(10);

/// Runs a node until it is told to stop.
pub(crate) fn run(args: &ServeArgs) -> ExitCode {
    ring::abort_on_panic();
    match serve(args) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "tidelog: {error}");
            ExitCode::from(error.exit_code())
        }
    }
}

fn serve(args: &ServeArgs) -> Result<bool, StartError> {
    let config = Config::load(args)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("net")
        .build()
        .map_err(StartError::Runtime)?;
    let clean = runtime.block_on(live(config))?;
    // A request that did not end in time has been given up.
    runtime.shutdown_background();
    Ok(clean)
}

/// True when every shard could be closed cleanly.
async fn live(mut config: Config) -> Result<bool, StartError> {
    let mut terminate = signal(SignalKind::terminate()).map_err(StartError::Runtime)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(StartError::Runtime)?;
    let (http, kafka) = bind(&mut config)?;
    let node = tokio::select! {
        opened = open::open(config) => Arc::new(opened?),
        // A start may wait for others. What it was doing is begun again by the next one.
        _ = terminate.recv() => return Ok(true),
        _ = interrupt.recv() => return Ok(true),
    };
    let address = http.address();
    let listener = listen(http)?;
    let kafka_address = kafka.as_ref().map(Bound::address);
    let kafka = kafka.map(listen).transpose()?;
    announce(&node, address, kafka_address);
    let (alive, mut all_ended) = mpsc::channel(1);
    if let Some(listener) = kafka {
        tokio::spawn(listener::run(Arc::clone(&node), listener, Front::Kafka, alive.clone()));
    }
    let front = Front::http(&node);
    tokio::spawn(listener::run(Arc::clone(&node), listener, front, alive));
    tokio::spawn(retention::run(Arc::clone(&node)));
    tokio::spawn(generation::run(Arc::clone(&node)));
    tokio::spawn(metadata::run(Arc::clone(&node)));
    tokio::spawn(routing::run(Arc::clone(&node)));
    tokio::spawn(serving::run(Arc::clone(&node)));
    groups::start(&node);
    tokio::select! {
        _ = terminate.recv() => tracing::info!("SIGTERM: stopping"),
        _ = interrupt.recv() => tracing::info!("SIGINT: stopping"),
    }
    // First, so that those who lead from now on find somebody who decides about spans, before and behind this node's end.
    if let Some(member) = node.metadata.member() {
        member.make_room().await;
    }
    // Before connections end: clients hear who leads now, and find it there.
    if let Some(shards) = &node.replicated {
        shards.hand_over().await;
    }
    node.stopping.send_replace(true);
    tokio::select! {
        _ = all_ended.recv() => {}
        () = tokio::time::sleep(FINISH) => tracing::warn!("some connections did not end in time"),
        _ = interrupt.recv() => tracing::warn!("told to stop at once"),
    }
    Ok(close(&node).await)
}

/// Takes the ports for clients, and says in the configuration which ones they are.
fn bind(config: &mut Config) -> Result<(Bound, Option<Bound>), StartError> {
    let take = |address| Bound::new(address).map_err(|source| StartError::Listen { address, source });
    let http = take(config.http)?;
    config.http = http.address();
    let Kafka::At(address) = config.kafka else { return Ok((http, None)) };
    let kafka = take(address)?;
    config.kafka = Kafka::At(kafka.address());
    Ok((http, Some(kafka)))
}

fn listen(bound: Bound) -> Result<TcpListener, StartError> {
    let address = bound.address();
    bound.listen().map_err(|source| StartError::Listen { address, source })
}

/// The first line on stdout is where the node listens: with port 0 nobody knows otherwise.
/// The second is where Kafka's clients are taken, the third where other nodes are.
fn announce(node: &Node, address: SocketAddr, kafka: Option<SocketAddr>) {
    let mut stdout = std::io::stdout();
    let _ = writeln!(stdout, "listening on http://{address}");
    if let Some(kafka) = kafka {
        let _ = writeln!(stdout, "listening on kafka://{kafka}");
    }
    if let Some(member) = node.metadata.member() {
        let _ = writeln!(stdout, "listening on peer://{}", member.peers().me().address());
    }
    let _ = stdout.flush();
    tracing::info!(%address, data = %node.config.data.display(), incarnation = node.store.incarnation(), "ready");
    if node.config.insecure_listen {
        tracing::warn!("insecure-listen: nothing is encrypted or authenticated");
    }
}

/// Closes all shards, the metadata's last.
async fn close(node: &Node) -> bool {
    node.ending.send_replace(true);
    let mut clean = true;
    let mut closing = JoinSet::new();
    for (shard, wal) in node.data_shards() {
        closing.spawn(async move { (shard, wal.close().await) });
    }
    while let Some(closed) = closing.join_next().await {
        clean &= report(
            closed
                .map_err(|error| error.to_string())
                .and_then(|(shard, closed)| closed.map_err(|error| format!("shard {shard}: {error}"))),
        );
    }
    if let Some(member) = node.metadata.member() {
        member.stop().await;
    }
    if let Some(wal) = node.wal(tidelog_meta::METADATA_SHARD) {
        clean &= report(wal.close().await.map_err(|error| format!("the metadata: {error}")));
    }
    tracing::info!(clean, "stopped");
    clean
}

fn report(closed: Result<(), String>) -> bool {
    match closed {
        Ok(()) => true,
        Err(error) => {
            tracing::error!(error, "could not be closed cleanly");
            false
        }
    }
}
