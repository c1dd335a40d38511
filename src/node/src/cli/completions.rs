//! Shell completions and man pages, made from the definition of the command line.

use std::fs;

use super::args::{CompletionsArgs, ManArgs};
use super::exit::Failure;
use super::output;

/// Prints the completion script for a shell.
pub(crate) fn completions(args: &CompletionsArgs, mut root: clap::Command) -> Result<(), Failure> {
    let name = root.get_name().to_owned();
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut root, name, &mut script);
    output::write(&script)
}

/// Writes one page for each command, `tidelog.1`, `tidelog-topic-create.1` and so on.
pub(crate) fn man(args: &ManArgs, root: clap::Command) -> Result<(), Failure> {
    let failed = |error| Failure::Error(format!("{}: {error}", args.dir.display()));
    fs::create_dir_all(&args.dir).map_err(failed)?;
    clap_mangen::generate_to(root.disable_help_subcommand(true), &args.dir).map_err(failed)
}
