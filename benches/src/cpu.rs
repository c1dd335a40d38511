//! Processor time and memory of processes, what the machine is and how busy, and how fast it sums.

use std::fs;
use std::num::NonZero;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::BenchError;

const LOADAVG: &str = "/proc/loadavg";
/// Ticks of /proc per second: fixed in Linux's interface to programs.
const TICKS_PER_SECOND: f64 = 100.0;

/// Seconds of processor time that all threads of this process have used, the kernel's work for it included;
/// exact to 10 ms.
///
/// # Errors
/// Without /proc.
pub fn process_seconds() -> Result<f64, BenchError> {
    seconds_at("/proc/self/stat".to_owned())
}

/// The same of another process.
///
/// # Errors
/// Without /proc, or when it has ended and was waited for.
pub fn seconds_of(process: u32) -> Result<f64, BenchError> {
    seconds_at(format!("/proc/{process}/stat"))
}

fn seconds_at(path: String) -> Result<f64, BenchError> {
    let found = fs::read_to_string(&path).map_err(BenchError::file("reading", &path))?;
    seconds_in(&found).ok_or(BenchError::Proc { path, found })
}

/// `utime` and `stime`, fields 14 and 15; the name in field 2 may hold blanks and parentheses.
fn seconds_in(stat: &str) -> Option<f64> {
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace().skip(11);
    let user: u32 = fields.next()?.parse().ok()?;
    let system: u32 = fields.next()?.parse().ok()?;
    Some((f64::from(user) + f64::from(system)) / TICKS_PER_SECOND)
}

/// Runnable tasks on the machine on average over the last minute; `None` without /proc.
pub fn load() -> Option<f64> {
    fs::read_to_string(LOADAVG).ok()?.split_ascii_whitespace().next()?.parse().ok()
}

/// Bytes of memory of another process: the line `name` of its status.
///
/// # Errors
/// Without /proc, or when it has ended.
pub fn memory_of(process: u32, name: &str) -> Result<u64, BenchError> {
    let path = format!("/proc/{process}/status");
    let found = fs::read_to_string(&path).map_err(BenchError::file("reading", &path))?;
    memory_in(&found, name).ok_or(BenchError::Proc { path, found })
}

/// Lines are like `VmRSS:     1234 kB`.
fn memory_in(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_ascii_whitespace().next()?.parse::<u64>().ok()?.checked_mul(1024)
}

/// The machine in words: processors, and the kernel's version.
pub fn machine() -> String {
    let model = fs::read_to_string("/proc/cpuinfo").ok().and_then(|found| {
        let line = found.lines().find(|line| line.starts_with("model name"))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    });
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let (model, kernel) = (model.unwrap_or_else(|| "processor unknown".to_owned()), kernel.trim());
    format!("{} x {model}, Linux {kernel}", processors())
}

fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, NonZero::get)
}

/// Bytes of all files below a directory.
///
/// # Errors
/// A failing disk.
pub fn bytes_in(dir: &Path) -> std::io::Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let found = entry.metadata()?;
        bytes += if found.is_dir() { bytes_in(&entry.path())? } else { found.len() };
    }
    Ok(bytes)
}

/// 10^6 bytes a second that all processors together sum with CRC-32C, 1 MiB at a time.
pub fn checksum_mb_per_s() -> f64 {
    const PIECE: usize = 1 << 20;
    const TIME: Duration = Duration::from_millis(300);
    let sum = || {
        let (bytes, begun, mut pieces) = (vec![7; PIECE], Instant::now(), 0u32);
        let mut sum = 0;
        while begun.elapsed() < TIME {
            sum ^= crc32c::crc32c(std::hint::black_box(&bytes));
            pieces += 1;
        }
        std::hint::black_box(sum);
        f64::from(pieces) * PIECE as f64 / begun.elapsed().as_secs_f64() / 1e6
    };
    std::thread::scope(|scope| {
        let running: Vec<_> = (0..processors()).map(|_| scope.spawn(sum)).collect();
        running.into_iter().filter_map(|one| one.join().ok()).sum()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_blanks_and_parentheses_does_not_shift_the_fields() {
        let stat = "42 (a) b) (c) S 1 42 42 0 -1 4194304 100 0 0 0 250 150 0 0 20 0 3 0 5 6 7";
        assert_eq!(seconds_in(stat), Some(4.0));
        assert_eq!(seconds_in("42 (a) S 1 2"), None);
    }

    #[test]
    fn memory_is_found_in_its_line_and_given_in_bytes() {
        let status = "Name:\tx\nVmHWM:\t   2048 kB\nVmRSS:\t    12 kB\n";
        assert_eq!(memory_in(status, "VmRSS:"), Some(12 * 1024));
        assert_eq!(memory_in(status, "VmSwap:"), None);
        assert!(memory_of(std::process::id(), "VmHWM:").unwrap() > 0);
    }

    #[test]
    fn this_process_has_a_time_and_it_does_not_shrink() {
        let before = process_seconds().unwrap();
        assert!(process_seconds().unwrap() >= before);
    }
}
