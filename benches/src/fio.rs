//! fio beside us: the same bytes made durable at the same depth on the same disk.
//!
//! # What is compared
//! io_uring, `O_DIRECT`, `O_DSYNC`, sequential overwriting of blocks that were written before. (With
//! `--fdatasync=1` and a depth over 1 fio does not sync every write, so that would not be the same promise.) Reads are
//! direct too, of the file that was written.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde::Serialize;
use serde_json::Value;

use crate::BenchError;

/// Bytes of the file that is overwritten.
const FILE: u64 = 1024 * 1024 * 1024;
const BLOCK: usize = 4096;

/// fio with its file laid out.
#[derive(Debug)]
pub struct Fio {
    version: String,
    file: PathBuf,
}

/// A load as fio has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Load {
    /// Bytes of a write.
    pub block: usize,
    /// Writes in flight.
    pub depth: u32,
}

impl Load {
    /// Writes that hold one commit of `stored` bytes each, one for each producer in flight.
    pub fn like(stored: usize, producers: u32) -> Load {
        Load { block: stored.div_ceil(BLOCK).max(1) * BLOCK, depth: producers }
    }
}

/// What fio does while it writes at a set rate: the load that a shard has beside its producers.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Background {
    /// 10^6 bytes read a second, 1 MiB at a time.
    pub read_mb_per_s: f64,
    /// 10^6 bytes written a second without a sync, 1 MiB at a time.
    pub fill_mb_per_s: f64,
}

/// Percentiles at which a curve of latencies is drawn.
pub const CURVE: [f64; 9] = [1.0, 25.0, 50.0, 75.0, 90.0, 99.0, 99.5, 99.9, 99.99];

/// What a run of fio gave.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Figures {
    /// Writes (durable ones) or reads a second.
    pub writes_per_s: f64,
    /// 10^6 bytes a second.
    pub mb_per_s: f64,
    /// Time of an operation from submission to completion, us: median.
    pub p50_us: f64,
    /// 99 of 100 are faster.
    pub p99_us: f64,
    /// 999 of 1000 are faster.
    pub p999_us: f64,
    /// The same at each percentile of [`CURVE`], us.
    #[serde(skip)]
    pub curve_us: [f64; CURVE.len()],
}

impl Fio {
    /// Looks for fio and lays its file out at `file`; `None` when there is no fio.
    ///
    /// # Errors
    /// When fio is there and fails.
    pub fn find(file: PathBuf) -> Result<Option<Fio>, BenchError> {
        let Ok(answer) = Command::new("fio").arg("--version").output() else { return Ok(None) };
        let version = String::from_utf8_lossy(&answer.stdout).trim().to_owned();
        let fio = Fio { version, file };
        let written = std::fs::metadata(&fio.file).is_ok_and(|found| found.len() == FILE);
        if !written {
            // Written, not only allocated: overwriting is what is measured.
            let settings = ["--bs=1m", "--iodepth=4", "--fallocate=none", "--end_fsync=1"].map(str::to_owned);
            fio.call(&settings, &job("layout", "write", 0, FILE))?;
        }
        Ok(Some(fio))
    }

    /// Its version, as it says.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Makes durable writes for `seconds`, after `warmup` seconds that don't count.
    ///
    /// # Errors
    /// When fio fails or answers what is not understood.
    pub fn run(&self, load: Load, seconds: u32, warmup: u32) -> Result<Figures, BenchError> {
        let mut job = job("beside", "write", 0, FILE);
        job.push("--sync=dsync".to_owned());
        parse(&self.call(&timed(load, seconds, warmup), &job)?.stdout, "write")
    }

    /// The same by so many jobs at once, each on its own part of the file; the figures of one of them.
    ///
    /// # Errors
    /// As [`Fio::run`].
    pub fn abreast(&self, load: Load, jobs: usize, seconds: u32, warmup: u32) -> Result<Figures, BenchError> {
        let part = FILE / jobs.max(1) as u64 / BLOCK as u64 * BLOCK as u64;
        let each = |number: u64| {
            let mut job = job(&format!("writer{number}"), "write", number * part, part);
            job.push("--sync=dsync".to_owned());
            job
        };
        let jobs: Vec<String> = (0..jobs as u64).flat_map(each).collect();
        parse(&self.call(&timed(load, seconds, warmup), &jobs)?.stdout, "write")
    }

    /// Reads the file from its beginning for `seconds`, past the page cache.
    ///
    /// # Errors
    /// As [`Fio::run`].
    pub fn read(&self, load: Load, seconds: u32) -> Result<Figures, BenchError> {
        parse(&self.call(&timed(load, seconds, 0), &job("beside", "read", 0, FILE))?.stdout, "read")
    }

    /// Makes `rate` durable writes a second for `seconds`, with other work of the disk beside them. That work goes to
    /// the second half of the file, the writes to the first.
    ///
    /// # Errors
    /// As [`Fio::run`].
    pub fn paced(
        &self,
        load: Load,
        rate: u32,
        seconds: u32,
        beside: Background,
    ) -> Result<Figures, BenchError> {
        let mut jobs = job("beside", "write", 0, FILE / 2);
        jobs.extend(["--sync=dsync".to_owned(), format!("--rate_iops={rate}")]);
        for (name, rw, mb_per_s) in
            [("reading", "read", beside.read_mb_per_s), ("filling", "write", beside.fill_mb_per_s)]
        {
            // fio takes whole bytes a second, and 0 is no limit.
            let rate = (mb_per_s * 1e6).round();
            if rate >= 1.0 {
                jobs.extend(job(name, rw, FILE / 2, FILE / 2));
                jobs.extend(["--bs=1m", "--iodepth=1"].map(str::to_owned));
                jobs.push(format!("--rate={rate:.0}"));
            }
        }
        parse(&self.call(&timed(load, seconds, 0), &jobs)?.stdout, "write")
    }

    /// Runs the jobs with settings that hold for all of them.
    fn call(&self, settings: &[String], jobs: &[String]) -> Result<Output, BenchError> {
        let mut command = Command::new("fio");
        command.args(["--ioengine=io_uring", "--direct=1", "--numjobs=1", "--output-format=json"]);
        command.arg(filename(&self.file)).args(settings).args(jobs);
        let output = command.output().map_err(BenchError::file("running fio on", &self.file))?;
        if output.status.success() {
            return Ok(output);
        }
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        Err(BenchError::Fio(format!("{}: {said}", output.status)))
    }
}

/// A job over `bytes` of the file from `offset` on.
fn job(name: &str, rw: &str, offset: u64, bytes: u64) -> Vec<String> {
    vec![
        format!("--name={name}"),
        format!("--rw={rw}"),
        format!("--offset={offset}"),
        format!("--size={bytes}"),
    ]
}

fn timed(load: Load, seconds: u32, warmup: u32) -> Vec<String> {
    let list: Vec<String> = CURVE.iter().map(f64::to_string).collect();
    vec![
        "--time_based".to_owned(),
        format!("--percentile_list={}", list.join(":")),
        format!("--bs={}", load.block),
        format!("--iodepth={}", load.depth),
        format!("--runtime={seconds}"),
        format!("--ramp_time={warmup}"),
    ]
}

/// fio splits names at colons.
fn filename(file: &Path) -> OsString {
    let mut arg = OsString::from("--filename=");
    arg.push(file.as_os_str().to_string_lossy().replace(':', "\\:"));
    arg
}

/// Reads the figures of the first job in fio's JSON, in the direction `write` or `read`.
///
/// # Errors
/// A failed job, a missing field, something else than JSON.
pub fn parse(json: &[u8], direction: &str) -> Result<Figures, BenchError> {
    // fio puts its remarks before the JSON.
    let start = json.iter().position(|byte| *byte == b'{').unwrap_or(0);
    let answer: Value = serde_json::from_slice(&json[start..])
        .map_err(|error| BenchError::Fio(format!("its answer is not JSON: {error}")))?;
    let job = &answer["jobs"][0];
    if let Some(code) = job["error"].as_i64().filter(|code| *code != 0) {
        return Err(BenchError::Fio(format!("its job failed with error {code}")));
    }
    let number = |path: String| {
        let found = job.pointer(&path).and_then(Value::as_f64);
        found.ok_or_else(|| BenchError::Fio(format!("its answer has no number at jobs[0]{path}")))
    };
    let micros = |percentile: f64| {
        number(format!("/{direction}/clat_ns/percentile/{percentile:.6}")).map(|nanos| nanos / 1000.0)
    };
    let mut curve_us = [0.0; CURVE.len()];
    for (at, percentile) in curve_us.iter_mut().zip(CURVE) {
        *at = micros(percentile)?;
    }
    Ok(Figures {
        writes_per_s: number(format!("/{direction}/iops"))?,
        mb_per_s: number(format!("/{direction}/bw_bytes"))? / 1e6,
        p50_us: micros(50.0)?,
        p99_us: micros(99.0)?,
        p999_us: micros(99.9)?,
        curve_us,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What fio 3.33 answered, without the parts that are not read.
    const SAMPLE: &str = r#"note: both iodepth >= 1 and synchronous I/O engine are selected
{
  "fio version" : "fio-3.33",
  "jobs" : [
    {
      "jobname" : "tidelog",
      "error" : 0,
      "read" : { "iops" : 0.000000, "bw_bytes" : 0, "clat_ns" : { "N" : 0 } },
      "write" : {
        "io_bytes" : 57597952,
        "bw_bytes" : 28741493,
        "iops" : 7015.469062,
        "runtime" : 2004,
        "clat_ns" : {
          "min" : 125083,
          "N" : 14062,
          "percentile" : {
            "1.000000" : 130000,
            "25.000000" : 200000,
            "50.000000" : 272384,
            "75.000000" : 300000,
            "90.000000" : 400000,
            "99.000000" : 8847360,
            "99.500000" : 9000000,
            "99.900000" : 18743296,
            "99.990000" : 19000000
          }
        },
        "lat_ns" : { "min" : 134822 }
      },
      "usr_cpu" : 2.1
    }
  ]
}"#;

    #[test]
    fn the_figures_are_found_behind_a_remark() {
        let figures = parse(SAMPLE.as_bytes(), "write").unwrap();
        let expected = Figures {
            writes_per_s: 7015.469062,
            mb_per_s: 28.741493,
            p50_us: 272.384,
            p99_us: 8847.36,
            p999_us: 18743.296,
            curve_us: [130.0, 200.0, 272.384, 300.0, 400.0, 8847.36, 9000.0, 18743.296, 19000.0],
        };
        assert_eq!(figures, expected);
    }

    #[test]
    fn a_failed_job_a_missing_figure_and_garbage_are_errors_that_say_so() {
        let said = |json: &str| parse(json.as_bytes(), "write").unwrap_err().to_string();
        assert_eq!(
            said(&SAMPLE.replace("\"error\" : 0", "\"error\" : 28")),
            "fio: its job failed with error 28"
        );
        assert_eq!(
            said(&SAMPLE.replace("99.900000", "99.95")),
            "fio: its answer has no number at jobs[0]/write/clat_ns/percentile/99.900000"
        );
        assert!(said("fio: no such file").starts_with("fio: its answer is not JSON"));
        assert!(said("").starts_with("fio: its answer is not JSON"));
    }

    #[test]
    fn a_commit_is_rounded_up_to_whole_blocks() {
        assert_eq!(Load::like(339, 64), Load { block: 4096, depth: 64 });
        assert_eq!(Load::like(4096, 1), Load { block: 4096, depth: 1 });
        assert_eq!(Load::like(268_061, 4), Load { block: 270_336, depth: 4 });
    }

    #[test]
    fn a_colon_in_the_file_name_does_not_split_it() {
        assert_eq!(filename(Path::new("/a:b/f")), "--filename=/a\\:b/f");
    }
}
