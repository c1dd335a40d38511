//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use tidelog_format::opening::{MAX_SEGMENT, MIN_SEGMENT};
use tidelog_io::BackendKind;
use tidelog_wal::{Options, OptionsError};

use crate::all::args::All;
use crate::served::closed_loop::Plan;
use crate::workload::Case;

/// Load generator: measures Tidelog and, beside it, what the disk gives.
#[derive(Debug, Parser)]
#[command(name = "tidelog-bench", version)]
pub struct Cli {
    /// What to measure.
    #[command(subcommand)]
    pub command: Command,
}

/// What to measure.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Producers that append to the embedded write-ahead log, each waiting for its own commit
    Append(Append),
    /// The standard workloads W1, W2, W3 (1 and 4 producers), several times each
    Workloads(Workloads),
    /// W2 and W3 through Tidelog's Kafka port, with Redis streams beside it when Redis is installed
    Kafka(Kafka),
    /// W1, W2 and W3 through the Kafka port of three servers that are one cluster, beside one server and three of fio's writers
    Cluster(Cluster),
    /// How long a killed server takes until it stores again, with little and with much stored
    Restart(Restart),
    /// How fast sealed segments come to a second node, beside what the disk and a socket give
    Ship(Ship),
    /// All of it, beside fio and the peers that are installed: one table, JSON, and a page with plots
    All(All),
    /// Serve as a Kafka broker that throws away what it is sent: shows how fast a client itself is
    #[command(hide = true)]
    Discard,
}

/// How servers are loaded through their Kafka ports.
#[derive(Debug, Args)]
pub struct Port {
    /// Directory on the disk to be measured: empty, missing, or left by an earlier bench
    #[arg(long)]
    pub dir: PathBuf,
    /// Bytes of a record's value, random
    #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..=1_048_576))]
    pub record: u32,
    /// Runs of each server under each load; the table shows medians
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub repeats: u32,
    /// Seconds measured
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=3600))]
    pub seconds: u32,
    /// Seconds of load before that, not measured
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(0..=600))]
    pub warmup: u32,
    /// How the result is shown
    #[arg(long, value_enum, default_value_t = Output::Table)]
    pub output: Output,
    /// The program `tidelog` [default: the one beside this program]
    #[arg(long, value_name = "PATH")]
    pub server: Option<PathBuf>,
    /// Seed of the records' bytes
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
}

impl Port {
    /// How long a load runs.
    pub fn plan(&self) -> Plan {
        Plan {
            before: Duration::from_secs(self.warmup.into()),
            measured: Duration::from_secs(self.seconds.into()),
        }
    }

    fn case(&self, name: &'static str, producers: u32, batch: u32) -> Case {
        let shape = Shape { producers, batch, record: self.record, partitions: 1 };
        Case { name, shape, retain_rarely: false }
    }
}

/// `kafka`.
#[derive(Debug, Args)]
pub struct Kafka {
    /// How it is run.
    #[command(flatten)]
    pub port: Port,
    /// Connections, each with one commit in flight; with it or --batch one load is run in place of W2 and W3
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub connections: Option<u32>,
    /// Records per commit
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub batch: Option<u32>,
    /// Don't run Redis
    #[arg(long)]
    pub no_redis: bool,
}

/// `cluster`.
#[derive(Debug, Args)]
pub struct Cluster {
    /// How it is run.
    #[command(flatten)]
    pub port: Port,
    /// Loads to run, separated by commas
    #[arg(long, value_delimiter = ',', default_values = ["W1", "W2", "W3"], value_parser = ["W1", "W2", "W3"])]
    pub only: Vec<String>,
}

impl Cluster {
    /// The loads.
    pub fn cases(&self) -> Vec<Case> {
        let case = |name, producers, batch| self.port.case(name, producers, batch);
        let mut cases = vec![case("W1", 1, 1), case("W2", 64, 1), case("W3", 4, 1000)];
        cases.retain(|case| self.only.iter().any(|only| only == case.name));
        cases
    }
}

/// Servers that are filled first.
#[derive(Debug, Args)]
pub struct Filled {
    /// Directory on the disk to be measured: empty, missing, or left by an earlier bench
    #[arg(long)]
    pub dir: PathBuf,
    /// How the result is shown
    #[arg(long, value_enum, default_value_t = Output::Table)]
    pub output: Output,
    /// The program `tidelog` [default: the one beside this program]
    #[arg(long, value_name = "PATH")]
    pub server: Option<PathBuf>,
    /// Seed of the records' bytes
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
}

/// `restart`.
#[derive(Debug, Args)]
pub struct Restart {
    /// How it is run.
    #[command(flatten)]
    pub filled: Filled,
    /// How much is stored before the server is killed, GiB of values; several sizes separated by commas
    #[arg(long, value_delimiter = ',', default_value = "1,4", value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub gib: Vec<u32>,
    /// Restarts with each size; the table shows medians
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub repeats: u32,
}

/// `ship`.
#[derive(Debug, Args)]
pub struct Ship {
    /// How it is run.
    #[command(flatten)]
    pub filled: Filled,
    /// How much is stored before the second node comes, GiB of values
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub gib: u32,
    /// Runs, each from empty directories; the table shows medians
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub repeats: u32,
}

impl Kafka {
    /// The loads asked for.
    pub fn cases(&self) -> Vec<Case> {
        let case = |name, producers, batch| self.port.case(name, producers, batch);
        match (self.connections, self.batch) {
            (None, None) => vec![case("W2", 64, 1), case("W3", 4, 1000)],
            (connections, batch) => vec![case("given", connections.unwrap_or(1), batch.unwrap_or(1))],
        }
    }
}

/// `append`.
#[derive(Debug, Args)]
pub struct Append {
    /// Load.
    #[command(flatten)]
    pub shape: Shape,
    /// How it is run.
    #[command(flatten)]
    pub common: Common,
}

/// `workloads`.
#[derive(Debug, Args)]
pub struct Workloads {
    /// Runs of each workload; the table shows medians
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub repeats: u32,
    /// How they are run.
    #[command(flatten)]
    pub common: Common,
}

/// The load.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Args)]
pub struct Shape {
    /// Producers, each a task with one commit in flight
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub producers: u32,
    /// Records per commit
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub batch: u32,
    /// Bytes of a record's value, random
    #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u32).range(0..=1_048_576))]
    pub record: u32,
    /// Partitions; producers take them in turn
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub partitions: u32,
}

/// How a load is run.
#[derive(Debug, Clone, Args)]
pub struct Common {
    /// Directory on the disk to be measured: empty, missing, or left by an earlier bench
    #[arg(long)]
    pub dir: PathBuf,
    /// Seconds measured; as long again for each of the two runs of fio
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=3600))]
    pub seconds: u32,
    /// Seconds of load before that, not measured
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(0..=600))]
    pub warmup: u32,
    /// How the result is shown
    #[arg(long, value_enum, default_value_t = Output::Table)]
    pub output: Output,
    /// Where the producers run: as an embedder's tasks beside the shard, or as a server's network threads
    #[arg(long, value_enum, default_value_t = Placement::Ring)]
    pub placement: Placement,
    /// Size of a segment, bytes (a multiple of 4096)
    #[arg(long, default_value_t = Options::default().segment_bytes,
        value_parser = clap::value_parser!(u64).range(MIN_SEGMENT..=MAX_SEGMENT))]
    pub segment_bytes: u64,
    /// Size at which a frame stops gathering, bytes
    #[arg(long, default_value_t = Options::default().gather_bytes)]
    pub gather_bytes: usize,
    /// Disk backend
    #[arg(long, value_enum, default_value_t = Io::Uring)]
    pub io: Io,
    /// Check each batch's checksum before it is appended, as a server does
    #[arg(long, default_value_t = true, num_args = 0..=1, default_missing_value = "true",
        action = clap::ArgAction::Set)]
    pub validate: bool,
    /// Measure the first fill: files that have no blocks yet, which the log zero-fills ahead of use as far as it can.
    /// Without it the steady state is measured, on recycled files, as fio overwrites a file that is written
    #[arg(long)]
    pub first_fill: bool,
    /// Don't run fio beside it
    #[arg(long)]
    pub no_fio: bool,
    /// Leave the files
    #[arg(long)]
    pub keep: bool,
    /// Seed of the records' bytes
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
}

/// How the result is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people.
    Table,
    /// For programs.
    Json,
}

/// Where the producers run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Placement {
    /// Tasks on the shard's ring thread
    Ring,
    /// Tasks on a thread of their own
    Own,
}

/// Disk backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Io {
    /// `io_uring`
    Uring,
    /// Positional writes on a thread pool
    Posix,
}

impl From<Io> for BackendKind {
    fn from(io: Io) -> BackendKind {
        match io {
            Io::Uring => BackendKind::Uring,
            Io::Posix => BackendKind::Posix,
        }
    }
}

impl Common {
    /// Time measured.
    pub fn measured(&self) -> Duration {
        Duration::from_secs(self.seconds.into())
    }

    /// Time of load before.
    pub fn before(&self) -> Duration {
        Duration::from_secs(self.warmup.into())
    }

    /// The shard's settings.
    ///
    /// # Errors
    /// A value out of its range.
    pub fn options(&self) -> Result<Options, OptionsError> {
        let options = Options {
            segment_bytes: self.segment_bytes,
            gather_bytes: self.gather_bytes,
            spares: if self.first_fill { Options::default().spares } else { RECYCLED },
            ..Options::default()
        };
        options.validate().map(|()| options)
    }
}

/// Spare files that a run on recycled segments works with.
pub const RECYCLED: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;
    use clap::error::ErrorKind;

    fn append(args: &[&str]) -> Result<Append, ErrorKind> {
        let all = ["tidelog-bench", "append", "--dir", "d"].iter().chain(args);
        match Cli::try_parse_from(all).map_err(|error| error.kind())?.command {
            Command::Append(append) => Ok(append),
            _ => panic!("another command"),
        }
    }

    #[test]
    fn the_command_line_is_sound() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }

    #[test]
    fn without_options_it_is_one_producer_with_one_record_of_256_bytes_checked_and_with_fio() {
        let append = append(&[]).unwrap();
        assert_eq!(append.shape, Shape { producers: 1, batch: 1, record: 256, partitions: 1 });
        assert!(append.common.validate && !append.common.no_fio && !append.common.first_fill);
        assert_eq!(append.common.options().unwrap().segment_bytes, Options::default().segment_bytes);
    }

    #[test]
    fn checking_can_be_turned_off_and_said_explicitly() {
        assert!(!append(&["--validate=false"]).unwrap().common.validate);
        assert!(append(&["--validate"]).unwrap().common.validate);
        assert!(append(&["--validate", "true"]).unwrap().common.validate);
    }

    #[test]
    fn a_restart_is_measured_with_several_sizes() {
        let sizes = |args: &[&str]| -> Result<Vec<u32>, ErrorKind> {
            let all = ["tidelog-bench", "restart", "--dir", "d"].iter().chain(args);
            match Cli::try_parse_from(all).map_err(|error| error.kind())?.command {
                Command::Restart(restart) => Ok(restart.gib),
                _ => panic!("another command"),
            }
        };
        assert_eq!(sizes(&[]).unwrap(), [1, 4]);
        assert_eq!(sizes(&["--gib", "4,40"]).unwrap(), [4, 40]);
        assert_eq!(sizes(&["--gib", "0"]).unwrap_err(), ErrorKind::ValueValidation);
    }

    #[test]
    fn values_out_of_range_are_usage_errors() {
        let bad = [
            ["--producers", "0"],
            ["--producers", "4097"],
            ["--batch", "0"],
            ["--record", "1048577"],
            ["--seconds", "0"],
            ["--seconds", "3601"],
            ["--partitions", "0"],
            ["--segment-bytes", "65535"],
            ["--segment-bytes", "1073741825"],
        ];
        for args in bad {
            assert_eq!(append(&args).unwrap_err(), ErrorKind::ValueValidation, "{args:?}");
        }
        assert_eq!(append(&["--placement", "moon"]).unwrap_err(), ErrorKind::InvalidValue);
    }

    #[test]
    fn ranges_of_the_shard_itself_are_checked_before_anything_is_written() {
        let options = append(&["--gather-bytes", "1"]).unwrap().common.options();
        assert_eq!(options.unwrap_err().name, "gather_bytes");
        assert!(append(&["--segment-bytes", "65537"]).unwrap().common.options().is_err());
    }
}
