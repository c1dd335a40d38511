//! # Purpose
//! What `tidelog serve` was told: flags, and a TOML file with the same keys. Flags win.
//!
//! # Limits
//! Every value is checked here, once, before anything is opened; an unknown key is an error that names it.

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use serde::Deserialize;
use tidelog_io::BackendKind;
use tidelog_meta::{Classes, Retention};
use tidelog_proto::http::admin::check_writable_topic_name;
use tidelog_proto::http::admin::{AdminError, MAX_PARTITIONS, TopicConfig, TopicNameError};
use tidelog_proto::limits::{Limits, LimitsError};
use tidelog_wal::{Options, OptionsError};

use crate::groups::GroupSettings;

/// Start a node
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct ServeArgs {
    /// Directory of the data; it is made when missing [default: ./data]
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
    /// Address for HTTP and OpenTSDB telnet, as IP:PORT; port 0 takes a free one [default: 127.0.0.1:4242]
    #[arg(long, value_name = "ADDR")]
    pub(crate) http: Option<SocketAddr>,
    /// Address for Kafka's protocol, as IP:PORT, or `off`; port 0 takes a free one [default: 127.0.0.1:9092]
    #[arg(long, value_name = "ADDR")]
    pub(crate) kafka: Option<Kafka>,
    /// Where clients and other nodes find this node's HTTP port, as HOST:PORT [default: the address it listens on; when
    /// that is any address, the one of --peer]
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) advertised_http: Option<Advertised>,
    /// Where Kafka's clients find this node, as HOST:PORT [default: the address it listens on]
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) advertised_kafka: Option<Advertised>,
    /// Address for the other nodes of a cluster, as IP:PORT that they reach: this node's metadata can be shared then
    /// [default: none, the node is alone]
    #[arg(long, value_name = "ADDR")]
    pub(crate) peer: Option<SocketAddr>,
    /// Nodes of the cluster to join with an empty directory, as HOST:PORT of their --peer; once it has joined, this
    /// changes nothing
    #[arg(long, value_name = "ADDR", value_delimiter = ',')]
    pub(crate) join: Vec<Advertised>,
    /// File with settings, in TOML; flags win over it
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Listen on an address that other machines reach, although nothing is encrypted or authenticated yet
    #[arg(long)]
    pub(crate) insecure_listen: bool,
    /// How the disk is driven [default: auto]
    #[arg(long, value_name = "BACKEND")]
    pub(crate) io: Option<Io>,
    /// Go on after damage to acknowledged records: what cannot be read is moved to lost+found
    #[arg(long)]
    pub(crate) accept_loss: bool,
}

/// Where Kafka's protocol is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) enum Kafka {
    /// Nowhere.
    Off,
    /// Here.
    At(SocketAddr),
}

impl FromStr for Kafka {
    type Err = String;

    fn from_str(text: &str) -> Result<Kafka, String> {
        match text {
            "off" => Ok(Kafka::Off),
            _ => text.parse().map(Kafka::At).map_err(|_| "must be IP:PORT, or `off`".to_owned()),
        }
    }
}

impl TryFrom<String> for Kafka {
    type Error = String;

    fn try_from(text: String) -> Result<Kafka, String> {
        text.parse()
    }
}

impl fmt::Display for Advertised {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Advertised { host, port } = self;
        if host.contains(':') { write!(f, "[{host}]:{port}") } else { write!(f, "{host}:{port}") }
    }
}

/// A host's name or address, and a port.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct Advertised {
    pub(crate) host: String,
    pub(crate) port: u16,
}

impl FromStr for Advertised {
    type Err = String;

    fn from_str(text: &str) -> Result<Advertised, String> {
        let wrong = || "must be HOST:PORT".to_owned();
        let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let port = port.parse().ok().filter(|port| *port > 0).ok_or_else(wrong)?;
        let sound = !host.is_empty() && host.len() <= 255 && host.chars().all(|c| c.is_ascii_graphic());
        if sound { Ok(Advertised { host: host.to_owned(), port }) } else { Err(wrong()) }
    }
}

impl TryFrom<String> for Advertised {
    type Error = String;

    fn try_from(text: String) -> Result<Advertised, String> {
        text.parse()
    }
}

/// How the disk is driven.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Io {
    /// io_uring where it works, else posix
    #[default]
    Auto,
    /// io_uring
    Uring,
    /// System calls on a thread pool
    Posix,
}

impl Io {
    /// The backend asked for; `None` leaves the choice.
    pub(crate) fn wanted(self) -> Option<BackendKind> {
        match self {
            Io::Auto => None,
            Io::Uring => Some(BackendKind::Uring),
            Io::Posix => Some(BackendKind::Posix),
        }
    }
}

/// The file: the same keys as the flags, and tables.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct File {
    data: Option<PathBuf>,
    http: Option<SocketAddr>,
    kafka: Option<Kafka>,
    advertised_http: Option<Advertised>,
    advertised_kafka: Option<Advertised>,
    peer: Option<SocketAddr>,
    join: Vec<Advertised>,
    insecure_listen: bool,
    io: Option<Io>,
    accept_loss: bool,
    limits: Limits,
    storage: Storage,
    topics: Topics,
    groups: GroupSettings,
}

/// `[storage]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Storage {
    /// Shards for each node that topics without retention settings of their own share, 1 to 64. Default 2. Topics of each other
    /// retention share one for each node.
    pub(crate) shards: u32,
    /// Threads that drive the disk, 1 to 16. Default one per core, at most 2.
    pub(crate) rings: Option<u32>,
    /// Size of a segment, bytes. Default 128 MiB.
    pub(crate) segment_bytes: u64,
    /// Bytes of batches that one shard may hold in flight. Default 32 MiB.
    pub(crate) queue_bytes: usize,
    /// Bytes of recent batches that one shard keeps in memory for readers. Default 32 MiB.
    pub(crate) tail_bytes: usize,
    /// Files that one shard keeps ready for coming segments. Default 1.
    pub(crate) spares: usize,
    /// Retention of topics that are created without one, milliseconds. Default: for ever.
    pub(crate) retention_ms: Option<u64>,
    /// The same by size, bytes of one partition. Default: no limit.
    pub(crate) retention_bytes: Option<u64>,
    /// How often retention is carried out, milliseconds, 100 to 3,600,000. Default 10,000.
    pub(crate) retention_check_ms: u64,
    /// Bytes of copies of sealed spans that come to this node in a second, 1 MiB at least. Default: as fast as it goes.
    pub(crate) copy_bytes_per_second: Option<u64>,
}

impl Default for Storage {
    fn default() -> Storage {
        let options = Options::default();
        Storage {
            shards: 2,
            rings: None,
            segment_bytes: options.segment_bytes,
            queue_bytes: options.queue_bytes,
            tail_bytes: options.tail_bytes,
            spares: options.spares,
            retention_ms: None,
            retention_bytes: None,
            retention_check_ms: 10_000,
            copy_bytes_per_second: None,
        }
    }
}

/// `[topics]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Topics {
    /// Whether writing to a topic that does not exist creates it. Default true.
    pub(crate) auto_create: bool,
    /// Partitions of a topic created that way, 1 to 10,000. Default 1.
    pub(crate) partitions: u32,
    /// Topic that OpenTSDB's data points go to. Default `tsdb`.
    pub(crate) tsdb: String,
}

impl Default for Topics {
    fn default() -> Topics {
        Topics { auto_create: true, partitions: 1, tsdb: "tsdb".to_owned() }
    }
}

/// All settings of a node, checked.
#[derive(Debug, Clone)]
pub(crate) struct Config {
    pub(crate) data: PathBuf,
    pub(crate) http: SocketAddr,
    pub(crate) kafka: Kafka,
    pub(crate) advertised_http: Option<Advertised>,
    pub(crate) advertised_kafka: Option<Advertised>,
    /// Where other nodes reach this one; none on a node that is alone.
    pub(crate) peer: Option<SocketAddr>,
    /// Whom to ask to be let in.
    pub(crate) join: Vec<Advertised>,
    pub(crate) insecure_listen: bool,
    pub(crate) io: Io,
    pub(crate) accept_loss: bool,
    pub(crate) limits: Limits,
    pub(crate) storage: Storage,
    pub(crate) topics: Topics,
    pub(crate) groups: GroupSettings,
}

/// Settings that cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    #[error("the configuration file {}: {source}", file.display())]
    Read { file: PathBuf, source: std::io::Error },
    #[error("the configuration file {}: {source}", file.display())]
    Parse { file: PathBuf, source: Box<toml::de::Error> },
    #[error(transparent)]
    Limits(#[from] LimitsError),
    #[error("[storage] {0}")]
    Options(#[from] OptionsError),
    #[error("{key} is {value}, must be {min} to {max}")]
    Range { key: &'static str, value: u64, min: u64, max: u64 },
    #[error("topics.tsdb: {0}")]
    Name(#[from] TopicNameError),
    #[error("[storage] {0}")]
    Retention(#[from] AdminError),
    #[error("clients cannot be sent to {0}: say with --advertised-kafka HOST:PORT where they find this node")]
    NotAdvertised(SocketAddr),
    #[error(
        "{0} can be reached by other machines, and nothing is encrypted or authenticated yet: listen on 127.0.0.1, or say \
         --insecure-listen if the network is trusted"
    )]
    Insecure(SocketAddr),
    #[error("--join needs --peer IP:PORT: say where the nodes of the cluster reach this one")]
    NoPeer,
    #[error("other nodes cannot be sent to {0}: say with --peer at which address they reach this node")]
    PeerUnreachable(SocketAddr),
}

impl Config {
    /// Flags over file over defaults, checked.
    pub(crate) fn load(args: &ServeArgs) -> Result<Config, ConfigError> {
        let file = match &args.config {
            Some(path) => read(path)?,
            None => File::default(),
        };
        let config = Config {
            data: args.data.clone().or(file.data).unwrap_or_else(|| PathBuf::from("data")),
            http: args.http.or(file.http).unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 4242))),
            kafka: args.kafka.or(file.kafka).unwrap_or(Kafka::At(SocketAddr::from(([127, 0, 0, 1], 9092)))),
            advertised_http: args.advertised_http.clone().or(file.advertised_http),
            advertised_kafka: args.advertised_kafka.clone().or(file.advertised_kafka),
            peer: args.peer.or(file.peer),
            join: if args.join.is_empty() { file.join } else { args.join.clone() },
            insecure_listen: args.insecure_listen || file.insecure_listen,
            io: args.io.or(file.io).unwrap_or_default(),
            accept_loss: args.accept_loss || file.accept_loss,
            limits: file.limits,
            storage: file.storage,
            topics: file.topics,
            groups: file.groups,
        };
        config.check()?;
        Ok(config)
    }

    fn check(&self) -> Result<(), ConfigError> {
        self.limits.validate()?;
        self.shard_options().validate()?;
        self.default_retention().check()?;
        check_writable_topic_name(&self.topics.tsdb)?;
        let within = |key, value: u64, min, max| {
            let range = ConfigError::Range { key, value, min, max };
            if (min..=max).contains(&value) { Ok(()) } else { Err(range) }
        };
        within("storage.shards", self.storage.shards.into(), 1, 64)?;
        within("storage.rings", self.rings().into(), 1, 16)?;
        within("storage.retention_check_ms", self.storage.retention_check_ms, 100, 3_600_000)?;
        if let Some(rate) = self.storage.copy_bytes_per_second {
            within("storage.copy_bytes_per_second", rate, 1 << 20, u64::MAX)?;
        }
        within("topics.partitions", self.topics.partitions.into(), 1, MAX_PARTITIONS.into())?;
        for (key, value, min, max) in self.groups.ranges() {
            within(key, value, min, max)?;
        }
        let kafka = match self.kafka {
            Kafka::At(address) => Some(address),
            Kafka::Off => None,
        };
        if self.peer.is_none() && !self.join.is_empty() {
            return Err(ConfigError::NoPeer);
        }
        if let Some(peer) = self.peer.filter(|peer| peer.ip().is_unspecified()) {
            return Err(ConfigError::PeerUnreachable(peer));
        }
        for address in [Some(self.http), kafka, self.peer].into_iter().flatten() {
            if !address.ip().is_loopback() && !self.insecure_listen {
                return Err(ConfigError::Insecure(address));
            }
        }
        match kafka {
            Some(address) if address.ip().is_unspecified() && self.advertised_kafka.is_none() => {
                Err(ConfigError::NotAdvertised(address))
            }
            _ => Ok(()),
        }
    }

    /// Where clients and other nodes find the HTTP port; none when this node listens on any address and has not been told
    /// which of them others reach.
    pub(crate) fn reached_by_http(&self) -> Option<Advertised> {
        let port = self.http.port();
        let bound = Some(self.http.ip()).filter(|ip| !ip.is_unspecified());
        let ip = bound.or(self.peer.map(|peer| peer.ip()));
        self.advertised_http.clone().or(ip.map(|ip| Advertised { host: ip.to_string(), port }))
    }

    /// Where Kafka's clients find this node; none when it takes none.
    pub(crate) fn reached_by_kafka(&self) -> Option<Advertised> {
        let Kafka::At(bound) = self.kafka else { return None };
        let bound = || Advertised { host: bound.ip().to_string(), port: bound.port() };
        Some(self.advertised_kafka.clone().unwrap_or_else(bound))
    }

    /// Number of ring threads.
    pub(crate) fn rings(&self) -> u32 {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        self.storage.rings.unwrap_or(if cores > 1 { 2 } else { 1 })
    }

    /// Settings of a data shard.
    pub(crate) fn shard_options(&self) -> Options {
        Options {
            segment_bytes: self.storage.segment_bytes,
            queue_bytes: self.storage.queue_bytes,
            tail_bytes: self.storage.tail_bytes,
            spares: self.storage.spares,
            accept_loss: self.accept_loss,
            ..Options::default()
        }
    }

    /// Settings of the metadata shard: small, and read as a whole at every start.
    pub(crate) fn metadata_options(&self) -> Options {
        let segment_bytes = 4 * 1024 * 1024;
        Options { segment_bytes, tail_bytes: 0, accept_loss: self.accept_loss, ..Options::default() }
    }

    /// Retention of topics that are created without one.
    fn default_retention(&self) -> TopicConfig {
        TopicConfig { retention_ms: self.storage.retention_ms, retention_bytes: self.storage.retention_bytes }
    }

    /// Over how many shards partitions are spread; most topics are of the default retention.
    pub(crate) fn classes(&self) -> Classes {
        let TopicConfig { retention_ms: max_age_ms, retention_bytes: max_bytes, .. } =
            self.default_retention();
        Classes { main: Retention { max_age_ms, max_bytes }, shards: self.storage.shards as usize }
    }

    /// How often retention is carried out.
    pub(crate) fn retention_check(&self) -> Duration {
        Duration::from_millis(self.storage.retention_check_ms)
    }
}

fn read(path: &Path) -> Result<File, ConfigError> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| ConfigError::Read { file: path.to_owned(), source })?;
    toml::from_str(&text)
        .map_err(|source| ConfigError::Parse { file: path.to_owned(), source: Box::new(source) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(text: &str, args: ServeArgs) -> Result<Config, ConfigError> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tidelog.toml");
        std::fs::write(&path, text).unwrap();
        Config::load(&ServeArgs { config: Some(path), ..args })
    }

    #[test]
    fn without_flags_and_file_the_node_is_local_with_its_data_beside_it() {
        let config = Config::load(&ServeArgs::default()).unwrap();
        assert_eq!(
            (config.data, config.http.to_string()),
            (PathBuf::from("data"), "127.0.0.1:4242".to_owned())
        );
        assert!(config.topics.auto_create && !config.accept_loss && !config.insecure_listen);
    }

    #[test]
    fn flags_win_over_the_file_and_the_file_over_defaults() {
        let text = "data = \"a\"\nhttp = \"127.0.0.1:1\"\nio = \"posix\"\n[storage]\nshards = 3\n[limits]\nconnections = 7\n";
        let args = ServeArgs { data: Some("b".into()), ..ServeArgs::default() };
        let config = load(text, args).unwrap();
        assert_eq!(config.data, PathBuf::from("b"));
        assert_eq!((config.http.port(), config.io, config.storage.shards), (1, Io::Posix, 3));
        assert_eq!(config.limits.connections, 7);
    }

    #[test]
    fn an_unknown_key_is_refused_by_name_wherever_it_stands() {
        for text in [
            "datta = \"x\"",
            "[limits]\nconections = 1",
            "[storage]\nshard = 1",
            "[topics]\ntsbd = \"x\"",
            "[x]",
        ] {
            let error = load(text, ServeArgs::default()).unwrap_err().to_string();
            let key = text
                .split([' ', '\n'])
                .find(|word| !["[limits]", "[storage]", "[topics]"].contains(word))
                .unwrap();
            assert!(
                error.contains(key.trim_matches(['[', ']'])) && error.contains("tidelog.toml"),
                "{error}"
            );
        }
    }

    #[test]
    fn values_out_of_range_are_refused_by_name() {
        for (text, what) in [
            ("[storage]\nshards = 0", "storage.shards is 0, must be 1 to 64"),
            ("[storage]\nrings = 17", "storage.rings is 17"),
            ("[storage]\nsegment_bytes = 1", "segment_bytes is 1"),
            ("[storage]\nretention_ms = 0", "config.retention_ms must be at least 1"),
            ("[storage]\nretention_check_ms = 5", "storage.retention_check_ms is 5"),
            ("[storage]\ncopy_bytes_per_second = 5", "storage.copy_bytes_per_second is 5"),
            ("[topics]\npartitions = 0", "topics.partitions is 0"),
            ("[topics]\ntsdb = \"__x\"", "topics.tsdb: topic names that start with `__`"),
            ("[limits]\nconnections = 0", "limits.connections = 0"),
        ] {
            let error = load(text, ServeArgs::default()).unwrap_err().to_string();
            assert!(error.contains(what), "{text}: {error}");
        }
    }

    #[test]
    fn an_address_that_others_reach_needs_the_word_of_the_operator() {
        let open = |insecure_listen| {
            let http = Some("0.0.0.0:4242".parse().unwrap());
            Config::load(&ServeArgs { http, insecure_listen, ..ServeArgs::default() })
        };
        let error = open(false).unwrap_err();
        assert!(matches!(error, ConfigError::Insecure(_)) && error.to_string().contains("--insecure-listen"));
        assert!(open(true).is_ok());
        assert!(load("http = \"[::1]:4242\"", ServeArgs::default()).is_ok());
    }

    #[test]
    fn kafkas_port_is_as_open_as_the_other_and_can_be_off() {
        assert_eq!(
            Config::load(&ServeArgs::default()).unwrap().kafka,
            Kafka::At("127.0.0.1:9092".parse().unwrap())
        );
        assert_eq!(load("kafka = \"off\"", ServeArgs::default()).unwrap().kafka, Kafka::Off);
        assert!(load("kafka = \"of\"", ServeArgs::default()).unwrap_err().to_string().contains("`off`"));
        let open = "kafka = \"0.0.0.0:9092\"\n";
        assert!(matches!(load(open, ServeArgs::default()), Err(ConfigError::Insecure(_))));
        let insecure = ServeArgs { insecure_listen: true, ..ServeArgs::default() };
        assert!(matches!(load(open, insecure.clone()), Err(ConfigError::NotAdvertised(_))));
        let told = format!("{open}advertised_kafka = \"[fd00::1]:1\"");
        let config = load(&told, insecure).unwrap();
        assert_eq!(config.advertised_kafka, Some(Advertised { host: "fd00::1".to_owned(), port: 1 }));
    }

    #[test]
    fn others_are_sent_where_this_node_is_told_to_be_or_else_where_it_listens() {
        let reached = |text: &str| {
            let config = load(&format!("insecure_listen = true\n{text}"), ServeArgs::default()).unwrap();
            (
                config.reached_by_http().map(|at| at.to_string()),
                config.reached_by_kafka().map(|at| at.to_string()),
            )
        };
        let at = |text: &str| Some(text.to_owned());
        assert_eq!(reached(""), (at("127.0.0.1:4242"), at("127.0.0.1:9092")));
        let any = "http = \"0.0.0.0:80\"\nkafka = \"off\"\n";
        assert_eq!(reached(any), (None, None));
        assert_eq!(reached(&format!("{any}peer = \"[2001:db8::1]:1\"")), (at("[2001:db8::1]:80"), None));
        let told = "advertised_http = \"a:1\"\nadvertised_kafka = \"b:2\"";
        assert_eq!(reached(told), (at("a:1"), at("b:2")));
    }

    #[test]
    fn who_joins_says_where_it_is_reached_and_others_reach_it_there() {
        let config =
            load("peer = \"127.0.0.1:4300\"\njoin = [\"a:1\", \"[::1]:2\"]", ServeArgs::default()).unwrap();
        assert_eq!(config.peer, Some("127.0.0.1:4300".parse().unwrap()));
        assert_eq!(config.join.iter().map(ToString::to_string).collect::<Vec<_>>(), ["a:1", "[::1]:2"]);
        let alone = load("join = [\"a:1\"]", ServeArgs::default()).unwrap_err();
        assert!(matches!(alone, ConfigError::NoPeer), "{alone}");
        let open = "insecure_listen = true\npeer = \"0.0.0.0:4300\"";
        assert!(matches!(load(open, ServeArgs::default()), Err(ConfigError::PeerUnreachable(_))));
        let reached = "peer = \"192.0.2.1:4300\"";
        assert!(matches!(load(reached, ServeArgs::default()), Err(ConfigError::Insecure(_))));
    }

    #[test]
    fn a_missing_file_is_an_error_with_its_path() {
        let args = ServeArgs { config: Some("/nonexistent/x.toml".into()), ..ServeArgs::default() };
        assert!(Config::load(&args).unwrap_err().to_string().contains("/nonexistent/x.toml"));
    }
}
