//! How fast sealed segments come to a node that lacks them: a node that was alone gets a second one.
//!
//! # What is measured
//! The time from the first byte that the second node has stored until it holds the whole span: read on the one, sent,
//! verified, written and synced on the other. Beside it, each alone: fio's direct reads at the same size, a socket of this
//! machine, and fio's durable writes. The nodes share a disk here, so that each byte that is shipped takes a read and a write
//! of it, which `to the disk` counts: what it would take fio to do the two after each other.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

use comfy_table::{Table, presets};
use serde::Serialize;

use crate::BenchError;
use crate::args::{Output, Ship};
use crate::fio::{Fio, Load};
use crate::place::Place;
use crate::report::median;
use crate::served::process::Process;
use crate::served::restart::{FILL, fill};
use crate::served::{beside_us, pool, report, tail};

/// Bytes that a node asks another for at a time.
const PIECE: usize = 1 << 20;
const WRITES: u32 = 4;
/// Between two looks at the second node's metrics.
const LOOK: Duration = Duration::from_millis(10);
/// Without a further byte for so long nothing is shipped any more.
const PATIENCE: Duration = Duration::from_secs(60);

/// What shipping so much took: medians over the runs.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// Bytes of sealed segments, 10^6.
    pub shipped_mb: f64,
    /// 10^6 bytes a second, from the first one until the span is verified and held.
    pub mb_per_s: f64,
    /// The same until the last byte is stored aside.
    pub stored_mb_per_s: f64,
    /// fio's direct reads, 10^6 bytes a second; null without fio.
    pub read_mb_per_s: Option<f64>,
    /// fio's durable writes.
    pub write_mb_per_s: Option<f64>,
    /// What a socket of this machine carries.
    pub socket_mb_per_s: f64,
    /// Shipped a second over the lesser of fio's reads and the socket.
    pub ratio_to_read_or_socket: f64,
    /// Shipped a second over what fio would reach that reads and writes each byte.
    pub ratio_to_disk: Option<f64>,
}

/// One run.
struct Shipped {
    bytes: f64,
    stored: Duration,
    held: Duration,
}

/// Ships as often as asked for.
///
/// # Errors
/// The first failure.
pub fn run(args: &Ship, place: &Place) -> Result<Vec<Report>, BenchError> {
    let program = args.filled.server.clone().map_or_else(|| beside_us("tidelog"), Ok)?;
    let fio = Fio::find(place.fio_file())?;
    let (mut runs, mut reads, mut writes, mut sockets) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for _ in 0..args.repeats {
        runs.push(ship(&program, args, place)?);
        if let Some(fio) = &fio {
            reads.push(fio.read(Load { block: PIECE, depth: 1 }, 2)?.mb_per_s);
            writes.push(fio.run(Load { block: PIECE, depth: WRITES }, 2, 0)?.mb_per_s);
        }
        sockets.push(tail::blast(PIECE, Duration::from_secs(1))?);
    }
    let over = |figure: fn(&Shipped) -> f64| median(runs.iter().map(figure).collect());
    let beside = |figures: Vec<f64>| (!figures.is_empty()).then(|| median(figures));
    let mb_per_s = over(|run| run.bytes / run.held.as_secs_f64() / 1e6);
    let (read, write, socket) = (beside(reads), beside(writes), median(sockets));
    Ok(vec![Report {
        shipped_mb: over(|run| run.bytes / 1e6),
        mb_per_s,
        stored_mb_per_s: over(|run| run.bytes / run.stored.as_secs_f64() / 1e6),
        read_mb_per_s: read,
        write_mb_per_s: write,
        socket_mb_per_s: socket,
        ratio_to_read_or_socket: mb_per_s / read.unwrap_or(f64::INFINITY).min(socket),
        ratio_to_disk: read.zip(write).map(|(read, write)| mb_per_s * (1.0 / read + 1.0 / write)),
    }])
}

fn ship(program: &Path, args: &Ship, place: &Place) -> Result<Shipped, BenchError> {
    let dir = place.fresh_shard()?;
    let (first, peer) = Process::member(program, &dir.join("1"), None)?;
    fill(&first, &pool(FILL, args.filled.seed)?, f64::from(args.gib) * f64::from(1 << 30))?;
    let (second, _) = Process::member(program, &dir.join("2"), Some(peer))?;
    let mut seen = (0.0, Instant::now());
    let (mut begun, mut stored) = (None, Instant::now());
    loop {
        let metrics = metrics(second.http())?;
        let bytes = value(&metrics, "tidelog_shards_copied_bytes_total").unwrap_or(0.0);
        if bytes > seen.0 {
            // Of the first stretch nothing is known but its end: neither its bytes nor its time count.
            begun.get_or_insert((bytes, Instant::now()));
            (seen, stored) = ((bytes, Instant::now()), Instant::now());
        }
        let wanted = f64::from(args.gib) * f64::from(1 << 30);
        if let Some((skipped, begun)) = begun
            && bytes >= wanted
            && value(&metrics, "tidelog_shards_copies") == Some(0.0)
        {
            return Ok(Shipped { bytes: bytes - skipped, stored: stored - begun, held: begun.elapsed() });
        }
        if seen.1.elapsed() > PATIENCE {
            return Err(BenchError::Refused(format!("{bytes} of {wanted} bytes came to the second node")));
        }
        std::thread::sleep(LOOK);
    }
}

/// What a server's `/metrics` says.
fn metrics(address: SocketAddr) -> Result<String, BenchError> {
    let exchange = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect(address)?;
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    exchange().map_err(BenchError::Connection)
}

fn value(metrics: &str, name: &str) -> Option<f64> {
    metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok())
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
        "shipped MB",
        "MB/s",
        "until stored",
        "fio reads MB/s",
        "fio writes MB/s",
        "socket MB/s",
        "to the lesser of reads and socket",
        "to the disk",
    ]);
    let or_none = |figure: Option<f64>, digits: usize| {
        figure.map_or_else(|| "-".to_owned(), |figure| format!("{figure:.digits$}"))
    };
    for r in reports {
        table.add_row([
            format!("{:.0}", r.shipped_mb),
            format!("{:.0}", r.mb_per_s),
            format!("{:.0}", r.stored_mb_per_s),
            or_none(r.read_mb_per_s, 0),
            or_none(r.write_mb_per_s, 0),
            format!("{:.0}", r.socket_mb_per_s),
            format!("{:.2}", r.ratio_to_read_or_socket),
            or_none(r.ratio_to_disk, 2),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_found_by_its_whole_name() {
        let metrics = "# TYPE a counter\na_total_more 1\na_total 5\nb{c=\"d\"} 2\n";
        assert_eq!(value(metrics, "a_total"), Some(5.0));
        assert_eq!(value(metrics, "b"), None);
        assert_eq!(value(metrics, "a"), None);
    }
}
