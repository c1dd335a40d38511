//! Loads through a server's ports: produce, fetch, put, restart, memory, and the inspector over what they left.

use std::path::{Path, PathBuf};
use std::time::Instant;

use crate::BenchError;
use crate::all::args::All;
use crate::all::outcome::{Goal, Outcome, Row};
use crate::args::{Filled, Kafka, Output, Port, Restart};
use crate::cpu;
use crate::fio::{Fio, Load};
use crate::place::Place;
use crate::served::closed_loop::{Plan, Served};
use crate::served::process::Process;
use crate::served::{self, Contender, Contest, kafka, pool, put, restart, tail};
use crate::workload::Case;

/// Bytes that a server may use beside its caches, MiB.
const MEMORY: f64 = 128.0;
/// Bytes of recent batches that a shard keeps by default, MiB; the load writes to one shard.
const CACHE: f64 = 32.0;
/// Partitions of a topic by which an idle one is weighed, and so many topics of them. Tables grow by doubling and the system
/// gives memory in pieces of 2 MiB, so that few partitions would weigh what falls on their share of both.
const IDLE: u32 = 10_000;
const IDLE_TOPICS: u32 = 4;
/// GiB of values that the inspector verifies.
const VERIFIED: u32 = 1;
const MIB: f64 = 1_048_576.0;

/// Produce requests: W2 and W3, by requests written here and by librdkafka, with Redis streams beside it.
///
/// # Errors
/// The first failure.
pub(super) fn produce(args: &All, place: &Place) -> Result<Outcome, BenchError> {
    let mut outcome = Outcome::of("kafka");
    let port = Port {
        dir: args.dir.clone(),
        record: 256,
        repeats: args.repeats,
        seconds: args.seconds,
        warmup: args.warmup,
        output: Output::Table,
        server: args.server.clone(),
        seed: args.seed,
    };
    let kafka = Kafka { port, connections: None, batch: None, no_redis: false };
    if served::redis::version().is_none() {
        outcome.notes.push("redis-server is not installed: it is left out".to_owned());
    }
    if !cfg!(feature = "librdkafka") {
        outcome.notes.push("built without the feature librdkafka: that client is left out".to_owned());
    }
    for contest in served::run(&kafka, place)? {
        contest_rows(&mut outcome, &contest);
    }
    Ok(outcome)
}

fn rates(runs: &[Served]) -> Vec<f64> {
    runs.iter().map(|run| run.records as f64 / run.seconds).collect()
}

fn contest_rows(outcome: &mut Outcome, contest: &Contest) {
    let Case { name, shape, .. } = contest.case;
    let runs_of = |wanted| contest.runs.iter().find(|(who, _)| *who == wanted).map(|(_, runs)| &runs[..]);
    for (who, runs) in &contest.runs {
        let Some(limit) = who.limit() else { continue };
        let load = format!("{name} through the Kafka port, {}", who.client());
        let records = Row::new(&load, "records/s", rates(runs));
        if let Some(theirs) = runs_of(Contender::Redis) {
            let row = records.clone().beside(Contender::Redis.name(), rates(theirs));
            let judged = shape.batch == 1 && *who == Contender::Raw;
            outcome.rows.push(if judged { row.goal(Goal::RatioAtLeast(2.0)) } else { row });
        }
        let mb: Vec<f64> = runs.iter().map(|run| run.bytes as f64 / run.seconds / 1e6).collect();
        if let Some(theirs) = runs_of(limit) {
            outcome.rows.push(records.beside("the same client, a server that discards", rates(theirs)));
        }
        outcome.rows.push(Row::new(&load, "MB/s of values", mb));
        let at = |quantile: f64| {
            runs.iter().map(|run| run.latency.value_at_quantile(quantile) as f64 / 1000.0).collect()
        };
        outcome.rows.push(Row::new(&load, "p50 us", at(0.5)));
        outcome.rows.push(Row::new(&load, "p99 us", at(0.99)));
        let cpu = runs.iter().map(|run| run.cpu_seconds * 1e9 / (run.bytes.max(1)) as f64).collect();
        outcome.rows.push(Row::new(&load, "server's CPU s per GB", cpu));
    }
    let plot = format!("{name} through the Kafka port");
    for (who, runs) in &contest.runs {
        if let Some(run) = runs.last() {
            outcome.curve(&plot, who.name(), &run.latency);
        }
    }
}

fn server(args: &All) -> Result<PathBuf, BenchError> {
    args.server.clone().map_or_else(|| served::beside_us("tidelog"), Ok)
}

fn plan(args: &All) -> Plan {
    let seconds = |seconds: u32| std::time::Duration::from_secs(seconds.into());
    Plan { before: seconds(args.warmup), measured: seconds(args.seconds) }
}

/// Fetches of what was just written, from memory, beside a socket that sends as many bytes.
///
/// # Errors
/// The first failure.
pub(super) fn fetch(args: &All, place: &Place) -> Result<Outcome, BenchError> {
    let mut outcome = Outcome::of("fetch");
    let (program, load) = (server(args)?, pool(restart::FILL, args.seed)?);
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..args.repeats {
        let server = Process::tidelog(&program, &place.fresh_shard()?)?;
        kafka::drive(&server, restart::FILL, &load, plan(args))?;
        let fetched = tail::fetch(server.address(), plan(args).measured)?;
        theirs.push(tail::blast(fetched.answer, plan(args).measured)?);
        ours.push(fetched.mb_per_s);
    }
    let row = Row::new("fetch of 1 MiB at the tail, one connection", "MB/s", ours);
    let row = row.beside("a socket that answers with as many bytes from memory", theirs);
    outcome.rows.push(row.goal(Goal::RatioAtLeast(0.9)));
    Ok(outcome)
}

/// OpenTSDB's put, over HTTP and over telnet.
///
/// # Errors
/// The first failure.
pub(super) fn opentsdb(args: &All, place: &Place) -> Result<Outcome, BenchError> {
    let mut outcome = Outcome::of("put");
    let program = server(args)?;
    let (mut http, mut telnet) = (Vec::new(), Vec::new());
    for _ in 0..args.repeats {
        let server = Process::tidelog(&program, &place.fresh_shard()?)?;
        http.extend(rates(&[put::http(&server, plan(args))?]));
        let server = Process::tidelog(&program, &place.fresh_shard()?)?;
        telnet.push(put::telnet(&server, plan(args))?);
    }
    let million = Goal::AtLeast(1e6);
    outcome.rows.push(
        Row::new("OpenTSDB put over HTTP, 4 connections, 1,000 points each", "points/s", http).goal(million),
    );
    outcome.rows.push(Row::new("OpenTSDB put over telnet, 4 connections", "points/s", telnet).goal(million));
    Ok(outcome)
}

/// Memory under full load, and that of a partition that nobody uses.
///
/// # Errors
/// The first failure.
pub(super) fn memory(args: &All, place: &Place) -> Result<Outcome, BenchError> {
    let mut outcome = Outcome::of("memory");
    let (program, load) = (server(args)?, pool(restart::FILL, args.seed)?);
    let (mut full, mut idle) = (Vec::new(), Vec::new());
    for _ in 0..args.repeats {
        let server = Process::tidelog(&program, &place.fresh_shard()?)?;
        kafka::drive(&server, restart::FILL, &load, plan(args))?;
        full.push(server.peak_memory()? as f64 / MIB);
        let server = Process::tidelog(&program, &place.fresh_shard()?)?;
        // The first topic opens the shards, whose memory is not that of a partition.
        put::create_topic(server.http(), "first", IDLE)?;
        let before = server.memory()?;
        for topic in 0..IDLE_TOPICS {
            put::create_topic(server.http(), &format!("idle{topic}"), IDLE)?;
        }
        idle.push(server.memory()?.saturating_sub(before) as f64 / f64::from(IDLE_TOPICS * IDLE));
    }
    let row = Row::new("memory at full ingest (W3, 4 connections), its peak", "MiB", full);
    outcome.rows.push(row.goal(Goal::AtMost(MEMORY + CACHE)));
    let row = Row::new("memory of an idle partition, 40,000 beside 10,000", "bytes", idle);
    outcome.rows.push(row.goal(Goal::AtMost(1024.0)));
    Ok(outcome)
}

/// From kill -9 to the first durable append, with the sizes asked for.
///
/// # Errors
/// The first failure.
pub(super) fn again(args: &All, place: &Place) -> Result<Outcome, BenchError> {
    let mut outcome = Outcome::of("restart");
    let filled =
        Filled { dir: args.dir.clone(), output: Output::Table, server: args.server.clone(), seed: args.seed };
    let asked = Restart { filled, gib: args.gib.clone(), repeats: args.repeats };
    let reports = restart::run(&asked, place)?;
    for report in &reports {
        let load = format!("restart after kill -9 with {:.1} GiB of values stored", report.stored_gib);
        let row = Row::new(&load, "s to the first durable append", report.first_append_s.clone());
        outcome.rows.push(row.goal(Goal::AtMost(0.25)));
        outcome.rows.push(Row::new(&load, "s until it listens", report.listening_s.clone()));
    }
    Ok(outcome)
}

/// `tidelog-inspect verify` over a directory, beside the slower of the disk and the checksum on all cores.
///
/// # Errors
/// The first failure.
pub(super) fn verify(args: &All, place: &Place, fio: Option<&Fio>) -> Result<Outcome, BenchError> {
    let mut outcome = Outcome::of("verify");
    let inspector = args.inspector.clone().map_or_else(|| served::beside_us("tidelog-inspect"), Ok)?;
    let dir = place.fresh_shard()?;
    let server = Process::tidelog(&server(args)?, &dir)?;
    restart::fill(&server, &pool(restart::FILL, args.seed)?, f64::from(VERIFIED) * MIB * 1024.0)?;
    drop(server);
    let data = dir.join("data");
    let bytes = cpu::bytes_in(&data).map_err(BenchError::file("measuring", &data))?;
    let (mut ours, mut disk, mut sums) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..args.repeats {
        if let Some(fio) = fio {
            disk.push(fio.read(Load { block: 1 << 20, depth: 8 }, args.seconds)?.mb_per_s);
        }
        sums.push(cpu::checksum_mb_per_s());
        let begun = Instant::now();
        run_verify(&inspector, &data)?;
        ours.push(bytes as f64 / begun.elapsed().as_secs_f64() / 1e6);
    }
    let slower: Vec<f64> = disk.iter().zip(&sums).map(|(disk, sums)| f64::min(*disk, *sums)).collect();
    let load = "tidelog-inspect verify of 1 GiB after kill -9";
    let row = Row::new(load, "MB/s of files", ours);
    let slower = row.clone().beside("the slower of disk and checksum", slower);
    outcome.rows.push(slower.goal(Goal::RatioAtLeast(0.85)));
    outcome.rows.push(row.clone().beside("fio, direct reads of 1 MiB, depth 8", disk));
    outcome.rows.push(row.beside("CRC-32C on all cores", sums));
    Ok(outcome)
}

fn run_verify(inspector: &Path, data: &Path) -> Result<(), BenchError> {
    let mut command = std::process::Command::new(inspector);
    command.arg("verify").arg(data).stdout(std::process::Stdio::null());
    let done = command.output().map_err(BenchError::file("running", inspector))?;
    match done.status.success() {
        true => Ok(()),
        false => Err(BenchError::Inspector(String::from_utf8_lossy(&done.stderr).trim().to_owned())),
    }
}
