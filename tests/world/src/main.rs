//! Runs worlds: one with its trace, or many on all cores.
#![allow(clippy::print_stdout, reason = "a program for people")]

use std::ops::Range;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use clap::Parser;
use tidelog_replica::planted::Bug;
use world::{Outcome, run};

/// A simulated cluster of the real replication rules.
#[derive(Parser)]
struct Args {
    /// Run this seed and print what happens.
    #[arg(long, conflicts_with = "seeds")]
    seed: Option<u64>,
    /// Run the seeds from the first to below the second: A..B.
    #[arg(long, value_parser = parse_range, default_value = "0..100")]
    seeds: Range<u64>,
    /// Plant this bug (needs the feature `planted`); `list` names them.
    #[arg(long)]
    planted: Option<String>,
    /// Go on after the first seed that fails.
    #[arg(long)]
    all: bool,
}

fn parse_range(text: &str) -> Result<Range<u64>, String> {
    let (from, to) = text.split_once("..").ok_or("write A..B")?;
    let number = |text: &str| text.parse::<u64>().map_err(|error| error.to_string());
    Ok(number(from)?..number(to)?)
}

fn main() -> ExitCode {
    let args = Args::parse();
    let bug = match args.planted.as_deref() {
        Some("list") => {
            for (_, name, what) in Bug::ALL {
                println!("{name:<22} {what}");
            }
            return ExitCode::SUCCESS;
        }
        Some(name) => match Bug::ALL.iter().find(|(_, known, _)| *known == name) {
            Some((bug, ..)) => Some(*bug),
            None => {
                println!("no bug is called {name}; --planted list names them");
                return ExitCode::FAILURE;
            }
        },
        None => None,
    };
    if bug.is_some() && !cfg!(feature = "planted") {
        println!("this build has no planted bugs: cargo run -p world --features planted -- ...");
        return ExitCode::FAILURE;
    }
    match args.seed {
        Some(seed) => one(seed, bug),
        None => many(args.seeds, bug, args.all),
    }
}

#[cfg(feature = "planted")]
fn plant(bug: Option<Bug>) {
    tidelog_replica::planted::plant(bug);
}

#[cfg(not(feature = "planted"))]
fn plant(_: Option<Bug>) {}

fn one(seed: u64, bug: Option<Bug>) -> ExitCode {
    plant(bug);
    let outcome = run(seed, true);
    println!("{outcome:#?}");
    if outcome.wrong.is_some() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn many(seeds: Range<u64>, bug: Option<Bug>, all: bool) -> ExitCode {
    let begun = Instant::now();
    let (next, events) = (AtomicU64::new(seeds.start), AtomicU64::new(0));
    let failed: Mutex<Vec<Outcome>> = Mutex::new(Vec::new());
    let acknowledged = AtomicU64::new(0);
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(|| {
                plant(bug);
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    let stop = !all && failed.lock().is_ok_and(|failed| !failed.is_empty());
                    if seed >= seeds.end || stop {
                        return;
                    }
                    let outcome = run(seed, false);
                    events.fetch_add(outcome.events, Ordering::Relaxed);
                    acknowledged.fetch_add(outcome.acknowledged as u64, Ordering::Relaxed);
                    if outcome.wrong.is_some()
                        && let Ok(mut failed) = failed.lock()
                    {
                        failed.push(outcome);
                    }
                }
            });
        }
    });
    let took = begun.elapsed().as_secs_f64();
    let ran = next.into_inner().min(seeds.end) - seeds.start;
    let events = events.into_inner();
    println!(
        "{ran} seeds in {took:.1} s on {cores} cores: {:.0} seeds/s, {:.0} events/s, {} batches acknowledged",
        ran as f64 / took,
        events as f64 / took,
        acknowledged.into_inner()
    );
    let mut failed = failed.into_inner().unwrap_or_default();
    failed.sort_by_key(|outcome| outcome.seed);
    for outcome in &failed {
        println!("seed {}: {}", outcome.seed, outcome.wrong.as_deref().unwrap_or_default());
    }
    if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
