//! # Purpose
//! The client side of the binary: `tidelog topic|produce|consume|group|cluster|completions|man`.
//!
//! `main` flattens [`ClientCommand`] into its own subcommands and hands what was parsed to [`run`]:
//!
//! ```text
//! #[derive(clap::Parser)]     struct Cli { #[command(subcommand)] command: Command }
//! #[derive(clap::Subcommand)] enum Command { Serve(ServeArgs), #[command(flatten)] Client(cli::ClientCommand) }
//! match Cli::parse().command { Command::Client(command) => cli::run(command, Cli::command()), .. }
//! ```
//!
//! # Invariants
//! Data goes to stdout, everything for people to stderr. What comes from the server or from records is shown without
//! control characters, except where the record's bytes are the output that was asked for.

mod admin;
mod args;
mod cluster;
mod completions;
mod confirm;
mod consume;
mod exit;
mod group;
mod input;
mod output;
mod produce;
mod progress;
mod record_writer;
mod table;
mod trim;

use std::process::ExitCode;

pub(crate) use args::ClientCommand;
use exit::Failure;

/// Runs one client command to its end; `root` is the whole command line's definition, for completions and man pages.
pub(crate) fn run(command: ClientCommand, root: clap::Command) -> ExitCode {
    let result = match command {
        ClientCommand::Completions(args) => completions::completions(&args, root),
        ClientCommand::Man(args) => completions::man(&args, root),
        ClientCommand::Topic(args) => on_runtime(admin::topic(args.command)),
        ClientCommand::Produce(args) => on_runtime(produce::produce(args)),
        ClientCommand::Cluster(args) => on_runtime(cluster::cluster(args.command)),
        ClientCommand::Group(args) => on_runtime(group::group(args.command)),
        ClientCommand::Consume(args) => on_runtime(consume::consume(args)),
    };
    exit::code(result)
}

/// Runs `command` until it ends or the user interrupts it.
fn on_runtime(command: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let result = runtime.block_on(command);
    // A read from a terminal cannot be cancelled; nothing waits for it.
    runtime.shutdown_background();
    result
}
