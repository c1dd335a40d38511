//! Explores the model by hand: the spaces of the tests, the large ones, or a planted bug with its counterexample.
#![expect(clippy::print_stdout, reason = "its output is what it is for")]

use std::process::ExitCode;
use std::thread::available_parallelism;
use std::time::Instant;

use clap::Parser;
use model::bug::Bug;
use model::explore;
use model::planted::{self, Planted};
use model::space::{LARGE, QUICK, Space};
use model::trace;

/// Explores the replication protocol state by state.
#[derive(Parser)]
struct Arguments {
    /// The large spaces, instead of those of the tests.
    #[arg(long)]
    large: bool,
    /// Only spaces with this in their name.
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
    /// Plants a bug and shows how it does harm; `all` for one after the other.
    #[arg(long, value_name = "NAME")]
    bug: Option<String>,
    /// Lists spaces and bugs.
    #[arg(long)]
    list: bool,
    /// Threads; all cores by default.
    #[arg(long)]
    threads: Option<usize>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let cores = available_parallelism().map_or(1, usize::from);
    let threads = arguments.threads.unwrap_or(cores);
    if arguments.list {
        list();
        return ExitCode::SUCCESS;
    }
    let fine = match &arguments.bug {
        Some(name) => show_bugs(name),
        None => {
            let spaces = if arguments.large { LARGE } else { QUICK };
            let wanted =
                |space: &&Space| arguments.only.as_ref().is_none_or(|only| space.config.name.contains(only));
            spaces.iter().filter(wanted).filter(|space| !show_space(space, threads)).count() == 0
        }
    };
    if fine { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn list() {
    for space in QUICK.iter().chain(LARGE) {
        println!("space  {}", space.config.name);
    }
    for bug in Bug::ALL {
        println!("bug    {:<20} {}", bug.name(), bug.says());
    }
}

/// Explores a space whole. `false` if the rules do not hold in it, or it is not the space that was meant.
fn show_space(space: &Space, threads: usize) -> bool {
    let begin = Instant::now();
    let explored = explore::exhaustively(space.config, threads);
    println!("{explored}, {:.1} s", begin.elapsed().as_secs_f64());
    for (invariant, path) in &explored.violated {
        println!("violated: {}", trace::told(invariant, path));
    }
    let unseen: Vec<_> = space.seen.iter().filter(|name| !explored.seen.contains(*name)).collect();
    if !unseen.is_empty() {
        println!("not seen: {unseen:?}");
    }
    let as_claimed = space.states == 0 || explored.unique == space.states;
    if !as_claimed {
        println!("not the space that was meant: it has {} states", space.states);
    }
    explored.violated.is_empty() && unseen.is_empty() && as_claimed
}

/// Shows a shortest way to harm for each bug of this name. `false` if one is not found, or none has the name.
fn show_bugs(name: &str) -> bool {
    let named = |planted: &Planted| name == "all" || planted.bugs.iter().any(|bug| bug.name() == name);
    let wanted: Vec<Planted> = planted::all().into_iter().filter(named).collect();
    let shown = wanted.iter().filter(|planted| show_bug(planted)).count();
    shown == wanted.len() && shown > 0
}

fn show_bug(planted: &Planted) -> bool {
    let begin = Instant::now();
    let explored = explore::until(planted.config, 1, planted.violates);
    for bug in planted.bugs {
        println!("{}: {}", bug.name(), bug.says());
    }
    println!("{explored}, {:.1} s", begin.elapsed().as_secs_f64());
    match explored.violated.get(planted.violates) {
        Some(path) => println!("violated: {}", trace::told(planted.violates, path)),
        None => println!("NOT FOUND: {}\n", planted.violates),
    }
    explored.violated.contains_key(planted.violates)
}
