//! The command line of a whole run.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

/// `all`.
#[derive(Debug, Args)]
pub struct All {
    /// Directory on the disk to be measured: empty, missing, or left by an earlier bench
    #[arg(long)]
    pub dir: PathBuf,
    /// Parts to run, separated by commas [default: all]
    #[arg(long, value_enum, value_delimiter = ',')]
    pub only: Vec<Part>,
    /// Runs of each figure; medians are shown
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub repeats: u32,
    /// Seconds of each run
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=3600))]
    pub seconds: u32,
    /// Seconds of load before that, not measured
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(0..=600))]
    pub warmup: u32,
    /// How much is stored before a restart, GiB of values; several sizes separated by commas
    #[arg(long, value_delimiter = ',', default_value = "1,4", value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub gib: Vec<u32>,
    /// Directory for report.json, report.html and the plots
    #[arg(long, default_value = "target/bench-report")]
    pub report: PathBuf,
    /// The program `tidelog` [default: the one beside this program]
    #[arg(long, value_name = "PATH")]
    pub server: Option<PathBuf>,
    /// The program `tidelog-inspect` [default: the one beside this program]
    #[arg(long, value_name = "PATH")]
    pub inspector: Option<PathBuf>,
    /// Don't run fio beside it
    #[arg(long)]
    pub no_fio: bool,
    /// Seed of the records' bytes
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
}

/// A part of `all`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Part {
    /// W1, W2, W3 on the embedded log, recycled segments
    Steady,
    /// The same on new files
    FirstFill,
    /// 10,000 partitions against 1
    Partitions,
    /// Latency at half rate while all else goes on
    Calm,
    /// Reading a partition back from the disk
    Read,
    /// Reading at the end of a partition that grows
    Tail,
    /// Produce requests, beside Redis streams
    Kafka,
    /// Fetches at the tail, beside a socket
    Fetch,
    /// OpenTSDB's put
    Put,
    /// Memory under load, and of idle partitions
    Memory,
    /// From kill -9 to the first durable append
    Restart,
    /// The inspector's verify
    Verify,
}

impl Part {
    /// As the command line has it.
    pub fn name(self) -> &'static str {
        match self {
            Part::Steady => "steady",
            Part::FirstFill => "first-fill",
            Part::Partitions => "partitions",
            Part::Calm => "calm",
            Part::Read => "read",
            Part::Tail => "tail",
            Part::Kafka => "kafka",
            Part::Fetch => "fetch",
            Part::Put => "put",
            Part::Memory => "memory",
            Part::Restart => "restart",
            Part::Verify => "verify",
        }
    }
}

impl All {
    /// The parts asked for, in their order.
    pub fn parts(&self) -> Vec<Part> {
        let wanted = |part: &&Part| self.only.is_empty() || self.only.contains(part);
        Part::value_variants().iter().filter(wanted).copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::{Cli, Command};
    use clap::Parser;

    #[test]
    fn all_runs_every_part_unless_some_are_named() {
        let all = |args: &[&str]| {
            let all = ["tidelog-bench", "all", "--dir", "d"].iter().chain(args);
            match Cli::try_parse_from(all).unwrap().command {
                Command::All(all) => all,
                _ => panic!("another command"),
            }
        };
        assert_eq!(all(&[]).parts().len(), Part::value_variants().len());
        assert_eq!(all(&["--only", "verify,first-fill"]).parts(), [Part::FirstFill, Part::Verify]);
        for part in Part::value_variants() {
            assert_eq!(part.to_possible_value().unwrap().get_name(), part.name());
        }
    }
}
