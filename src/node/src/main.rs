//! # Purpose
//! The binary `tidelog`: the server (`serve`), and commands that talk to one.
#![forbid(unsafe_code)]

mod activity;
mod budget;
mod cli;
mod cluster;
mod config;
mod failure;
mod groups;
mod health;
mod http;
mod kafka;
mod listener;
mod metadata;
mod metrics;
mod node;
mod older;
#[cfg(test)]
mod older_tests;
mod open;
mod peers;
mod places;
mod points;
mod produce;
mod producer_ids;
mod read;
mod reconcile;
mod retention;
mod ring;
mod routing;
mod serve;
mod serving;
mod shards;
mod spans;
mod telnet;
mod topics;

use std::io::IsTerminal;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};
use tracing_subscriber::EnvFilter;

use crate::cli::ClientCommand;
use crate::config::ServeArgs;

/// What one thread allocates another one frees: requests come in on network threads and go out of memory on the disk's.
/// See docs/decisions/2026-11-25-allocator.md.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Tidelog: an append-only record store that is durable before it says so
#[derive(Debug, Parser)]
#[command(name = "tidelog", version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start a node
    Serve(ServeArgs),
    #[command(flatten)]
    Client(ClientCommand),
}

fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Serve(args) => {
            trace();
            serve::run(&args)
        }
        Command::Client(command) => cli::run(command, Cli::command()),
    }
}

/// Events go to stderr; `TIDELOG_TRACE` chooses which, as `info` or `tidelog_wal=debug,info`. What the engine of the
/// metadata's group says about itself is for its developers: what people need to know of it, this program says.
fn trace() {
    let filter =
        EnvFilter::try_from_env("TIDELOG_TRACE").unwrap_or_else(|_| EnvFilter::new("info,openraft=off"));
    let colours = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_env_filter(filter).with_ansi(colours).init();
}
