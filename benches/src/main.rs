//! The load generator's command line.
#![forbid(unsafe_code)]

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;

/// The same as the server's, so that embedded figures are made with what a server has.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = tidelog_bench::args::Cli::parse();
    match tidelog_bench::run(cli, &mut std::io::stdout().lock()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // With standard error gone there is nobody left to tell.
            let _ = writeln!(std::io::stderr(), "tidelog-bench: {error}");
            ExitCode::FAILURE
        }
    }
}
