//! Three servers on this machine and disk that are one cluster, beside one server alone and three of fio's writers at once.
//!
//! # What is compared
//! The same requests through the Kafka port, to the node that leads. Three replicas write each record three times to the same
//! disk, so a third of what one server reaches is what could be hoped for; where a write's latency counts and not its bytes
//! (W1), it is more. fio: three jobs at once, each with its own part of the file; the figure is that of one of them.

use std::io::Write;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Buf;
use comfy_table::{Table, presets};
use serde::Serialize;

use crate::BenchError;
use crate::args::{self, Output};
use crate::fio::{Figures, Fio, Load};
use crate::place::Place;
use crate::report::median;
use crate::served::closed_loop::Served;
use crate::served::process::Process;
use crate::served::{beside_us, kafka, pool, report};
use crate::workload::Case;

const NODES: usize = 3;
/// How long the nodes may take to hold the topic together.
const PATIENCE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(50);

/// Who served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Who {
    One,
    Three,
}

/// A server's figures under one load: medians over its runs, each by itself.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// Name of the load.
    pub workload: &'static str,
    /// Who served: `one node`, `three nodes`, or `fio, three at once`.
    pub server: &'static str,
    /// Commits a second; of fio, durable writes a second of one of its jobs.
    pub commits_per_s: f64,
    /// 10^6 bytes of acknowledged values a second; of fio, of what one of its jobs wrote.
    pub mb_per_s: f64,
    /// Latency of a commit, us: median.
    pub p50_us: f64,
    /// 999 of 1000 are faster.
    pub p999_us: f64,
    /// Processor seconds of all servers per 10^9 bytes of values; null for fio.
    pub server_cpu_s_per_gb: Option<f64>,
    /// Commits a second over a third of what one node reached in the same turn, median over the turns.
    pub ratio_to_a_third: Option<f64>,
    /// Commits a second over fio's in the same turn.
    pub ratio_to_fio: Option<f64>,
}

/// All runs of a load, in turns.
#[derive(Debug)]
struct Turns {
    case: Case,
    one: Vec<Served>,
    three: Vec<Served>,
    fio: Vec<Figures>,
}

/// Runs W1, W2 and W3.
///
/// # Errors
/// The first failure.
pub fn run(cluster: &args::Cluster, place: &Place) -> Result<Vec<Report>, BenchError> {
    let args = &cluster.port;
    let program = args.server.clone().map_or_else(|| beside_us("tidelog"), Ok)?;
    let fio = Fio::find(place.fio_file())?;
    let plan = args.plan();
    let mut reports = Vec::new();
    for case in cluster.cases() {
        let load = pool(case.shape, args.seed)?;
        let mut turns = Turns { case, one: Vec::new(), three: Vec::new(), fio: Vec::new() };
        for _ in 0..args.repeats {
            for who in [Who::One, Who::Three] {
                let servers = start(who, &program, place)?;
                let leader = leader(&servers)?;
                let served = kafka::drive_at(leader, &servers, case.shape, &load, plan)?;
                match who {
                    Who::One => turns.one.push(served),
                    Who::Three => turns.three.push(served),
                }
            }
            if let Some(fio) = &fio {
                let load = Load::like(load.received(0).len(), case.shape.producers);
                turns.fio.push(fio.abreast(load, NODES, args.seconds, args.warmup)?);
            }
        }
        reports.extend(turns.reports());
    }
    Ok(reports)
}

fn start(who: Who, program: &std::path::Path, place: &Place) -> Result<Vec<Process>, BenchError> {
    let dir = place.fresh_shard()?;
    if who == Who::One {
        return Ok(vec![Process::tidelog(program, &dir)?]);
    }
    let mut first = None;
    (1..=NODES)
        .map(|node| {
            let (process, peer) = Process::member(program, &dir.join(node.to_string()), first)?;
            first.get_or_insert(peer);
            Ok(process)
        })
        .collect()
}

/// Makes the topic and waits until all servers hold it; where it is led.
fn leader(servers: &[Process]) -> Result<SocketAddr, BenchError> {
    let begun = Instant::now();
    let Some(first) = servers.first() else { return Err(BenchError::ServerGone) };
    loop {
        if let Some(at) = led(&kafka::metadata_once(first.address())?, servers.len()) {
            return Ok(at);
        }
        if begun.elapsed() > PATIENCE {
            return Err(BenchError::Refused(format!(
                "{} servers do not hold the topic together",
                servers.len()
            )));
        }
        std::thread::sleep(PAUSE);
    }
}

/// Where the first partition is led, by a response to a request for metadata (version 4); `None` while it is not held by so
/// many.
fn led(answer: &[u8], holders: usize) -> Option<SocketAddr> {
    let mut rest = answer;
    rest.try_get_i64().ok()?; // correlation id, throttle time
    let mut brokers = Vec::new();
    for _ in 0..rest.try_get_i32().ok()? {
        let (node, host) = (rest.try_get_i32().ok()?, string(&mut rest)?);
        brokers.push((node, format!("{host}:{}", rest.try_get_i32().ok()?)));
        string(&mut rest); // rack
    }
    string(&mut rest); // cluster
    rest.try_get_i32().ok()?; // controller
    if rest.try_get_i32().ok()? != 1 || rest.try_get_i16().ok()? != 0 {
        return None;
    }
    string(&mut rest)?; // name
    rest.try_get_u8().ok()?; // internal
    if rest.try_get_i32().ok()? < 1 || rest.try_get_i16().ok()? != 0 {
        return None;
    }
    rest.try_get_i32().ok()?; // index
    let leader = rest.try_get_i32().ok()?;
    let held = usize::try_from(rest.try_get_i32().ok()?).ok()?;
    let at = brokers.iter().find(|(node, _)| *node == leader)?;
    (held == holders).then_some(())?;
    at.1.parse().ok()
}

/// A string; `None` also for one that is null.
fn string(rest: &mut &[u8]) -> Option<String> {
    let len = usize::try_from(rest.try_get_i16().ok()?).ok()?;
    let (text, behind) = rest.split_at_checked(len)?;
    *rest = behind;
    Some(String::from_utf8_lossy(text).into_owned())
}

impl Turns {
    fn reports(&self) -> Vec<Report> {
        let commits = |run: &Served| run.records as f64 / f64::from(self.case.shape.batch) / run.seconds;
        let ratios = |theirs: Vec<f64>| {
            let ours = self.three.iter().map(commits);
            (!theirs.is_empty())
                .then(|| median(ours.zip(theirs).map(|(ours, theirs)| ours / theirs).collect()))
        };
        let of = |server, runs: &[Served]| {
            let over = |figure: &dyn Fn(&Served) -> f64| median(runs.iter().map(figure).collect());
            let at = |quantile: f64| over(&|run| run.latency.value_at_quantile(quantile) as f64 / 1000.0);
            Report {
                workload: self.case.name,
                server,
                commits_per_s: over(&commits),
                mb_per_s: over(&|run| run.bytes as f64 / run.seconds / 1e6),
                p50_us: at(0.5),
                p999_us: at(0.999),
                server_cpu_s_per_gb: Some(over(&|run| run.cpu_seconds * 1e9 / run.bytes.max(1) as f64)),
                ratio_to_a_third: None,
                ratio_to_fio: None,
            }
        };
        let three = Report {
            ratio_to_a_third: ratios(self.one.iter().map(|run| commits(run) / NODES as f64).collect()),
            ratio_to_fio: ratios(self.fio.iter().map(|run| run.writes_per_s).collect()),
            ..of("three nodes", &self.three)
        };
        let mut reports = vec![of("one node", &self.one), three];
        if !self.fio.is_empty() {
            let over = |figure: fn(&Figures) -> f64| median(self.fio.iter().map(figure).collect());
            reports.push(Report {
                workload: self.case.name,
                server: "fio, three at once",
                commits_per_s: over(|run| run.writes_per_s),
                mb_per_s: over(|run| run.mb_per_s),
                p50_us: over(|run| run.p50_us),
                p999_us: over(|run| run.p999_us),
                server_cpu_s_per_gb: None,
                ratio_to_a_third: None,
                ratio_to_fio: None,
            });
        }
        reports
    }
}

/// Writes the figures: a table, or a JSON array.
///
/// # Errors
/// When `out` does not take it.
pub fn write(reports: &[Report], output: Output, out: &mut dyn Write) -> Result<(), BenchError> {
    report::print(reports, table, output, out)
}

fn table(reports: &[Report]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::UTF8_BORDERS_ONLY);
    table.set_header([
        "load",
        "server",
        "commits/s",
        "MB/s",
        "p50 us",
        "p99.9 us",
        "servers' CPU s/GB",
        "to a third of one node",
        "to fio, three at once",
    ]);
    let or_none =
        |figure: Option<f64>| figure.map_or_else(|| "-".to_owned(), |figure| format!("{figure:.2}"));
    for r in reports {
        table.add_row([
            r.workload.to_owned(),
            r.server.to_owned(),
            format!("{:.0}", r.commits_per_s),
            format!("{:.1}", r.mb_per_s),
            format!("{:.0}", r.p50_us),
            format!("{:.0}", r.p999_us),
            or_none(r.server_cpu_s_per_gb),
            or_none(r.ratio_to_a_third),
            or_none(r.ratio_to_fio),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::BufMut;

    /// Brokers 1 and 2; the topic's partition is led by 2 and held by both.
    fn answer(error: i16) -> Vec<u8> {
        let mut out = vec![0; 8];
        out.put_i32(2);
        for node in [1_i32, 2] {
            out.put_i32(node);
            out.put_i16(9);
            out.put_slice(b"127.0.0.1");
            out.put_i32(9000 + node);
            out.put_i16(-1);
        }
        out.put_i16(2);
        out.put_slice(b"id");
        out.put_i32(1);
        out.put_i32(1);
        out.put_i16(0);
        out.put_i16(5);
        out.put_slice(b"bench");
        out.put_u8(0);
        out.put_i32(1);
        out.put_i16(error);
        out.put_i32(0);
        out.put_i32(2);
        out.put_i32(2);
        out
    }

    #[test]
    fn the_leader_is_found_once_all_hold_the_topic() {
        assert_eq!(led(&answer(0), 2), Some("127.0.0.1:9002".parse().unwrap()));
        assert_eq!(led(&answer(0), 3), None);
        assert_eq!(led(&answer(5), 2), None, "nobody leads it yet");
    }

    #[test]
    fn an_answer_that_is_cut_anywhere_names_nobody() {
        let answer = answer(0);
        assert!((0..answer.len()).all(|len| led(&answer[..len], 2).is_none()));
    }
}
