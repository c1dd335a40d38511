//! # Purpose
//! What `/metrics` and telnet's `stats` tell: counters of the listeners, counters of every shard, the process itself.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::registry::Registry;
use tidelog_meta::State;
use tidelog_proto::kafka::ApiKey;
use tidelog_wal::{COMMIT_BUCKETS, Stats, Status, Wal};

use crate::node::Node;

/// One kind of answered request.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct RequestLabels {
    /// The path with its variable parts named, not filled in.
    pub(crate) route: String,
    pub(crate) method: String,
    pub(crate) status: u16,
}

/// An API of Kafka's protocol.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct ApiLabels {
    pub(crate) api: &'static str,
}

/// Counters of the listeners.
#[derive(Debug, Clone, Default)]
pub(crate) struct Metrics {
    pub(crate) http_requests: Family<RequestLabels, Counter>,
    pub(crate) kafka_requests: Family<ApiLabels, Counter>,
    pub(crate) kafka_request_bytes: Counter,
    pub(crate) kafka_response_bytes: Counter,
    pub(crate) kafka_connections_failed: Counter,
    pub(crate) telnet_lines: Counter,
    pub(crate) telnet_errors: Counter,
    pub(crate) produce_timeouts: Counter,
    pub(crate) older_reads: Counter,
    pub(crate) older_reads_failed: Counter,
    pub(crate) connections: Counter,
    pub(crate) connections_open: Gauge<i64, AtomicI64>,
    pub(crate) connections_refused: Counter,
}

impl Metrics {
    /// Counts a request of Kafka's protocol.
    pub(crate) fn kafka_request(&self, api: ApiKey, bytes: usize) {
        self.kafka_requests.get_or_create(&ApiLabels { api: api.name() }).inc();
        self.kafka_request_bytes.inc_by(bytes as u64);
    }

    /// Counts a response of Kafka's protocol.
    pub(crate) fn kafka_response(&self, bytes: usize) {
        self.kafka_response_bytes.inc_by(bytes as u64);
    }
}

/// The text of `/metrics`.
pub(crate) fn render(node: &Arc<Node>) -> Result<String, fmt::Error> {
    let mut registry = Registry::with_prefix("tidelog");
    let Metrics {
        http_requests,
        kafka_requests,
        kafka_request_bytes,
        kafka_response_bytes,
        kafka_connections_failed,
        telnet_lines,
        telnet_errors,
        produce_timeouts,
        older_reads,
        older_reads_failed,
        connections,
        connections_open,
        connections_refused,
    } = node.metrics.clone();
    registry.register("http_requests", "HTTP requests answered", http_requests);
    registry.register(
        "produce_timeouts",
        "Writes that too few holders of their shard made durable in time",
        produce_timeouts,
    );
    let help = "Questions to other nodes for older records that this one has not got";
    registry.register("older_reads", help, older_reads);
    let help = "Older records that no node gave";
    registry.register("older_reads_failed", help, older_reads_failed);
    registry.register("kafka_requests", "Requests of Kafka's protocol", kafka_requests);
    registry.register("kafka_request_bytes", "Bytes of requests of Kafka's protocol", kafka_request_bytes);
    registry.register("kafka_response_bytes", "Bytes of answers of Kafka's protocol", kafka_response_bytes);
    let help = "Connections of Kafka's protocol that ended because of a failure";
    registry.register("kafka_connections_failed", help, kafka_connections_failed);
    registry.register("telnet_lines", "OpenTSDB telnet lines read", telnet_lines);
    registry.register("telnet_errors", "OpenTSDB telnet lines refused", telnet_errors);
    registry.register("connections", "Connections accepted", connections);
    registry.register("connections_open", "Connections open now", connections_open);
    registry.register("connections_refused", "Connections refused: too many", connections_refused);
    node.forward.register(&mut registry);
    if let Some(member) = node.metadata.member() {
        member.peers().metrics().register(&mut registry);
    }
    if let Some(shards) = &node.replicated {
        shards.metrics().register(&mut registry);
    }
    registry.register_collector(Box::new(NodeCollector(Arc::clone(node))));
    let mut out = String::new();
    text::encode(&mut out, &registry)?;
    Ok(out)
}

/// Reads what counts itself: shards and process.
#[derive(Debug)]
struct NodeCollector(Arc<Node>);

impl Collector for NodeCollector {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), fmt::Error> {
        let node = &self.0;
        encode_process(node, &mut encoder)?;
        encode_groups(node, &mut encoder)?;
        encode_skew(node, &mut encoder)?;
        let wals: Vec<(String, Wal)> =
            node.shards().into_iter().map(|(id, shard)| (id.to_string(), shard.wal.clone())).collect();
        for (name, help, read) in shard_counters() {
            family(&mut encoder, name, help, MetricType::Counter, &wals, |wal| read(&wal.stats()))?;
        }
        for (name, help, read) in shard_gauges() {
            family(&mut encoder, name, help, MetricType::Gauge, &wals, |wal| read(&wal.stats()))?;
        }
        let help = "What the shard can do: 0 everything, 1 no room for another segment, 2 reads only, 3 a write failed, 4 closed, 5 another node leads it";
        family(&mut encoder, "shard_status", help, MetricType::Gauge, &wals, |wal| match wal.status() {
            Status::Running => 0,
            Status::Full => 1,
            Status::ReadOnly(_) => 2,
            Status::Poisoned(_) => 3,
            Status::Closed => 4,
            Status::Following => 5,
        })?;
        let help = "Epoch of the span that is written; nothing of a lower one is taken any more";
        family(&mut encoder, "span_epoch", help, MetricType::Gauge, &wals, |wal| wal.epoch().into())?;
        let help = "Partitions that live in the shard";
        family(&mut encoder, "shard_partitions", help, MetricType::Gauge, &wals, |wal| {
            wal.partitions().len() as u64
        })?;
        encode_latency(&mut encoder, &wals)
    }
}

type Read = fn(&Stats) -> u64;

fn shard_counters() -> [(&'static str, &'static str, Read); 19] {
    [
        ("wal_commits", "Group commits", |s| Stats::get(&s.commits)),
        ("wal_batches", "Batches made durable", |s| Stats::get(&s.batches)),
        ("wal_records", "Records made durable", |s| Stats::get(&s.records)),
        ("wal_batch_bytes", "Bytes of batches made durable", |s| Stats::get(&s.batch_bytes)),
        ("wal_frame_bytes", "Bytes of frames written", |s| Stats::get(&s.frame_bytes)),
        ("wal_padding_bytes", "Bytes of padding in frames", |s| Stats::get(&s.padding_bytes)),
        ("wal_duplicates", "Batches sent again, answered with what was stored", |s| {
            Stats::get(&s.duplicates)
        }),
        ("wal_out_of_order", "Batches refused: a batch of their producer is missing before them", |s| {
            Stats::get(&s.out_of_order)
        }),
        ("wal_old_epochs", "Batches refused: their producer's epoch is over", |s| Stats::get(&s.old_epochs)),
        ("wal_duplicates_forgotten", "Batches refused: stored before, their offset is forgotten", |s| {
            Stats::get(&s.forgotten)
        }),
        ("wal_write_nanos", "Nanoseconds spent waiting for writes", |s| Stats::get(&s.write_nanos)),
        ("wal_rolls", "Segments begun", |s| Stats::get(&s.rolls)),
        ("wal_rolls_waited", "Segments begun without a file ready", |s| Stats::get(&s.rolls_waited)),
        ("wal_sync_marks", "End blocks rewritten as synced", |s| Stats::get(&s.sync_marks)),
        ("wal_seals", "Segments sealed", |s| Stats::get(&s.seals)),
        ("wal_recycled", "Files of unwanted segments put aside for reuse", |s| Stats::get(&s.recycled)),
        ("wal_filled_bytes", "Bytes filled with zeroes ahead of use", |s| Stats::get(&s.filled_bytes)),
        ("wal_tail_hits", "Reads answered from memory", |s| Stats::get(&s.tail_hits)),
        ("wal_tail_misses", "Reads that went to the disk", |s| Stats::get(&s.tail_misses)),
    ]
}

fn shard_gauges() -> [(&'static str, &'static str, Read); 6] {
    [
        ("wal_queue_bytes", "Bytes waiting or in flight", |s| Stats::get(&s.queue_bytes)),
        ("wal_segments", "Segments on disk", |s| Stats::get(&s.segments)),
        (
            "wal_producers",
            "Producers, for each of their partitions, whose last batches are remembered",
            |s| Stats::get(&s.producers),
        ),
        ("wal_next_lsn", "Next LSN", |s| Stats::get(&s.next_lsn)),
        ("wal_committed_lsn", "LSNs below are committed", |s| Stats::get(&s.committed_lsn)),
        ("wal_disk_reads", "Read operations on the disk since the start", |s| Stats::get(&s.disk_reads)),
    ]
}

fn family(
    encoder: &mut DescriptorEncoder,
    name: &str,
    help: &str,
    kind: MetricType,
    wals: &[(String, Wal)],
    read: impl Fn(&Wal) -> u64,
) -> Result<(), fmt::Error> {
    let mut metric = encoder.encode_descriptor(name, help, None, kind)?;
    for (id, wal) in wals {
        let labels = [("shard", id.as_str())];
        let (one, value) = (metric.encode_family(&labels)?, read(wal));
        match kind {
            MetricType::Counter => ConstCounter::new(value).encode(one)?,
            _ => ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX)).encode(one)?,
        }
    }
    Ok(())
}

/// Writes by duration, as a counter per power of two: cumulative, so that a histogram can be made of it.
fn encode_latency(encoder: &mut DescriptorEncoder, wals: &[(String, Wal)]) -> Result<(), fmt::Error> {
    let help = "Writes that took less than so many microseconds";
    let mut metric = encoder.encode_descriptor("wal_commits_within", help, None, MetricType::Counter)?;
    for (id, wal) in wals {
        let stats = wal.stats();
        let mut sum = 0;
        for (bucket, count) in stats.commit_micros.iter().enumerate() {
            sum += Stats::get(count);
            let last = bucket + 1 == COMMIT_BUCKETS;
            let micros = if last { "+Inf".to_owned() } else { (1_u64 << bucket).to_string() };
            let labels = [("shard", id.as_str()), ("micros", micros.as_str())];
            ConstCounter::new(sum).encode(metric.encode_family(&labels)?)?;
        }
    }
    Ok(())
}

fn encode_process(node: &Node, encoder: &mut DescriptorEncoder) -> Result<(), fmt::Error> {
    let backend = node.backend.kind.to_string();
    let info = [
        ("version", env!("CARGO_PKG_VERSION")),
        ("backend", backend.as_str()),
        ("fallback_reason", node.backend.reason.as_deref().unwrap_or_default()),
    ];
    let mut metric = encoder.encode_descriptor("build", "What runs", None, MetricType::Gauge)?;
    ConstGauge::new(1_i64).encode(metric.encode_family(&info)?)?;
    let (groups, members, offsets) = node.groups.sizes();
    let gauges = [
        ("uptime_seconds", "Seconds since the start", node.started.elapsed().as_secs()),
        ("incarnation", "Process starts of this data directory", node.store.incarnation()),
        ("topics", "Topics", node.topics().len() as u64),
        ("groups", "Consumer groups with members, or with ids given out", groups as u64),
        ("group_members", "Members of consumer groups", members as u64),
        ("group_offsets", "Committed offsets of consumer groups", offsets as u64),
        ("request_memory_bytes", "Bytes that requests hold in memory", node.budget.used()),
        ("resident_bytes", "Resident memory of the process", resident_bytes().unwrap_or(0)),
    ];
    let figures = node.metadata.member().map(|member| member.figures());
    let version =
        ("metadata_version", "Changes of the metadata that took effect here", metadata_version(node));
    for (name, help, value) in gauges.into_iter().chain([version]).chain(figures.into_iter().flatten()) {
        let metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX)).encode(metric)?;
    }
    Ok(())
}

fn metadata_version(node: &Node) -> u64 {
    node.metadata.read(|state| state.version)
}

fn encode_groups(node: &Node, encoder: &mut DescriptorEncoder) -> Result<(), fmt::Error> {
    let counts = &node.groups.counts;
    for (name, help, value) in [
        ("group_rebalances", "Generations of consumer groups begun", &counts.rebalances),
        (
            "group_members_expired",
            "Members of consumer groups taken out because they were silent",
            &counts.expired,
        ),
        ("group_commits", "Offsets committed by consumer groups", &counts.commits),
    ] {
        let metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        ConstCounter::new(value.load(Ordering::Relaxed)).encode(metric)?;
    }
    Ok(())
}

fn encode_skew(node: &Node, encoder: &mut DescriptorEncoder) -> Result<(), fmt::Error> {
    let skew = node.metadata.read(State::skew);
    let help =
        "How far the cluster is from being balanced, percent of the mean: what is below 20 is left alone";
    let mut metric = encoder.encode_descriptor("cluster_skew_percent", help, None, MetricType::Gauge)?;
    for (of, percent) in [("leaders", skew.leaders), ("copies", skew.copies), ("partitions", skew.partitions)]
    {
        let labels = [("of", of)];
        ConstGauge::new(i64::try_from(percent).unwrap_or(i64::MAX)).encode(metric.encode_family(&labels)?)?;
    }
    Ok(())
}

fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok().map(|kib| kib * 1024)
}

/// Counts an open connection until it is dropped.
#[derive(Debug)]
pub(crate) struct OpenConnection(Arc<Node>);

impl OpenConnection {
    /// Counts one more; `None` when there are as many as may be.
    pub(crate) fn begin(node: &Arc<Node>) -> Option<OpenConnection> {
        let before = node.metrics.connections_open.inc();
        let open = OpenConnection(Arc::clone(node));
        if u64::try_from(before).unwrap_or(0) >= node.config.limits.connections {
            node.metrics.connections_refused.inc();
            return None;
        }
        node.metrics.connections.inc();
        Some(open)
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.metrics.connections_open.dec();
    }
}

/// Sums a counter over all data shards, for `stats`.
pub(crate) fn sum(node: &Node, read: impl Fn(&Stats) -> &AtomicU64) -> u64 {
    node.data_shards().iter().map(|(_, wal)| read(&wal.stats()).load(Ordering::Relaxed)).sum()
}
