//! The definitions of all client commands: what clap parses, and the help texts.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use tidelog_client::{Client, Error, Options};
use tidelog_format::record_format::RecordFormat;
use tidelog_proto::offset_spec::OffsetSpec;

use super::input::{self, Delimiter, HeaderArg};

/// Commands that talk to a running server, and two that print about the command line itself.
#[derive(Debug, Subcommand)]
pub(crate) enum ClientCommand {
    /// Create, list, describe, delete and trim topics
    Topic(TopicArgs),
    /// Store records, one for each line of a file or of standard input
    Produce(ProduceArgs),
    /// Read records and write them to standard output
    Consume(ConsumeArgs),
    /// List, describe, move and delete consumer groups
    Group(GroupArgs),
    /// Show nodes, shards and who leads them, and change that
    Cluster(ClusterArgs),
    /// Print the completion script for a shell
    Completions(CompletionsArgs),
    /// Write the man pages into a directory
    Man(ManArgs),
}

/// Where the server is.
#[derive(Debug, Args)]
pub(crate) struct ServerArgs {
    /// Address of the server, as HOST:PORT
    #[arg(long, value_name = "ADDR", env = "TIDELOG_SERVER", default_value = "127.0.0.1:4242")]
    pub(crate) server: String,
    /// Keep trying for so long when the server goes away or is overloaded, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(..=86_400))]
    pub(crate) retry: u64,
}

impl ServerArgs {
    /// Checks once that the server is there.
    pub(crate) async fn connect(&self) -> Result<Client, Error> {
        let options = Options { retry_for: Duration::from_secs(self.retry), ..Options::default() };
        Client::connect_with(&self.server, options).await
    }
}

/// How an answer is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// Columns for people
    Table,
    /// JSON for programs
    Json,
}

#[derive(Debug, Args)]
pub(crate) struct TopicArgs {
    #[command(subcommand)]
    pub(crate) command: TopicCommand,
}

/// What can be done with topics.
#[derive(Debug, Subcommand)]
pub(crate) enum TopicCommand {
    /// Create a topic
    Create(CreateArgs),
    /// List all topics
    List(ListArgs),
    /// Show a topic's settings and partitions
    Describe(DescribeArgs),
    /// Delete a topic with all its records
    Delete(DeleteArgs),
    /// Delete the records of a topic that lie before an offset
    Trim(TrimArgs),
}

#[derive(Debug, Args)]
pub(crate) struct CreateArgs {
    /// Name of the topic: letters, digits, `.`, `_` and `-`
    #[arg(value_name = "TOPIC")]
    pub(crate) topic: String,
    /// Number of partitions
    #[arg(short, long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) partitions: u32,
    /// Keep records at least this long after they were stored, in milliseconds [default: as the server is set]
    #[arg(long, value_name = "MS")]
    pub(crate) retention_ms: Option<u64>,
    /// Keep at most about this many bytes in each partition; the oldest go first [default: as the server is set]
    #[arg(long, value_name = "BYTES")]
    pub(crate) retention_bytes: Option<u64>,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
    /// How to print the answer
    #[arg(long, value_name = "FORM", default_value = "table")]
    pub(crate) output: Output,
}

#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    #[command(flatten)]
    pub(crate) server: ServerArgs,
    /// How to print the list
    #[arg(long, value_name = "FORM", default_value = "table")]
    pub(crate) output: Output,
}

#[derive(Debug, Args)]
pub(crate) struct DescribeArgs {
    /// Name of the topic
    #[arg(value_name = "TOPIC")]
    pub(crate) topic: String,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
    /// How to print the description
    #[arg(long, value_name = "FORM", default_value = "table")]
    pub(crate) output: Output,
}

/// Guards of a command that destroys something.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct GuardArgs {
    /// Only say what would be deleted
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Do not ask; needed when standard input is not a terminal
    #[arg(long)]
    pub(crate) yes: bool,
}

#[derive(Debug, Args)]
pub(crate) struct DeleteArgs {
    /// Name of the topic
    #[arg(value_name = "TOPIC")]
    pub(crate) topic: String,
    #[command(flatten)]
    pub(crate) guard: GuardArgs,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

#[derive(Debug, Args)]
pub(crate) struct TrimArgs {
    /// Name of the topic
    #[arg(value_name = "TOPIC")]
    pub(crate) topic: String,
    /// The oldest offset to keep: N, `end` (keep nothing), -N (the N newest) or @MS (from this timestamp on)
    #[arg(short, value_name = "OFFSET", allow_hyphen_values = true)]
    pub(crate) offset: OffsetSpec,
    /// The partition; may be repeated [default: all partitions]
    #[arg(short, long = "partition", value_name = "PARTITION")]
    pub(crate) partitions: Vec<u32>,
    #[command(flatten)]
    pub(crate) guard: GuardArgs,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

#[derive(Debug, Args)]
#[command(after_help = PRODUCE_NOTES)]
pub(crate) struct ProduceArgs {
    /// Name of the topic
    #[arg(value_name = "TOPIC")]
    pub(crate) topic: String,
    /// File to read; `-` is standard input
    #[arg(value_name = "FILE", default_value = "-")]
    pub(crate) file: PathBuf,
    /// Split each line into key and value at the first SEP; a line without it has no key
    #[arg(short = 'K', long = "key-separator", value_name = "SEP", value_parser = input::delimiter)]
    pub(crate) key_separator: Option<Delimiter>,
    /// What ends a record instead of a line feed; \n, \r, \t, \0, \\ and \xHH are understood
    #[arg(short = 'D', long, value_name = "DELIM", default_value = r"\n", value_parser = input::delimiter)]
    pub(crate) delimiter: Delimiter,
    /// Partition for all records [default: by key; records without a key go to one partition a batch, in turn]
    #[arg(short, long, value_name = "PARTITION")]
    pub(crate) partition: Option<u32>,
    /// Header for every record; may be repeated
    #[arg(short = 'H', long = "header", value_name = "NAME=VALUE", value_parser = input::header)]
    pub(crate) headers: Vec<HeaderArg>,
    /// Store a value that equals MARK as null
    #[arg(long, value_name = "MARK")]
    pub(crate) null_value: Option<String>,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

const PRODUCE_NOTES: &str = "\
At the end the number of acknowledged records is printed on standard error; each of them is durable. When not all \
of them are, the exit code is 1 and the message names how many are. A batch whose outcome is unknown is not sent again.";

#[derive(Debug, Args)]
#[command(after_help = CONSUME_NOTES)]
pub(crate) struct ConsumeArgs {
    /// Name of the topic
    #[arg(value_name = "TOPIC")]
    pub(crate) topic: String,
    /// The partition; may be repeated [default: all partitions]
    #[arg(short, long = "partition", value_name = "PARTITION")]
    pub(crate) partitions: Vec<u32>,
    /// Read as a member of this consumer group: partitions are shared out among its members, and it goes on where
    /// the group has stopped
    #[arg(short, long, value_name = "GROUP", conflicts_with = "partitions")]
    pub(crate) group: Option<String>,
    /// Where to begin in each partition: beginning, end, N, -N (the N newest) or @MS (first record from this
    /// timestamp on). With --group only where the group has read nothing yet
    #[arg(short, value_name = "OFFSET", default_value = "beginning", allow_hyphen_values = true)]
    pub(crate) offset: OffsetSpec,
    /// Exit at the end of the records that are there at the start, instead of waiting for more
    #[arg(short, long)]
    pub(crate) exit: bool,
    /// Exit after COUNT records
    #[arg(short, long, value_name = "COUNT")]
    pub(crate) count: Option<u64>,
    /// How each record is written, see below
    #[arg(
        short,
        long,
        value_name = "FORMAT",
        default_value = r"%s\n",
        value_parser = RecordFormat::parse,
        conflicts_with = "output"
    )]
    pub(crate) format: RecordFormat,
    /// Write a table or one JSON object a line instead of FORMAT
    #[arg(long, value_name = "FORM")]
    pub(crate) output: Option<Output>,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

const CONSUME_NOTES: &str = "\
FORMAT is text with
  %t topic      %p partition  %o offset  %T timestamp in milliseconds since 1970
  %k key        %s value      %h headers, as NAME=VALUE,...
  %K key length %S value length, both in bytes and -1 when there is none
  %% a percent sign; \\n, \\t, \\r, \\0, \\\\ and \\xHH are understood
Keys, values and headers are written as they are, byte by byte; on a terminal \
they are shown with control characters and backslashes escaped.";

#[derive(Debug, Args)]
pub(crate) struct GroupArgs {
    #[command(subcommand)]
    pub(crate) command: GroupCommand,
}

/// What can be done with consumer groups.
#[derive(Debug, Subcommand)]
pub(crate) enum GroupCommand {
    /// List all consumer groups
    List(ListArgs),
    /// Show a group's members, offsets and lag
    Describe(DescribeGroupArgs),
    /// Let a group without members go on from other offsets
    ResetOffsets(ResetOffsetsArgs),
    /// Delete a group without members, with its offsets
    Delete(DeleteGroupArgs),
}

#[derive(Debug, Args)]
pub(crate) struct DescribeGroupArgs {
    /// Name of the group
    #[arg(value_name = "GROUP")]
    pub(crate) group: String,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
    /// How to print the description
    #[arg(long, value_name = "FORM", default_value = "table")]
    pub(crate) output: Output,
}

#[derive(Debug, Args)]
pub(crate) struct ResetOffsetsArgs {
    /// Name of the group; one that does not exist is made
    #[arg(value_name = "GROUP")]
    pub(crate) group: String,
    /// Name of the topic
    #[arg(short, long, value_name = "TOPIC")]
    pub(crate) topic: String,
    /// The next offset to read: beginning, end, N, -N (the N newest) or @MS (first record from this timestamp on)
    #[arg(short, value_name = "OFFSET", allow_hyphen_values = true)]
    pub(crate) offset: OffsetSpec,
    /// The partition; may be repeated [default: all partitions]
    #[arg(short, long = "partition", value_name = "PARTITION")]
    pub(crate) partitions: Vec<u32>,
    /// Only say what would change
    #[arg(long)]
    pub(crate) dry_run: bool,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

#[derive(Debug, Args)]
pub(crate) struct DeleteGroupArgs {
    /// Name of the group
    #[arg(value_name = "GROUP")]
    pub(crate) group: String,
    #[command(flatten)]
    pub(crate) guard: GuardArgs,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

#[derive(Debug, Args)]
pub(crate) struct ClusterArgs {
    #[command(subcommand)]
    pub(crate) command: ClusterCommand,
}

/// What can be done with a cluster.
#[derive(Debug, Subcommand)]
pub(crate) enum ClusterCommand {
    /// Show nodes, shards, spans, leaders and what is missing
    Status(ListArgs),
    /// Have another node lead a shard; its producers wait for a moment and fail in nothing
    MoveLeader(MoveLeaderArgs),
    /// Empty a node: it takes nothing new, and others get what it leads and holds
    Drain(DrainArgs),
    /// Let a node leave for ever, once it is empty or lost
    Remove(RemoveArgs),
    /// Show how to start another node that joins this cluster
    Add(ListArgs),
}

#[derive(Debug, Args)]
pub(crate) struct DrainArgs {
    /// Number of the node, as `cluster status` shows it
    #[arg(value_name = "NODE")]
    pub(crate) node: u64,
    /// Let it take new spans again; what went to others stays there
    #[arg(long)]
    pub(crate) cancel: bool,
    /// Come back when it is empty
    #[arg(long, conflicts_with = "cancel")]
    pub(crate) wait: bool,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
    /// How to print the answer
    #[arg(long, value_name = "FORM", default_value = "table")]
    pub(crate) output: Output,
}

#[derive(Debug, Args)]
pub(crate) struct RemoveArgs {
    /// Number of the node, as `cluster status` shows it
    #[arg(value_name = "NODE")]
    pub(crate) node: u64,
    /// It is lost with its directory: what it held is copied anew from the others. Refused where they may lack records
    #[arg(long)]
    pub(crate) force: bool,
    #[command(flatten)]
    pub(crate) guard: GuardArgs,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
    /// How to print the answer
    #[arg(long, value_name = "FORM", default_value = "table")]
    pub(crate) output: Output,
}

#[derive(Debug, Args)]
pub(crate) struct MoveLeaderArgs {
    /// Number of the shard, as `cluster status` shows it
    #[arg(value_name = "SHARD")]
    pub(crate) shard: u64,
    /// Number of the node that is to lead it: one of its holders
    #[arg(value_name = "NODE")]
    pub(crate) node: u64,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
    /// How to print the answer
    #[arg(long, value_name = "FORM", default_value = "table")]
    pub(crate) output: Output,
}

#[derive(Debug, Args)]
pub(crate) struct CompletionsArgs {
    /// The shell
    #[arg(value_name = "SHELL")]
    pub(crate) shell: clap_complete::Shell,
}

#[derive(Debug, Args)]
pub(crate) struct ManArgs {
    /// Directory for the pages; it is created when missing
    #[arg(value_name = "DIR")]
    pub(crate) dir: PathBuf,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::{CommandFactory, Parser};

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(subcommand)]
        command: ClientCommand,
    }

    #[test]
    fn the_definitions_contradict_neither_themselves_nor_each_other() {
        Cli::command().debug_assert();
    }

    #[test]
    fn produce_takes_all_its_flags() {
        let line = ["x", "produce", "t", "f", "-K", r"\t", "-D", r"\0", "-p", "3", "-H", "a=b", "-H", "c=d"];
        let ClientCommand::Produce(args) = Cli::parse_from(line).command else { panic!() };
        assert_eq!(args.key_separator, Some(Delimiter(b"\t".to_vec())));
        assert_eq!((args.delimiter, args.partition, args.headers.len()), (Delimiter(vec![0]), Some(3), 2));
        let ClientCommand::Produce(args) = Cli::parse_from(["x", "produce", "t"]).command else { panic!() };
        assert_eq!((args.delimiter, args.file), (Delimiter(b"\n".to_vec()), PathBuf::from("-")));
    }

    #[test]
    fn consume_takes_negative_offsets_and_several_partitions() {
        let line = ["x", "consume", "t", "-o", "-5", "-p", "1", "-p", "2", "-e", "-c", "7", "-f", "%o"];
        let ClientCommand::Consume(args) = Cli::parse_from(line).command else { panic!() };
        assert_eq!((args.offset, args.partitions), (OffsetSpec::FromEnd(5), vec![1, 2]));
        assert_eq!((args.exit, args.count, args.server.retry), (true, Some(7), 30));
    }
}
