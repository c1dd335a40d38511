//! Figures of servers for people and for programs.

use std::io::Write;

use comfy_table::{Table, presets};
use serde::Serialize;

use crate::BenchError;
use crate::args::Output;
use crate::report::median;
use crate::served::closed_loop::Served;
use crate::served::{Contender, Contest};

/// One server's figures under one load: medians over its runs, each by itself.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// Name of the load.
    pub workload: &'static str,
    /// Who served, through which client.
    pub server: &'static str,
    /// Connections, each with one commit in flight.
    pub connections: u32,
    /// Records per commit.
    pub batch: u32,
    /// Bytes of a record's value.
    pub record: u32,
    /// Runs.
    pub runs: usize,
    /// Acknowledged records a second.
    pub records_per_s: f64,
    /// 10^6 bytes of acknowledged values a second.
    pub mb_per_s: f64,
    /// Latency of a commit, us: median.
    pub p50_us: f64,
    /// 99 of 100 are faster.
    pub p99_us: f64,
    /// 999 of 1000 are faster.
    pub p999_us: f64,
    /// Processor seconds of the server per 10^9 bytes of values.
    pub server_cpu_s_per_gb: f64,
    /// Records a second over those of Redis, median over the turns; null without Redis.
    pub ratio_to_redis: Option<f64>,
    /// Records a second over those that the same client reaches with a server that throws them away, median over the
    /// turns; null for who is not measured that way.
    pub ratio_to_client_limit: Option<f64>,
}

fn rate(run: &Served) -> f64 {
    run.records as f64 / run.seconds
}

/// All figures of a load.
pub fn of(contest: &Contest) -> Vec<Report> {
    let runs_of = |wanted| contest.runs.iter().find(|(who, _)| *who == wanted).map(|(_, runs)| runs);
    let shape = contest.case.shape;
    let report = |(who, runs): &(Contender, Vec<Served>)| {
        let over = |figure: &dyn Fn(&Served) -> f64| median(runs.iter().map(figure).collect());
        let at = |quantile: f64| over(&|run| run.latency.value_at_quantile(quantile) as f64 / 1000.0);
        let ratio_to = |theirs: &Vec<Served>| {
            median(theirs.iter().zip(runs).map(|(theirs, ours)| rate(ours) / rate(theirs)).collect())
        };
        Report {
            workload: contest.case.name,
            server: who.name(),
            connections: shape.producers,
            batch: shape.batch,
            record: shape.record,
            runs: runs.len(),
            records_per_s: over(&rate),
            mb_per_s: over(&|run| run.bytes as f64 / run.seconds / 1e6),
            p50_us: at(0.5),
            p99_us: at(0.99),
            p999_us: at(0.999),
            server_cpu_s_per_gb: over(&|run| run.cpu_seconds * 1e9 / (run.bytes.max(1)) as f64),
            ratio_to_redis: runs_of(Contender::Redis).map(ratio_to),
            ratio_to_client_limit: who.limit().and_then(runs_of).map(ratio_to),
        }
    };
    contest.runs.iter().map(report).collect()
}

/// Writes the figures: a table, or a JSON array.
///
/// # Errors
/// When `out` does not take it.
pub fn write(contests: &[Contest], output: Output, out: &mut dyn Write) -> Result<(), BenchError> {
    let reports: Vec<Report> = contests.iter().flat_map(of).collect();
    print(&reports, table, output, out)
}

/// Writes reports as a table, or as a JSON array.
pub(super) fn print<R: Serialize>(
    reports: &[R],
    table: fn(&[R]) -> Table,
    output: Output,
    out: &mut dyn Write,
) -> Result<(), BenchError> {
    let text = match output {
        Output::Table => format!("{}\n", table(reports)),
        Output::Json => {
            serde_json::to_string_pretty(reports).map_err(|error| BenchError::Output(error.into()))? + "\n"
        }
    };
    out.write_all(text.as_bytes()).map_err(BenchError::Output)
}

fn table(reports: &[Report]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::UTF8_BORDERS_ONLY);
    table.set_header([
        "load",
        "server",
        "conns x records x bytes",
        "records/s",
        "MB/s",
        "p50 us",
        "p99 us",
        "p99.9 us",
        "server CPU s/GB",
        "ratio to redis",
        "to client's limit",
    ]);
    for r in reports {
        table.add_row([
            r.workload.to_owned(),
            r.server.to_owned(),
            format!("{} x {} x {}", r.connections, r.batch, r.record),
            format!("{:.0}", r.records_per_s),
            format!("{:.1}", r.mb_per_s),
            format!("{:.0}", r.p50_us),
            format!("{:.0}", r.p99_us),
            format!("{:.0}", r.p999_us),
            format!("{:.2}", r.server_cpu_s_per_gb),
            ratio(r.ratio_to_redis),
            ratio(r.ratio_to_client_limit),
        ]);
    }
    table
}

fn ratio(ratio: Option<f64>) -> String {
    ratio.map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.2}"))
}
