//! Figures for people and for programs.

use std::io::Write;

use clap::ValueEnum;
use comfy_table::{Table, presets};
use serde::Serialize;

use crate::BenchError;
use crate::args::Output;
use crate::compare::Compared;
use crate::fio::{Figures, Load};
use crate::producers::Measured;

const MEASURED: &str = "closed loop (each producer waits for its own commit), coordinated omission not corrected; \
     latency from append to acknowledgement; throughput includes copying each batch from a prebuilt pool and, \
     unless turned off, checking it; CPU is that of the whole process, producers included";

/// One load's figures: medians over its runs, each by itself.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// Name of the load.
    pub workload: &'static str,
    /// Producers.
    pub producers: u32,
    /// Records per commit.
    pub batch: u32,
    /// Bytes of a record's value.
    pub record: u32,
    /// Partitions.
    pub partitions: u32,
    /// Where the producers ran.
    pub placement: String,
    /// Disk backend.
    pub io: String,
    /// Whether batches were checked.
    pub validate: bool,
    /// Whether segments were recycled ones.
    pub recycle: bool,
    /// Seconds of each run.
    pub seconds: u32,
    /// Runs.
    pub runs: usize,
    /// Bytes of a commit's batch.
    pub commit_bytes: usize,
    /// Acknowledged batches a second.
    pub commits_per_s: f64,
    /// Acknowledged records a second.
    pub records_per_s: f64,
    /// 10^6 bytes of acknowledged batches a second.
    pub mb_per_s: f64,
    /// Latency, us: median.
    pub p50_us: f64,
    /// 99 of 100 are faster.
    pub p99_us: f64,
    /// 999 of 1000 are faster.
    pub p999_us: f64,
    /// Writes of the shard a second.
    pub group_commits_per_s: f64,
    /// Mean time of such a write, us.
    pub write_us: f64,
    /// Processor seconds per 10^9 bytes of acknowledged batches.
    pub cpu_s_per_gb: f64,
    /// Segments begun.
    pub rolls: f64,
    /// Of those, without a file ready.
    pub rolls_waited: f64,
    /// 10^6 bytes zero-filled ahead meanwhile.
    pub filled_mb: f64,
    /// Files recycled meanwhile.
    pub recycled: f64,
    /// Our commits a second over fio's writes a second; null without fio.
    pub ratio_to_fio: Option<f64>,
    /// fio's figures: the mean over its runs.
    pub fio: Option<Beside>,
    /// Runnable tasks on the machine before the first run.
    pub load_before: Option<f64>,
    /// What the figures contain.
    pub measured: &'static str,
}

/// What fio gave.
#[derive(Debug, Clone, Serialize)]
pub struct Beside {
    /// Its version.
    pub version: String,
    /// Its load.
    #[serde(flatten)]
    pub load: Load,
    /// Mean over its runs.
    #[serde(flatten)]
    pub mean: Figures,
    /// Durable writes a second of each run: how steady the disk was.
    pub each_writes_per_s: Vec<f64>,
}

impl Report {
    /// Medians of a load's runs.
    pub fn of(compared: &Compared) -> Report {
        let (shape, common, runs) = (compared.case.shape, &compared.common, &compared.runs);
        let over = |figure: &dyn Fn(&Measured) -> f64| median(runs.iter().map(figure).collect());
        let rate = |run: &Measured| run.commits as f64 / run.seconds;
        let bytes = |run: &Measured| (run.commits * run.stored as u64) as f64;
        let at = |quantile: f64| over(&|run| run.latency.value_at_quantile(quantile) as f64 / 1000.0);
        let ratios = (0..runs.len()).filter_map(|index| Some(rate(&runs[index]) / compared.beside(index)?));
        let ratios: Vec<f64> = ratios.collect();
        Report {
            workload: compared.case.name,
            producers: shape.producers,
            batch: shape.batch,
            record: shape.record,
            partitions: shape.partitions,
            placement: name(common.placement),
            io: name(common.io),
            validate: common.validate,
            recycle: !common.first_fill,
            seconds: common.seconds,
            runs: runs.len(),
            commit_bytes: runs.first().map_or(0, |run| run.stored),
            commits_per_s: over(&rate),
            records_per_s: over(&|run| rate(run) * f64::from(run.records)),
            mb_per_s: over(&|run| bytes(run) / run.seconds / 1e6),
            p50_us: at(0.5),
            p99_us: at(0.99),
            p999_us: at(0.999),
            group_commits_per_s: over(&|run| run.groups as f64 / run.seconds),
            write_us: over(&|run| run.write_seconds * 1e6 / (run.groups.max(1)) as f64),
            cpu_s_per_gb: over(&|run| run.cpu_seconds * 1e9 / bytes(run).max(1.0)),
            rolls: over(&|run| run.rolls as f64),
            rolls_waited: over(&|run| run.rolls_waited as f64),
            filled_mb: over(&|run| run.filled_bytes as f64 / 1e6),
            recycled: over(&|run| run.recycled as f64),
            ratio_to_fio: (!ratios.is_empty()).then(|| median(ratios)),
            fio: beside(compared),
            load_before: compared.load_before,
            measured: MEASURED,
        }
    }
}

fn beside(compared: &Compared) -> Option<Beside> {
    let (runs, load) = (&compared.fio, compared.fio_load?);
    let mean = |figure: fn(&Figures) -> f64| runs.iter().map(figure).sum::<f64>() / runs.len() as f64;
    Some(Beside {
        version: compared.fio_version.clone()?,
        load,
        mean: Figures {
            writes_per_s: mean(|run| run.writes_per_s),
            mb_per_s: mean(|run| run.mb_per_s),
            p50_us: mean(|run| run.p50_us),
            p99_us: mean(|run| run.p99_us),
            p999_us: mean(|run| run.p999_us),
            curve_us: std::array::from_fn(|at| {
                runs.iter().map(|run| run.curve_us[at]).sum::<f64>() / runs.len() as f64
            }),
        },
        each_writes_per_s: runs.iter().map(|run| run.writes_per_s.round()).collect(),
    })
}

/// The middle one; of an even number the mean of the two in the middle; 0 of none.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match (values.get(middle), values.len() % 2) {
        (Some(value), 1) => *value,
        (Some(value), _) => (value + values[middle - 1]) / 2.0,
        (None, _) => 0.0,
    }
}

fn name(value: impl ValueEnum) -> String {
    value.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
}

/// Writes the figures of all loads: a table, or JSON (an object for one load, else an array).
///
/// # Errors
/// When `out` does not take it.
pub fn write(compared: &[Compared], output: Output, out: &mut dyn Write) -> Result<(), BenchError> {
    let reports: Vec<Report> = compared.iter().map(Report::of).collect();
    let text = match output {
        Output::Table => format!("{}\n{MEASURED}\n", table(&reports)),
        Output::Json => {
            let json = match &reports[..] {
                [one] => serde_json::to_string_pretty(one),
                all => serde_json::to_string_pretty(all),
            };
            json.map_err(|error| BenchError::Output(error.into()))? + "\n"
        }
    };
    out.write_all(text.as_bytes()).map_err(BenchError::Output)
}

fn table(reports: &[Report]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::UTF8_BORDERS_ONLY);
    let names = reports.iter().map(|report| report.workload.to_owned());
    table.set_header(std::iter::once(String::new()).chain(names));
    let mut row = |name: &str, cell: &dyn Fn(&Report) -> String| {
        table.add_row(std::iter::once(name.to_owned()).chain(reports.iter().map(cell)));
    };
    let some = |value: Option<f64>, digits: usize| {
        value.map_or_else(|| "-".to_owned(), |value| format!("{value:.digits$}"))
    };
    row("producers x records x bytes", &|r| format!("{} x {} x {}", r.producers, r.batch, r.record));
    row("placement, disk, segments", &|r| {
        format!("{}, {}, {}", r.placement, r.io, if r.recycle { "recycled" } else { "new" })
    });
    row("commits/s", &|r| format!("{:.0}", r.commits_per_s));
    row("records/s", &|r| format!("{:.0}", r.records_per_s));
    row("MB/s", &|r| format!("{:.1}", r.mb_per_s));
    row("p50 us", &|r| format!("{:.0}", r.p50_us));
    row("p99 us", &|r| format!("{:.0}", r.p99_us));
    row("p99.9 us", &|r| format!("{:.0}", r.p999_us));
    row("group commits/s", &|r| format!("{:.0}", r.group_commits_per_s));
    row("mean write us", &|r| format!("{:.0}", r.write_us));
    row("CPU s per GB", &|r| format!("{:.2}", r.cpu_s_per_gb));
    row("rolls (waited)", &|r| format!("{:.0} ({:.0})", r.rolls, r.rolls_waited));
    row("zero-filled MB", &|r| format!("{:.0}", r.filled_mb));
    row("fio commits/s", &|r| some(r.fio.as_ref().map(|fio| fio.mean.writes_per_s), 0));
    row("fio MB/s", &|r| some(r.fio.as_ref().map(|fio| fio.mean.mb_per_s), 1));
    row("fio p50 us", &|r| some(r.fio.as_ref().map(|fio| fio.mean.p50_us), 0));
    row("fio p99 us", &|r| some(r.fio.as_ref().map(|fio| fio.mean.p99_us), 0));
    row("fio p99.9 us", &|r| some(r.fio.as_ref().map(|fio| fio.mean.p999_us), 0));
    row("ratio to fio", &|r| some(r.ratio_to_fio, 2));
    row("machine's load before", &|r| some(r.load_before, 1));
    table
}
