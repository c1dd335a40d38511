//! The standard loads on an embedded shard: on recycled segments and on new files, and over many partitions.

use crate::BenchError;
use crate::all::args::All;
use crate::all::outcome::{Goal, Outcome, Row, Series};
use crate::args::{Common, Io, Placement, Shape};
use crate::compare::{self, Compared};
use crate::fio::Fio;
use crate::place::Place;
use crate::producers::{Measured, TICK};
use crate::workload::{self, Case};

/// Partitions that are to cost what one costs.
const MANY: u32 = 10_000;

fn common(args: &All, first_fill: bool) -> Common {
    let options = tidelog_wal::Options::default();
    Common {
        dir: args.dir.clone(),
        seconds: args.seconds,
        warmup: args.warmup,
        output: crate::args::Output::Table,
        placement: Placement::Ring,
        segment_bytes: options.segment_bytes,
        gather_bytes: options.gather_bytes,
        io: Io::Uring,
        validate: true,
        first_fill,
        no_fio: args.no_fio,
        keep: false,
        seed: args.seed,
    }
}

/// W1, W2, W3 on recycled segments or on new files.
///
/// # Errors
/// The first failure.
pub(super) fn workloads(
    args: &All,
    place: &Place,
    fio: Option<&Fio>,
    first_fill: bool,
) -> Result<Outcome, BenchError> {
    let mut outcome = Outcome::of(if first_fill { "first-fill" } else { "steady" });
    let segments = if first_fill { "new files" } else { "recycled" };
    let common = common(args, first_fill);
    for case in workload::standard() {
        let compared = compare::alternate(place, fio, case, &common, args.repeats)?;
        let load = format!("{}, {segments}", case.name);
        rows(&mut outcome, &load, &compared, !first_fill);
        plots(&mut outcome, &load, &compared);
        #[cfg(feature = "peers")]
        if !first_fill {
            beside_peers(&mut outcome, &load, &compared, args, place)?;
        }
    }
    if cfg!(not(feature = "peers")) {
        outcome
            .notes
            .push("built without the feature peers: okaywal and raft-engine are left out".to_owned());
    }
    Ok(outcome)
}

/// The same load on other people's logs, as often, right behind ours.
#[cfg(feature = "peers")]
fn beside_peers(
    outcome: &mut Outcome,
    load: &str,
    compared: &Compared,
    args: &All,
    place: &Place,
) -> Result<(), BenchError> {
    let shape = compared.case.shape;
    let pool = workload::Pool::build(shape, args.seed, tidelog_wal::Options::default().max_batch())?;
    let time = std::time::Duration::from_secs(args.seconds.into());
    let least = match (shape.batch, shape.producers) {
        (1, 1) | (_, 1) => None,
        (1, _) => Some(4.0),
        _ => Some(2.5),
    };
    for (name, peer) in super::peers::PEERS {
        let mut theirs = Vec::new();
        for _ in 0..args.repeats {
            theirs.push(peer(&place.fresh_shard()?, shape, &pool, time)?);
        }
        let row = Row::new(load, "commits/s", over(compared, rate)).beside(name, theirs);
        outcome.rows.push(match least {
            Some(least) => row.goal(Goal::RatioAtLeast(least)),
            None => row,
        });
    }
    Ok(())
}

fn rate(run: &Measured) -> f64 {
    run.commits as f64 / run.seconds
}

fn over(compared: &Compared, figure: impl Fn(&Measured) -> f64) -> Vec<f64> {
    compared.runs.iter().map(figure).collect()
}

fn rows(outcome: &mut Outcome, load: &str, compared: &Compared, judged: bool) {
    let name = compared.fio_load.map_or_else(String::new, |load| {
        format!("fio, synced direct writes of {} B, depth {}", load.block, load.depth)
    });
    let beside = |figure: fn(&crate::fio::Figures) -> f64| -> Vec<f64> {
        compared.fio.windows(2).map(|pair| (figure(&pair[0]) + figure(&pair[1])) / 2.0).collect()
    };
    let goal = |row: Row, goal: Option<Goal>| match goal.filter(|_| judged) {
        Some(goal) => row.goal(goal),
        None => row,
    };
    let shape = compared.case.shape;
    let commits = Row::new(load, "commits/s", over(compared, rate)).beside(&name, beside(|f| f.writes_per_s));
    let least = match (shape.batch, shape.producers) {
        (1, 1) => Some(0.90),
        (1, _) => None,
        (_, 1) => Some(0.90),
        _ => Some(1.2),
    };
    outcome.rows.push(goal(commits, least.map(Goal::RatioAtLeast)));
    let records = Row::new(load, "records/s", over(compared, |run| rate(run) * f64::from(run.records)));
    let wanted = (shape.batch == 1 && shape.producers > 1).then_some(Goal::AtLeast(400_000.0));
    outcome.rows.push(goal(records, wanted));
    let at = |quantile: f64| over(compared, |run| run.latency.value_at_quantile(quantile) as f64 / 1000.0);
    outcome.rows.push(Row::new(load, "p50 us", at(0.5)).beside(&name, beside(|f| f.p50_us)));
    let tail = Row::new(load, "p99.9 us", at(0.999)).beside(&name, beside(|f| f.p999_us));
    let most = (shape.batch == 1 && shape.producers == 1).then_some(Goal::RatioAtMost(1.5));
    outcome.rows.push(goal(tail, most));
    let bytes = |run: &Measured| (run.commits * run.stored as u64) as f64;
    let mb = over(compared, |run| bytes(run) / run.seconds / 1e6);
    outcome.rows.push(Row::new(load, "MB/s of batches", mb));
    let cpu = over(compared, |run| run.cpu_seconds * 1e9 / bytes(run).max(1.0));
    let most = (shape.batch > 1 && shape.producers > 1).then_some(Goal::AtMost(0.5));
    outcome.rows.push(goal(Row::new(load, "CPU s per GB, producers and kernel included", cpu), most));
    let merged = over(compared, |run| run.commits as f64 / (run.groups.max(1)) as f64);
    outcome.rows.push(Row::new(load, "commits that share a write", merged));
    let waited = over(compared, |run| run.rolls_waited as f64);
    outcome.rows.push(Row::new(load, "segments begun without a file ready", waited));
}

/// The last run stands for all in the plots.
fn plots(outcome: &mut Outcome, load: &str, compared: &Compared) {
    let Some(run) = compared.runs.last() else { return };
    outcome.curve(load, "tidelog", &run.latency);
    if let Some(figures) = compared.fio.last() {
        outcome.fio_curve(load, "fio", figures);
    }
    let ticks = run.timeline.iter().zip(0u32..);
    let points: Vec<(f64, f64)> = ticks
        .map(|(commits, tick)| (f64::from(tick) * TICK.as_secs_f64(), *commits as f64 / TICK.as_secs_f64()))
        .take_while(|(at, _)| at + TICK.as_secs_f64() <= run.seconds)
        .collect();
    let end = points.last().map_or(0.0, |(at, _)| *at);
    let series = |name: &str, points| Series {
        plot: load.to_owned(),
        unit: "commits/s".to_owned(),
        name: name.to_owned(),
        points,
    };
    outcome.series.push(series("tidelog", points));
    if let Some(figures) = compared.fio.last() {
        let level = vec![(0.0, figures.writes_per_s), (end, figures.writes_per_s)];
        outcome.series.push(series("fio, mean", level));
    }
}

/// The same load on one partition and on many, in turn.
///
/// # Errors
/// The first failure.
pub(super) fn partitions(args: &All, place: &Place) -> Result<Outcome, BenchError> {
    let mut outcome = Outcome::of("partitions");
    let common = common(args, false);
    for (load, producers, batch) in [("W2", 64, 1), ("W3, 4 producers", 4, 1000)] {
        let shape = |partitions| Shape { producers, batch, record: 256, partitions };
        let (mut one, mut many) = (Vec::new(), Vec::new());
        for _ in 0..args.repeats {
            for (partitions, rates) in [(1, &mut one), (MANY, &mut many)] {
                let case = Case { name: load, shape: shape(partitions), retain_rarely: true };
                let compared = compare::alternate(place, None, case, &common, 1)?;
                rates.extend(over(&compared, rate));
            }
        }
        let row = Row::new(format!("{load}, {MANY} partitions"), "commits/s", many);
        outcome.rows.push(row.beside("the same on 1 partition", one).goal(Goal::RatioAtLeast(0.9)));
    }
    Ok(outcome)
}
