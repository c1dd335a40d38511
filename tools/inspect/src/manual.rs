//! Shell completions and man pages, made from the definition of the command line.

use std::fs;

use clap::CommandFactory;

use crate::args::{Cli, CompletionsArgs, ManArgs};
use crate::error::InspectError;
use crate::finding::Status;
use crate::output::Screen;

/// Prints the completion script for a shell.
pub(crate) fn completions(screen: &mut Screen<'_>, args: &CompletionsArgs) -> Result<Status, InspectError> {
    let mut root = Cli::command();
    let name = root.get_name().to_owned();
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut root, name, &mut script);
    screen.out.write_all(&script)?;
    Ok(Status::Ok)
}

/// Writes one page for each command, `tidelog-inspect.1`, `tidelog-inspect-dump.1` and so on.
pub(crate) fn man(args: &ManArgs) -> Result<Status, InspectError> {
    let failed = |cause| InspectError::Write { path: args.dir.clone(), cause };
    fs::create_dir_all(&args.dir).map_err(failed)?;
    clap_mangen::generate_to(Cli::command().disable_help_subcommand(true), &args.dir).map_err(failed)?;
    Ok(Status::Ok)
}
